"""Untrusted bytes become a picture at the model's scale, or a refusal that says why.

Nothing is changed on the quiet: whatever had to be done to the file stands in `Picture.notes`.
Metadata is dropped; of all that a file says about itself only the pixel size is read.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from core.data.image_limits import MAX_EXIF_BYTES, exceeds_structure_limits, odd_jpeg
from core.data.pixel_size import (
    MAX_UM_PER_PX,
    MIN_UM_PER_PX,
    PixelSize,
    from_dpi,
    from_resolution,
    is_at_scale,
    is_plausible,
)
from core.data.pixels import GRAY_16, as_rgb, profile_note, refuse_dark, scaled_note
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
from core.task import PCAM, Task

__all__ = ["INTAKE_TYPES", "Picture", "open_patch", "open_picture", "picture_of"]

INTAKE_TYPES = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 40_000_000
MAX_WEBP_PIXELS = 25_000_000  # libwebp keeps two canvases and hands over a third
MAX_ENLARGEMENT = 1.25

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # by Pillow; TIFF by tifffile
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRAY = ("L", "LA", *GRAY_16)
_COLOUR = ("P", "RGB", "RGBA", "CMYK")
# Pillow refuses at twice this, in some formats before its header is read to the end. Its warnings, of this and of
# damage, are for programmers; what matters of them becomes a refusal.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", module=r"PIL\.")
# Readers trust the file, so damage surfaces as whatever a parser stumbles over; codecs raise kinds of RuntimeError.
DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, LookupError),
    *(ArithmeticError, AssertionError, MemoryError, RuntimeError, struct.error, Warning),
)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image somebody offered, at its task's pixel size.

    Attributes:
        pixels: uint8 (h, w, 3) RGB, rescaled when needed; h and w are at least the side of a patch.
        um_per_px: of the file, as stated or assumed, before rescaling; None where the task's pixels have no size.
        um_per_px_known: whether the file or the reader stated it.
        notes: what was done to the file, in plain words and in order.
        side: of the task's patches.
    """

    pixels: NDArray[np.uint8]
    um_per_px: float | None
    um_per_px_known: bool
    notes: tuple[str, ...]
    side: int

    @property
    def is_patch(self) -> bool:
        """Whether the picture is exactly one patch."""
        return self.pixels.shape[:2] == (self.side, self.side)

    def window(self, left: int | None = None, top: int | None = None) -> NDArray[np.uint8]:
        """One patch, uint8 (side, side, 3), with its upper left corner at (left, top); centred where not given.

        Raises:
            WindowError: the window leaves the picture.
        """
        (height, width), side = self.pixels.shape[:2], self.side
        left = (width - side) // 2 if left is None else left
        top = (height - side) // 2 if top is None else top
        if not (0 <= left <= width - side and 0 <= top <= height - side):
            raise WindowError(left, top, width, height, side)
        return self.pixels[top : top + side, left : left + side].copy()


def open_picture(data: bytes, *, um_per_px: float | None = None, task: Task = PCAM) -> Picture:
    """Read an image file: PNG, JPEG, TIFF, BMP or WebP.

    Args:
        data: the whole file.
        um_per_px: micrometres per pixel if the reader knows them; overrules what the file says.
        task: says how large a patch and a pixel are; without a pixel size nothing is rescaled.
    Raises:
        IntakeError: the file is empty, damaged, of another kind, too large, too small or too coarse.
    """
    if not data:
        raise EmptyFileError()
    if len(data) > MAX_BYTES:
        raise ImageTooLargeError(MAX_BYTES, "bytes")
    if um_per_px is not None:
        check_pixel_size(um_per_px)

    pixels, stated, notes = decode(data)
    known = um_per_px or stated.um_per_px
    scale = (known or task.um_per_px) if task.um_per_px else None
    if task.um_per_px and scale:
        notes.append(_source_of_scale(um_per_px, stated, task.um_per_px))
        if not is_at_scale(scale, task.um_per_px):
            pixels, note = _rescaled(pixels, scale, task.um_per_px)
            notes.append(note)
    if min(pixels.shape[:2]) < task.side:
        raise _shape_error(pixels, scale, task)
    return Picture(pixels, scale, known is not None, tuple(notes), task.side)


