"""A slide as tiles for a deep-zoom viewer: level 0 is one pixel, each level twice the one before."""

from __future__ import annotations

import math
from io import BytesIO

from PIL import ImageCms

from core.slides.slide import Slide

TILE = 256
QUALITY = 85
"""Of a tile's JPEG, which is looked at and not read."""


class Tiles:
    """Tiles of one slide."""

    def __init__(self, slide: Slide) -> None:
        """Of an open slide."""
        self.slide = slide
        self.levels = max(1, math.ceil(math.log2(max(slide.width, slide.height)))) + 1
        """How many there are; the last is the slide itself."""
        self._colours = _to_srgb(slide.icc)

    @property
    def managed(self) -> bool:
        """Whether colours are shown by the slide's ICC profile, on a screen of sRGB."""
        return self._colours is not None

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level in pixels."""
        scale = 2 ** (self.levels - 1 - level)
        return max(1, math.ceil(self.slide.width / scale)), max(1, math.ceil(self.slide.height / scale))

    def tile(self, level: int, column: int, row: int) -> bytes:
        """One tile as JPEG.

        Raises:
            ValueError: there is no such tile.
            SlideError: the file is damaged there.
        """
        if not 0 <= level < self.levels:
            raise ValueError(level)
        width, height = self.size(level)
        left, top = column * TILE, row * TILE
        if not (0 <= left < width and 0 <= top < height):
            raise ValueError((column, row))
        picture = self.slide.picture(
            left, top, min(left + TILE, width), min(top + TILE, height), 2 ** (self.levels - 1 - level)
        )
        if self._colours is not None:
            picture = ImageCms.applyTransform(picture, self._colours) or picture
        held = BytesIO()
        picture.save(held, "JPEG", quality=QUALITY)
        return held.getvalue()


def _to_srgb(icc: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to the screen's; None without one, or where it is damaged or of no RGB."""
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
