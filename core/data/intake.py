"""Bytes from a stranger become a picture at the model's scale, or a refusal that says why.

Nothing is changed on the quiet: whatever had to be done to the file stands in `Picture.notes`.
Metadata is dropped; of all that a file says about itself only the pixel size is read.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from core.data.patch import PATCH_SIDE, UM_PER_PX
from core.data.screening import MAX_EXIF_BYTES, is_a_maze
from core.errors import (
    CoarseImageError,
    EmptyFileError,
    ImageTooLargeError,
    ImportSourceError,
    IntakeError,
    PatchShapeError,
    PixelSizeError,
    UnreadableImageError,
    WindowError,
)

__all__ = ["INTAKE_TYPES", "PATCH_SIDE", "UM_PER_PX", "Picture", "decode_patch", "open_picture", "picture_of"]

INTAKE_TYPES = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 40_000_000
MAX_WEBP_PIXELS = 25_000_000  # libwebp keeps two canvases and hands over a third
MIN_UM_PER_PX, MAX_UM_PER_PX = 0.1, 10.0  # 72 to 300 dpi, what screens and printers write, is 85 um/px and more
SCALE_TOLERANCE = 0.02  # a pixel size this close to 0.97 is taken for it
MAX_ENLARGEMENT = 1.25

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_GRAY_16 = ("I;16", "I;16B", "I;16L")
_GRAY = ("L", "LA", *_GRAY_16)
_COLOUR = ("P", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
_BAND_PIXELS = 2**20  # converted at a time, so that no second copy of a large picture is made
# Pillow refuses at twice this, in some formats before its header is read to the end. Its warnings, of this and of
# damage, are for programmers; what matters of them becomes a refusal.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
# Pillow's readers trust the file, so damage surfaces as whatever a parser stumbles over.
_DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, LookupError),
    *(ArithmeticError, AssertionError, MemoryError, RecursionError, struct.error, Warning),
)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image somebody offered, at 0.97 um/px.

    Attributes:
        pixels: uint8 (h, w, 3) RGB, rescaled when needed; h and w are at least 96.
        um_per_px: of the file, as stated or assumed, before rescaling.
        um_per_px_known: whether the file or the reader stated it.
        notes: what was done to the file, in plain words and in order.
    """

    pixels: NDArray[np.uint8]
    um_per_px: float
    um_per_px_known: bool
    notes: tuple[str, ...]

    @property
    def is_patch(self) -> bool:
        """Whether the picture is exactly one patch."""
        return self.pixels.shape[:2] == (PATCH_SIDE, PATCH_SIDE)

    def window(self, left: int | None = None, top: int | None = None) -> NDArray[np.uint8]:
        """One patch, uint8 (96, 96, 3), with its upper left corner at (left, top); centred where not given.

        Raises:
            WindowError: the window leaves the picture.
        """
        height, width = self.pixels.shape[:2]
        left = (width - PATCH_SIDE) // 2 if left is None else left
        top = (height - PATCH_SIDE) // 2 if top is None else top
        if not (0 <= left <= width - PATCH_SIDE and 0 <= top <= height - PATCH_SIDE):
            raise WindowError(left, top, width, height)
        return self.pixels[top : top + PATCH_SIDE, left : left + PATCH_SIDE].copy()


def open_picture(data: bytes, *, um_per_px: float | None = None) -> Picture:
    """Read an image file: PNG, JPEG, TIFF, BMP or WebP.

    Args:
        data: the whole file.
        um_per_px: micrometres per pixel if the reader knows them; overrules what the file says.
    Raises:
        IntakeError: the file is empty, damaged, of another kind, too large, too small or too coarse.
    """
    if not data:
        raise EmptyFileError()
    if len(data) > MAX_BYTES:
        raise ImageTooLargeError(MAX_BYTES, "bytes")
    if um_per_px is not None and not _plausible(um_per_px):
        raise PixelSizeError(um_per_px)

    image, stated, notes = _decode(data)
    if um_per_px is not None:
        notes.append(f"The reader gave a pixel size of {um_per_px:.3g} um.")
    elif stated is not None:
        notes.append(f"The file gives a pixel size of {stated:.3g} um.")
    else:
        notes.append(f"The file gives no usable pixel size; {UM_PER_PX} um is assumed.")
    known = um_per_px or stated
    scale = known or UM_PER_PX
    if not _at_scale(scale):
        image, note = _rescale(image, scale)
        notes.append(note)
    if min(image.size) < PATCH_SIDE:
        raise _shape_error(image.size, scale)
    return Picture(_pixels(image), scale, known is not None, tuple(notes))


def picture_of(path: Path, *, um_per_px: float | None = None) -> NDArray[np.uint8]:
    """Pixels of a file that a command was pointed to, uint8 (h, w, 3) RGB.

    Raises:
        ImportSourceError: it cannot be read, or `open_picture` refuses it.
    """
    try:
        with path.open("rb") as handle:
            return open_picture(handle.read(MAX_BYTES + 1), um_per_px=um_per_px).pixels
    except (IntakeError, OSError) as error:
        raise ImportSourceError(path, str(error).removesuffix(".")) from error


def decode_patch(data: bytes, *, um_per_px: float | None = None) -> NDArray[np.uint8]:
    """Read a file that is exactly one patch: uint8 (96, 96, 3) RGB.

    Raises:
        PatchShapeError: the image has another size at 0.97 um/px.
        IntakeError: as in `open_picture`.
    """
    picture = open_picture(data, um_per_px=um_per_px)
    if not picture.is_patch:
        height, width = picture.pixels.shape[:2]
        raise _shape_error((width, height), picture.um_per_px)
    return picture.window()


