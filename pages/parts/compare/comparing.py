"""Comparison: what was ticked for it on Browse, and the panels on Compare with all their choices in the URL."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import streamlit as st

from core import service
from core.errors import NodeLensError
from core.evaluation.metrics.agreement import difference, rank_correlation
from core.explain.registry import METHODS
from core.inference import Readings
from core.settings import without_paths
from core.task import Task
from core.view.export import scale_of
from pages.parts import library
from pages.parts.choices import FIXED, OWN, choose_explanation
from pages.parts.components.light_table import Panel
from pages.parts.read import uploads
from pages.parts.read.choose import Chosen, chosen_from, chosen_upload, examples
from pages.parts.read.uploads import FILES

MOST = 4
SHARED_NOTES = {FIXED: "fixed scale from validation", OWN: "the highest of these maps"}
CHOICES = ("split", "patch", "file", "model", "target", "method", "layer")
"""What a panel chooses for itself; panel 2's model has the key `model2`."""


@dataclass(frozen=True)
class Compared:
    """One panel: its patch and its reading."""

    chosen: Chosen
    readings: Readings


def _ticks() -> list[tuple[str, int, str]]:
    ticks: list[tuple[str, int, str]] = st.session_state.setdefault("ticks", [])
    return ticks


def tick(split: str, index: int, model: str, ticked: bool) -> None:
    """Put a patch of a split on the tray, or take it off; the tray holds four."""
    ticks = [entry for entry in _ticks() if entry[:2] != (split, index)]
    if ticked and len(ticks) < MOST:
        ticks.append((split, index, model))
    st.session_state["ticks"] = ticks


def is_ticked(split: str, index: int) -> bool:
    """Whether a patch is on the tray."""
    return any(entry[:2] == (split, index) for entry in _ticks())