def picture_of(path: Path, *, um_per_px: float | None = None, task: Task = PCAM) -> NDArray[np.uint8]:
    """Pixels of a file that a command was pointed to, uint8 (h, w, 3) RGB.

    Raises:
        ImportSourceError: it cannot be read, or `open_picture` refuses it.
    """
    try:
        with path.open("rb") as handle:
            return open_picture(handle.read(MAX_BYTES + 1), um_per_px=um_per_px, task=task).pixels
    except (IntakeError, OSError) as error:
        raise ImportSourceError(path, str(error).removesuffix(".")) from error


def open_patch(data: bytes, *, um_per_px: float | None = None, task: Task = PCAM) -> Picture:
    """Read a file that is exactly one patch.

    Raises:
        PatchShapeError: the image has another size at the task's pixel size.
        IntakeError: as in `open_picture`.
    """
    picture = open_picture(data, um_per_px=um_per_px, task=task)
    if not picture.is_patch:
        raise _shape_error(picture.pixels, picture.um_per_px, task)
    return picture


def check_pixel_size(um_per_px: float) -> None:
    """Raise PixelSizeError unless microscopy could produce this."""
    if not is_plausible(um_per_px):
        raise PixelSizeError(um_per_px, MIN_UM_PER_PX, MAX_UM_PER_PX)


@contextmanager
def reading() -> Iterator[None]:
    """Turn what decoders raise on strange files into refusals."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # a warning where those are errors
        raise ImageTooLargeError(MAX_PIXELS, "pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImageError() from None
    except DAMAGE as error:
        raise UnreadableImageError("it is damaged or incomplete") from error


def decode(data: bytes) -> tuple[NDArray[np.uint8], PixelSize, list[str]]:
    """The first page of a picture upright, uint8 (h, w, 3) RGB; the pixel size its file states; notes.

    Raises:
        ImageTooLargeError, UnreadableImageError: see `open_picture`.
    """
    if exceeds_structure_limits(data):
        raise UnreadableImageError("it is built of far too many parts; save it anew as PNG")
    with reading():
        if data.startswith(_TIFF_MAGIC):
            from core.data.tiff import read_tiff  # a tenth of a second, spared where there is no TIFF

            return read_tiff(data, MAX_PIXELS)
        if reason := odd_jpeg(data):
            raise UnreadableImageError(reason)
        image: ImageFile.ImageFile = Image.open(BytesIO(data), formats=FORMATS)  # reads the header only
        _check(image)
        return _loaded(image, data)


def _check(image: ImageFile.ImageFile) -> None:
    """Refuse an opened image, whose pixels are not decoded yet, for its size or kind."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageTooLargeError(MAX_PIXELS, "pixels")
    if image.format == "WEBP" and image.width * image.height > MAX_WEBP_PIXELS:
        raise ImageTooLargeError(MAX_WEBP_PIXELS, "pixels in a WebP")
    if any(tile[0] == "bmp_rle" for tile in image.tile):  # unpacked in Python, byte by byte
        raise UnreadableImageError("it is a run-length coded BMP; save it as PNG")
    if any(len(image.info.get(key, "")) > MAX_EXIF_BYTES for key in ("exif", "Raw profile type exif")):
        raise UnreadableImageError("its EXIF data are too large; save it without them")
    if image.mode == "1":
        raise UnreadableImageError("its pixels are only black or white (1 bit); save it as 8-bit RGB")
    if image.mode not in _GRAY + _COLOUR:
        raise UnreadableImageError(f"its pixels are of type '{image.mode}'; save it as 8-bit RGB")
    if image.mode == "CMYK" and "adobe" not in image.info:  # Pillow takes all for Adobe's, which are inverted
        raise UnreadableImageError("its CMYK values do not say whether they are inverted; save it as 8-bit RGB")
    key = image.info.get("transparency")  # on the scale of the file, where Pillow compares it with 8 bits
    if image.mode != "P" and key is not None and ";" in _stored(image):
        raise UnreadableImageError("its transparent colour is not of 8 bits; save it as 8-bit RGB")


def _stored(image: ImageFile.ImageFile) -> str:
    """Pillow's name of the stored layout, which is gone once pixels are loaded, as in "RGB;16B"."""
    return str(image.tile[0].args) if image.tile else ""


