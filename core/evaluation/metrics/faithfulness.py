"""Does the evidence matter to the prediction?

Cells are taken out of a patch in the order of the map, and it is read again. What goes is replaced by tissue, never by
black, which the network has not seen. The deletion curve, the insertion curve and ROAD come from the same readings: to
insert the hottest k cells is to delete all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu
from scipy.stats import rankdata

Patches = NDArray[np.uint8]
Maps = NDArray[np.floating]
Cells = NDArray[np.bool_]
Read = Callable[[Patches], NDArray[np.floating]]
"""Patches uint8 (n, h, w, 3) -> a score (n,) that is larger the more a patch speaks for the target."""
Replace = Callable[[Patches, NDArray[np.bool_]], Patches]
"""Patches (n, h, w, 3) and one pixel mask (h, w) of what goes -> patches without it."""

STEPS = 9
"""Into how many parts the cells of a map are taken out; a 3 x 3 map loses one at a time."""
BLUR_SHARE = 1 / 12
"""Sigma of the blur, as a share of the side: 8 px of 96, wider than a nucleus."""
ROAD_NOISE = 0.01 * 255
"""Noise on imputed pixels in grey levels, so that they do not tell where something was taken out (Rong et al. 2022)."""
CHUNK = 64
TOGETHER = 512
"""Patches whose masks are worked out together: imputation solves for each mask once, and 3 x 3 cells have few."""
_DIRECT, _DIAGONAL = 1 / 6, 1 / 12


def blurred(patches: Patches, gone: NDArray[np.bool_]) -> Patches:
    """Replace pixels by a Gaussian blur of the patch, sigma a twelfth of its side."""
    sigma = patches.shape[1] * BLUR_SHARE
    soft = gaussian_filter(patches.astype(np.float32), (0, sigma, sigma, 0), mode="reflect")
    return np.where(gone[:, :, None], np.rint(soft).astype(np.uint8), patches)


def inpainted(patches: Patches, gone: NDArray[np.bool_]) -> Patches:
    """Replace pixels by noisy linear imputation, the one of ROAD (Rong et al. 2022, arXiv:2202.00449).

    Each missing pixel is the mean of its eight neighbours, direct ones weighing 1/6 and diagonal ones 1/12, those
    outside the patch left out; the sparse system is solved exactly. Then Gaussian noise of 2.55 grey levels is added,
    the same for the same mask. Where nothing is left, a pixel is the patch's mean colour.
    """
    if not gone.any():
        return patches.copy()
    levels = patches.astype(np.float64)
    count, missing = len(patches), int(gone.sum())
    if missing == gone.size:
        filled = np.broadcast_to(levels.mean(axis=(1, 2))[:, None], (count, missing, 3))
    else:
        solve, border = _imputation(gone.tobytes(), gone.shape)
        known = levels[:, ~gone].transpose(1, 0, 2).reshape(-1, count * 3)
        filled = solve(border @ known).reshape(missing, count, 3).transpose(1, 0, 2)
    grain = np.random.default_rng(0).standard_normal((missing, 3)) * ROAD_NOISE
    whole = patches.copy()
    whole[:, gone] = np.clip(np.rint(filled + grain), 0, 255)
    return whole


REPLACEMENTS: dict[str, Replace] = {"blurred": blurred, "inpainted": inpainted}


def of_donor(donor: NDArray[np.uint8]) -> Replace:
    """Replaces cells by those of another patch (H, W, 3) in the same place: the network sees tissue, as it knows it."""
    return lambda patches, pixels: np.where(pixels[..., None], donor, patches)


@lru_cache(maxsize=4)
def _imputation(mask: bytes, shape: tuple[int, int]) -> tuple[Callable[[Any], Any], Any]:
    """How to solve for the missing pixels, and what each takes from the known ones."""
    gone = np.frombuffer(mask, bool).reshape(shape)
    number = np.where(gone, np.cumsum(gone.ravel()).reshape(shape) - 1, np.cumsum(~gone.ravel()).reshape(shape) - 1)
    inside, number, missing = (np.pad(a, 1) for a in (np.ones(shape, bool), number, gone))
    total = np.zeros(int(gone.sum()))
    links: dict[bool, list[tuple[Any, Any, Any]]] = {True: [], False: []}
    row = np.arange(len(total))
    for down, right in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)):
        weight = _DIAGONAL if down and right else _DIRECT
        beside = slice(1 + down, 1 + down + shape[0]), slice(1 + right, 1 + right + shape[1])
        there, other, lost = (a[beside][gone] for a in (inside, number, missing))
        total += weight * there
        for kind, chosen in ((True, there & lost), (False, there & ~lost)):
            links[kind].append((np.full(chosen.sum(), weight), row[chosen], other[chosen]))
    among, border = (
        coo_array((weights, (rows, columns)), shape=(len(total), size)).tocsc()
        for (weights, rows, columns), size in (
            (map(np.concatenate, zip(*links[True], strict=True)), len(total)),
            (map(np.concatenate, zip(*links[False], strict=True)), gone.size - len(total)),
        )
    )
    system = (diags_array(total) - among).tocsc()
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factors.solve, border


# Which cells, in which order ---------------------------------------------------------------------------------------


def removals(maps: Maps, steps: int = STEPS) -> Cells:
    """The cells that are taken out at each step: hottest first, then coldest first.

    Args:
        maps: (n, h, w); cells of equal value go in random order, the same one whenever asked.
        steps: parts of as equal a size as can be; not more than there are cells.

    Returns:
        (n, 2, steps + 1, h, w) bool; step 0 takes nothing, the last everything.
    """
    count, height, width = maps.shape
    cells = height * width
    flat = maps.reshape(count, cells)
    luck = np.random.default_rng(0).random((count, cells))
    rank = np.lexsort((luck, -flat), axis=1).argsort(axis=1)  # 0 = hottest
    gone = np.rint(np.linspace(0, cells, min(steps, cells) + 1))[None, :, None]
    hottest = rank[:, None] < gone
    coldest = (cells - 1 - rank)[:, None] < gone
    return np.stack([hottest, coldest], axis=1).reshape(count, 2, -1, height, width)


def single_cells(grid: tuple[int, int]) -> Cells:
    """Each cell alone: (h*w, h, w) bool."""
    cells = grid[0] * grid[1]
    return np.eye(cells, dtype=bool).reshape(cells, *grid)


def without(patches: Patches, gone: Cells, replace: Replace) -> Iterator[tuple[NDArray[np.intp], Patches]]:
    """Patches with cells replaced, mask by mask, so that each mask is worked out once.

    Args:
        patches: uint8 (n, H, W, 3).
        gone: (n, h, w) bool, H and W multiples of h and w.
        replace: see `REPLACEMENTS`.

    Yields:
        positions (m,) in 0..n - 1 and their patches uint8 (m, H, W, 3).
    """
    tall, wide = patches.shape[1] // gone.shape[1], patches.shape[2] // gone.shape[2]
    masks, which = np.unique(gone.reshape(len(gone), -1), axis=0, return_inverse=True)
    for number, mask in enumerate(masks):
        index = np.flatnonzero(which.ravel() == number)
        pixels = mask.reshape(gone.shape[1:]).repeat(tall, axis=0).repeat(wide, axis=1)
        yield index, replace(patches[index], pixels)


def read_without(
    patches: Patches, gone: Mapping[str, Cells], read: Read, replace: Replace
) -> dict[str, NDArray[np.float64]]:
    """Scores of patches with cells replaced; what several methods ask for is read once.

    Args:
        patches: uint8 (n, H, W, 3).
        gone: by method, (n, ..., h, w) bool: any number of masks for each patch. Grids may differ.
        read: patches -> score.
        replace: see `REPLACEMENTS`.

    Returns:
        By method, (n, ...) float64.
    """
    scores = {name: np.empty(masks.shape[:-2]) for name, masks in gone.items()}
    for grid in {masks.shape[-2:] for masks in gone.values()}:
        names = [name for name, masks in gone.items() if masks.shape[-2:] == grid]
        for start in range(0, len(patches), TOGETHER):
            part = slice(start, start + TOGETHER)
            wanted = [gone[name][part].reshape(len(patches[part]), -1, *grid) for name in names]
            found = _read_each_once(patches[part], np.concatenate(wanted, axis=1), read, replace)
            pieces = np.split(found, np.cumsum([w.shape[1] for w in wanted])[:-1], axis=1)
            for name, piece in zip(names, pieces, strict=True):
                scores[name][part] = piece.reshape(scores[name][part].shape)
    return scores


def _read_each_once(patches: Patches, gone: Cells, read: Read, replace: Replace) -> NDArray[np.float64]:
    count, masks = gone.shape[:2]
    owner = np.repeat(np.arange(count), masks)
    keys = np.column_stack([owner, gone.reshape(count * masks, -1)])
    unique, where = np.unique(keys, axis=0, return_inverse=True)
    owners, cells = unique[:, 0], unique[:, 1:].astype(bool).reshape(-1, *gone.shape[2:])
    order = np.lexsort(cells.reshape(len(cells), -1).T)  # alike masks together
    values = np.empty(len(unique))
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        batch = np.empty((len(chosen), *patches.shape[1:]), np.uint8)
        for index, changed in without(patches[owners[chosen]], cells[chosen], replace):
            batch[index] = changed
        values[chosen] = read(batch)
    return values[where.ravel()].reshape(count, masks)


# What the readings say --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """How the score of n patches falls and rises as cells go and come.

    Attributes:
        scores: (n, 2, steps + 1), hottest taken out first and coldest taken out first, see `removals`.
    """

    scores: NDArray[np.float64]

    @property
    def share(self) -> NDArray[np.float64]:
        """(steps + 1,) share of the cells that is deleted, or inserted, about even steps."""
        return np.linspace(0, 1, self.scores.shape[2])

    @property
    def deletion(self) -> NDArray[np.float64]:
        """(n, steps + 1) score as the hottest cells go; falls at once when they mattered."""
        return self.scores[:, 0]

    @property
    def insertion(self) -> NDArray[np.float64]:
        """(n, steps + 1) score as the hottest cells come into the replaced patch; rises at once when they mattered."""
        return self.scores[:, 1, ::-1]

    def areas(self) -> dict[str, NDArray[np.float64]]:
        """Areas under the curves by the trapezoid rule (Petsiuk et al. 2018, arXiv:1806.07421).

        Returns:
            (n,) each, in the score's unit: "deletion", lower is better; "insertion", higher is better; "gap", insertion
            - deletion, chance 0: cells in random order give both curves alike. Of m cells, one that alone moves the
            score from 0 to 1 gives 1/(2m), 1 - 1/(2m) and 1 - 1/m, the best a map can do.
        """
        deletion, insertion = _area(self.deletion), _area(self.insertion)
        return {"deletion": deletion, "insertion": insertion, "gap": insertion - deletion}

    def road(self) -> NDArray[np.float64]:
        """ROAD, (n,) in the score's unit: what inpainting the coldest cells leaves more than inpainting the hottest.

        Half the difference, mean over the steps between nothing and all (Rong et al. 2022, arXiv:2202.00449; combined
        as in pytorch-grad-cam). Chance 0, positive is good. Only for scores read with `inpainted`.
        """
        hottest, coldest = self.scores[:, 0, 1:-1], self.scores[:, 1, 1:-1]
        return np.asarray((coldest - hottest).mean(axis=1) / 2)


def curves(patches: Patches, maps: Mapping[str, Maps], read: Read, replace: Replace) -> dict[str, Curves]:
    """Deletion and insertion curves of several methods' maps (n, h, w) of the same patches, read together."""
    gone = {name: removals(heatmaps) for name, heatmaps in maps.items()}
    return {name: Curves(scores) for name, scores in read_without(patches, gone, read, replace).items()}


