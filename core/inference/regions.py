"""Regions: tissue larger than a patch, read in one pass.

Where layers are padded, a region is one large picture to the network. Where they are not, a cell is a function of its
window of pixels, so a region is read tile by tile, where a tile is cut changes nothing, and memory is bounded by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

    def value(maps: Array) -> Array:
        weights = target_weights(target, np.zeros(len(maps), bool), task)
        return METHODS[method].explain(net, Question(regions[:0], layer, maps, 0 * weights, weights, _silent))

    def forward(tile: NDArray[np.uint8]) -> Array:
        return net.engine.forward(tile)[0]

    regions = _as_regions(images, 1)
    return np.stack([cells_of(image, field, field.cells(task.side), forward, value) for image in regions])


def _one_picture(net: ExplainedNetwork, image: NDArray[np.uint8], method: str, layer: str, target: str) -> Array:
    bundle = net.stored.description
    maps, logits = net.engine.forward(image)
    point = bundle.point(1)
    called = point.view_probability(logits[:, 1] - logits[:, 0]) >= point.threshold
    weights = target_weights(target, called, bundle.task)
    return METHODS[method].explain(net, Question(image, layer, maps, logits, weights, _silent))


def cells_of(
    image: NDArray[np.uint8],
    field: ReceptiveField,
    block: int,
    forward: Callable[[NDArray[np.uint8]], Array],
    value: Callable[[Array], Array],
) -> Array:
    """A value of each cell of a picture, by one pass; what lies beyond its border is the picture reflected.

    Args:
        image: uint8 (h, w, 3) RGB.
        field: of the network.
        block: cells along the side of the blocks that `value` is asked about: those of a patch, so that a cell gets
            the patch's numbers.
        forward: uint8 (1, h, w, 3) -> last maps (1, k, rows, columns).
        value: last maps of n blocks (n, k, block, block) -> (n, block, block).

    Returns:
        float32 (rows, columns), a cell for each `field.stride` pixels; `field.beyond` says which saw reflected tissue.
    """
    height, width = image.shape[:2]
    rows, columns = field.tiles(height), field.tiles(width)
    found = np.empty((rows, columns), np.float32)
    for top, down in _spans(rows, block):
        for left, right in _spans(columns, block):
            ys, xs = (_pixels(field, *span) for span in ((top, down), (left, right)))
            tile = image[_reflected(ys, height)[:, None], _reflected(xs, width)]
            maps = forward(np.ascontiguousarray(tile[None]))
            values = _joined(value(_blocks(maps[0], block)), (down - top) // block)
            end = min(down, rows), min(right, columns)
            found[top : end[0], left : end[1]] = values[: end[0] - top, : end[1] - left]
    return found


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


def _spans(count: int, block: int) -> Iterator[tuple[int, int]]:
    """First cell and the one behind the last of each tile along an axis, whole blocks each and all of one length.

    The last tile goes back over cells that were read, or on beyond the last.
    """
    length = min(TILE // block * block, -(-count // block) * block)
    for start in range(0, count, length):
        first = max(0, min(start, (count - length + block - 1) // block * block))
        yield first, first + length


def _pixels(field: ReceptiveField, first: int, end: int) -> NDArray[np.intp]:
    """Pixels that the network is given for cells `first` to `end` of an axis; below 0 where they lie before it."""
    return np.arange(first * field.stride - field.margin, end * field.stride + field.margin)


def _reflected(pixels: NDArray[np.intp], side: int) -> NDArray[np.intp]:
    """Which of `side` pixels stand at places before, in or after them when they are reflected without end.

    The outermost is not repeated, as by NumPy's `reflect`.
    """
    period = max(1, 2 * (side - 1))
    folded = pixels % period
    return np.where(folded < side, folded, period - folded)


def _blocks(maps: Array, block: int) -> Array:
    """Maps (k, rows, columns) as blocks (n, k, block, block), in reading order."""
    k, rows, columns = maps.shape
    grid = maps.reshape(k, rows // block, block, columns // block, block)
    return np.ascontiguousarray(grid.transpose(1, 3, 0, 2, 4).reshape(-1, k, block, block))


def _joined(values: Array, rows: int) -> Array:
    """Values (n, block, block) of blocks in reading order, `rows` of them below each other, as one array."""
    n, block, _ = values.shape
    grid = values.reshape(rows, n // rows, block, block)
    return grid.transpose(0, 2, 1, 3).reshape(rows * block, -1)
