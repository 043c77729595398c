"""What each cell does to the prediction: every coalition of cells is read, with donor tissue in place of the others.

Blurred or inpainted cells read as tumour to a network that has not seen them; tissue of a normal patch is tissue. On a
grid of nine cells all 512 coalitions are affordable, and everything that asks what happens without some cells is looked
up in one table: deletion and insertion curves of any map, each cell's drop, and the exact Shapley values.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.faithfulness import Curves, Maps, Patches, Read, drop_correlation, removals

CHUNK = 64
MOST_CELLS = 9
"""Cells of a grid whose coalitions are read: 512 passes a patch."""


@dataclass(frozen=True)
class Coalitions:
    """The score of n patches for every coalition of the m cells of their grid.

    Attributes:
        scores: (n, 2^m); bit k of the column is set where cell k, in reading order, is the patch's own tissue.
        grid: rows and columns, m = rows * columns.
    """

    scores: NDArray[np.float64]
    grid: tuple[int, int]

    @property
    def cells(self) -> int:
        """m."""
        return self.grid[0] * self.grid[1]

    def shapley(self) -> NDArray[np.float64]:
        """Shapley values (n, h, w) in the score's unit; their sum is the score as is less that of the donor alone.

        Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874, of the interventional kind with one donor.
        """
        found = np.zeros((len(self.scores), self.cells))
        columns = np.arange(2**self.cells)
        size = np.array([int(column).bit_count() for column in columns])
        for cell in range(self.cells):
            without = columns[columns >> cell & 1 == 0]
            weight = np.array([1 / (self.cells * comb(self.cells - 1, int(k))) for k in size[without]])
            found[:, cell] = (self.scores[:, without | 1 << cell] - self.scores[:, without]) @ weight
        return found.reshape(-1, *self.grid)

    def drops(self) -> NDArray[np.float64]:
        """(n, h, w) by how much the score falls when each cell alone is the donor's."""
        whole = 2**self.cells - 1
        alone = whole ^ (1 << np.arange(self.cells))
        return (self.scores[:, [whole]] - self.scores[:, alone]).reshape(-1, *self.grid)

    def without(self, gone: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Scores (n, ...) where the cells `gone` (n, ..., h, w) are the donor's."""
        flat = ~gone.reshape(*gone.shape[:-2], self.cells)
        column = flat @ (1 << np.arange(self.cells))
        rows = np.arange(len(self.scores)).reshape(-1, *[1] * (column.ndim - 1))
        return np.asarray(self.scores[rows, column])

    def curves(self, maps: Maps) -> Curves:
        """Deletion and insertion curves of maps (n, h, w), a cell at a step."""
        return Curves(self.without(removals(maps, self.cells)))

    def of(self, chosen: NDArray[np.intp]) -> Coalitions:
        """Those of some patches, by place; a place may come more than once."""
        return Coalitions(self.scores[chosen], self.grid)


def coalitions(patches: Patches, donors: Patches, grid: tuple[int, int], read: Read) -> Coalitions:
    """Read every coalition of cells, the rest replaced by the same cells of a donor patch.

    Args:
        patches: uint8 (n, H, W, 3), H and W multiples of the grid's.
        donors: the same shape; one a patch.
        grid: rows and columns, MOST_CELLS at most.
        read: patches -> score.

    Raises:
        ValueError: too many cells.
    """
    cells = grid[0] * grid[1]
    if cells > MOST_CELLS:
        raise ValueError(f"{cells} cells have too many coalitions.")
    tall, wide = patches.shape[1] // grid[0], patches.shape[2] // grid[1]
    bits = (np.arange(2**cells)[:, None] >> np.arange(cells) & 1).astype(bool).reshape(-1, *grid)
    own = bits.repeat(tall, axis=1).repeat(wide, axis=2)[..., None]
    scores = np.empty((len(patches), len(bits)))
    for number, (patch, donor) in enumerate(zip(patches, donors, strict=True)):
        for start in range(0, len(bits), CHUNK):
            part = slice(start, start + CHUNK)
            scores[number, part] = read(np.where(own[part], patch, donor))
    return Coalitions(scores, grid)


def donors_of(labels: NDArray[np.integer], seed: int = 0) -> NDArray[np.intp]:
    """A donor for each patch: places (n,) of patches labelled 0, never the patch itself, all used about alike.

    Raises:
        ValueError: fewer than two patches are labelled 0.
    """
    normal = np.flatnonzero(np.asarray(labels) == 0)
    if len(normal) < 2:
        raise ValueError("Two patches labelled 0 are needed as donors.")
    generator = np.random.default_rng(seed)
    rounds = -(-len(labels) // len(normal))
    found = np.concatenate([generator.permutation(normal) for _ in range(rounds)])[: len(labels)]
    own = np.flatnonzero(found == np.arange(len(labels)))
    for place in own:
        found[place] = generator.choice(normal[normal != place])
    return found


def against_other_maps(
    maps: Maps, table: Coalitions, labels: NDArray[np.integer], figure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A figure of maps (n, h, w), and the mean of the same figure over the maps of all other patches of the label.

    Args:
        maps: of the patches of `table`.
        table: of their coalitions.
        labels: (n,).
        figure: "gap", insertion - deletion in the score's unit, or "shapley", Spearman's rank correlation.

    Returns:
        (n,) of the own map and (n,) the null, nan where it is undefined.
    """
    shapley = table.shapley()

    def figure_of(chosen: NDArray[np.intp], heatmaps: Maps) -> NDArray[np.float64]:
        if figure == "gap":
            return table.of(chosen).curves(heatmaps).areas()["gap"]
        return drop_correlation(heatmaps, shapley[chosen])

    everyone = np.arange(len(maps))
    null = np.full(len(maps), np.nan)
    for place in everyone:
        others = np.flatnonzero((labels == labels[place]) & (everyone != place))
        if len(others):
            values = figure_of(np.full(len(others), place), maps[others])
            null[place] = np.nanmean(values) if np.isfinite(values).any() else np.nan
    return figure_of(everyone, maps), null
