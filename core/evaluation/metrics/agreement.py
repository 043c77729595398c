"""How alike two heatmaps are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr


def common_grid(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two maps (h, w) on the coarsest grid that both fit exactly: each cell repeated, nothing interpolated."""
    rows, columns = math.lcm(a.shape[0], b.shape[0]), math.lcm(a.shape[1], b.shape[1])
    return _repeated(a, rows, columns), _repeated(b, rows, columns)


def rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float | None:
    """Spearman's rank correlation of two maps' cells, in [-1, 1]; None when a map is the same everywhere.

    Grids that differ are brought to a common one first, see `common_grid`.
    """
    a, b = common_grid(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def difference(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float32]:
    """Right minus left, (h, w) float32 on the common grid; each map keeps its sum: a cell's value is shared out.

    So maps of different layers can be subtracted without the finer one counting more.
    """
    left, right = common_grid(a, b)
    share_left, share_right = a.size / left.size, b.size / right.size
    return np.asarray(right * share_right - left * share_left, dtype=np.float32)


def _repeated(a: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.float64]:
    repeated = np.repeat(np.repeat(a, rows // a.shape[0], axis=0), columns // a.shape[1], axis=1)
    return np.asarray(repeated, dtype=np.float64)
