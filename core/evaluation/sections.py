"""Tissue with a mask that lies together: regions laid side by side as they were cut from a slide, or a slide."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.masks import read_mask
from core.data.regions import MASK_ENDING, Region
from core.errors import ImportSourceError
from core.evaluation.metrics.clusters import neighbours
from core.inference.reader import Reader
from core.slides.scan import LEAST_TISSUE
from core.slides.slide import Slide
from core.slides.tissue import UM_PER_PX, in_cells, tissue_mask
from core.task import STRIDE, Task

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Section:
    """Tissue that lies together.

    Attributes:
        image: uint8 (h, w, 3) RGB at the task's pixel size, sides multiples of STRIDE; white between regions.
        mask: bool (h, w), the positive class.
        boxes: top, left, height and width of each region, multiples of STRIDE; outside them nothing is known.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    boxes: tuple[Box, ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(h / STRIDE, w / STRIDE) which cells lie in a region."""
        found = np.zeros([side // STRIDE for side in self.mask.shape], bool)
        for top, left, height, width in self.boxes:
            found[top // STRIDE : (top + height) // STRIDE, left // STRIDE : (left + width) // STRIDE] = True
        return found

    def tissue(self, um_per_px: float) -> NDArray[np.bool_]:
        """(h / STRIDE, w / STRIDE) which known cells hold tissue, as a scan finds it."""
        return self.known & tissue_cells(self.image, um_per_px)


def stitched(regions: Sequence[Region]) -> list[Section]:
    """Regions that are neighbours laid side by side, the others each alone: a section for each place.

    A region that would lie on another is left to lie alone.
    """
    below, beside = neighbours([region.image for region in regions])
    left_over, found = list(range(len(regions))), []
    while left_over:
        corners = _laid(left_over[0], regions, below, beside, set(left_over))
        left_over = [number for number in left_over if number not in corners]
        found.append(_section([(regions[number], corner) for number, corner in corners.items()]))
    return found


def slide_section(path: Path, task: Task) -> Section:
    """A slide that fits memory, with the mask NAME_mask.png of its level 0 beside it.

    Raises:
        ImportSourceError: there is no mask, or it is of another size; see also `Slide.open`.
    """
    um = task.um_per_px
    assert um is not None
    mask_path = path.with_name(path.stem + MASK_ENDING)
    if not mask_path.is_file():
        raise ImportSourceError(path, f"there is no mask {mask_path.name} beside it")
    with Slide.open(path) as slide:
        width, height = (side // STRIDE * STRIDE for side in slide.size_at(um))
        image = slide.region(0, 0, width, height, um)
        mask = read_mask(mask_path)
        if mask.shape != (slide.height, slide.width):
            raise ImportSourceError(mask_path, "the mask is not of the slide's size")
        across, down = slide.step(um)
    rows, columns = (
        np.minimum(((np.arange(count) + 0.5) * step).astype(int), limit - 1)
        for count, step, limit in ((height, down, mask.shape[0]), (width, across, mask.shape[1]))
    )
    return Section(image, mask[np.ix_(rows, columns)], ((0, 0, height, width),))


def map_of(reader: Reader, section: Section) -> NDArray[np.float32]:
    """The logit of the patch about each cell, (h / STRIDE, w / STRIDE), nan outside of all regions.

    Beyond a region's border a patch sees its neighbour, and where there is none the region reflected.
    """
    around = (reader.task.side - STRIDE) // 2
    found = np.full([side // STRIDE for side in section.mask.shape], np.nan, np.float32)
    frame = ((around, around), (around, around))
    image = np.pad(section.image, (*frame, (0, 0)))
    known = np.pad(section.known.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1), frame)
    for top, left, height, width in section.boxes:
        own = section.image[top : top + height, left : left + width]
        seen = (slice(top, top + height + 2 * around), slice(left, left + width + 2 * around))
        pixels = np.where(known[seen][..., None], image[seen], np.pad(own, (*frame, (0, 0)), mode="reflect"))
        cells = (slice(top // STRIDE, (top + height) // STRIDE), slice(left // STRIDE, (left + width) // STRIDE))
        found[cells] = reader.patch_logits(pixels, STRIDE)
    return found


def tissue_cells(image: NDArray[np.uint8], um_per_px: float) -> NDArray[np.bool_]:
    """Which cells of a picture (h, w, 3) hold tissue, seen from afar as a scan sees a slide: (h, w) / STRIDE."""
    down = max(1, round(UM_PER_PX / um_per_px))
    rows, columns = (side // STRIDE for side in image.shape[:2])
    height, width = (side // down for side in image.shape[:2])
    afar = image[: height * down, : width * down].reshape(height, down, width, down, 3).mean(axis=(1, 3))
    mask = tissue_mask(np.rint(afar).astype(np.uint8), um_per_px * down)
    return in_cells(mask, rows, columns, (STRIDE / down,) * 2) >= LEAST_TISSUE


def _laid(
    first: int, regions: Sequence[Region], below: NDArray[np.bool_], beside: NDArray[np.bool_], free: set[int]
) -> dict[int, tuple[int, int]]:
    """Top and left of each region that hangs together with one of them, which lies at (0, 0)."""
    corners = {first: (0, 0)}
    waiting = deque([first])
    while waiting:
        number = waiting.popleft()
        top, left = corners[number]
        height, width = regions[number].mask.shape
        for other in sorted(free - corners.keys()):
            tall, wide = regions[other].mask.shape
            steps = (
                (below[number, other], (top + height, left)),
                (below[other, number], (top - tall, left)),
                (beside[number, other], (top, left + width)),
                (beside[other, number], (top, left - wide)),
            )
            corner = next((place for joined, place in steps if joined), None)
            if corner is not None and not any(
                _overlap((*corner, tall, wide), (*place, *regions[one].mask.shape)) for one, place in corners.items()
            ):
                corners[other] = corner
                waiting.append(other)
    return corners


def _overlap(one: Box, other: Box) -> bool:
    return all(one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in (0, 1))


def _section(placed: Sequence[tuple[Region, tuple[int, int]]]) -> Section:
    tops, lefts = zip(*(corner for _, corner in placed), strict=True)
    boxes = tuple((top - min(tops), left - min(lefts), *region.mask.shape) for region, (top, left) in placed)
    height, width = max(top + tall for top, _, tall, _ in boxes), max(left + wide for _, left, _, wide in boxes)
    image, mask = np.full((height, width, 3), 255, np.uint8), np.zeros((height, width), bool)
    for (region, _), (top, left, tall, wide) in zip(placed, boxes, strict=True):
        image[top : top + tall, left : left + wide] = region.image
        mask[top : top + tall, left : left + wide] = region.mask
    return Section(image, mask, boxes)
