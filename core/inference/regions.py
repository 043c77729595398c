"""Regions: tissue larger than a patch, read in one pass.

Where layers are padded, a region is one large picture to the network. Where they are not, a cell is a function of its
window of pixels, so a region is read tile by tile, where a tile is cut changes nothing, and memory is bounded by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ExplanationError
from core.explain.question import Question
from core.explain.registry import LAST, METHODS, target_weights
from core.inference.explainer import ExplainedNetwork
from core.models.receptive_field import ReceptiveField
from core.task import PREDICTED, STRIDE

Array = NDArray[np.float32]
TILE = 64
"""Cells along the side of a tile: a larger one computes less halo, and takes more memory."""


def region_maps(net: ExplainedNetwork, images: NDArray[Any], method: str, layer: str, target: str) -> Array:
    """See `Reader.region`; the words are known to be the network's."""
    field = net.stored.description.net.field
    if field is None:
        _require("method", method, [name for name, known in METHODS.items() if known.kind == "cam"])
        regions = _as_regions(images, STRIDE)
        found = [_one_picture(net, regions[i : i + 1], method, layer, target) for i in range(len(regions))]
        return np.concatenate(found)
    task = net.stored.description.task
    _require("method", method, [name for name, known in METHODS.items() if known.local_at_last])
    _require("layer", layer, [LAST])
    _require("target", target, [name for name in task.targets if name != PREDICTED])

    weights = target_weights(target, np.zeros(1, bool), task)
    regions = _as_regions(images, 1)
    return np.stack([cells_of(image, field, partial(_cells, net, method, weights)) for image in regions])


def amid_reflections(patches: NDArray[np.uint8], field: ReceptiveField) -> NDArray[np.uint8]:
    """Patches (n, side, side, 3) with so many pixels reflected around them that each of their tiles has a cell."""
    seen = _pixels(field, slice(0, field.tiles(patches.shape[1])), patches.shape[1])
    return np.ascontiguousarray(patches[:, seen[:, None], seen])


def whole_patches(net: ExplainedNetwork, surrounded: NDArray[np.uint8], method: str, weights: Array) -> Array:
    """A cell for every tile of patches, read as regions together: (n, side / stride, side / stride).

    Args:
        net: without padding.
        surrounded: uint8 (n, side + 2 `field.margin`, same, 3), the patches in the middle.
        method: whose cells know nothing of the others.
        weights: (n, 2), see `Question.weights`.
    """
    return _cells(net, method, weights, surrounded)


def _cells(net: ExplainedNetwork, method: str, weights: Array, tiles: NDArray[np.uint8]) -> Array:
    """The cells (n, rows, columns) of tiles, each in the unit of a patch's."""
    bundle = net.stored.description
    assert bundle.net.field is not None
    maps = net.engine.forward(tiles)[0]
    # As of a patch, whose evidence its own cells share out among them: the methods are linear in the weights.
    weights = weights * np.float32(maps[0, 0].size / bundle.net.field.cells(bundle.task.side) ** 2)
    return METHODS[method].explain(net, Question(tiles[:0], LAST, maps, 0 * weights, weights, _silent))


def _one_picture(net: ExplainedNetwork, image: NDArray[np.uint8], method: str, layer: str, target: str) -> Array:
    bundle = net.stored.description
    maps, logits = net.engine.forward(image)
    point = bundle.point(1)
    called = point.view_probability(logits[:, 1] - logits[:, 0]) >= point.threshold
    weights = target_weights(target, called, bundle.task)
    return METHODS[method].explain(net, Question(image, layer, maps, logits, weights, _silent))


def cells_of(image: NDArray[np.uint8], field: ReceptiveField, read: Callable[[NDArray[np.uint8]], Array]) -> Array:
    """A value of each cell of a picture, by one pass; what lies beyond its border is the picture reflected.

    Args:
        image: uint8 (h, w, 3) RGB.
        field: of the network.
        read: a tile uint8 (1, h, w, 3) -> the values (1, rows, columns) of its cells.

    Returns:
        float32 (rows, columns), a cell for each `field.stride` pixels; `field.beyond` says which saw reflected tissue.
    """
    sides = image.shape[:2]
    found = np.empty([field.tiles(side) for side in sides], np.float32)
    for down in _spans(found.shape[0]):
        for across in _spans(found.shape[1]):
            ys, xs = (_pixels(field, span, side) for span, side in zip((down, across), sides, strict=True))
            found[down, across] = read(np.ascontiguousarray(image[ys[:, None], xs][None]))[0]
    return found


def patch_logits(
    net: ExplainedNetwork, image: NDArray[np.uint8], stride: int, wanted: NDArray[np.bool_] | None = None
) -> Array:
    """See `Reader.patch_logits`."""
    bundle = net.stored.description
    field, side = bundle.net.field, bundle.task.side
    if field is None or stride % field.stride:
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))[::stride, ::stride]
        asked = np.ones(windows.shape[:2], bool) if wanted is None else wanted
        rows, columns = np.nonzero(asked)
        found = np.full(asked.shape, np.nan, np.float32)
        for i in range(0, len(rows), net.batch):
            places = rows[i : i + net.batch], columns[i : i + net.batch]
            found[places] = _margin(net.logits(np.ascontiguousarray(np.moveaxis(windows[places], 1, -1))))
        return found
    cells = _margin(np.einsum("nkhw,ck->nhwc", net.engine.forward(image[None])[0], net.weight) + net.stored.head[1])[0]
    own, every = field.cells(side), stride // field.stride
    windows = np.lib.stride_tricks.sliding_window_view(cells, (own, own))[::every, ::every]
    return np.asarray(windows.mean(axis=(2, 3)), np.float32)


def _margin(logits: Array) -> Array:
    return np.asarray(logits[..., 1] - logits[..., 0], np.float32)


def _require(kind: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise ExplanationError(kind, word, known)


def _silent(passes: int) -> None:
    """Nobody waits for a count of passes."""


def _as_regions(images: NDArray[Any], multiple: int) -> NDArray[np.uint8]:
    regions = images[None] if images.ndim == 3 else images
    fits = regions.ndim == 4 and regions.shape[3] == 3 and regions.size
    if regions.dtype != np.uint8 or not fits or any(side % multiple for side in regions.shape[1:3]):
        sides = f", sides multiples of {multiple}" if multiple > 1 else ""
        raise ValueError(f"A region is uint8 (n, h, w, 3){sides}, not {regions.dtype} {regions.shape}")
    return np.ascontiguousarray(regions)


def _spans(count: int) -> Iterator[slice]:
    """The cells of each tile along an axis of `count`, all of one length: the last goes back over some there were."""
    length = min(TILE, count)
    for start in range(0, count, length):
        first = min(start, count - length)
        yield slice(first, first + length)


def _pixels(field: ReceptiveField, cells: slice, side: int) -> NDArray[np.intp]:
    """Which of `side` pixels the network is given for some cells of an axis.

    Beyond the border they are reflected without end; the outermost is not repeated, as by NumPy's `reflect`.
    """
    places = np.arange(cells.start * field.stride - field.margin, cells.stop * field.stride + field.margin)
    period = max(1, 2 * (side - 1))
    folded = places % period
    return np.where(folded < side, folded, period - folded)
