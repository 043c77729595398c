"""What a reader takes away: one reading as JSON-ready values, and its picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data.patch import LABEL_BOX, PATCH_SIDE
from core.explain.cam import METHODS, TARGETS
from core.inference.reader import Readings
from core.view.overlay import enlarge, overlay_image

CENTRE_CHANCE = (LABEL_BOX.stop - LABEL_BOX.start) ** 2 / PATCH_SIDE**2
"""Share of a patch that its label box covers: what a map that knows nothing puts there."""


def scale_of(readings: Readings, index: int, own: bool = False) -> float:
    """Colour scale of one map: fixed from validation, or the map's own highest value when asked for or none is kept."""
    highest = float(readings.attribution[index].max(initial=0.0))
    return readings.scale if readings.scale and not own else max(highest, 1e-6)


def centre_share(heatmap: NDArray[np.floating]) -> float | None:
    """Share of the positive evidence that lies in the label's centre 32 x 32 px; None without positive evidence.

    Args:
        heatmap: (h, w) in any unit; cells are taken as uniform, so the centre cell of a 3 x 3 map is the box exactly.
    """
    evidence = np.maximum(enlarge(np.asarray(heatmap, np.float32), PATCH_SIDE, smooth=False), 0)
    total = float(evidence.sum())
    return float(evidence[LABEL_BOX, LABEL_BOX].sum()) / total if total > 0 else None


def as_record(readings: Readings, index: int, patch_id: str = "") -> dict[str, Any]:
    """One reading with its explanation, all units named: what `explanation.json` and the page's download hold."""
    heatmap = readings.attribution[index]
    point = readings.point
    return {
        "id": patch_id,
        "model": readings.model.identity,
        "engine": readings.engine,
        "probability": float(readings.probability[index]),
        "logit": float(readings.logit[index]),
        "logits": {"normal": float(readings.logits[index, 0]), "tumour": float(readings.logits[index, 1])},
        "verdict": str(readings.verdict[index]),
        "flags": list(readings.flags[index]),
        "views": readings.views,
        "view_probability": [float(p) for p in readings.view_probability[index]],
        "operating_point": point.model_dump(mode="json"),
        "explanation": {
            "method": readings.method,
            "paper": METHODS[readings.method].paper,
            "layer": readings.layer,
            "grid": list(readings.grid),
            "target": readings.target,
            "target_meaning": TARGETS[readings.target],
            "unit": "logits",
            "map": [[float(v) for v in row] for row in heatmap],
            "fixed_scale": readings.scale,
            "centre_share": centre_share(heatmap),
            "centre_share_chance": CENTRE_CHANCE,
        },
        "notice": "Research use only. Not a medical device.",
    }


def as_picture(
    patch: NDArray[np.uint8],
    readings: Readings,
    index: int,
    *,
    opacity: float = 0.5,
    smooth: bool = True,
    own: bool = False,
) -> Image.Image:
    """The patch beside its heatmap at 4x, with colour bar and what is explained."""
    probability = f"probability of tumour {readings.probability[index]:.2f}, calibrated; {readings.verdict[index]}."
    return overlay_image(
        patch,
        readings.attribution[index],
        scale_of(readings, index, own),
        opacity=opacity,
        smooth=smooth,
        caption=f"{readings.explained}; {probability} Research use only.",
    )
