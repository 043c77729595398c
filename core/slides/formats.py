"""Files of slides as pyramids of pixels: by OpenSlide, by tifffile where OpenSlide sees one level, and by Pillow.

Label and macro pictures are never read, and of what a file says of itself nothing but the pixel size, the magnification
and how its colours are coded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from core.data.intake import DAMAGE, FORMATS, MAX_PIXELS, decode
from core.data.pixel_size import MAX_UM_PER_PX, MIN_UM_PER_PX, PixelSize, from_description, from_resolution
from core.data.pixels import on_white
from core.data.tiff import rgb_of, why_not_read
from core.errors import ImageTooLargeError, SlideError, UnreadableImageError

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
MAX_SEGMENT_PIXELS = 2**24
"""Of a tile or strip of a TIFF, which is decoded whole."""
_DAMAGE = (openslide.OpenSlideError, tifffile.TiffFileError, *DAMAGE)
"""What libraries raise of damaged files."""
NO_SLIDE = "it is no slide or picture that can be read here, or it is damaged"
NO_PICTURE = UnreadableImageError().reason
SPOT, OTHER = 512, 32
"""Pixels of level 0 along a spot that another level is compared by, and grey levels by which a colour is another."""
BLOCK = 256
"""Pixels along a block of a level that OpenSlide is asked for, where a level's pixels are no whole ones of level 0."""
WRONG_COLOURS = "YBR_ICT"
"""JPEG 2000 in DICOM whose colours OpenSlide 4.0 leaves as they are stored (openslide#772)."""


@dataclass(frozen=True)
class Level:
    """One level of a pyramid: its size in pixels, and level-0 pixels per pixel along each axis."""

    width: int
    height: int
    down_x: float
    down_y: float


