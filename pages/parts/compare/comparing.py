"""Comparison: what was ticked for it on Browse, and the panels on Compare with all their choices in the URL."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

import streamlit as st

from core import service
from core.errors import IntakeError, NodeLensError
from core.evaluation.metrics.agreement import difference
from core.explain.registry import LAST, METHODS
from core.inference import Readings
from core.settings import without_paths
from core.task import Task
from core.view.comparison import APART, Shown, pair_words, scales_of, why_not_subtracted
from core.view.export import explained_words
from core.view.verdict import headline, probability_words
from core.view.words import on_screen
from pages.parts import library
from pages.parts.choices import FIXED, OWN, Explanation, choose_explanation
from pages.parts.compare.opening import MOST, of_one_task
from pages.parts.components.evidence_panel import evidence_panel, reflected
from pages.parts.components.light_table import Panel
from pages.parts.read import uploads
from pages.parts.read.choose import Chosen, chosen_from, chosen_upload
from pages.parts.read.lists import examples
from pages.parts.read.uploads import FILES

TICKED = "ticks"
"""What is ticked stands in Browse's address under this name."""
SHARED_NOTES = {FIXED: "fixed scale from validation", OWN: "the highest of these maps"}
CHOICES = ("split", "patch", "file", "model", "target", "method", "layer")
"""What a panel chooses for itself; panel 2's model has the key `model2`."""


@dataclass(frozen=True)
class Compared:
    """One panel: its patch and its reading."""

    chosen: Chosen
    readings: Readings
    explanation: Explanation

    @property
    def shown(self) -> Shown:
        """What is held against another panel's."""
        return Shown(self.chosen.patch, self.readings)


def _ticks() -> list[tuple[str, int, str]]:
    if "ticks" not in st.session_state:
        st.session_state["ticks"] = _linked()
    ticks: list[tuple[str, int, str]] = st.session_state["ticks"]
    return ticks


def _linked() -> list[tuple[str, int, str]]:
    """What a link to Browse has ticked: 'index.model.split', by commas; what is not here is left out."""
    found = []
    for words in st.query_params.get(TICKED, "").split(",")[:MOST]:
        index, _, rest = words.partition(".")
        for model in service.model_names():
            split = rest.removeprefix(f"{model}.")
            if split != rest and split in service.split_names() and index.isdecimal():
                with suppress(NodeLensError):
                    if int(index) < len(service.split(split)):
                        found.append((split, int(index), model))
    return found


def _link(ticks: list[tuple[str, int, str]]) -> None:
    words = ",".join(f"{index}.{model}.{split}" for split, index, model in ticks)
    if words != st.query_params.get(TICKED, ""):
        if words:
            st.query_params[TICKED] = words
        else:
            del st.query_params[TICKED]


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
    _link(ticks)
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
        other = {"model": others[0]} if others else {"layer": (*service.reader(panels[0]["model"]).layers[1:], LAST)[0]}
        panels.append(panels[0] | other)
    query = {"panels": str(len(panels))}
    for number, panel in enumerate(panels, start=1):
        query |= {f"{name}{number}": value for name, value in panel.items()}
    return query


def choose_count() -> int:
    """How many panels: two to four."""
    return st.selectbox("Panels", range(2, MOST + 1), key="panels", bind="query-params")


def choose_panels(count: int, views: int, only_for: bool) -> list[Compared]:
    """The choices of each panel, one press away from its pictures; returns what they read."""
    compared, names = [], service.model_names()
    usual = of_one_task(names[0])
    for number, column in enumerate(st.columns(count, gap="small"), start=1):
        try:
            with column.popover(f"Panel {number}: patch, model, method", width="stretch"):
                panel = _choose_panel(number, count, names, usual[(number - 1) % len(usual)], views, only_for)
        except NodeLensError as error:  # of this panel's model or split: the others stand
            column.error(on_screen(f"Panel {number}: {without_paths(str(error))}"))
            continue
        if panel is not None:
            compared.append(panel)
    return compared


def _choose_panel(number: int, count: int, names: list[str], usual: str, views: int, only_for: bool) -> Compared | None:
    other = number % count + 1
    st.button(f"Swap with panel {other}", key=f"swap{number}", on_click=_swap, args=(number, other))
    patch_place = st.container()
    model = st.selectbox("Model", names, names.index(usual), key=f"model{number}", bind="query-params")
    with patch_place:
        chosen = _choose_patch(number, service.task(model))
    e = choose_explanation(model, views, only_for, str(number))
    if chosen is None:
        return None
    if chosen.split is not None:
        chosen.split.require(service.task(model))
    read = library.explain(model, chosen.patch, e.method, e.layer, e.target, e.views, chosen.synthetic)
    return Compared(chosen, read, e)


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
            raise IntakeError(f"{uploads.plain(upload.name)}: {upload.refusal}{repair}")
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


def _kind(readings: Readings) -> str:
    return f"{METHODS[readings.method].title}, {'{} x {}'.format(*readings.grid)} cells"


def light_table_panels(compared: list[Compared], with_differences: bool, own: bool) -> list[Panel]:
    """The maps from left to right, and between neighbours their difference when asked for and there is one.

    Args:
        compared: one reading or more.
        with_differences: whether to show them.
        own: whether scales are the highest of what is shown, or fixed.
    """
    panels: list[Panel] = []
    shown = [panel.shown for panel in compared]
    scales, alone = scales_of(shown, own)
    for place, panel in enumerate(compared):
        number, patch, task = place + 1, panel.chosen.patch, panel.readings.model.task
        before = shown[place - 1] if place else None
        if with_differences and before is not None and not why_not_subtracted(before, panel.shown):
            panels.append(
                Panel(
                    f"Panel {number} minus {place}",
                    patch,
                    task,
                    heatmap=difference(before.readings.attribution[0], panel.readings.attribution[0]),
                    reflected=reflected(panel.readings if panel.readings.around else before.readings),
                    unit=METHODS[panel.readings.method].unit,
                    scale=max(scales[place - 1 : place + 1]),
                    scale_note="difference, right minus left",
                    inset=True,
                    caption=f"Brown: more evidence for the target in panel {number}. Blue: less.",
                )
            )
        note = SHARED_NOTES[OWN if own or not panel.readings.scale else FIXED]
        if alone[place]:
            note = f"{panel.readings.model.name} alone: scales of these models lie over {APART:g} times apart"
        panels.append(
            evidence_panel(
                f"{number}: {panel.chosen.name}",
                patch,
                panel.readings,
                only_for=panel.explanation.only_for,
                scale=scales[place],
                note=f"{_kind(panel.readings)}, {note}",
                inset=True,
                verdict=headline(panel.readings, 0),
                caption=" ".join((_reading(panel), explained_words(panel.readings, 0), *panel.chosen.notes)),
            )
        )
    return panels


def _reading(panel: Compared) -> str:
    readings, label = panel.readings, panel.chosen.label
    known = f", labelled {label}" if label else ""
    synthetic = " Synthetic, not tissue." if panel.chosen.synthetic else ""
    words = probability_words(readings, 0)
    return f"{words[:1].upper()}{words[1:]}{known}.{synthetic}"


def correlations(compared: list[Compared], with_differences: bool) -> str:
    """Spearman's rank correlation of every pair of maps, in words; '' of one alone."""
    if len(compared) < 2:
        return ""
    words = [
        pair_words(i, a.shown, j, b.shown, subtracting=with_differences)
        for (i, a), (j, b) in combinations(enumerate(compared, start=1), 2)
    ]
    return "Rank correlation of the maps, " + "; ".join(words) + " (0 = unrelated, 1 = same order of cells)."
