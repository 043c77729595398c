"""Masks as annotation tools write them: black and white, 0/1, 0/255, one index of a palette; or a refusal.

What a value means is never guessed from its brightness alone: 0 is what lies outside, in grey values and in the indices
of a palette, whatever colour the palette shows it in.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.data.image_limits import exceeds_structure_limits
from core.data.intake import MAX_BYTES, MAX_PIXELS, reading
from core.errors import EmptyFileError, ImageTooLargeError, ImportSourceError, IntakeError, UnreadableImageError

__all__ = ["read_mask"]

_MAX_CLASSES = 8
"""Up to as many values are taken for classes; more for a 0/255 mask with soft edges."""
_NEAR = 32
_MIN_NEAR = 0.95
"""Share of the pixels of a mask with soft edges that are within 32 of 0 or of 255."""
_ADVICE = "save it with 0 outside and 255 inside"


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask in a PNG, bool (h, w): inside.

    Raises:
        ImportSourceError: it cannot be read, or its values could mean more than one thing.
    """
    try:
        with path.open("rb") as handle:
            return _inside(handle.read(MAX_BYTES + 1))
    except (IntakeError, OSError) as error:
        raise ImportSourceError(path, str(error).removesuffix(".")) from error


def _inside(data: bytes) -> NDArray[np.bool_]:
    if not data:
        raise EmptyFileError()
    if len(data) > MAX_BYTES:
        raise ImageTooLargeError(MAX_BYTES, "bytes")
    if exceeds_structure_limits(data):
        raise UnreadableImageError("it is built of far too many parts; save it anew as PNG")
    with reading():
        image = Image.open(BytesIO(data), formats=("PNG",))
        if image.width * image.height > MAX_PIXELS:
            raise ImageTooLargeError(MAX_PIXELS, "pixels")
        ImageOps.exif_transpose(image, in_place=True)
        values = np.asarray(image)
        if image.mode == "P":
            return _of_palette(values, np.asarray(image.getpalette() or [], np.uint8).reshape(-1, 3))
    return _of_gray(_gray(values, image.mode))


def _of_palette(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.bool_]:
    used = np.unique(indices)
    if len(used[used > 0]) > 1:
        raise UnreadableImageError(f"the mask has more than one class; {_ADVICE}")
    colours = palette[[index for index in {0, 1, *used.tolist()} if index < len(palette)]].astype(int)
    gray = bool((colours == colours[:, :1]).all())
    if gray and palette[:1].max(initial=0) > 127:
        raise UnreadableImageError(f"the mask's palette has white for 0, which may be inside or not; {_ADVICE}")
    return indices > 0


def _gray(values: NDArray[Any], mode: str) -> NDArray[Any]:
    """One value a pixel, (h, w)."""
    if values.ndim == 2:
        return values
    if mode in ("LA", "RGBA") and (values[..., -1] != 255).any():
        raise UnreadableImageError(f"the mask is transparent in parts; {_ADVICE}")
    colours = values[..., :-1] if mode in ("LA", "RGBA") else values
    if (colours != colours[..., :1]).any():
        raise UnreadableImageError(f"the mask is coloured; {_ADVICE}")
    return colours[..., 0]


def _of_gray(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype == bool:
        return values.astype(bool)
    levels = np.unique(values)
    above = levels[levels > 0]
    if len(above) <= 1:
        return np.asarray(values > 0)
    if len(levels) > _MAX_CLASSES and values.dtype == np.uint8:
        gray = values.astype(int)
        if ((gray <= _NEAR) | (gray >= 255 - _NEAR)).mean() >= _MIN_NEAR:
            return np.asarray(gray > 127)
    some = ", ".join(str(level) for level in levels[:4]) + (", ..." if len(levels) > 4 else "")
    raise UnreadableImageError(f"the mask has the values {some}, which are more than two; {_ADVICE}")
