"""A reading's map as a panel of the light table: colours, scale, what is explained, and whether it may be used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.explain.registry import METHODS
from core.inference import Readings
from core.view.export import bar_words, explained_words, scale_of
from core.view.verdict import NOT_TO_BE_USED, is_read
from pages.parts.components.light_table import Panel


def reflected(readings: Readings) -> NDArray[np.bool_] | None:
    """Cells (h, w) of a map that were read by reflected tissue; None where none were."""
    return readings.reflected if readings.reflected.any() else None


def evidence_panel(
    title: str,
    patch: NDArray[np.uint8],
    readings: Readings,
    *,
    own: bool = False,
    only_for: bool = False,
    scale: float | None = None,
    note: str = "",
    verdict: str = "",
    caption: str = "",
    inset: bool = False,
) -> Panel:
    """The first of `readings` over its patch (side, side, 3).

    Args:
        title: above the picture.
        patch: uint8 RGB.
        readings: of one patch.
        own: stretch the colours to this map.
        only_for: paint only what speaks for the target.
        scale: evidence that takes the last colour, where another map sets it.
        note: on that scale; by default what is known of this map's own.
        verdict: in words, on a line of its own below the picture.
        caption: below that; by default what is explained.
        inset: the patch in its own colours beside the title.
    """
    usable = is_read(readings, 0)
    return Panel(
        title if usable else f"{title} ({NOT_TO_BE_USED})",
        patch,
        readings.model.task,
        heatmap=readings.attribution[0],
        scale=scale_of(readings, 0, own) if scale is None else scale,
        unit=METHODS[readings.method].unit,
        verdict=verdict,
        scale_note=bar_words(readings, own, only_for, note),
        hatched=readings.sign_unstable[0],
        reflected=reflected(readings),
        caption=caption or explained_words(readings, 0),
        only_for=only_for,
        unusable=not usable,
        inset=inset,
    )
