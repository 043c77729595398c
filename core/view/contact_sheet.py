"""Contact sheets: grids of patches with their heatmaps and a few words each, as one picture to keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.view.overlay import INK, PAPER, colour_bar, overlaid

MARGIN, LEADING = 12, 17
ZOOM = 2
"""Pixels of the picture per pixel of a patch."""


def contact_sheet(
    patches: NDArray[np.uint8],
    heatmaps: NDArray[np.float32],
    words: Sequence[Sequence[str]],
    scale: float,
    *,
    columns: int = 4,
    caption: str = "",
) -> Image.Image:
    """Each patch in its own colours beside its heatmap over grayscale, its words above; one colour bar for all.

    Args:
        patches: (n, 96, 96, 3) uint8 RGB; any square patches will do.
        heatmaps: (n, h, w) float32 in logits.
        words: lines of plain ASCII for each patch, as many for all.
        scale: evidence in logits that takes the last colour, for all patches.
        columns: patches in a row.
        caption: what is explained, and how, in one line.

    Returns:
        RGB picture.
    """
    side = patches.shape[1] * ZOOM
    lines = max(map(len, words), default=0)
    wide, high = 2 * side + MARGIN, lines * LEADING + side + MARGIN + 4
    columns = min(columns, len(patches))
    rows = -(-len(patches) // columns)
    top_of_bar = MARGIN + rows * high
    page = Image.new("RGB", (MARGIN + columns * wide, top_of_bar + 36 + LEADING), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for place, (patch, heatmap, said) in enumerate(zip(patches, heatmaps, words, strict=True)):
        left, top = MARGIN + place % columns * wide, MARGIN + place // columns * high
        for number, line in enumerate(said):
            draw.text((left, top + number * LEADING), line, fill=INK, font=font)
        top += lines * LEADING + 4
        page.paste(Image.fromarray(patch).resize((side, side), Image.Resampling.NEAREST), (left, top))
        page.paste(overlaid(patch, heatmap, scale, side), (left + side, top))
    page.paste(colour_bar(scale, wide - MARGIN), (MARGIN, top_of_bar))
    draw.text((MARGIN, top_of_bar + 36), caption, fill=INK, font=font)
    return page
