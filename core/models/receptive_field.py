"""What one cell of a network's last maps sees of the picture, worked out from the layers; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ReceptiveField:
    """The window of pixels behind one cell of a network without padding, and where the cells stand, along one axis.

    Cell i sees the `size` pixels from `start + i * stride` on and nothing else. Its tile is the `stride` pixels around
    the window's centre: tiles lie side by side, and every picture's at whole multiples of the stride, so that a patch
    cut out of a region at such a place has the region's own cells.

    Attributes:
        size: pixels of a window; odd.
        stride: pixels from one cell to the next; even.
    """

    size: int
    stride: int

    @property
    def start(self) -> int:
        """First pixel of the first cell's window: the network leaves out so many at the top and the left."""
        return (self.stride // 2 - self.size // 2) % self.stride

    @property
    def margin(self) -> int:
        """Pixels from the picture's border to the first cell's tile, and from the last cell's tile to the border.

        So many pixels around a region give it a cell for each of its tiles.
        """
        return self.start + self.size // 2 - self.stride // 2

    def cells(self, side: int) -> int:
        """Cells along `side` pixels; 0 where no window has room."""
        return max(0, (side - self.start - self.size) // self.stride + 1)

    def tiles(self, side: int) -> int:
        """Tiles along `side` pixels of a region, of which the last may reach beyond them."""
        return -(-side // self.stride)

    def placed(self, maps: NDArray[np.floating], side: int) -> NDArray[np.float32]:
        """Maps (n, h, w) of cells in the middle of a picture of `side` px on the grid of all its tiles.

        Tiles without a cell, whose window would reach beyond the picture, are 0.
        """
        tiles = self.tiles(side)
        before = [(tiles - cells) // 2 for cells in maps.shape[1:]]
        around = [(first, tiles - first - cells) for first, cells in zip(before, maps.shape[1:], strict=True)]
        return np.pad(np.asarray(maps, np.float32), ((0, 0), *around))

    def window(self, tile: int) -> tuple[int, int]:
        """First pixel, and the first beyond the last, that the cell of a region's tile sees; outside the region too."""
        first = tile * self.stride + self.stride // 2 - self.size // 2
        return first, first + self.size

    def beyond(self, height: int, width: int) -> NDArray[np.bool_]:
        """Which cells of a region see pixels beyond its border, as it were reflected there: (rows, columns)."""
        rows, columns = (self._beyond(side) for side in (height, width))
        return rows[:, None] | columns[None, :]

    def _beyond(self, side: int) -> NDArray[np.bool_]:
        first, end = self.window(0)
        shifts = np.arange(self.tiles(side)) * self.stride
        return (shifts + first < 0) | (shifts + end > side)


def receptive_field(layers: Iterable[tuple[int, int]]) -> ReceptiveField:
    """The receptive field of layers without padding, one behind the other.

    r grows by (k - 1) j at a layer of kernel k, where j is the product of the strides before it (Araujo et al. 2019,
    doi:10.23915/distill.00021).

    Args:
        layers: kernel and stride of each, in pixels of its own input, from the picture on.
    """
    size = stride = 1
    for kernel, step in layers:
        size += (kernel - 1) * stride
        stride *= step
    return ReceptiveField(size, stride)