class Pyramid(Protocol):
    """An open file. Safe between threads."""

    format: str
    levels: tuple[Level, ...]
    um_per_px: tuple[float, float] | None
    """Of level 0, across and down; None where the file does not say."""
    hints: tuple[str, ...]
    """What the file says that may help a person to find the pixel size, in sentences; never taken as a fact."""
    corner: tuple[int, int]
    """Left and top of what was scanned, level-0 px: QuPath counts places from there."""
    quickhash: str
    """OpenSlide's, of all files that belong to a slide; '' where another library reads it."""
    icc: bytes | None
    """The ICC profile that the file carries; pixels are as they are stored, without it."""

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:
        """A box within a level, in its own pixels: uint8 (height, width, 3) RGB, what was not scanned white."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_pyramid(path: Path) -> Pyramid:
    """Open a file by whatever reads all its levels.

    Raises:
        SlideError: it cannot be read, or its colours are known to be read wrongly.
    """
    if not path.exists():
        raise SlideError(path, "there is no such file")
    with refusing(path, NO_SLIDE):
        vendor = openslide.OpenSlide.detect_format(path)
        if vendor is None:
            return TiffPyramid(path) if _is_tiff(path) else FlatPicture(path)
        found = OpenSlidePyramid(path, vendor)
        if len(found.levels) == 1 and vendor == "generic-tiff":
            other = TiffPyramid(path)
            if len(other.levels) > 1 or other.format == "OME-TIFF":
                found.close()
                return other
            other.close()
        return found


class OpenSlidePyramid:
    """What OpenSlide opens."""

    def __init__(self, path: Path, vendor: str) -> None:
        """Raises SlideError for colours that OpenSlide cannot read, or is known to read wrongly."""
        try:
            self._file = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            if "photometric" not in str(error):
                raise
            raise SlideError(path, "its colours are coded in a way that cannot be read here") from error
        told = self._file.properties
        if told.get("dicom.PhotometricInterpretation") == WRONG_COLOURS:
            self._file.close()
            raise SlideError(path, f"its JPEG 2000 is coded as {WRONG_COLOURS}, whose colours would be wrong")
        width, height = self._file.dimensions
        self.format = vendor
        self.um_per_px, self.hints = _size_told(told, vendor)
        self.corner, self.quickhash = _corner(told), told.get("openslide.quickhash-1", "")
        self._downsamples = self._file.level_downsamples
        self._numbers = [0]
        for number in range(1, self._file.level_count):
            if self._is_whole(path, number) and (vendor != "dicom" or self._shows_level_0(number)):
                self._numbers.append(number)
            else:
                log.warning("level %d of a slide cannot be read, or not in its colours, and is left out", number)
        sizes = [self._file.level_dimensions[number] for number in self._numbers]
        self.levels = tuple(Level(w, h, width / w, height / h) for w, h in sizes)
        self.icc: bytes | None = None
        with suppress(ImageCms.PyCMSError):  # damaged: none
            profile = self._file.color_profile
            self.icc = profile.tobytes() if profile else None

    def _is_whole(self, path: Path, number: int) -> bool:
        """Whether a level can be read at its corners: some files hold coarser levels that OpenSlide cannot."""
        width, height = self._file.level_dimensions[number]
        down = self._downsamples[number]
        try:
            for x, y in product((0, width - 1), (0, height - 1)):
                self._file.read_region((round(x * down), round(y * down)), number, (1, 1))
        except openslide.OpenSlideError:  # after which the file answers nothing more
            self._file.close()
            self._file = openslide.OpenSlide(path)
            return False
        return True

    def _shows_level_0(self, number: int) -> bool:
        """Whether a level has level 0's colours: DICOM may code each its own way, and OpenSlide misread one."""
        down, sides = self._downsamples[number], self._file.level_dimensions[number]
        spot = [min(max(1, int(SPOT / down)), side) for side in sides]
        for share in (0.25, 0.5, 0.75):
            place = [int(share * (side - part)) for side, part in zip(sides, spot, strict=True)]
            same = [int(one * down) for one in (*place, *spot)]
            seen, true = (self._read(*box).mean(axis=(0, 1)) for box in ((number, *place, *spot), (0, *same)))
            if np.abs(seen - true).max() > OTHER:
                return False
        return True

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:
        """See `Pyramid.read`."""
        number = self._numbers[level]
        if float(self._downsamples[number]).is_integer():
            return self._read(number, left, top, width, height)
        # Elsewhere OpenSlide moves a box by a part of a pixel, another for each corner: only whole blocks are alike.
        found = np.empty((height, width, 3), np.uint8)
        wide, high = self._file.level_dimensions[number]
        for y in range(top // BLOCK * BLOCK, top + height, BLOCK):
            for x in range(left // BLOCK * BLOCK, left + width, BLOCK):
                block = self._read(number, x, y, min(BLOCK, wide - x), min(BLOCK, high - y))
                rows = slice(max(top, y), min(top + height, y + block.shape[0]))
                columns = slice(max(left, x), min(left + width, x + block.shape[1]))
                part = block[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
                found[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = part
        return found

    def _read(self, number: int, left: int, top: int, width: int, height: int) -> Pixels:
        at = round(left * self._downsamples[number]), round(top * self._downsamples[number])
        return on_white(np.asarray(self._file.read_region(at, number, (width, height))))[0]

    def close(self) -> None:
        """See `Pyramid.close`."""
        self._file.close()


class TiffPyramid:
    """A TIFF's first series with all its levels, SubIFDs too; tiles and strips are decoded as they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises SlideError for what is no picture of 8-bit colours."""
        with ExitStack() as opened:
            # By a path tifffile would look where a link leads, which may have no name.
            self._handle = opened.enter_context(path.open("rb"))
            # An OME-TIFF may name other files of the machine, which are not opened.
            self._file = tifffile.TiffFile(self._handle, _multifile=False)
            self._open(path)
            opened.pop_all()

    def _open(self, path: Path) -> None:
        self._lock = threading.Lock()
        series = self._file.series[0]
        pages = [level.keyframe for level in series.levels]
        first = pages[0]
        if first.samplesperpixel < 3 or first.bitspersample != 8 or first.planarconfig != 1:
            raise SlideError(path, "it holds no 8-bit colour picture, as stained tissue is")
        if reason := why_not_read(first, several=False):
            raise SlideError(path, reason)
        if any(_segment_pixels(page) > MAX_SEGMENT_PIXELS for page in pages):
            raise SlideError(path, "its tiles or strips are too large to be read one by one; save it with tiles")
        self._pages = pages
        self.format = "OME-TIFF" if self._file.is_ome else "TIFF"
        width, height = first.imagewidth, first.imagelength
        self.levels = tuple(
            Level(page.imagewidth, page.imagelength, width / page.imagewidth, height / page.imagelength)
            for page in pages
        )
        self.corner, self.quickhash = (0, 0), ""
        self.icc: bytes | None = first.iccprofile
        self.um_per_px, self.hints = _square(_size_of_tiff(self._file, first))

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:
        """See `Pyramid.read`."""
        page = self._pages[level]
        found = np.full((height, width, 3), 255, np.uint8)
        tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        tall = min(tall, page.imagelength)
        across = -(-page.imagewidth // wide)
        for row in range(top // tall, -(-(top + height) // tall)):
            for column in range(left // wide, -(-(left + width) // wide)):
                tile = self._segment(page, row * across + column)
                if tile is None:
                    continue
                y, x = row * tall, column * wide
                rows = slice(max(top, y), min(top + height, y + tile.shape[0]))
                columns = slice(max(left, x), min(left + width, x + tile.shape[1]))
                part = tile[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
                found[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = part
        return found

    def _segment(self, page: Any, index: int) -> Pixels | None:
        count = page.databytecounts[index]
        if not count:
            return None
        with self._lock:
            self._file.filehandle.seek(page.dataoffsets[index])
            data = self._file.filehandle.read(count)
        decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        if decoded is None:
            return None
        return rgb_of(page, np.asarray(decoded)[0, : shape[1], : shape[2]])[0]

    def close(self) -> None:
        """See `Pyramid.close`."""
        self._handle.close()


class FlatPicture:
    """A picture in one piece, held in memory."""

    def __init__(self, path: Path) -> None:
        """Raises SlideError for a larger one than intake takes, too."""
        try:
            data = path.read_bytes()
            self._pixels, told, _ = decode(data)
        except ImageTooLargeError:
            raise SlideError(
                path, f"it has more than {MAX_PIXELS:,} pixels in one piece; save it as a pyramid"
            ) from None
        except UnreadableImageError as error:
            raise SlideError(path, NO_SLIDE if error.reason == NO_PICTURE else error.reason) from error
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            self.format = str(image.format)
            self.icc: bytes | None = image.info.get("icc_profile")
        height, width, _ = self._pixels.shape
        self.levels: tuple[Level, ...] = (Level(width, height, 1.0, 1.0),)
        self.um_per_px, self.hints = _square(told)
        self.corner, self.quickhash = (0, 0), ""

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:  # noqa: ARG002 - there is one
        """See `Pyramid.read`."""
        return self._pixels[top : top + height, left : left + width]

    def close(self) -> None:
        """See `Pyramid.close`."""
        self._pixels = np.zeros((0, 0, 3), np.uint8)


Told = tuple[tuple[float, float] | None, tuple[str, ...]]
"""The size of a pixel across and down, um, and hints at it."""


def _size_told(told: Mapping[str, str], vendor: str) -> Told:
    """As OpenSlide's properties say it: a size that no microscope has is a hint, and no size.

    Slides from afar are coarse; a TIFF that no scanner's maker wrote has a printer's resolution as often.
    """
    across, down = (_positive(told.get(f"openslide.mpp-{axis}")) for axis in "xy")
    power = _positive(told.get("openslide.objective-power"))
    hints = (f"The file names an objective of {power:g}x.",) if power else ()
    if not (across and down):
        return None, hints
    if min(across, down) >= MIN_UM_PER_PX and (vendor != "generic-tiff" or max(across, down) <= MAX_UM_PER_PX):
        return (across, down), hints
    said = "" if max(across, down) > MAX_UM_PER_PX else f"The file says {across:.3g} um/px, which no microscope has."
    return None, (*hints, said) if said else hints


def _corner(told: Mapping[str, str]) -> tuple[int, int]:
    """The left upper corner of what was scanned, where OpenSlide says all of its bounds."""
    names = [f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")]
    return (int(told[names[0]]), int(told[names[1]])) if all(name in told for name in names) else (0, 0)


def _square(told: PixelSize) -> Told:
    size = told.um_per_px
    return (size, size) if size else None, (f"{told.doubt}.",) if told.doubt else ()


def _size_of_tiff(file: tifffile.TiffFile, page: Any) -> PixelSize:
    across, down = (_quotient(page.tags.valueof(name)) for name in ("XResolution", "YResolution"))
    told = from_description(file.ome_metadata or page.description, across, down)
    if told.um_per_px is None:
        told = from_resolution(across, down, page.tags.valueof("ResolutionUnit", default=1))
    return told


def _quotient(value: object) -> float:
    match value:
        case (int(part), int(whole)) if whole:
            return part / whole
        case int() | float():
            return float(value)
    return 0.0


def _segment_pixels(page: Any) -> int:
    if page.is_tiled:
        return int(page.tilewidth * page.tilelength)
    return int(page.imagewidth * min(page.rowsperstrip, page.imagelength))


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


@contextmanager
def refusing(path: Path, reason: str) -> Iterator[None]:
    """What libraries raise of damaged files, as a SlideError in one sentence."""
    try:
        yield
    except _DAMAGE as error:
        raise SlideError(path, reason) from error
