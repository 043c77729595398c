"""Do maps point at tumour? Mosaics of real patches, the label's centre, and pixel masks; baselines on the same footing.

A signed map (n, h, w) speaks for tumour where it is positive. Every measure has a chance level that its docstring
states, and `baselines` gives three maps that know nothing of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.corruptions import stains
from core.explain.grid import enlarge
from core.task import Task

Patches = NDArray[np.uint8]
Maps = NDArray[np.floating]
Masks = NDArray[np.integer] | NDArray[np.bool_]

PRIOR_SIGMA = 0.25
"""Spread of the centre prior, as a share of the side."""
LEVELS = 1024
"""Thresholds that pixel figures are told apart at."""


def mosaic_plan(
    labels: NDArray[np.integer], side: int, count: int, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which patches make `count` mosaics of `side` x `side`, one tumour patch in each.

    Tumour patches are used as evenly as can be; no mosaic holds a normal patch twice.

    Args:
        labels: (n,) 0 or 1; at least one tumour patch and side^2 - 1 others.
        side: cells along an edge.
        count: mosaics.
        seed: of the draw.

    Returns:
        indices (count, side^2) of patches in reading order, and the tumour patch's cell (count,) in 0..side^2 - 1.

    Raises:
        ValueError: too few patches of a kind.
    """
    generator = np.random.default_rng(seed)
    tumour, normal = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    others = side * side - 1
    if not len(tumour) or len(normal) < others:
        raise ValueError(f"A mosaic needs a tumour patch and {others} normal ones.")
    rounds = -(-count // len(tumour))
    chosen = np.concatenate([generator.permutation(tumour) for _ in range(rounds)])[:count]
    around = np.stack([generator.choice(normal, others, replace=False) for _ in range(count)])
    cell = generator.integers(side * side, size=count)
    index = np.stack([np.insert(row, where, hit) for row, where, hit in zip(around, cell, chosen, strict=True)])
    return index, cell


def tiled(patches: Patches) -> Patches:
    """Mosaics (n, side * h, side * w, 3) of patches (n, side^2, h, w, 3) in reading order."""
    count, cells, height, width, channels = patches.shape
    side = round(cells**0.5)
    grid = patches.reshape(count, side, side, height, width, channels).swapaxes(2, 3)
    return np.ascontiguousarray(grid.reshape(count, side * height, side * width, channels))


@dataclass(frozen=True)
class Pointing:
    """Where the positive evidence of n mosaics lies.

    Attributes:
        share: (n,) in [0, 1], share of it inside the tumour patch's cell; chance 1 / side^2.
        hit: (n,) in [0, 1], whether the hottest cell of the map lies there (ties share); chance 1 / side^2.

    A map without positive evidence points nowhere although a tumour is there: its share and its hit are 0.
    """

    share: NDArray[np.float64]
    hit: NDArray[np.float64]


def cell_share(maps: Maps, cell: NDArray[np.integer], side: int) -> Pointing:
    """The grid pointing game (Boehle et al. 2021, arXiv:2104.00032; Rao et al. 2022, arXiv:2205.10435).

    Args:
        maps: (n, h, w), h and w multiples of `side`.
        cell: (n,) the tumour patch's cell in reading order.
        side: cells along an edge of the mosaic.
    """
    count, height, width = maps.shape
    in_cells = maps.reshape(count, side, height // side, side, width // side).swapaxes(2, 3)
    in_cells = in_cells.reshape(count, side * side, -1).astype(np.float64)
    evidence = np.maximum(in_cells, 0).sum(axis=2)
    total = evidence.sum(axis=1)
    heard = total > 0
    own = np.arange(count), cell
    share = np.divide(evidence[own], total, out=np.zeros(count), where=heard)
    hottest = in_cells == in_cells.max(axis=(1, 2), keepdims=True)
    hit = np.where(heard, hottest[own].sum(axis=1) / hottest.sum(axis=(1, 2)), 0.0)
    return Pointing(share, hit)


def pointing_game(maps: Maps, masks: Masks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whether the hottest pixel lies on tumour (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x).

    Args:
        maps: (n, h, w), enlarged bilinearly to the mask.
        masks: (n, side, side), above 0 = tumour.

    Returns:
        hit (n,) in [0, 1], where tied pixels share, 0 without positive evidence, nan without tumour; and chance (n,),
        the tumour's share of the pixels.
    """
    tumour = np.asarray(masks).astype(bool)
    pixels = enlarge(maps, tumour.shape[-1], smooth=True)
    highest = pixels.max(axis=(1, 2), keepdims=True)
    hottest = pixels >= highest
    hit = (hottest & tumour).sum(axis=(1, 2)) / hottest.sum(axis=(1, 2))
    hit = np.where(highest[:, 0, 0] > 0, hit, 0.0)
    share = tumour.mean(axis=(1, 2))
    return np.where(share > 0, hit, np.nan), share


def levels(maps: Maps) -> NDArray[np.float64]:
    """Edges between LEVELS levels of evidence, (LEVELS - 1,) or fewer: quantiles of the maps' values."""
    return np.asarray(np.unique(np.quantile(np.asarray(maps, np.float64), np.linspace(0, 1, LEVELS + 1)[1:-1])))


def pixel_counts(maps: Maps, masks: Masks, edges: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many healthy and tumour pixels of each image lie on each level of evidence.

    All pixel figures come from these counts, which add up: over chunks, and over the images of a bootstrap draw.

    Args:
        maps: (n, h, w), enlarged bilinearly to the mask.
        masks: (n, side, side), above 0 = tumour.
        edges: (levels - 1,) ascending, see `levels`.

    Returns:
        (n, 2, levels) int64; row 0 healthy, row 1 tumour; level k holds values from edges[k - 1] up to below edges[k].
    """
    tumour = np.asarray(masks).astype(bool)
    count, bins = len(maps), len(edges) + 1
    found = np.zeros((count, 2, bins), np.int64)
    for i in range(count):
        level = np.searchsorted(edges, enlarge(maps[i], tumour.shape[-1], smooth=True).ravel(), side="right")
        found[i] = np.bincount(level + bins * tumour[i].ravel(), minlength=2 * bins).reshape(2, bins)
    return found


def pixel_figures(counts: NDArray[np.integer], threshold: int | None = None) -> dict[str, float]:
    """Pixel AUC, average precision and IoU of pooled pixels (PxAP: Choe et al. 2020, arXiv:2007.04178).

    Args:
        counts: (2, levels), `pixel_counts` summed over images.
        threshold: the level from which on a pixel counts as tumour, chosen on other images by `best_level`; without it
            there is no IoU.

    Returns:
        "pixel_auc" in [0, 1], chance 0.5, ties within a level count half; "average_precision" in [0, 1], chance the
        share of tumour pixels, given as "tumour"; "iou" in [0, 1]. nan where one kind of pixel is missing.
    """
    healthy, tumour = counts.astype(np.float64)
    positives, negatives = tumour.sum(), healthy.sum()
    figures = {"pixel_auc": np.nan, "average_precision": np.nan, "tumour": np.nan}
    if positives + negatives:
        figures["tumour"] = float(positives / (positives + negatives))
    if positives and negatives:
        below = np.cumsum(healthy) - healthy
        figures["pixel_auc"] = float(((below + healthy / 2) * tumour).sum() / (positives * negatives))
        called, right = (np.cumsum(kind[::-1]) for kind in (healthy + tumour, tumour))
        precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
        figures["average_precision"] = float((precision * tumour[::-1]).sum() / positives)
    if threshold is not None:
        figures["iou"] = float(_ious(counts)[threshold])
    return figures


def best_level(counts: NDArray[np.integer]) -> int:
    """The level of (2, levels) counts from which on calling tumour gives the highest IoU."""
    return int(np.nanargmax(_ious(counts)))


def _ious(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    healthy, tumour = (np.cumsum(kind[::-1])[::-1].astype(np.float64) for kind in counts)
    union = healthy + counts[1].sum()
    return np.asarray(np.divide(tumour, union, out=np.full(len(union), np.nan), where=union > 0))


def baselines(images: Patches, grid: tuple[int, ...], task: Task, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Maps that know nothing of the network, (n, *grid) each, to stand beside every method.

    Args:
        images: uint8 (n, h, w, 3), h and w multiples of the grid's.
        grid: rows and columns of the methods' maps.
        task: says whether there is hematoxylin to look for.
        seed: of the random map.

    Returns:
        "random": standard normal cells; "centre prior": a Gaussian about the image's middle; "hematoxylin": the mean
        amount of hematoxylin in each cell, optical density; where the task has no stain, "darkness" in its place.
    """
    count = len(images)
    random = np.random.default_rng(seed).standard_normal((count, *grid), dtype=np.float32)
    down, right = (np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * PRIOR_SIGMA**2)) for n in grid)
    prior = np.broadcast_to(np.outer(down, right).astype(np.float32), (count, *grid))
    found = {"random": random, "centre prior": prior}
    if task.stain is None:
        return found | {"darkness": darkness(images, grid)}
    return found | {"hematoxylin": hematoxylin(images, grid)}


def darkness(images: Patches, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Mean darkness of each cell, (n, *grid) float32 in 0..1."""
    return np.asarray([_cell_means(1 - image.mean(axis=2) / 255, grid) for image in images], np.float32)


def _cell_means(values: NDArray[np.floating], grid: tuple[int, ...]) -> NDArray[np.floating]:
    rows, columns = grid
    height, width = values.shape
    return np.asarray(values.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3)))


def hematoxylin(images: Patches, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Mean amount of hematoxylin in each cell, (n, *grid) float32 in optical density (Ruifrok & Johnston 2001)."""
    maps = [_cell_means(np.maximum(stains(image[None])[0, ..., 0], 0), grid) for image in images]
    return np.asarray(maps, np.float32).reshape(len(images), *grid)
