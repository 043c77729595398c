"""Do maps point at tumour? Mosaics of real patches, the label's centre, and pixel masks; baselines on the same footing.

A signed map (n, h, w) speaks for tumour where it is positive. Every measure has a chance level that its docstring
states, and `baselines` gives maps that know nothing of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.data.corruptions import stains
from core.explain.grid import cell_weights, enlarge
from core.task import STRIDE, Task

Patches = NDArray[np.uint8]
Maps = NDArray[np.floating]
Masks = NDArray[np.integer] | NDArray[np.bool_]

PRIOR_SIGMA = 0.25
"""Spread of the centre prior, as a share of the side."""
SMOOTH_SIGMA = 16.0
"""Pixels that hematoxylin is smoothed over before its inverse is taken: where nuclei lie sparse, not where one is."""
SIGNED = ("random", "own logit")
"""Baselines whose sign means something; the others only order the cells of an image."""
LEVELS = 1024
"""Thresholds that pixel figures are told apart at."""


def mosaic_plan(
    labels: NDArray[np.integer], side: int, count: int, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which patches make `count` mosaics of `side` x `side`, one tumour patch in each.

    No patch stands in two of them, so that mosaics are as independent as the patches are.

    Args:
        labels: (n,) 1, 0, or anything else for patches that are not to be used.
        side: cells along an edge.
        count: mosaics that are wanted; there are fewer where patches are.
        seed: of the draw.

    Returns:
        indices (mosaics, side^2) of patches in reading order, and the tumour patch's cell (mosaics,) in
        0..side^2 - 1; none where there are too few patches of a kind.
    """
    generator = np.random.default_rng(seed)
    tumour, normal = (generator.permutation(np.flatnonzero(labels == kind)) for kind in (1, 0))
    others = side * side - 1
    count = min(count, len(tumour), len(normal) // others)
    if not count:
        return np.zeros((0, side * side), np.intp), np.zeros(0, np.intp)
    chosen, around = tumour[:count], normal[: count * others].reshape(count, others)
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

    All but "random" only order the cells of an image: before shares of positive evidence are taken they are `centred`.

    Args:
        images: uint8 (n, h, w, 3), h and w multiples of the grid's.
        grid: rows and columns of the methods' maps.
        task: says whether there is hematoxylin to look for.
        seed: of the random map.

    Returns:
        "random": standard normal cells; "centre prior": a Gaussian about the image's middle; "hematoxylin": the mean
        amount of hematoxylin in each cell, optical density; "inverse hematoxylin": minus that of hematoxylin smoothed
        over SMOOTH_SIGMA, since tumour cells lie less densely than lymphocytes; "hematoxylin variation": minus its
        standard deviation within each cell. Where the task has no stain, "darkness" in place of the last three.
    """
    count = len(images)
    random = np.random.default_rng(seed).standard_normal((count, *grid), dtype=np.float32)
    down, right = (np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * PRIOR_SIGMA**2)) for n in grid)
    prior = np.broadcast_to(np.outer(down, right).astype(np.float32), (count, *grid))
    found = {"random": random, "centre prior": prior}
    if task.stain is None:
        return found | {"darkness": darkness(images, grid)}
    of_stain: dict[str, list[NDArray[np.floating]]] = {}
    for image in images:
        for name, cells in _of_hematoxylin(image, grid).items():
            of_stain.setdefault(name, []).append(cells)
    return found | {
        name: np.asarray(of_stain.get(name, []), np.float32).reshape(count, *grid)
        for name in ("hematoxylin", "inverse hematoxylin", "hematoxylin variation")
    }


def centred(maps: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Baselines (n, h, w) by name, those without a sign of their own less their mean over the cells of each image.

    Clipped at zero, a map that is positive throughout has some evidence everywhere and a signed one has not. What only
    depends on the order of an image's cells is the same before and after.
    """
    return {
        name: found if name in SIGNED else found - found.mean(axis=(1, 2), keepdims=True)
        for name, found in maps.items()
    }


def slid(
    image: Patches, task: Task, logit: Callable[[Patches], NDArray[np.floating]], at_once: int = 32
) -> NDArray[np.float32] | None:
    """What the network says of every patch of a region, read alone: its logit, slid over the region cell by cell.

    A window's logit stands at its middle, which for PCam is the middle of the cell that its label is about; other cells
    lie between windows. Cells nearer to the edge than half a window have the nearest window's.

    Args:
        image: uint8 (h, w, 3), h and w multiples of STRIDE.
        task: whose patches are read.
        logit: uint8 (n, side, side, 3) to logits (n,).
        at_once: patches in one call.

    Returns:
        (1, h / 32, w / 32) float32, linear between the middles of windows; None where no window fits.
    """
    if min(image.shape[:2]) < task.side:
        return None
    window = np.lib.stride_tricks.sliding_window_view(image, (task.side, task.side), axis=(0, 1))[::STRIDE, ::STRIDE]
    rows, columns = window.shape[:2]
    patches = np.moveaxis(window, 2, -1)
    parts = [logit(np.ascontiguousarray(line[i : i + at_once])) for line in patches for i in range(0, columns, at_once)]
    read = np.concatenate(parts).reshape(rows, columns)
    down, right = (
        cell_weights(count, (np.arange(side // STRIDE) + 0.5 - task.side / (2 * STRIDE) + 0.5) / count)
        for count, side in zip((rows, columns), image.shape[:2], strict=True)
    )
    return (down @ read @ right.T).astype(np.float32)[None]


def darkness(images: Patches, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Mean darkness of each cell, (n, *grid) float32 in 0..1."""
    return np.asarray([_in_cells(1 - image.mean(axis=2) / 255, grid).mean(axis=(1, 3)) for image in images], np.float32)


def hematoxylin(images: Patches, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Mean amount of hematoxylin in each cell, (n, *grid) float32 in optical density (Ruifrok & Johnston 2001)."""
    maps = [_in_cells(_hematoxylin(image), grid).mean(axis=(1, 3)) for image in images]
    return np.asarray(maps, np.float32).reshape(len(images), *grid)


def _of_hematoxylin(image: Patches, grid: tuple[int, ...]) -> dict[str, NDArray[np.floating]]:
    amount = _hematoxylin(image)
    smooth = cv2.GaussianBlur(amount, (0, 0), SMOOTH_SIGMA, borderType=cv2.BORDER_REFLECT)
    cells = _in_cells(amount, grid)
    return {
        "hematoxylin": cells.mean(axis=(1, 3)),
        "inverse hematoxylin": -_in_cells(np.asarray(smooth, np.float32), grid).mean(axis=(1, 3)),
        "hematoxylin variation": -cells.std(axis=(1, 3)),
    }


def _hematoxylin(image: Patches) -> NDArray[np.float32]:
    return np.maximum(stains(image[None])[0, ..., 0], 0)


def _in_cells(values: NDArray[np.floating], grid: tuple[int, ...]) -> NDArray[np.floating]:
    """Pixels (h, w) by cell: (rows, h / rows, columns, w / columns)."""
    rows, columns = grid
    height, width = values.shape
    return values.reshape(rows, height // rows, columns, width // columns)