@contextmanager
def _pillow_reads() -> Iterator[None]:
    """Turn what Pillow raises on strange files into refusals."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # a warning where those are errors
        raise ImageTooLargeError(MAX_PIXELS, "pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImageError() from None
    except _DAMAGE as error:
        raise UnreadableImageError("it is damaged or incomplete") from error


def _decode(data: bytes) -> tuple[Image.Image, float | None, list[str]]:
    """The first page as an upright RGB image, the um/px its file states if any, and notes."""
    notes = []
    if is_a_maze(data):
        raise UnreadableImageError("it is built of far too many parts; save it anew as PNG")
    with _pillow_reads():
        image = Image.open(BytesIO(data), formats=_FORMATS)  # reads the header only
        if image.width * image.height > MAX_PIXELS:
            raise ImageTooLargeError(MAX_PIXELS, "pixels")
        if image.format == "WEBP" and image.width * image.height > MAX_WEBP_PIXELS:
            raise ImageTooLargeError(MAX_WEBP_PIXELS, "pixels in a WebP")
        if any(tile[0] == "bmp_rle" for tile in image.tile):  # unpacked in Python, byte by byte
            raise UnreadableImageError("it is a run-length coded BMP; save it as PNG")
        if any(len(image.info.get(key, "")) > MAX_EXIF_BYTES for key in ("exif", "Raw profile type exif")):
            raise UnreadableImageError("its EXIF data are too large; save it without them")
        if image.mode not in _GRAY + _COLOUR:
            raise UnreadableImageError(f"its pixels are of type '{image.mode}'; save it as 8-bit RGB")
        stated = _stated_um_per_px(image)
        if getattr(image, "is_animated", False):
            notes.append("The file holds several images; the first is read.")
        if ";16" in str(getattr(image, "tile", "")):  # Pillow's name of the stored layout, gone once loaded
            notes.append("16-bit values were scaled to 8 bits over their full range.")
        if image.mode in _GRAY:
            notes.append("The image is grayscale: it shows no stain colours.")
        if image.mode == "CMYK":
            notes.append("CMYK was converted to RGB without a colour profile.")
        turned = image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
        image.load()
        if turned:
            ImageOps.exif_transpose(image, in_place=True)
            notes.append("The image was turned upright as its EXIF orientation says.")
        rgb, see_through = _in_rgb(image)
        if see_through:
            notes.append("Transparent parts were laid on white.")
    return rgb, stated, notes


def _bands(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """First and last row (not included) of pieces as wide as the picture."""
    rows = max(1, _BAND_PIXELS // size[0])
    return ((top, min(top + rows, size[1])) for top in range(0, size[1], rows))


def _in_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """`_to_rgb`, band by band."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image, False
    rgb = Image.new("RGB", image.size)
    any_see_through = False
    for top, bottom in _bands(image.size):
        band, see_through = _to_rgb(image.crop((0, top, image.width, bottom)))
        rgb.paste(band, (0, top))
        any_see_through |= see_through
    return rgb, any_see_through


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an RGB image, uint8 (h, w, 3)."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, bottom in _bands(image.size):
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image in RGB on white, and whether anything of it was transparent."""
    if image.mode in _GRAY_16:  # Pillow would clip at 255; it keeps the high byte of 16-bit colour by itself
        gray = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB"), False
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB"), layer.getchannel("A").getextrema() != (255, 255)


def _stated_um_per_px(image: Image.Image) -> float | None:
    """Pixel size in the resolution tags, or None when absent, implausible or not square."""
    across, down = (25_400 / float(dpi) if dpi > 0 else math.inf for dpi in image.info.get("dpi", (0, 0)))
    square = math.isclose(across, down, rel_tol=SCALE_TOLERANCE)
    return across if square and _plausible(across) else None


def _plausible(um_per_px: float) -> bool:
    return MIN_UM_PER_PX <= um_per_px <= MAX_UM_PER_PX


def _at_scale(um_per_px: float) -> bool:
    return math.isclose(um_per_px, UM_PER_PX, rel_tol=SCALE_TOLERANCE)


def _rescale(image: Image.Image, um_per_px: float) -> tuple[Image.Image, str]:
    """Bring an image to 0.97 um/px, to the nearest whole pixel; the note says how.

    Raises:
        CoarseImageError: it would have to grow more than 1.25 times.
        ImageTooLargeError: it would grow beyond the limit.
    """
    factor = um_per_px / UM_PER_PX
    if factor > MAX_ENLARGEMENT:
        raise CoarseImageError(um_per_px)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageTooLargeError(MAX_PIXELS, f"pixels at {UM_PER_PX} um/px")
    sizes = f"from {image.width} x {image.height} to {size[0]} x {size[1]} pixels to reach {UM_PER_PX} um/px"
    if factor > 1:
        return image.resize(size, Image.Resampling.BILINEAR), f"Enlarged {sizes}; this adds no detail."
    return image.resize(size, Image.Resampling.BOX), f"Reduced {sizes}, averaging areas."


def _shape_error(size: tuple[int, int], um_per_px: float) -> PatchShapeError:
    width, height = size
    return PatchShapeError((height, width), None if _at_scale(um_per_px) else um_per_px)
