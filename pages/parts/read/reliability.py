"""Under the pictures of Read, worked out when asked for: the trust card and the what-if panel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.errors import NodeLensError
from core.evaluation.schema import EvidenceReport, TrustSpread
from core.inference import Readings
from core.kept import digest
from core.view.lean import is_usual, lean, seen_figures
from pages.parts import choices, library
from pages.parts.choices import Explanation
from pages.parts.evidence.reports import kept_report, report_of


def lean_line(model: str, patch: NDArray[np.uint8], readings: Readings, synthetic: bool = False) -> str:
    """Whether the reading on screen can be leaned on, by what is known already: nothing is read for it.

    The trust card's figures join in once somebody has unfolded it. `synthetic` says that the patch is drawn.
    """
    return lean_later(model)(patch, readings, synthetic)


def lean_later(model: str) -> Callable[[NDArray[np.uint8], Readings, bool], str]:
    """`lean_line` for a thread that has no page, as a download's."""
    shelf, report, donors = library.own("figures", 64), _report(model), choices.split_name()

    def line(patch: NDArray[np.uint8], readings: Readings, synthetic: bool) -> str:
        figures = seen_figures(readings, 0)
        key = (readings.model.identity, donors, digest(patch), synthetic)
        if is_usual(readings) and shelf.has(key):
            figures = shelf.get(key, dict) | figures
        spread = _spread(report, readings)
        return lean(readings, 0, figures, spread.quantiles, spread.patches).text

    return line


def spread_of(model: str, readings: Readings) -> tuple[EvidenceReport | None, TrustSpread]:
    """How the trust figures are spread over patches of the same class, and the report that says so."""
    report = _report(model)
    return report, _spread(report, readings)


def _report(model: str) -> EvidenceReport | None:
    report = kept_report(model)
    if report is None:
        with suppress(NodeLensError):
            report = report_of(model, choices.split())
    return report


def _spread(report: EvidenceReport | None, readings: Readings) -> TrustSpread:
    called = readings.model.task.label(readings.probability[0] >= readings.point.threshold)
    return report.curves.trust.get(called, TrustSpread()) if report else TrustSpread()


def reliability_panels(
    model: str, patch: NDArray[np.uint8], readings: Readings, explanation: Explanation, synthetic: bool
) -> None:
    """Both, folded up. Their modules bring SciPy's statistics in: a second that the first look does not wait for.

    Args:
        model: its name.
        patch: (side, side, 3) uint8 RGB.
        readings: of the patch alone, with the settings on screen.
        explanation: those settings.
        synthetic: whether the patch is drawn.
    """
    card = st.expander("Can this reading be leaned on?", key="trust_card", on_change="rerun", bind="query-params")
    if card.open:
        from pages.parts.read.trust import trust_card

        with card:
            trust_card(model, patch, readings, synthetic)
    panel = st.expander("What if the patch were another?", key="what_if", on_change="rerun", bind="query-params")
    if panel.open:
        from pages.parts.read.whatif import what_if

        with panel:
            what_if(model, patch, readings, explanation)
