"""A slide from afar with what a scan found over it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from core.slides.export import cell_of
from core.slides.scan import Scan
from core.view.overlay import colourise


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
