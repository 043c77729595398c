"""Decoded values become uint8 RGB, in bands, so that no second copy of a large picture is made."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import UnreadableImageError

__all__ = ["GRAY_16", "as_rgb", "bands", "on_white", "profile_note", "refuse_dark", "scaled_note", "to_8_bits"]

GRAY_16 = ("I;16", "I;16B", "I;16L")
_BAND_PIXELS = 2**20


def bands(width: int, height: int) -> Iterator[slice]:
    """Rows of pieces as wide as the picture."""
    rows = max(1, _BAND_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def as_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """Pixels of a loaded image, uint8 (h, w, 3) RGB on white, and whether anything of it was transparent."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    any_see_through = False
    for rows in bands(*image.size):
        pixels[rows], see_through = _band(image.crop((0, rows.start, image.width, rows.stop)))
        any_see_through |= see_through
    return pixels, any_see_through


def _band(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    if image.mode in GRAY_16:  # Pillow would clip at 255
        return to_8_bits(np.asarray(image)[..., None], 16), False
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB")), False
    return on_white(np.asarray(image.convert("RGBA")))


def on_white(rgba: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """RGBA (h, w, 4) laid on white: uint8 (h, w, 3), and whether anything was transparent."""
    layer = Image.fromarray(rgba)
    white = Image.new("RGBA", layer.size, "white")
    return np.asarray(Image.alpha_composite(white, layer).convert("RGB")), bool((rgba[..., 3] != 255).any())


def to_8_bits(values: NDArray[np.uint8] | NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Whole numbers of 1 to 16 bits, (h, w, samples), on the scale of 8: grey rounded, colours by their high byte.

    The high byte is what Pillow keeps of 16-bit colour, and exact however 8 bits were once widened.
    """
    if bits == 8:
        return values.astype(np.uint8, copy=False)
    if bits > 8 and values.shape[2] > 2:
        return np.right_shift(values, bits - 8).astype(np.uint8)
    top = 2**bits - 1
    scaled: NDArray[np.uint32] = (values.astype(np.uint32) * 255 + top // 2) // top
    return scaled.astype(np.uint8)


def refuse_dark(highest: int, bits: int) -> None:
    """Refuse values that use less than a quarter of their range: fewer bits in a larger box, which would turn black.

    Raises:
        UnreadableImageError: they do. A picture that is black throughout is black on any scale.
    """
    if 0 < highest < 2 ** (bits - 2):
        raise UnreadableImageError(
            f"its {bits}-bit values end at {highest:,}, so that they seem to hold fewer bits; save it as 8-bit RGB"
        )


def scaled_note(bits: int) -> str:
    """How values of more than 8 bits were taken."""
    return f"{bits}-bit values were scaled to 8 bits over their full range."


def profile_note(profile: bytes) -> str:
    """What is said of an embedded colour profile: nothing of sRGB, whose values are taken as they are."""
    return "" if not profile or b"sRGB" in profile else "The file's colour profile was not applied."
