"""Whose map points, in a sentence made from the evidence reports: Read says it beside every map."""

from __future__ import annotations

from collections.abc import Mapping

from core.evaluation.measures import DENSITY
from core.evaluation.schema import EvidenceReport
from core.explain.registry import LAST
from core.inference.reader import scale_key
from core.view.words import interval_words


def pointing(model: str, reports: Mapping[str, EvidenceReport]) -> str:
    """Whether a model's map points, and whose does if not, in a sentence or two; '' where no region was asked.

    It points where the claim holds that it beats the density of nuclei.

    Args:
        model: whose map is on screen.
        reports: by model, those that are known.
    """
    figures = {name: found for name, report in reports.items() if (found := _of_regions(report))}
    if model not in figures:
        return ""
    verdict, area, beside = figures[model]
    says = {
        "holds": "points: it beats the density of nuclei",
        "fails": "does not point: the density of nuclei does as well or better",
        "undecided": "may point or not: it cannot be told from the density of nuclei",
    }
    said = f"Grad-CAM of {model} {says[verdict]} (pixel AUC over regions with masks {area}{beside})."
    others = [f"that of {name} ({one[1]})" for name, one in figures.items() if one[0] == "holds"]
    if verdict == "holds" or not others:
        return said
    return f"{said} {' and '.join(others).capitalize()} {'do' if len(others) > 1 else 'does'}."


def _of_regions(report: EvidenceReport) -> tuple[str, str, str] | None:
    """Verdict of the claim about density, the map's area, and density's; None where there is no claim."""
    verdict = next((claim.verdict for claim in report.claims if claim.name == "beyond_density"), None)
    areas = {row.method: row for row in report.rows if row.measure == "regions_pixel_auc"}
    own = areas.get(scale_key("gradcam", LAST))
    if verdict is None or own is None:
        return None
    beside = f", density {areas[DENSITY].value:.2f}" if DENSITY in areas else ""
    return verdict, interval_words(own), beside
