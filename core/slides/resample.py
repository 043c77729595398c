"""Pixels of a level on another grid: each pixel's weights depend on its own place alone, not on what was cut out.

So a patch read by itself and the same patch within a large region are the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HALF = 0.5 - 1e-6
"""Added before rounding down: a tie goes down whatever the last bits say."""


def weights(first: int, count: int, step: float, offset: int, length: int) -> csr_array:
    """How much each of `length` source pixels counts for `count` pixels of a grid along one axis.

    The mean over the pixel's extent where the source is finer; linear between the middles of source pixels where it is
    coarser.

    Args:
        first: index of the grid's first pixel that is wanted.
        count: pixels wanted.
        step: source pixels per pixel of the grid, whose pixel 0 begins where the source's begins.
        offset: index of the first source pixel there is.
        length: source pixels there are.

    Returns:
        (count, length), rows sum to 1.
    """
    from scipy.sparse import csr_array

    places = first + np.arange(count + 1)
    if step < 1:
        middle = (places[:-1] + 0.5) * step - offset - 0.5
        left = np.floor(middle).astype(int)
        part = middle - left
        columns = np.clip(np.stack([left, left + 1], axis=1), 0, length - 1)
        values = np.stack([1 - part, part], axis=1)
    else:
        edges = places * step - offset
        wide = int(np.ceil(step)) + 1
        columns = np.floor(edges[:-1]).astype(int)[:, None] + np.arange(wide)
        lower = np.maximum(columns, edges[:-1, None])
        upper = np.minimum(columns + 1, edges[1:, None])
        values = np.where((columns >= 0) & (columns < length), np.maximum(upper - lower, 0), 0)
        columns = np.clip(columns, 0, length - 1)
        values /= np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
    rows = np.repeat(np.arange(count), columns.shape[1])
    return csr_array((values.ravel(), (rows, columns.ravel())), shape=(count, length))


def resampled(pixels: NDArray[np.uint8], down: csr_array, across: csr_array) -> NDArray[np.uint8]:
    """Pixels (h, w, 3) by weights (rows, h) and (columns, w): uint8 (rows, columns, 3)."""
    height, width, channels = pixels.shape
    rows = (down @ pixels.reshape(height, width * channels).astype(np.float64)).reshape(-1, width, channels)
    turned = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(width, -1)
    found = (across @ turned).reshape(across.shape[0], rows.shape[0], channels).transpose(1, 0, 2)
    return np.ascontiguousarray(np.clip(np.floor(found + HALF), 0, 255).astype(np.uint8))
