"""TIFF by tifffile and imagecodecs, strip by strip or tile by tile: the pixels that are stored, or a refusal.

A layout that is not listed here is refused by its name. Only the first page is read; nothing is decoded before its
size is known and allowed, and never into more memory than the picture takes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Literal

import imagecodecs  # noqa: F401  tifffile finds its decoders there
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.data.image_limits import exceeds_structure_limits
from core.data.pixel_size import PixelSize, from_description, from_resolution
from core.data.pixels import bands, on_white, profile_note, refuse_dark, scaled_note, to_8_bits
from core.errors import ImageTooLargeError, UnreadableImageError

__all__ = ["read_tiff", "rgb_of", "why_not_read"]

MAX_SEGMENT_BYTES = 330_000_000
"""What decoding one strip or tile may take; 40 million pixels of 16-bit colour with alpha take 320 MB."""
_JPEG, _WEBP, _APERIO_YCBCR = 7, 50001, 33003
_JPEG_2000 = (_APERIO_YCBCR, 33004, 33005, 34712)
_PICTURES = (_JPEG, _WEBP, *_JPEG_2000)  # compressed as small pictures, with a size of their own
_COMPRESSIONS = (1, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013, *_PICTURES)
_HAMAMATSU = 65420
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_GRAY = (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_PREMULTIPLIED, _ALPHA = 1, 2
_NUMBERS = {2: "signed whole numbers", 3: "floating point numbers", 5: "complex numbers", 6: "complex numbers"}
# Kinds of file for which tifffile would look further than the first page.
_PLAIN: dict[str, Any] = dict.fromkeys(("is_lsm", "is_ndpi", "is_scanimage"), False)
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def read_tiff(data: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], PixelSize, list[str]]:
    """The first page as uint8 (h, w, 3) RGB, upright and on white; the pixel size its file states; notes.

    Raises:
        ImageTooLargeError: it has more pixels, or strips that take more memory, than is accepted.
        UnreadableImageError: its layout is not read, or parts of it are missing.
        Others: whatever tifffile and imagecodecs raise on damage.
    """
    with tifffile.TiffFile(BytesIO(data), **_PLAIN) as file:
        page = file.pages.first
        if page.imagewidth * page.imagelength > max_pixels:
            raise ImageTooLargeError(max_pixels, "pixels")
        several = bool(page.subifds) or _next_page(page, data) not in (0, page.offset)
        if reason := why_not_read(page, several):
            raise UnreadableImageError(reason)
        samples, highest = _samples(page, data)
    if page.bitspersample > 8 and page.photometric != _PALETTE:
        refuse_dark(highest, page.bitspersample)
    pixels, see_through = rgb_of(page, samples)
    orientation = page.tags.valueof(274)
    turned = orientation in _UPRIGHT
    if turned:
        pixels = np.ascontiguousarray(_UPRIGHT[orientation](pixels))
    notes = {
        "The file holds several images; the first is read.": several or _stacked(page),
        scaled_note(page.bitspersample): page.bitspersample > 8 and page.photometric != _PALETTE,
        "The image is grayscale: it shows no stain colours.": page.photometric in _GRAY,
        "CMYK was converted to RGB without a colour profile.": page.photometric == _CMYK,
        "The image was turned upright as its EXIF orientation says.": turned,
        "Channels without a stated meaning were left out.": _left_out(page, samples),
        "Transparent parts were laid on white.": see_through,
    }
    profile = page.tags.valueof(34675)
    if isinstance(profile, bytes) and (said := profile_note(profile)):
        notes[said] = True
    return pixels, _pixel_size(page), [note for note, holds in notes.items() if holds]


# What is read -----------------------------------------------------------------------------------------------------


def why_not_read(page: tifffile.TiffPage, several: bool) -> str:
    """Why a page is not read, in words that follow 'The file cannot be read:'; empty when it is."""
    bits, photometric, count = page.bitspersample, page.photometric, page.samplesperpixel
    alone = "save it as 8-bit RGB"
    if not (page.imagewidth and page.imagelength and count):
        return "it is damaged or incomplete"
    if _HAMAMATSU in page.tags:  # one JPEG whose parts only their own table finds
        return "it is a Hamamatsu slide (NDPI); export a region of it as PNG or TIFF"
    if page.subfiletype & 1 and several:
        return "its first image is a reduced copy of another one; save the full image alone"
    if page.imagedepth != 1 or page.tiledepth != 1:
        return "it holds a volume, not a picture; save one plane as 8-bit RGB"
    if not isinstance(bits, int):
        return f"its channels have different numbers of bits; {alone}"
    if page.sampleformat != 1:
        kind = _NUMBERS.get(page.sampleformat, "of no stated type")
        return f"its pixels are {bits}-bit {kind}; {alone}"
    if bits > 16:
        return f"its pixels are {bits}-bit whole numbers; {alone}"
    if photometric not in _COLOURS:
        return f"its colours are stored as {_name(tifffile.PHOTOMETRIC, photometric)}; {alone}"
    if bits == 1 and photometric in _GRAY:
        return f"its pixels are only black or white (1 bit); {alone}"
    if page.compression not in _COMPRESSIONS:
        return f"its compression {_name(tifffile.COMPRESSION, page.compression)} is not read; save it as PNG"
    if _unread_channels(page):
        return f"its {count} channels are not said to be {_name(tifffile.PHOTOMETRIC, photometric)} alone; {alone}"
    if photometric in _GRAY and (several or _stacked(page)):
        return f"it holds several grey images, which may be colour channels or a stack; {alone}"
    if photometric == _YCBCR and page.compression in _JPEG_2000 and page.compression != _APERIO_YCBCR:
        return f"its JPEG 2000 holds YCbCr, of which there are several kinds; {alone}"
    if page.compression == _JPEG and bits != 8:
        return f"its JPEG holds {bits}-bit values; {alone}"
    if photometric == _YCBCR and page.compression not in (_JPEG, _WEBP, _APERIO_YCBCR) and page.subsampling != (1, 1):
        return f"its colours are YCbCr of reduced resolution without JPEG; {alone}"
    return ""


def _unread_channels(page: tifffile.TiffPage) -> bool:
    """Whether there are fewer channels than colours, or more that are not alpha nor unspecified beside RGB."""
    colours, count = _COLOURS[page.photometric], page.samplesperpixel
    if count == colours:
        return False
    if count < colours or page.photometric in (_PALETTE, _CMYK, _YCBCR):
        return True
    if page.photometric == _RGB:
        return count > 5
    return count > 2 or _alpha(page) is None


def _alpha(page: tifffile.TiffPage) -> int | None:
    """The kind of alpha in the first extra channel, if it is one."""
    extra = page.extrasamples[:1]
    return int(extra[0]) if extra and extra[0] in (_PREMULTIPLIED, _ALPHA) else None


def _name(names: Callable[[int], Any], value: int) -> str:
    try:
        return str(names(value).name)
    except ValueError:
        return f"of an unknown kind ({value})"


def _next_page(page: tifffile.TiffPage, data: bytes) -> int:
    """Where the next page begins in the file; 0 when there is none."""
    form = page.parent.tiff
    order: Literal["little", "big"] = "little" if form.byteorder == "<" else "big"
    number = int.from_bytes(data[page.offset : page.offset + form.tagnosize], order)
    place = page.offset + form.tagnosize + number * form.tagsize
    offset = int.from_bytes(data[place : place + form.offsetsize], order)
    return offset if offset < len(data) else 0


def _stacked(page: tifffile.TiffPage) -> bool:
    """Whether the description tells of further images that have no page of their own, or of channels."""
    text = page.description[: 2**20]
    if "<OME" in text:
        sizes = re.findall(r"\bSize[CZT]\s{0,3}=\s{0,3}[\"'](\d{1,9})[\"']", text)
        return any(int(size) not in (1, page.samplesperpixel) for size in sizes)
    if text.startswith("ImageJ="):
        return any(int(count) > 1 for count in re.findall(r"^images=(\d{1,9})\s*$", text, re.MULTILINE))
    if shape := re.match(r'\{"shape": \[([\d, ]{1,99})\]', text):
        return int(np.prod([int(side) for side in shape[1].split(",") if side.strip()])) > int(np.prod(page.shape))
    return False


# Pixels -----------------------------------------------------------------------------------------------------------


def _samples(page: tifffile.TiffPage, data: bytes) -> tuple[NDArray[np.uint8], int]:
    """Stored values on 8 bits (palette indices as they are), (h, w, samples), and the highest stored colour."""
    height, width, count = page.imagelength, page.imagewidth, page.samplesperpixel
    indices = page.photometric == _PALETTE
    samples = np.empty((height, width, count), np.uint16 if indices and page.bitspersample > 8 else np.uint8)
    highest = 0
    for block, channel, top, left in _segments(page, data):
        room = samples[top : top + block.shape[0], left : left + block.shape[1], channel : channel + block.shape[2]]
        for rows in bands(room.shape[1], room.shape[0]):
            band = block[rows, : room.shape[1]]
            colours = band[..., : max(0, _COLOURS[page.photometric] - channel)]
            highest = max(highest, int(colours.max(initial=0)))
            room[rows] = band if indices else _scaled(band, page)
    return samples, highest


def _scaled(band: NDArray[Any], page: tifffile.TiffPage) -> NDArray[np.uint8]:
    """To 8 bits: by the rounding of grey only where the picture is grey, whether its planes are together or apart."""
    if page.photometric in _GRAY or page.bitspersample <= 8:
        return np.concatenate([to_8_bits(band[..., k : k + 1], page.bitspersample) for k in range(band.shape[2])], 2)
    return (band >> (page.bitspersample - 8)).astype(np.uint8)


def _segments(page: tifffile.TiffPage, data: bytes) -> Iterator[tuple[NDArray[Any], int, int, int]]:
    """Decoded strips or tiles (h, w, samples), their channel, top and left; they may reach beyond the picture."""
    together = page.samplesperpixel if page.planarconfig == 1 else 1
    length, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    number = -(-page.imagelength // length) * -(-page.imagewidth // width) * page.samplesperpixel // together
    offsets, sizes = page.dataoffsets, page.databytecounts
    if not len(offsets) == len(sizes) == number or min(sizes) <= 0 or min(offsets) <= 0:
        raise UnreadableImageError("parts of it are missing")
    if sum(sizes) > 2 * len(data):
        raise UnreadableImageError("it is built of far too many parts; save it anew as PNG")
    _refuse_large(page, length * width * together)
    tables = page.jpegtables
    for index, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        packed = data[offset : offset + size]
        if len(packed) < size:
            raise UnreadableImageError("it is damaged or incomplete")
        if page.compression in _PICTURES:
            _check_small_picture(packed, width, length)
        block, (plane, _, top, left, channel), _ = page.decode(packed, index, jpegtables=tables)
        if block is None:  # of no data, which is refused above
            continue
        yield block[0], plane + channel, top, left


def _refuse_large(page: tifffile.TiffPage, values: int) -> None:
    """Refuse a strip or tile that would take too much memory."""
    if page.compression in _PICTURES:
        takes = values * (8 if page.compression in _JPEG_2000 else 2)  # OpenJPEG counts in 32 bits
    else:
        swapped = page.bitspersample > 8 and page.parent.byteorder == ">"
        takes = values * (1 if page.bitspersample <= 8 else 2) * (1 + (swapped or page.predictor != 1))
    if takes > MAX_SEGMENT_BYTES:
        raise ImageTooLargeError(MAX_SEGMENT_BYTES, "bytes in one strip")


def _check_small_picture(packed: bytes, width: int, length: int) -> None:
    """Refuse a JPEG, WebP or JPEG 2000 that is larger than the strip or tile it stands for, or a maze."""
    if exceeds_structure_limits(packed):
        raise UnreadableImageError("it is built of far too many parts; save it anew as PNG")
    try:
        with Image.open(BytesIO(packed), formats=("JPEG", "JPEG2000", "WEBP")) as image:
            fits = image.width <= width and image.height <= length
    except UnidentifiedImageError:
        fits = False
    if not fits:
        raise UnreadableImageError("it is damaged or incomplete")


def rgb_of(page: tifffile.TiffPage, samples: NDArray[Any]) -> tuple[NDArray[np.uint8], bool]:
    """8-bit samples (h, w, channels) of a page that is read as RGB (h, w, 3) on white; whether any was transparent."""
    height, width, count = samples.shape
    pixels = np.empty((height, width, 3), np.uint8)
    table = _colour_table(page) if page.photometric == _PALETTE else None
    alpha = _alpha(page) if count > _COLOURS[page.photometric] else None
    any_see_through = False
    for rows in bands(width, height):
        band = samples[rows]
        colours = table[band[..., 0]] if table is not None else _colours(page, band)
        if alpha is not None:
            opacity = band[..., _COLOURS[page.photometric], None]
            if alpha == _PREMULTIPLIED:
                see_through = bool((opacity != 255).any())
                colours = np.minimum(colours.astype(np.uint16) + (255 - opacity), 255)
            else:
                colours, see_through = on_white(np.concatenate([colours, opacity], axis=2))
            any_see_through |= see_through
        pixels[rows] = colours
    return pixels, any_see_through


def _colours(page: tifffile.TiffPage, band: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if page.photometric in _GRAY:
        gray = 255 - band[..., :1] if page.photometric == _WHITE_IS_ZERO else band[..., :1]
        return np.repeat(gray, 3, axis=2)
    mode = "CMYK" if page.photometric == _CMYK else "RGB"
    if page.compression == _APERIO_YCBCR or (page.photometric == _YCBCR and page.compression not in (_JPEG, _WEBP)):
        mode = "YCbCr"
    if mode == "RGB":
        return band[..., :3]
    height, width, _ = band.shape
    return np.asarray(Image.frombytes(mode, (width, height), band.tobytes()).convert("RGB"))


def _colour_table(page: tifffile.TiffPage) -> NDArray[np.uint8]:
    """Colours of a palette, uint8 (n, 3); 16-bit by the standard, 8-bit by the habit of some writers."""
    stored = np.asarray(page.colormap).reshape(3, -1).T
    return (stored if stored.max() < 256 else stored >> 8).astype(np.uint8)


def _left_out(page: tifffile.TiffPage, samples: NDArray[Any]) -> bool:
    """Whether channels were dropped that are more than an opaque layer."""
    used = _COLOURS[page.photometric] + (_alpha(page) is not None)
    return bool((samples[..., used:] != 255).any())


_UPRIGHT: dict[object, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def _pixel_size(page: tifffile.TiffPage) -> PixelSize:
    across, down = (_ratio(page.tags.valueof(tag)) for tag in (282, 283))
    stated = from_description(page.description, across, down)
    if stated == PixelSize():
        stated = from_resolution(across, down, page.tags.valueof(296, 2))
    return stated


def _ratio(value: object) -> float:
    """A rational number of a tag; 0 for what is none."""
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int) for part in value) and value[1]:
        return float(value[0] / value[1])
    return float(value) if isinstance(value, (int, float)) else 0.0
