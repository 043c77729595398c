"""Where a heatmap lies on the tissue: cell (i, j) of an (h, w) map covers exactly its share of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.task import STRIDE, Task


def enlarge(heatmaps: NDArray[np.floating], side: int, smooth: bool) -> NDArray[np.float32]:
    """Heatmaps on a finer square grid that lies on the tissue like the native one.

    Values are enlarged before they are coloured, so every pixel's colour is the colour of its value.

    Args:
        heatmaps: (..., h, w) in logits.
        side: pixels of the result, at least h and w.
        smooth: bilinear between cell centres (half-pixel centres, `align_corners=False`), constant beyond the outermost
            ones; otherwise each pixel takes its cell's value.

    Returns:
        (..., side, side) float32 in logits, within the range of the heatmap.
    """
    middle = (np.arange(side) + 0.5) / side
    rows, columns = (cell_weights(cells, middle, smooth) for cells in heatmaps.shape[-2:])
    return (rows @ heatmaps @ columns.T).astype(np.float32)


def in_tiles(heatmaps: NDArray[Any], side: int) -> NDArray[Any]:
    """Maps of patches of `side` px on tiles of STRIDE px, the cells of most networks: means of the finer cells there.

    Args:
        heatmaps: (n, h, w); those whose cells are no finer, or share no borders with tiles, come back as they are.
        side: of the patches, a multiple of STRIDE.
    """
    count, rows, columns = heatmaps.shape
    tiles = side // STRIDE
    if rows % tiles or columns % tiles or rows == columns == tiles:
        return heatmaps
    return np.asarray(heatmaps.reshape(count, tiles, rows // tiles, tiles, columns // tiles).mean(axis=(2, 4)))


def cell_weights(cells: int, places: NDArray[np.floating], smooth: bool = True) -> NDArray[np.float64]:
    """How much each of `cells` contributes at each place along one axis: (places, cells), rows sum to 1.

    Args:
        cells: along the axis.
        places: (m,) where to look, 0 = one edge of the image, 1 = the other; outside it the edge's value holds.
        smooth: linear between cell centres; otherwise the nearest cell alone.
    """
    centre = np.clip(places * cells - 0.5, 0, cells - 1)
    distance = np.abs(centre[:, None] - np.arange(cells))
    weights: NDArray[np.float64] = np.maximum(0, 1 - distance) if smooth else np.eye(cells)[distance.argmin(axis=1)]
    return weights


def centre_share(heatmaps: NDArray[np.floating], task: Task) -> NDArray[np.float64]:
    """Share of the positive evidence that lies in the label's box, in [0, 1]; chance is `Task.label_share`.

    Args:
        heatmaps: (n, h, w) in any unit; cells are taken as uniform, so the centre cell of PCam's 3 x 3 map is the box.
        task: says where the box lies.

    Returns:
        (n,) float64; nan for a map without positive evidence, which has nowhere to be, and throughout where the label
        is about the whole patch.
    """
    if task.label_share is None:
        return np.full(len(heatmaps), np.nan)
    evidence = np.maximum(enlarge(heatmaps, task.side, smooth=False), 0).astype(np.float64)
    total = evidence.sum(axis=(1, 2))
    inside = evidence[:, task.label_box, task.label_box].sum(axis=(1, 2))
    return np.asarray(np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0))
