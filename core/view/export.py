"""What a reader takes away: one reading as JSON-ready values, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.explain.grid import centre_share
from core.explain.registry import METHODS
from core.inference.reader import Readings
from core.view.overlay import overlay_image
from core.view.verdict import explanation, in_words, is_read, probability_words


def utc(when: datetime) -> str:
    """A time as UTC in ISO 8601, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def scale_of(readings: Readings, index: int, own: bool = False) -> float:
    """Colour scale of one map: fixed from validation, or its own greatest magnitude when asked or none is kept."""
    greatest = float(np.abs(readings.attribution[index]).max(initial=0.0))
    return readings.scale if readings.scale and not own else max(greatest, 1e-6)


FIXED_SCALE, OWN_SCALE = "fixed scale from validation", "this map's own scale"
NO_EVIDENCE, NO_POSITIVE_EVIDENCE = "No evidence for or against this target.", "No positive evidence for this target."


def bar_words(readings: Readings, own: bool = False, only_for: bool = False, scale: str = "") -> str:
    """What a colour bar says of itself: whose evidence it is, and whose scale; `scale` where another map sets it."""
    sides = "evidence for the target" if only_for else "evidence against and for the target"
    return f"{sides}, {scale or (FIXED_SCALE if readings.scale and not own else OWN_SCALE)}"


def nothing_words(heatmap: NDArray[np.floating], only_for: bool = False) -> str:
    """What is said of a map (h, w) that shows nothing; '' of any other."""
    if not heatmap.any():
        return NO_EVIDENCE
    return NO_POSITIVE_EVIDENCE if only_for and not (heatmap > 0).any() else ""


def explained_words(readings: Readings, index: int) -> str:
    """What is explained, and what hatched cells of this map say."""
    hatched = []
    if readings.reflected.any():
        hatched.append("cells see tissue reflected beyond the border")
    if readings.sign_unstable[index].any():
        hatched.append("the views leave the sign open")
    return readings.explained + ("; hatched where " + ", or ".join(hatched) if hatched else "")


def as_record(
    readings: Readings,
    index: int,
    patch_id: str = "",
    notes: Sequence[str] = (),
    *,
    label: str = "",
    sha256: str = "",
    um_per_px: float | None = None,
    when: datetime | None = None,
) -> dict[str, Any]:
    """One reading with its explanation, all units named: what `explanation.json` and the page's download hold.

    Args:
        readings: of one patch or more.
        index: which of them.
        patch_id: what the patch is called.
        notes: the sentences on what was done to the picture before it was read, as in `Picture.notes`.
        label: what is known of the patch.
        sha256: of the file's bytes, or of the patch's pixels where there is no file.
        um_per_px: micrometres per pixel of the file before it was brought to the task's.
        when: the reading was taken away.
    """
    heatmap, task = readings.attribution[index], readings.model.task
    point, share = readings.point, float(centre_share(heatmap[None], task)[0])
    return {
        "id": patch_id,
        "date": None if when is None else utc(when),
        "sha256": sha256 or None,
        "um_per_px": um_per_px,
        "label": label or None,
        "notes": list(notes),
        "model": readings.model.identity,
        "engine": readings.engine,
        "probability": float(readings.probability[index]),
        "calibrated": point.calibrated,
        "logit": float(readings.logit[index]),
        "logits": {task.other: float(readings.logits[index, 0]), task.positive: float(readings.logits[index, 1])},
        "verdict": str(readings.verdict[index]),
        "verdict_reason": explanation(readings, index),
        "to_be_used": is_read(readings, index),
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
            "target_meaning": task.targets[readings.target],
            "unit": METHODS[readings.method].unit,
            "map": [[float(v) for v in row] for row in heatmap],
            "own_cells": readings.own.tolist() if readings.around else None,
            "sign_unstable": readings.sign_unstable[index].tolist() if readings.views > 1 else None,
            "fixed_scale": readings.scale,
            "centre_share": share if np.isfinite(share) else None,
            "centre_share_chance": task.label_share,
        },
        "notice": "Research use only. Not a medical device.",
    }


def as_picture(
    patch: NDArray[np.uint8],
    readings: Readings,
    index: int,
    *,
    notes: Sequence[str] = (),
    own: bool = False,
    only_for: bool = False,
) -> Image.Image:
    """The patch beside its heatmap at 4x, with colour bar, what is explained, and what was done to the picture."""
    verdict = in_words(str(readings.verdict[index]), readings.flags[index])
    said = f"{explained_words(readings, index)}; {probability_words(readings, index)}; {verdict}."
    return overlay_image(
        patch,
        readings.attribution[index],
        scale_of(readings, index, own),
        unit=METHODS[readings.method].unit,
        caption=" ".join((said, *notes, "Research use only.")),
        only_for=only_for,
        hatched=readings.hatched[index],
    )