def _loaded(image: ImageFile.ImageFile, data: bytes) -> tuple[NDArray[np.uint8], PixelSize, list[str]]:
    """What `_decode` returns, of an image that Pillow opened."""
    notes = []
    deep = ";16" in _stored(image) and image.format == "PNG"  # before anything asks for EXIF, which loads a PNG
    stated = _stated(image)
    if getattr(image, "is_animated", False):
        notes.append("The file holds several images; the first is read.")
    if deep:
        notes.append(scaled_note(16))
    if image.mode in _GRAY:
        notes.append("The image is grayscale: it shows no stain colours.")
    if image.mode == "CMYK":
        notes.append("CMYK was converted to RGB without a colour profile.")
    turned = image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    colours = _colour_notes(image)
    image.load()
    if deep:
        refuse_dark(_highest_of_16(image, data), 16)
    if turned:
        ImageOps.exif_transpose(image, in_place=True)
        notes.append("The image was turned upright as its EXIF orientation says.")
    pixels, see_through = as_rgb(image)
    if see_through:
        notes.append("Transparent parts were laid on white.")
    return pixels, stated, notes + colours


def _highest_of_16(image: Image.Image, data: bytes) -> int:
    """The highest colour of a loaded 16-bit PNG; to the full where Pillow kept it or where all high bytes are 0."""
    if image.mode in GRAY_16:
        return int(np.asarray(image).max())
    colours = 1 if image.mode == "LA" else 3
    highest = max(int(np.asarray(image.getchannel(colour)).max()) for colour in range(colours))
    if highest:
        return highest * 256 + 255
    from imagecodecs import png_decode

    values = png_decode(data)
    return int(values[..., :colours].max())


def _colour_notes(image: Image.Image) -> list[str]:
    """What the file says about its colours and nobody heeds: the model was trained on values as they are stored."""
    notes = [profile_note(image.info.get("icc_profile") or b"")]
    gamma = image.info.get("gamma")
    if gamma and abs(gamma - 1 / 2.2) > 0.01 and "srgb" not in image.info:
        notes.append(f"The file's gamma of {gamma:.3g} was not applied.")
    return [note for note in notes if note]


def _stated(image: Image.Image) -> PixelSize:
    """Pixel size in the header's resolution or, where there is none, in the EXIF data."""
    exif = image.getexif()
    across, down = (_number(exif.get(tag)) for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution))
    unit = exif.get(ExifTags.Base.ResolutionUnit, 2)
    header = image.info.get("dpi")
    if header and not (image.format == "JPEG" and image.info.get("jfif_unit") not in (1, 2)):
        return from_dpi(*header)
    return from_resolution(across, down, unit)  # Pillow would take EXIF's unit 'none' for inches


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _source_of_scale(given: float | None, stated: PixelSize, assumed: float) -> str:
    """The note that says where the pixel size comes from."""
    if given is not None:
        return f"The reader gave a pixel size of {given:.3g} um."
    if stated.um_per_px is not None:
        return f"The file gives a pixel size of {stated.um_per_px:.3g} um."
    return f"{stated.doubt or 'The file gives no usable pixel size'}; {assumed:g} um is assumed."


def _rescaled(pixels: NDArray[np.uint8], um_per_px: float, wanted: float) -> tuple[NDArray[np.uint8], str]:
    """Bring a picture from `um_per_px` to `wanted`, to the nearest whole pixel, colour by colour; the note says how.

    Raises:
        CoarseImageError: it would have to grow more than 1.25 times.
        ImageTooLargeError: it would grow beyond the limit.
    """
    factor = um_per_px / wanted
    if factor > MAX_ENLARGEMENT:
        raise CoarseImageError(um_per_px, wanted)
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageTooLargeError(MAX_PIXELS, f"pixels at {wanted:g} um/px", um_per_px)
    method = Image.Resampling.BILINEAR if factor > 1 else Image.Resampling.BOX
    scaled = np.empty((size[1], size[0], 3), np.uint8)
    for colour in range(3):
        scaled[..., colour] = np.asarray(Image.fromarray(pixels[..., colour]).resize(size, method))
    sizes = f"from {width} x {height} to {size[0]} x {size[1]} pixels to reach {wanted:g} um/px"
    if factor > 1:
        return scaled, f"Enlarged {sizes}; this adds no detail."
    return scaled, f"Reduced {sizes}, averaging areas."


def _shape_error(pixels: NDArray[np.uint8], um_per_px: float | None, task: Task) -> PatchShapeError:
    rescaled = um_per_px and task.um_per_px and not is_at_scale(um_per_px, task.um_per_px)
    return PatchShapeError(pixels.shape[:2], task.side, task.um_per_px, um_per_px if rescaled else None)
