"""Where tissue lies on a slide, seen from afar: what is coloured or textured, without pen, dust and black borders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

UM_PER_PX = 8.0
"""Of the overview that tissue is sought on: four pixels across a cell of 32 px at 0.97 um."""
COLOURED = (0.03, 0.12)
"""Range of the threshold on colour (largest less smallest channel, of 1): Otsu's own is taken within it."""
TEXTURE = 0.025
"""Standard deviation of grey, of 1, over WINDOW pixels that tell pale tissue, as the walls of fat, from glass."""
WINDOW = 5
BAND = 512
"""Rows of an overview that are looked at at a time."""
STAIN = (120, 179)
"""Hues of hematoxylin and eosin on OpenCV's scale of 180: from violet to red, and a little beyond into orange."""
ORANGE = 12
PEN = 0.35
"""Colour from which on a hue outside the stain's is a pen's."""
BLACK = 0.2
"""Brightest channel below which what has no colour is no tissue: borders, pen, dirt."""
CLOSING_UM, LEAST_UM2 = 60.0, 20_000.0
"""Gaps closed, as fat cells are, and the least area that is tissue."""


def tissue_mask(overview: Pixels, um_per_px: float) -> Mask:
    """Tissue on an overview.

    Colour by Otsu's threshold (1979), as in CLAM (Lu et al. 2021, arXiv:2004.09666), and local contrast beside it, so
    that fat and pale tissue are kept.

    Args:
        overview: uint8 (h, w, 3) RGB, best at UM_PER_PX.
        um_per_px: of it.

    Returns:
        (h, w) bool.
    """
    colour, rough = _colour_and_texture(overview)
    hue = np.ascontiguousarray(cv2.cvtColor(overview, cv2.COLOR_RGB2HSV)[..., 0])
    stained = (hue >= STAIN[0]) & (hue <= STAIN[1]) | (hue <= ORANGE)
    black = overview.max(axis=2) < BLACK * 255
    foreign = (~stained & (colour > PEN * 255)) | (black & (colour < COLOURED[1] * 255))
    seen = ((colour > _threshold(colour) * 255) & stained) | (rough & (colour > COLOURED[0] * 255 / 2))
    seen &= ~_widened(foreign, round(40 / um_per_px))
    closed = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, _disc(CLOSING_UM / um_per_px / 2)) > 0
    return _large(closed & ~foreign, LEAST_UM2 / um_per_px**2)


def outlines(mask: Mask) -> list[NDArray[np.int32]]:
    """Borders of a mask, outer and inner: (n, 2) x and y in its pixels each."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(contour[:, 0, :], np.int32) for contour in found if len(contour) > 2]


def in_cells(mask: Mask, rows: int, columns: int, cell: tuple[float, float]) -> NDArray[np.float32]:
    """The share of tissue in each of `rows` x `columns` cells of `cell` (width, height) mask pixels from its corner."""
    whole = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ys, xs = (
        np.clip(np.rint(np.arange(count + 1) * side), 0, limit).astype(int)
        for count, side, limit in zip((rows, columns), cell[::-1], mask.shape, strict=True)
    )
    total = (
        whole[np.ix_(ys[1:], xs[1:])]
        - whole[np.ix_(ys[:-1], xs[1:])]
        - whole[np.ix_(ys[1:], xs[:-1])]
        + whole[np.ix_(ys[:-1], xs[:-1])]
    )
    area = np.outer(np.diff(ys), np.diff(xs))
    return np.asarray(np.divide(total, area, out=np.zeros((rows, columns)), where=area > 0), np.float32)


def _colour_and_texture(overview: Pixels) -> tuple[Pixels, Mask]:
    """Largest less smallest channel, and where grey varies by more than TEXTURE: (h, w) each.

    Band by band: the numbers that they are made of would take many times the memory of the overview.
    """
    span, rough, margin = np.empty(overview.shape[:2], np.uint8), np.empty(overview.shape[:2], bool), WINDOW // 2
    for top in range(0, len(overview), BAND):
        first = max(0, top - margin)
        values = overview[first : top + BAND + margin].astype(np.float32) / 255
        grey = values.mean(axis=2)
        mean, square = (cv2.blur(one, (WINDOW, WINDOW)) for one in (grey, grey * grey))
        inner = slice(top - first, top - first + BAND)
        span[top : top + BAND] = ((values.max(axis=2) - values.min(axis=2)) * 255)[inner].astype(np.uint8)
        rough[top : top + BAND] = (np.sqrt(np.maximum(square - mean * mean, 0)) > TEXTURE)[inner]
    return np.asarray(cv2.medianBlur(span, 3), np.uint8), rough


def _threshold(colour: Pixels) -> float:
    """Otsu's on colour, of 1, within COLOURED."""
    from skimage.filters import threshold_otsu

    counts = np.bincount(colour.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    if len(levels) == 1:
        return COLOURED[1]
    histogram, edges = np.histogram(levels / 255, 256, weights=counts[levels])
    return float(np.clip(threshold_otsu(hist=(histogram, (edges[1:] + edges[:-1]) / 2)), *COLOURED))


@dataclass(frozen=True)
class Stroke:
    """What a person painted: tissue to be read, or to be left out.

    Attributes:
        adds: whether it is tissue.
        radius: of the brush, level-0 px.
        places: (n, 2) x and y of its middle, level-0 px.
    """

    adds: bool
    radius: float
    places: tuple[tuple[float, float], ...]


def corrected(tissue: NDArray[np.float32], strokes: Iterable[Stroke], cell: tuple[float, float]) -> NDArray[np.float32]:
    """Shares of tissue (rows, columns) after strokes, one after another: a cell whose middle one covers is all or none.

    Args:
        tissue: as it was found.
        strokes: the last one counts.
        cell: width and height of a cell, level-0 px.
    """
    found = tissue.copy()
    for stroke in strokes:
        places = np.array(stroke.places)
        starts, ends = (places[:-1], places[1:]) if len(places) > 1 else (places, places)
        for start, end in zip(starts, ends, strict=True):
            box = _cells_near(start, end, stroke.radius, cell, found.shape)
            xs, ys = (
                (np.arange(part.start, part.stop) + 0.5) * side for part, side in zip(box[::-1], cell, strict=True)
            )
            middles = np.stack(np.meshgrid(xs, ys), axis=2)
            along = end - start
            length = float(along @ along)
            share = np.clip((middles - start) @ along / length, 0, 1) if length else np.zeros(middles.shape[:2])
            off = middles - start - share[..., None] * along
            found[box][(off * off).sum(axis=2) <= stroke.radius**2] = stroke.adds
    return found


def _cells_near(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
    cell: tuple[float, float],
    shape: tuple[int, ...],
) -> tuple[slice, slice]:
    """Rows and columns of all cells whose middles may lie within `radius` of a line."""
    low = np.floor((np.minimum(start, end) - radius) / cell).astype(int)
    high = np.ceil((np.maximum(start, end) + radius) / cell).astype(int)
    (left, top), (right, bottom) = (np.clip(one, 0, shape[::-1]).tolist() for one in (low, high))
    return slice(top, bottom), slice(left, right)


def _widened(mask: Mask, by: int) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), _disc(by)) > 0 if by > 0 else mask


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _large(mask: Mask, least: float) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= least
    keep[0] = False
    return np.asarray(keep[labels])
