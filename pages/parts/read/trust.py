"""The trust card: how far the reading on screen can be leaned on, each figure beside chance and its percentile."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from html import escape

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core import service
from core.errors import NodeLensError
from core.evaluation.metrics.agreement import rank_correlation
from core.evaluation.metrics.randomisation import randomised
from core.evaluation.schema import EvidenceReport, TrustSpread
from core.evaluation.trust import donors, trust_figures
from core.evaluation.trust_scale import Figure, figures_of, percentile, percentile_words
from core.inference import Readings
from core.inference.caching import caching_reader
from core.kept import Kept, digest
from core.settings import settings
from core.task import Task
from pages.parts import choices, library
from pages.parts.components.evidence_panel import evidence_panel
from pages.parts.components.light_table import light_table
from pages.parts.read.neighbours import show_neighbours
from pages.parts.read.reliability import spread_of

Patch = NDArray[np.uint8]


def trust_card(model: str, patch: Patch, readings: Readings, synthetic: bool) -> None:
    """Each figure of the card, its percentile, the nearest labelled patches, and the head forgotten.

    Args:
        model: its name.
        patch: (side, side, 3) uint8 RGB.
        readings: of the patch alone.
        synthetic: whether the patch is drawn: drawn tissue is no donor to real tissue, nor the other way about.
    """
    found = _figures(model, patch, synthetic)
    report, spread = spread_of(model, readings)
    task = readings.model.task
    called = task.label(readings.probability[0] >= readings.point.threshold)
    head = "".join(f"<th>{name}</th>" for name in ("", "this patch", "chance", "percentile", "meaning"))
    rows = "".join(_row(name, figure, found[name], spread) for name, figure in figures_of(task).items())
    st.html(f'<table class="nl-trust" data-testid="trust"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>')
    st.caption(
        f"Of Grad-CAM for {task.margin} at the last layer, one view, whatever is chosen above. "
        f"{_exchanged(found, task)} " + _percentiles_of(report, called, spread)
    )
    show_neighbours(model, patch, readings)
    _forget(model, patch)


def _row(name: str, figure: Figure, value: float, spread: TrustSpread) -> str:
    rank = percentile(value, spread.quantiles, name)
    cells = (
        figure.title,
        _number(name, value),
        "none" if figure.chance is None else _number(name, figure.chance),
        "not known" if rank is None else percentile_words(rank, spread.patches),
        f"{figure.meaning} {'More' if figure.better == 'high' else 'Less'} speaks for the reading.",
    )
    return f'<tr data-figure="{name}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _number(name: str, value: float) -> str:
    if np.isnan(value):
        return "undefined"
    if name == "centre":
        return f"{value:.0%}"
    value = round(value, 2) + 0.0  # no minus before a zero
    return f"{value:+.2f} logits" if name == "donor_drop" else f"{value:.2f}"


def _percentiles_of(report: EvidenceReport | None, called: str, spread: TrustSpread) -> str:
    if report is None:
        return "Percentiles are not known: no evidence report is kept with this model, and none was made on this data."
    if not spread.quantiles:
        return f"Percentiles are not known: the evidence report holds too few patches called '{called}'."
    return f"Percentiles among {spread.patches:,} patches of '{report.data.split}' called '{called}'."


def _exchanged(found: Mapping[str, float], task: Task) -> str:
    of = f"'{choices.split_name()}'"
    if np.isnan(found["donor_drop"]):
        return f"Cells could not be exchanged: {of} holds no patches for it. Choose labelled tissue above."
    return f"Cells are exchanged for those of patches of {of} labelled {task.label(0)}."


def _figures(model: str, patch: Patch, synthetic: bool) -> dict[str, float]:
    reader = library.reader(model)
    name = choices.split_name()

    def work_out() -> dict[str, float]:
        found = trust_figures(caching_reader(reader), patch[None], _donors(name, reader.task, patch, synthetic))
        return {name: float(value[0]) for name, value in found.items()}

    key = (reader.model.identity, name, digest(patch), synthetic)
    return library.kept(library.own("figures", 64), key, work_out, "Looking at it from eight sides ...")


def _donors(split_name: str, task: Task, patch: Patch, synthetic: bool) -> NDArray[np.uint8]:
    """Patches of a split whose cells may stand in for the patch's own; none where it is damaged or of another kind."""
    with suppress(NodeLensError):
        split = service.split(split_name)
        if split.synthetic == synthetic and not split.task.difference(task):
            return donors(split, task)
    return patch[None][:0]


def _forget(model: str, patch: Patch) -> None:
    st.markdown(
        "A map that stays when the network has forgotten what it learned shows the picture, not the network. Here the "
        "linear layer's weights are drawn anew."
    )
    if not st.button("Forget the head"):
        return
    reader = library.reader(model)
    before = reader.explain(patch, target=reader.task.margin, around=True)
    after = _forgetful(model, patch)
    light_table(
        [
            evidence_panel(title, patch, one, own=True, caption=f"Probability {one.probability[0]:.2f}.")
            for title, one in (("As trained", before), ("Head forgotten", after))
        ],
        key="forgotten",
    )
    alike = rank_correlation(before.attribution[0], after.attribution[0])
    words = "cannot be given: a map is even" if alike is None else f"{alike:.2f} (1: the same map; 0: unrelated)"
    st.caption(f"Rank correlation of the two maps {words}. Each is drawn on its own scale.")


def _forgetful(model: str, patch: Patch) -> Readings:
    reader = library.reader(model)

    def read() -> Readings:
        _, _, forgetful = next(randomised(reader.stored, settings().threads))
        return forgetful.explain(patch, target=reader.task.margin, around=True)

    key = (reader.model.identity, digest(patch))
    shelf: Kept[Readings] = library.own("forgetful", 8)
    return library.kept(shelf, key, read, "Forgetting the head ...")
