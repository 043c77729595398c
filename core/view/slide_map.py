"""A slide from afar with what a scan found over it, and the map alone for the viewer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.slides.export import cell_of
from core.slides.scan import Scan
from core.view.overlay import colourise

PROBABILITY, EVIDENCE = "probability", "evidence"
EVIDENCE_SCALE = 4.0
"""Logits that take the last colour of the map of evidence; of a network that is calibrated, 0.98 and 0.02."""
MOST_PX, CELL_PX = 2048, 8
"""Of the map's picture: its longer side, roughly, and a cell's side at most."""
HATCH_PX = 8
"""From one line over what is not read to the next."""
INK, PAPER = (60, 60, 60, 255), (255, 255, 255, 255)


def map_picture(scan: Scan, kind: str = PROBABILITY) -> Image.Image | None:
    """The map in its colours, cell by cell, RGBA; tissue that was not read is hatched, all else is clear.

    Args:
        scan: as far as it has come.
        kind: PROBABILITY, brown from one half on and blue below; or EVIDENCE, the logits before calibration, brown for
            the positive class and blue against it, over EVIDENCE_SCALE.

    Returns:
        A picture whose corner is the slide's and whose cells are equally large; None before anything was read.
    """
    values = scan.logits() if kind == EVIDENCE else 2 * scan.probability() - 1
    known = np.isfinite(values)
    if not known.any():
        return None
    cells = colourise(np.where(known, values, 0), EVIDENCE_SCALE if kind == EVIDENCE else 1.0)
    side = int(np.clip(MOST_PX // max(values.shape), 1, CELL_PX))
    picture = _enlarged(cells, side)
    unread = _enlarged(scan.wanted & ~known, side)
    phase = np.add.outer(*(np.arange(count) for count in unread.shape)) % HATCH_PX
    for ink, at in ((INK, 0), (PAPER, 1)):
        picture[unread & (phase == at)] = ink
    return Image.fromarray(picture)


def _enlarged(cells: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    return cells.repeat(side, axis=0).repeat(side, axis=1)


def overview_picture(scan: Scan, side: int = 1024) -> Image.Image:
    """The slide from afar with the map over it: brown from a probability of one half on, blue below."""
    tissue = Image.fromarray(scan.slide.overview(side)).convert("RGBA")
    probability = scan.probability()
    shown = np.where(np.isfinite(probability), 2 * probability - 1, 0)
    cells = Image.fromarray(colourise(shown, 1.0))
    cells.putalpha(cells.getchannel("A").point(lambda value: value // 2))
    across, down = cell_of(scan)
    size = tissue.width * across / scan.slide.width, tissue.height * down / scan.slide.height
    drawn = cells.transform(tissue.size, Image.Transform.AFFINE, (1 / size[0], 0, 0, 0, 1 / size[1], 0))
    return Image.alpha_composite(tissue, drawn).convert("RGB")
