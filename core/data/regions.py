"""Regions of a slide with masks: `NAME.jpg` (or png, tif) beside `NAME_mask.png`, at the task's scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.archive import is_junk
from core.data.intake import picture_of
from core.data.masks import read_mask
from core.errors import ImportSourceError
from core.task import STRIDE, Task

MASK_ENDING = "_mask.png"
_TYPES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Region:
    """One region.

    Attributes:
        name: the file's stem.
        image: uint8 (h, w, 3) RGB, h and w multiples of STRIDE.
        mask: bool (h, w), the positive class.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def region_files(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures in a folder that have a mask, with it; by name."""
    found = (path for path in folder.glob("*") if not is_junk(path.name))
    pictures = sorted(path for path in found if path.suffix.lower() in _TYPES)
    pairs = [(path, path.with_name(path.stem + MASK_ENDING)) for path in pictures]
    return [(path, mask) for path, mask in pairs if mask.is_file()]


def read_regions(folder: Path, task: Task) -> Iterator[Region]:
    """Regions of a folder, one at a time.

    Raises:
        ImportSourceError: no region in it, or one that cannot be read, or a mask of another size, or masks that are all
            empty or all full, which leaves nothing to tell apart.
    """
    files = region_files(folder)
    if not files:
        raise ImportSourceError(folder, f"it holds no picture with a mask NAME{MASK_ENDING}")
    _check_masks(folder, [mask for _, mask in files])
    for path, mask_path in files:
        image, mask = picture_of(path, um_per_px=task.um_per_px, task=task), read_mask(mask_path)
        if image.shape[:2] != mask.shape:
            raise ImportSourceError(mask_path, "the mask is not of the picture's size")
        height, width = (side // STRIDE * STRIDE for side in image.shape[:2])
        yield Region(path.stem, np.ascontiguousarray(image[:height, :width]), mask[:height, :width])


def _check_masks(folder: Path, paths: list[Path]) -> None:
    """Read masks until both kinds of pixel were seen: most often the first."""
    seen: set[bool] = set()
    for path in paths:
        mask = read_mask(path)
        seen |= set(np.unique(mask).tolist())
        if len(seen) == 2:
            return
    what = "every mask is full" if seen == {True} else "every mask is empty"
    raise ImportSourceError(folder, f"{what}, so that there is nothing to tell apart")
