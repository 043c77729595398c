"""What perturbation methods show the network, and what its answers say: pure functions of arrays.

What is hidden takes the colour `blank`: the bundle's mean colour, a pale tissue to which the network's first layer is
blind. Black, the usual choice, is no H&E.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.explain.grid import cell_weights

Array = NDArray[np.float32]
Patches = NDArray[np.uint8]

COVER, STRIDE = 32, 16
"""Side of the occluding square, and its step; its answers lie on a grid of cells of one step."""
MASKS, MASK_CELLS, SHOWN = 512, 6, 0.5
"""RISE: number of masks, cells along a side of each, and the chance of a cell to be shown."""


def windows(side: int) -> int:
    """How many occluding squares a patch of `side` px has room for."""
    return ((side - COVER) // STRIDE + 1) ** 2


def occluded(patch: Patches, blank: Patches) -> Patches:
    """A patch with each square blanked in turn, row by row.

    Args:
        patch: uint8 (side, side, 3).
        blank: uint8 (3,).

    Returns:
        uint8 (windows, side, side, 3).
    """
    side = len(patch)
    corners = range(0, side - COVER + 1, STRIDE)
    changed = np.repeat(patch[None], windows(side), axis=0)
    for index, (top, left) in enumerate((top, left) for top in corners for left in corners):
        changed[index, top : top + COVER, left : left + COVER] = blank
    return changed


def occlusion_map(drops: Array, side: int) -> Array:
    """Occlusion (Zeiler & Fergus 2014): the mean drop over the squares that cover a cell.

    It equals captum's `Occlusion` with the same square, step and baseline, whose pixels are constant within a cell.

    Args:
        drops: (n, windows) float32, the target logit of the patch less that of `occluded`'s.
        side: of the patch in pixels.

    Returns:
        (n, side / 16, side / 16) float32 in logits.
    """
    across, cells = (side - COVER) // STRIDE + 1, side // STRIDE
    total, covered = np.zeros((len(drops), cells, cells)), np.zeros((cells, cells))
    for down in range(COVER // STRIDE):
        for right in range(COVER // STRIDE):
            place = np.s_[..., down : down + across, right : right + across]
            total[place] += drops.reshape(-1, across, across)
            covered[place] += 1
    return np.asarray(total / covered, dtype=np.float32)


@lru_cache(maxsize=2)
def rise_masks(side: int) -> Array:
    """The masks of RISE (Petsiuk et al. 2018, section 3.3), the same ones whenever asked: (512, side, side) in 0..1.

    Grids of 6 x 6 cells, each shown with chance 1/2, are enlarged bilinearly to seven sixths of the patch and cut out
    at a random place.
    """
    generator = np.random.default_rng(0)
    cell = -(-side // MASK_CELLS)
    grids = generator.random((MASKS, MASK_CELLS, MASK_CELLS)) < SHOWN
    enlarge = _bilinear(MASK_CELLS, side + cell)
    masks = np.empty((MASKS, side, side), np.float32)
    for mask, grid, (top, left) in zip(masks, grids, generator.integers(0, cell, (MASKS, 2)), strict=True):
        whole = enlarge @ grid @ enlarge.T
        mask[:] = whole[top : top + side, left : left + side]
    masks.setflags(write=False)
    return masks


def rise_map(masks: Array, scores: Array) -> Array:
    """RISE (Petsiuk et al. 2018, equation 6), of scores less their mean.

    The paper's map, sum_i f_i M_i / (N p), is of probabilities and nowhere negative, since every pixel shares the mean
    score. With that mean taken off it orders pixels alike, up to the unevenness of the masks, and gains a sign.

    Args:
        masks: (m, h, w) float32 in 0..1.
        scores: (n, m) float32, target logits of each patch seen through each mask.

    Returns:
        (n, h, w) float32 in logits: the target logit where the pixel is shown, less that of all masks.
    """
    count, height, width = masks.shape
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray((centred @ masks.reshape(count, -1) / (count * SHOWN)).reshape(-1, height, width), np.float32)


def strongest(maps: Array, count: int) -> NDArray[np.intp]:
    """Indices (n, min(k, count)) of the channels with the most energy, the sum of squares of maps (n, k, h, w)."""
    energy = np.einsum("nkhw,nkhw->nk", maps, maps)
    return np.argsort(-energy, axis=1, kind="stable")[:, :count]


def map_masks(maps: Array, height: int, width: int) -> Array:
    """Score-CAM's masks: maps (m, h, w) enlarged to (m, height, width) and each stretched to 0..1 (equation 4).

    Enlarging is bilinear with half-pixel centres, so that a cell's middle keeps its place on the tissue;
    pytorch-grad-cam aligns corners instead. A flat map shows nothing.
    """
    large = _bilinear(maps.shape[1], height) @ maps @ _bilinear(maps.shape[2], width).T
    low, high = large.min(axis=(1, 2), keepdims=True), large.max(axis=(1, 2), keepdims=True)
    return np.asarray((large - low) / np.where(high > low, high - low, 1), dtype=np.float32)


def shown_through(patch: Patches, masks: Array, blank: Patches) -> Patches:
    """A patch (h, w, 3) seen through masks (m, h, w) in 0..1, over the colour `blank` (3,): uint8 (m, h, w, 3)."""
    difference = patch.astype(np.float32) - blank
    return np.rint(blank + difference * masks[..., None]).astype(np.uint8)


def regrouped(pieces: Iterable[Patches], size: int) -> Iterator[Patches]:
    """The same patches in the same order, `size` at a time; the last may be fewer."""
    waiting: Patches | None = None
    for piece in pieces:
        waiting = piece if waiting is None else np.concatenate([waiting, piece])
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting is not None and len(waiting):
        yield waiting


def _bilinear(cells: int, pixels: int) -> Array:
    return cell_weights(cells, (np.arange(pixels) + 0.5) / pixels).astype(np.float32)