def cell_drops(patches: Patches, grid: tuple[int, int], read: Read, replace: Replace) -> NDArray[np.float64]:
    """How far the score falls when each cell is replaced alone: (n, h, w); the same for every method of a grid."""
    gone = np.concatenate([np.zeros((1, *grid), bool), single_cells(grid)])
    scores = read_without(patches, {"": np.broadcast_to(gone, (len(patches), *gone.shape))}, read, replace)[""]
    return (scores[:, :1] - scores[:, 1:]).reshape(len(patches), *grid)


def drop_correlation(maps: Maps, drops: NDArray[np.floating]) -> NDArray[np.float64]:
    """Whether evidence foretells the drop, patch by patch (Sensitivity-n with n = 1, Ancona et al. 2018, 1711.06104).

    Args:
        maps: (n, h, w).
        drops: (n, h, w), see `cell_drops`.

    Returns:
        Rank correlation (n,) in [-1, 1], chance 0; nan where a map or all drops are the same everywhere.
    """
    return pearson(*(rankdata(np.asarray(a, np.float64).reshape(len(a), -1), axis=1) for a in (maps, drops)))


def pearson(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation (n,) of rows (n, m) in [-1, 1]; nan where a row is the same everywhere."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    flat = (np.ptp(a, axis=1) <= 1e-12) | (np.ptp(b, axis=1) <= 1e-12) | (size == 0)
    return np.asarray(np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=~flat))


def _area(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((curve[:, :-1] + curve[:, 1:]).mean(axis=1) / 2)
