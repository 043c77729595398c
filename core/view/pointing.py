"""Whose map points, in sentences made from the evidence reports: Read says them beside every map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from core.evaluation.measures import DENSITY
from core.evaluation.schema import EvidenceReport
from core.explain.registry import LAST
from core.inference.reader import scale_key
from core.view.words import interval_words

SAYS = {
    "holds": "points at {positive}, better than the density of nuclei does",
    "fails": "does not point at {positive} better than the density of nuclei does, or by too little to matter",
    "undecided": "cannot be told to point at {positive} better than the density of nuclei does",
}
"""By verdict of the claim that the map beats the density of nuclei."""


class _Pointing(NamedTuple):
    verdict: str
    area: str
    density: str


def pointing(model: str, reports: Mapping[str, EvidenceReport]) -> str:
    """Whether a model's map points, and whose does if not, in a sentence or two; '' where no region was asked.

    Args:
        model: whose map is on screen.
        reports: by model, those that are known.
    """
    known = {name: found for name, report in reports.items() if (found := _of_regions(report))}
    if model not in known:
        return ""
    own, positive = known[model], reports[model].task.positive
    beside = f"; density {own.density}, chance 0.50" if own.density else "; chance 0.50"
    said = (
        f"Grad-CAM of {model} {SAYS[own.verdict].format(positive=positive)} (pixel AUC over regions with masks "
        f"{own.area}{beside})."
    )
    others = [f"{name} ({one.area})" for name, one in known.items() if one.verdict == "holds" and name != model]
    if own.verdict == "holds" or not others:
        return said
    return f"{said} That of {' and that of '.join(others)} does point at it."


def _of_regions(report: EvidenceReport) -> _Pointing | None:
    """None where there is no claim about density, or no figure."""
    verdict = next((claim.verdict for claim in report.claims if claim.name == "beyond_density"), None)
    areas = {row.method: row for row in report.rows if row.measure == "regions_pixel_auc"}
    own = areas.get(scale_key("gradcam", LAST))
    if verdict is None or own is None:
        return None
    return _Pointing(verdict, interval_words(own), f"{areas[DENSITY].value:.2f}" if DENSITY in areas else "")