def tray() -> None:
    """What is ticked, and the way to Compare."""
    ticks = _ticks()
    if not ticks:
        st.caption("Tick up to four patches to compare them; tick one to compare models or layers on it.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("To compare: " + ", ".join(f"{split} {index}" for split, index, _ in ticks))
        if st.button("Compare", type="primary"):
            st.switch_page("pages/compare.py", query_params=_query(ticks))
        st.button("Clear", on_click=lambda: st.session_state.update(ticks=[]))


def _query(ticks: list[tuple[str, int, str]]) -> dict[str, str]:
    """A panel for each patch; a single one is shown twice, by another model or, for want of one, at another layer."""
    panels = [{"split": split, "patch": str(index), "model": model} for split, index, model in ticks]
    if len(panels) == 1:
        others = [name for name in of_one_task(panels[0]["model"]) if name != panels[0]["model"]]
        panels.append(panels[0] | ({"model": others[0]} if others else {"layer": "6x6"}))
    query = {"panels": str(len(panels))}
    for number, panel in enumerate(panels, start=1):
        query |= {f"{name}{number}": value for name, value in panel.items()}
    return query


def choose_count() -> int:
    """How many panels: two to four."""
    return st.selectbox("Panels", range(2, MOST + 1), key="panels", bind="query-params")


def choose_panels(count: int, views: int) -> list[Compared]:
    """A column of choices for each panel; returns what they read."""
    compared, names = [], service.model_names()
    usual = of_one_task(names[0])
    for number, column in enumerate(st.columns(count, gap="medium"), start=1):
        with column:
            try:
                panel = _choose_panel(number, count, names, usual[(number - 1) % len(usual)], views)
            except NodeLensError as error:  # of this panel's model or split: the others stand
                st.error(without_paths(str(error)))
                continue
        if panel is not None:
            compared.append(panel)
    return compared


def of_one_task(model: str) -> list[str]:
    """A model and those that read what it reads, in the order of the menu; what cannot be opened reads nothing."""

    def reads(name: str) -> Task | None:
        with suppress(NodeLensError):
            return service.task(name)
        return None

    own = reads(model)
    return [name for name in service.model_names() if name == model or (own and _alike(own, reads(name)))]


def _alike(one: Task, other: Task | None) -> bool:
    return other is not None and one.difference(other) is None


def _choose_panel(number: int, count: int, names: list[str], usual: str, views: int) -> Compared | None:
    heading, swap = st.columns([1, 1], vertical_alignment="center")
    heading.markdown(f"**Panel {number}**")
    other = number % count + 1
    swap.button(f"Swap with panel {other}", key=f"swap{number}", on_click=_swap, args=(number, other))
    patch_place = st.container()
    model = st.selectbox("Model", names, names.index(usual), key=f"model{number}", bind="query-params")
    with patch_place:
        chosen = _choose_patch(number, service.task(model))
    e = choose_explanation(model, str(number))
    if chosen is None:
        return None
    if chosen.split is not None:
        chosen.split.require(service.task(model))
    return Compared(chosen, library.explain(model, chosen.patch, e.method, e.layer, e.target, views))


def _choose_patch(number: int, task: Task) -> Chosen | None:
    files = uploads.kept()
    sources = [*service.split_names(), *([FILES] if files else [])]
    source_column, patch_column = st.columns(2)
    source = source_column.selectbox("Data", sources, key=f"split{number}", bind="query-params")
    if source == FILES:
        names = {key: upload.name for key, upload in files.items()}  # no two alike: the browser answers with the name
        key = patch_column.selectbox(
            "File", list(names), key=f"file{number}", format_func=lambda key: names.get(key, key)
        )
        upload = uploads.read_for(files[key], task)
        if upload.patch is None:
            repair = " Its pixel size can be corrected on Read." if files[key].data and task.um_per_px else ""
            st.error(f"{uploads.plain(upload.name)}: {upload.refusal}{repair}")
            return None
        return chosen_upload(upload)
    split = service.split(source)
    last = len(split) - 1
    if st.session_state.get(f"patch{number}", 0) > last:
        st.session_state[f"patch{number}"] = last
    index = patch_column.number_input(
        f"Patch (0 to {last})", 0, last, value=examples(split)[0], key=f"patch{number}", bind="query-params"
    )
    return chosen_from(split, int(index))


def _swap(one: int, other: int) -> None:
    state = st.session_state
    for name in CHOICES:
        here, there = f"{name}{one}", f"{name}{other}"
        before = {place: state[place] for place in (here, there) if place in state}
        for place, origin in ((here, there), (there, here)):  # a panel of a split has no file, one of files no patch
            if origin in before:
                state[place] = before[origin]
            else:
                state.pop(place, None)


def _scales(compared: list[Compared], own: bool) -> list[float]:
    """Each panel's colour scale: the largest among the panels of its method and layer, whose logits can be compared."""
    kinds = [(panel.readings.method, panel.readings.layer) for panel in compared]
    single = [scale_of(panel.readings, 0, own) for panel in compared]
    return [max(scale for other, scale in zip(kinds, single, strict=True) if other == kind) for kind in kinds]


def _kind(readings: Readings) -> str:
    return f"{METHODS[readings.method].title}, {'{} x {}'.format(*readings.grid)} cells"


def light_table_panels(compared: list[Compared], with_differences: bool, scale: str) -> list[Panel]:
    """The maps from left to right, and between neighbours their difference when asked for.

    Args:
        compared: one reading or more.
        with_differences: whether to show them.
        scale: fixed or own, in the words of `choices`.
    """
    panels: list[Panel] = []
    scales = _scales(compared, own=scale == OWN)
    # A cell of the common grid holds a share of a coarser cell's evidence, so the colours of a difference reach lower.
    finest = max(panel.readings.attribution[0].size for panel in compared)
    share = [panel.readings.attribution[0].size / finest for panel in compared]
    difference_scale = max(one * part for one, part in zip(scales, share, strict=True))
    for number, panel in enumerate(compared, start=1):
        heatmap = panel.readings.attribution[0]
        note = SHARED_NOTES[scale if panel.readings.scale else OWN]
        if with_differences and number > 1:
            before = compared[number - 2]
            same = (
                ""
                if np.array_equal(before.chosen.patch, panel.chosen.patch)
                else " The patches differ; shown on the right one."
            )
            panels.append(
                Panel(
                    f"Panel {number} minus {number - 1}",
                    panel.chosen.patch,
                    panel.readings.model.task,
                    heatmap=difference(before.readings.attribution[0], heatmap),
                    unit=METHODS[panel.readings.method].unit,
                    scale=difference_scale,
                    scale_note="difference, one scale for all",
                    inset=True,
                    diverging=True,
                    caption=f"Evidence per cell of the common grid.{same}",
                )
            )
        panels.append(
            Panel(
                f"{number}: {panel.chosen.name}",
                panel.chosen.patch,
                panel.readings.model.task,
                heatmap=heatmap,
                scale=scales[number - 1],
                unit=METHODS[panel.readings.method].unit,
                scale_note=f"{_kind(panel.readings)}, positive evidence, {note}",
                inset=True,
                caption=" ".join((_reading(panel), panel.readings.explained, *panel.chosen.notes)),
            )
        )
    return panels


def _reading(panel: Compared) -> str:
    readings, label = panel.readings, panel.chosen.label
    known = f", labelled {label}" if label else ""
    synthetic = " Synthetic, not tissue." if panel.chosen.synthetic else ""
    return f"Reads {readings.verdict[0]}, probability {readings.probability[0]:.2f}{known}.{synthetic}"


def correlations(compared: list[Compared]) -> str:
    """Spearman's rank correlation of every pair of maps, in words; '' of one alone."""
    if len(compared) < 2:
        return ""
    words = []
    for (i, a), (j, b) in combinations(enumerate(compared, start=1), 2):
        value = rank_correlation(a.readings.attribution[0], b.readings.attribution[0])
        words.append(f"panels {i} and {j}: {'not defined (a flat map)' if value is None else f'{value:+.2f}'}")
    return "Rank correlation of the maps, " + "; ".join(words) + " (0 = unrelated, 1 = same order of cells)."
