"""A slide: tissue at any place and any pixel size, from whatever file it lies in.

Places are level-0 pixels as floats, or whole pixels of a grid of a stated size whose first pixel lies at the slide's
upper left corner. There is one way from one to the other, `Slide.at`.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data.intake import check_pixel_size
from core.errors import CoarseImageError, SlideError
from core.slides.formats import Level, Pyramid, open_pyramid, refusing
from core.slides.resample import resampled, weights

Pixels = NDArray[np.uint8]
THE_FILE, A_PERSON = "the file", "a person"
SAME = 1e-6
"""Relative difference of pixel sizes that moves nothing by a pixel on any slide."""
MAX_ENLARGEMENT = 1.34
"""At most: 1.3 um/px for a model of 0.97."""
OVERVIEW = 1024
"""Pixels of an overview's longer side."""
FROM_AFAR = 2**26
"""Pixels at most of the level that an overview is read from, all of it."""
AT_ONCE = 2**20
"""Pixels of a level that are resampled at a time: memory does not grow with the slide, nor with its missing levels."""
DARK = 80
"""Grey level: a ground darker than this is no glass in transmitted light."""


class Slide:
    """An open slide. Safe between threads; holds the file open until `close`, or until nobody holds the slide."""

    def __init__(self, path: Path, pyramid: Pyramid, um_per_px: tuple[float, float] | None, told_by: str) -> None:
        """Of an open pyramid; see `open`."""
        self.path, self._pyramid = path, pyramid
        self._closing = weakref.finalize(self, pyramid.close)
        self._closing.atexit = False  # threads may still read
        self.um_per_px = um_per_px
        """Across and down, of level 0; None where neither file nor person says."""
        self.told_by = told_by
        """Who said so: THE_FILE, A_PERSON, or '' for nobody."""
        self._sha256 = ""

    @classmethod
    def open(cls, path: Path, um_per_px: float | None = None) -> Slide:
        """Open a slide.

        Args:
            path: a file; of a slide of several files, any that OpenSlide opens it by.
            um_per_px: of level 0, where a person says so; it stands above what the file says.

        Raises:
            SlideError: it cannot be read here, or is no stained tissue in transmitted light.
            PixelSizeError: a pixel size that no microscope has.
        """
        if um_per_px is not None:
            check_pixel_size(um_per_px)
        pyramid = open_pyramid(path)
        told = (um_per_px, um_per_px) if um_per_px is not None else pyramid.um_per_px
        by = A_PERSON if um_per_px is not None else THE_FILE if told else ""
        found = cls(path, pyramid, told, by)
        try:
            found._refuse_unseen()
        except SlideError:
            found.close()
            raise
        return found

    @property
    def width(self) -> int:
        """Level-0 pixels across."""
        return self._pyramid.levels[0].width

    @property
    def height(self) -> int:
        """Level-0 pixels down."""
        return self._pyramid.levels[0].height

    @property
    def format(self) -> str:
        """What the file is, in OpenSlide's words or 'OME-TIFF', 'TIFF', 'JPEG'."""
        return self._pyramid.format

    @property
    def icc(self) -> bytes | None:
        """The file's ICC profile: for eyes alone, a model is given the pixels as they are stored."""
        return self._pyramid.icc

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of what was scanned, level-0 px."""
        return self._pyramid.corner

    @property
    def hints(self) -> tuple[str, ...]:
        """What the file says that may help a person to find the pixel size, in sentences."""
        return self._pyramid.hints

    @property
    def levels(self) -> tuple[Level, ...]:
        """The pyramid, the finest first."""
        return self._pyramid.levels

    def sha256(self) -> str:
        """Hex digest of the file's bytes; of a slide of several files, of the one that it was opened by."""
        if not self._sha256:
            with self.path.open("rb") as file:
                self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self._sha256

    @property
    def quickhash(self) -> str:
        """OpenSlide's, over what it opens of a slide of several files; '' where another reads it."""
        return self._pyramid.quickhash

    def told_sha256(self, sha256: str) -> None:
        """Take another's word for it, who read the whole file."""
        self._sha256 = sha256

    def step(self, um_per_px: float) -> tuple[float, float]:
        """Level-0 pixels per pixel of a grid of that size, across and down.

        Raises:
            SlideError: the slide's own pixel size is not known.
            CoarseImageError: the slide is too coarse for that grid.
        """
        if self.um_per_px is None:
            raise SlideError(self.path, "the size of its pixels is not known; state it in um/px")
        if max(self.um_per_px) > MAX_ENLARGEMENT * um_per_px:
            raise CoarseImageError(max(self.um_per_px), um_per_px)
        across, down = (um_per_px / own for own in self.um_per_px)
        return across, down

    def size_at(self, um_per_px: float) -> tuple[int, int]:
        """Whole pixels across and down of a grid of that size; see `step`."""
        across, down = self.step(um_per_px)
        return max(1, math.floor(self.width / across + SAME)), max(1, math.floor(self.height / down + SAME))

    def at(self, x: float, y: float, um_per_px: float) -> tuple[float, float]:
        """The level-0 place of a place on a grid of that size, where (0, 0) is the corner of the first pixel."""
        across, down = self.step(um_per_px)
        return x * across, y * down

    def region(self, left: int, top: int, width: int, height: int, um_per_px: float) -> Pixels:
        """Tissue on a grid of that pixel size: uint8 (height, width, 3) RGB.

        It is read from the level at or finer than the grid and resampled by the mean over each pixel's area, bilinearly
        where the slide is coarser. Beyond the slide's border it is the slide reflected; what was not scanned is white.

        Args:
            left, top: in the grid's pixels, below 0 or beyond the slide too.
            width, height: of the box, in the grid's pixels.
            um_per_px: of the grid.

        Raises:
            see `step`; SlideError: the file is damaged there.
        """
        columns, rows = (
            _reflected(start, count, whole)
            for start, count, whole in zip((left, top), (width, height), self.size_at(um_per_px), strict=True)
        )
        box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        left_, top_, right, bottom = map(int, box)
        inside = self._inside(left_, top_, right, bottom, self.step(um_per_px))
        if len(columns) == inside.shape[1] and len(rows) == inside.shape[0] and left >= 0 and top >= 0:
            return inside
        return np.ascontiguousarray(inside[rows[:, None] - box[1], columns - box[0]])

    def overview(self, side: int = OVERVIEW) -> Pixels:
        """The whole slide, its longer side `side` px: uint8 (h, w, 3)."""
        scale = max(self.width, self.height) / side
        width, height = max(1, round(self.width / scale)), max(1, round(self.height / scale))
        return self._inside(0, 0, width, height, (self.width / width, self.height / height))

    def picture(self, left: int, top: int, right: int, bottom: int, scale: float) -> Image.Image:
        """A box of the slide `scale` times reduced, to look at: quickly, and not what a model is given.

        Args:
            left, top, right, bottom: in pixels of `scale` level-0 pixels each, within the slide.
            scale: level-0 pixels per pixel.
        """
        level = self._level_for((scale, scale))
        across, down = scale / self.levels[level].down_x, scale / self.levels[level].down_y
        wide, high = self.levels[level].width, self.levels[level].height
        box = (
            min(math.floor(left * across), wide - 1),
            min(math.floor(top * down), high - 1),
            min(math.ceil(right * across), wide),
            min(math.ceil(bottom * down), high),
        )
        with refusing(self.path, "it is damaged at that place"):
            pixels = self._pyramid.read(level, box[0], box[1], box[2] - box[0], box[3] - box[1])
        found = Image.fromarray(pixels)
        size = right - left, bottom - top
        return found if found.size == size else found.resize(size, Image.Resampling.BOX)

    def _inside(self, left: int, top: int, right: int, bottom: int, step: tuple[float, float]) -> Pixels:
        """A box of a grid whose pixels are `step` level-0 pixels, within the slide."""
        number = self._level_for(step)
        level = self.levels[number]
        across, down = step[0] / level.down_x, step[1] / level.down_y
        width, height = right - left, bottom - top
        if width * across * height * down > AT_ONCE and max(width, height) > 1:
            if width == 1 or (height > 1 and height * down >= width * across):
                middle = top + height // 2
                parts = (left, top, right, middle), (left, middle, right, bottom)
                return np.concatenate([self._inside(*part, step) for part in parts])
            middle = left + width // 2
            parts = (left, top, middle, bottom), (middle, top, right, bottom)
            return np.concatenate([self._inside(*part, step) for part in parts], axis=1)
        wanted = left * across, top * down, right * across, bottom * down
        margin = math.ceil(max(across, down, 1))
        outer = (
            max(0, math.floor(wanted[0]) - margin),
            max(0, math.floor(wanted[1]) - margin),
            min(level.width, math.ceil(wanted[2]) + margin),
            min(level.height, math.ceil(wanted[3]) + margin),
        )
        with refusing(self.path, "it is damaged at that place"):
            pixels = self._pyramid.read(number, outer[0], outer[1], outer[2] - outer[0], outer[3] - outer[1])
        if all(math.isclose(one, 1, rel_tol=SAME) for one in (across, down)):
            x, y = left - outer[0], top - outer[1]
            return np.ascontiguousarray(pixels[y : y + bottom - top, x : x + right - left])
        return resampled(
            pixels,
            weights(top, bottom - top, down, outer[1], pixels.shape[0]),
            weights(left, right - left, across, outer[0], pixels.shape[1]),
        )

    def _level_for(self, step: tuple[float, float]) -> int:
        fitting = [
            number
            for number, level in enumerate(self.levels)
            if level.down_x <= step[0] * (1 + SAME) and level.down_y <= step[1] * (1 + SAME)
        ]
        return max(fitting, key=lambda number: self.levels[number].down_x, default=0)

    def _refuse_unseen(self) -> None:
        scale = max(1, max(self.width, self.height) / OVERVIEW)
        level = self.levels[self._level_for((scale, scale))]
        if level.width * level.height > FROM_AFAR:
            raise SlideError(self.path, "it has no level from afar that can be read; save it as a pyramid")
        grey = self.overview(256).mean(axis=2)
        if np.quantile(grey, 0.9) < DARK:
            raise SlideError(
                self.path, "its ground is dark, as under fluorescence; stained tissue lies on bright glass"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._closing()

    def __enter__(self) -> Slide:
        """Itself; closed at the end."""
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        self.close()
        return False


def _reflected(start: int, count: int, whole: int) -> NDArray[np.intp]:
    """Which of `whole` pixels stand at `count` places from `start` on, reflected at the borders as by NumPy."""
    places = np.arange(start, start + count) % max(1, 2 * (whole - 1))
    return np.where(places < whole, places, 2 * (whole - 1) - places)
