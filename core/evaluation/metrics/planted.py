"""Planted truth: tissue of the positive class is put into a known cell of a patch without it.

It asks two things: which maps find the place, and which metrics rank maps of known quality rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.faithfulness import Maps, Patches, drop_correlation
from core.evaluation.metrics.shapley import Coalitions
from core.task import Task

Cells = NDArray[np.intp]


@dataclass(frozen=True)
class Plants:
    """n patches with tissue planted in one cell each.

    Attributes:
        host: uint8 (n, side, side, 3) as they were, labelled negative.
        positive: uint8 (n, side, side, 3), the centre of a patch labelled positive in the cell.
        control: the same patches with the centre of another patch labelled negative in the same cell.
        cell: (n,) of the 3 x 3 cells of a third of the side, in reading order.
    """

    host: Patches
    positive: Patches
    control: Patches
    cell: Cells


def planted(patches: Patches, labels: NDArray[np.integer], task: Task, count: int, seed: int = 0) -> Plants:
    """Plant the label's box of patches in cells of others.

    Args:
        patches: uint8 (n, side, side, 3).
        labels: (n,) 0 or 1; a label 1 says that the box in the middle holds the positive class.
        task: says how large that box is; its label must be about the centre.
        count: plants; hosts, and what is planted, are each used as evenly as can be.
        seed: of the draw.

    Raises:
        ValueError: too few patches of a label, or the box is not a third of the side.
    """
    cell_side, rest = divmod(task.side, 3)
    box = task.label_box
    if rest or box.stop - box.start != cell_side:
        raise ValueError("The label's box is not one of 3 x 3 cells.")
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not len(positive) or len(negative) < 3:
        raise ValueError("Too few patches to plant.")
    generator = np.random.default_rng(seed)

    def evenly(among: Cells) -> Cells:
        rounds = -(-count // len(among))
        return np.concatenate([generator.permutation(among) for _ in range(rounds)])[:count]

    hosts, grafts, controls = evenly(negative), evenly(positive), evenly(negative)
    same = np.flatnonzero(hosts == controls)
    for place in same:
        controls[place] = generator.choice(negative[negative != hosts[place]])
    cell = generator.permutation(9)[np.arange(count) % 9]  # those of neighbours differ
    found = []
    for sources in (grafts, controls):
        images = patches[hosts].copy()
        for number, (source, where) in enumerate(zip(sources, cell, strict=True)):
            top, left = where // 3 * cell_side, where % 3 * cell_side
            images[number, top : top + cell_side, left : left + cell_side] = patches[source][box, box]
        found.append(images)
    return Plants(patches[hosts], found[0], found[1], cell)


def hit(maps: Maps, cell: Cells) -> NDArray[np.float64]:
    """Whether the hottest of 3 x 3 cells is the planted one, (n,) in [0, 1]; ties share. Chance 1/9."""
    flat = nine(maps)
    hottest = flat >= flat.max(axis=1, keepdims=True)
    return np.asarray(hottest[np.arange(len(flat)), cell] / hottest.sum(axis=1))


def positive_share(maps: Maps, cell: Cells) -> NDArray[np.float64]:
    """Share of the positive evidence in the planted cell, (n,) in [0, 1]; 0 where there is none. Chance 1/9."""
    positive = np.maximum(nine(maps), 0)
    total = positive.sum(axis=1)
    own = positive[np.arange(len(cell)), cell]
    return np.asarray(np.divide(own, total, out=np.zeros(len(cell)), where=total > 0))


def nine(maps: Maps) -> NDArray[np.float64]:
    """Maps (n, h, w), h and w multiples of 3, as means of 3 x 3 cells (n, 9)."""
    count, height, width = maps.shape
    cells = np.asarray(maps, np.float64).reshape(count, 3, height // 3, 3, width // 3)
    return np.asarray(cells.mean(axis=(2, 4)).reshape(count, 9))


# Which metrics rank maps rightly


GRADES: dict[str, float] = {
    "inverted": -1.0,
    "permuted": -0.125,
    "noise": 0.0,
    "1/4": 0.25,
    "1/2": 0.5,
    "3/4": 0.75,
    "truth": 1.0,
}
"""Maps of known quality, as correlation with the truth would have it: so much truth, the rest noise, thrice as strong.

A permuted map is the truth of another patch, whose tissue lies in another cell.
"""
NOISES = 20
"""Draws of the noise that each figure is the mean of: maps cost nothing once the coalitions are read."""


def graded(cell: Cells, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Maps (n, 3, 3) of every grade for patches whose truth is `cell` (n,), the cell before each another one."""
    count = len(cell)
    generator = np.random.default_rng(seed)
    truth = np.eye(9)[cell] * 9 / np.sqrt(8) - 1 / np.sqrt(8)  # mean 0, variance 1
    noise = generator.standard_normal((count, 9))
    other = truth[np.roll(np.arange(count), 1)]
    found = {}
    for name, share in GRADES.items():
        if name == "permuted":
            maps = other
        elif name == "inverted":
            maps = -truth
        else:
            maps = share * truth + (1 - share) * 3 * noise
        found[name] = maps.reshape(count, 3, 3)
    return found


METRICS: dict[str, Callable[[NDArray[np.float64], Cells, Coalitions], NDArray[np.float64]]] = {
    "planted_hit": lambda maps, cell, _: hit(maps, cell),
    "planted_share": lambda maps, cell, _: positive_share(maps, cell),
    "gap_donor": lambda maps, _, table: table.curves(maps).areas()["gap"],
    "shapley_spearman": lambda maps, _, table: drop_correlation(maps, table.shapley()),
    "drop_donor": lambda maps, _, table: drop_correlation(maps, table.drops()),
}
"""Maps (n, 3, 3), planted cells (n,) and coalitions -> figure (n,)."""


def ranking(cell: Cells, table: Coalitions, seed: int = 0) -> tuple[dict[str, list[float]], dict[str, float]]:
    """How each metric ranks maps of known quality on planted patches.

    Args:
        cell: (n,) the planted cells.
        table: coalitions of those patches.
        seed: of the noise.

    Returns:
        By metric the mean figure of each of GRADES, and Kendall's tau-b in [-1, 1] between it and the grade's quality.
    """
    from scipy.stats import kendalltau

    drawn = [graded(cell, seed + number) for number in range(NOISES)]
    means = {
        name: [float(np.nanmean([metric(maps[grade], cell, table) for maps in drawn])) for grade in GRADES]
        for name, metric in METRICS.items()
    }
    quality = list(GRADES.values())
    return means, {name: float(kendalltau(quality, values).statistic) for name, values in means.items()}
