"""Why does a map lean where it leans? The same tissue is moved, mirrored and exchanged, and the map is watched.

For tasks whose label's box is the middle cell of the map. Zero padding at the border, a receptive field wider
than a cell, and patches that are tumour all over may each keep evidence from it, or draw evidence there. The
experiments change one of these at a time; which of them the figures support is told by their intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.data.regions import Region
from core.evaluation.metrics.bootstrap import intervals, mean_interval, paired_difference
from core.evaluation.metrics.stability import Seen
from core.evaluation.schema import Figure
from core.explain.grid import in_tiles
from core.task import STRIDE

Patches = NDArray[np.uint8]
Maps = NDArray[np.floating]
Masks = NDArray[np.integer] | NDArray[np.bool_]
Groups = NDArray[np.str_] | None
Measured = dict[str, NDArray[np.float64]]


class Weighed(Seen, Protocol):
    """What reading patches gives here; `core.inference.reader.Readings` is one.

    Maps are (n, h, w) in logits; of cells finer than 32 px the means are taken (`in_tiles`).
    """

    @property
    def logit(self) -> NDArray[np.floating]:
        """(n,) tumour minus normal."""
        ...


Look = Callable[[Patches], Weighed]
ReadRegion = Callable[[Patches], Maps]
"""Images uint8 (n, h, w, 3), sides multiples of 32 -> maps (n, h / 32, w / 32), read fully convolutionally."""

GRIDS = {
    "served": "As served",
    "context": "In mirrored tissue",
    "same": "Same tissue everywhere",
}
"""Where evidence lies by cell: three ways to show a patch to the network."""
PARTS = {"centre": "the label's box", "surround": "the surround"}
"""What is exchanged for a normal patch's."""
LIES = {
    "centre": "mostly in the centre",
    "everywhere": "all over",
    "around": "around the centre, not in it",
}
"""Where tumour lies in a patch by its mask, see `lies`."""
LEAST = 10
"""Fewer patches than this tell nothing of their kind."""
PER_REGION = 12
"""Windows of each kind that a region gives at most, so that no region outweighs the others."""
FULL, HALF, SOME = 0.75, 0.5, 0.25
"""Tumour's share of a cell, or of the surround."""


# Patches shown in another way --------------------------------------------------------------------------------------


def in_context(patches: Patches) -> Patches:
    """Patches (n, side, side, 3) amid their own mirror images, (n, 3 side, 3 side, 3): no border is near."""
    around = (patches.shape[1], patches.shape[1])
    return np.pad(patches, ((0, 0), around, around, (0, 0)), mode="symmetric")


def middle(maps: Maps) -> Maps:
    """The cells of the patch in maps (n, 3h, 3w) of `in_context`: (n, h, w)."""
    rows, columns = (side // 3 for side in maps.shape[1:])
    return maps[:, rows : 2 * rows, columns : 2 * columns]


def same_tissue(patches: Patches, box: slice) -> Patches:
    """The label's box in every cell, mirrored from cell to cell so that there are no seams: (n, side, side, 3)."""
    around = (box.start, box.start)
    return np.pad(patches[:, box, box], ((0, 0), around, around, (0, 0)), mode="symmetric")


def exchanged(patches: Patches, donors: Patches, box: slice) -> dict[str, Patches]:
    """Patches (n, side, side, 3) with the part of PARTS that names them taken from donors of the same shape."""
    centre, surround = patches.copy(), donors.copy()
    centre[:, box, box] = donors[:, box, box]
    surround[:, box, box] = patches[:, box, box]
    return {"centre": centre, "surround": surround}


def middle_cell(maps: Maps) -> NDArray[np.floating]:
    """The middle cell (n,) of maps (n, h, w) of odd sides."""
    return maps[:, maps.shape[1] // 2, maps.shape[2] // 2]


def cell_shares(maps: Maps) -> NDArray[np.float64]:
    """Each cell's share of the positive evidence, (n, h, w) in [0, 1]; chance 1 / (h w); nan without any."""
    evidence = np.maximum(np.asarray(maps, np.float64), 0)
    total = np.broadcast_to(evidence.sum(axis=(1, 2), keepdims=True), evidence.shape)
    return np.asarray(np.divide(evidence, total, out=np.full(evidence.shape, np.nan), where=total > 0))


def measured(patches: Patches, donors: Patches, look: Look, region: ReadRegion, box: slice) -> Measured:
    """All that is measured of tumour patches.

    Args:
        patches: uint8 (n, side, side, 3), positive.
        donors: as many normal patches, to exchange tissue with.
        look: reads patches.
        region: reads larger images.
        box: rows, and columns, of the label's box: the middle cell.

    Returns:
        For each of GRIDS, (n, h, w) shares of the positive evidence; for each of PARTS, "moved_PART", (n,) logits by
        which the centre cell's evidence moves either way when that part is exchanged, and "fall_PART", (n,) logits by
        which the whole patch's logit falls.
    """
    side = patches.shape[1]
    served = look(patches)
    as_served = in_tiles(served.attribution, side)
    found = {
        "served": cell_shares(as_served),
        "context": cell_shares(in_tiles(middle(region(in_context(patches))), side)),
        "same": cell_shares(in_tiles(look(same_tissue(patches, box)).attribution, side)),
    }
    for part, changed in exchanged(patches, donors, box).items():
        seen = look(changed)
        moved = middle_cell(as_served) - middle_cell(in_tiles(seen.attribution, side))
        found[f"moved_{part}"] = np.abs(moved.astype(np.float64))
        found[f"fall_{part}"] = (served.logit - seen.logit).astype(np.float64)
    return found


def summary(values: Measured, groups: Groups = None) -> dict[str, Any]:
    """Means with 95 % intervals of what `measured` found of n patches: see `schema.PositionBias`.

    Args:
        values: see `measured`.
        groups: (n,) slide of each patch, or None.

    Returns:
        "patches"; "silent", those of them without positive evidence as served, which have no share there; "grids", for
        each of GRIDS 3 x 3 figures; "context_change", of the centre's share from as served to in context; "moved" and
        "fall" by part; "own", the share of the centre cell's movement that is due to its own tissue: 1 for a cell that
        sees itself alone, the centre's share of the area for one that sees all alike.
    """
    count = len(values["served"])

    def figure(one: NDArray[np.float64]) -> Figure:
        return Figure.of(mean_interval(one, groups))

    def own(drawn: NDArray[np.intp]) -> dict[str, float]:
        centre, surround = (values[f"moved_{part}"][drawn].sum() for part in ("centre", "surround"))
        return {"own": float(centre / (centre + surround)) if centre + surround else np.nan}

    change = paired_difference(middle_cell(values["context"]), middle_cell(values["served"]), groups)
    return {
        "patches": count,
        "silent": int(np.isnan(values["served"][:, 0, 0]).sum()),
        "resampled_by": "patch" if groups is None else "slide",
        "grids": {name: [[figure(cell) for cell in row] for row in np.moveaxis(values[name], 0, -1)] for name in GRIDS},
        "context_change": Figure.of(change),
        "moved": {part: figure(values[f"moved_{part}"]) for part in PARTS},
        "own": Figure.of(intervals(own, count, groups).get("own")),
        "fall": {part: figure(values[f"fall_{part}"]) for part in PARTS},
    }


# Where tumour lies -------------------------------------------------------------------------------------------------


class Masked(NamedTuple):
    """Some patches with masks.

    Attributes:
        patches: uint8 (n, side, side, 3).
        masks: (n, side, side), above 0 = tumour.
        sources: (n,) what the patches were cut from; those of one source are alike.
    """

    patches: Patches
    masks: Masks
    sources: NDArray[np.str_]


def tumour_cells(masks: Masks) -> NDArray[np.float64]:
    """The positive class's share of each cell of masks (n, side, side): (n, side / 32, side / 32)."""
    cells = np.shape(masks)[1] // STRIDE
    return np.asarray(np.asarray(masks).astype(bool).reshape(-1, cells, STRIDE, cells, STRIDE).mean(axis=(2, 4)))


def lies(masks: Masks) -> NDArray[np.str_]:
    """Where tumour lies in masks (n, side, side): a key of LIES, or "" for none of them.

    "centre": at least half of the centre, and twice as dense there as around; "everywhere": at least three quarters of
    every cell; "around": nothing in the centre and at least a quarter of the surround.
    """
    cells = tumour_cells(masks)
    centre = middle_cell(cells)
    surround = (cells.sum(axis=(1, 2)) - centre) / (cells.shape[1] * cells.shape[2] - 1)
    kinds = [
        (centre >= HALF) & (centre >= 2 * surround),
        cells.min(axis=(1, 2)) >= FULL,
        (centre == 0) & (surround >= SOME),
    ]
    return np.select(kinds, list(LIES), "")


def windows(regions: Iterable[Region], side: int, seed: int = 0) -> Iterator[Masked]:
    """Patches of `side` px cut from regions every 32 px: PER_REGION at most of each kind of LIES from one."""
    window = (side, side)
    for number, region in enumerate(regions):
        generator = np.random.default_rng((seed, number))
        masks = np.lib.stride_tricks.sliding_window_view(region.mask, window)[::STRIDE, ::STRIDE].reshape(-1, *window)
        images = np.lib.stride_tricks.sliding_window_view(region.image, window, axis=(0, 1))[::STRIDE, ::STRIDE]
        across, kinds = images.shape[1], lies(masks)
        drawn = [generator.permutation(np.flatnonzero(kinds == kind))[:PER_REGION] for kind in LIES]
        chosen = np.sort(np.concatenate(drawn))
        patches = np.moveaxis(images[chosen // across, chosen % across], 1, -1)
        yield Masked(np.ascontiguousarray(patches), masks[chosen], np.full(len(chosen), region.name))


def by_mask(pieces: Iterable[Masked], look: Look) -> dict[str, Any]:
    """The centre's share of the positive evidence, and the probability, by where tumour lies: see `schema.ByMask`.

    Intervals are over sources. A kind of fewer than LEAST patches with positive evidence is left out.

    Args:
        pieces: some patches at a time.
        look: reads patches.

    Returns:
        "groups", by key of LIES: "patches", "silent" (those without positive evidence, which have no share), "positive"
        (the centre's mean share of the tumour's area: what a map that paints tumour alone would show), "share" and
        "probability". "difference" of the share between tumour in the centre and tumour all over, None unless both are
        there.
    """
    shares, probabilities, kinds, tumour, sources = [], [], [], [], []
    for piece in pieces:
        kind = lies(piece.masks)
        known = kind != ""
        if not known.any():
            continue
        seen = look(piece.patches[known])
        cells = tumour_cells(piece.masks[known])
        shares.append(middle_cell(cell_shares(in_tiles(seen.attribution, piece.patches.shape[1]))))
        probabilities.append(np.asarray(seen.probability, np.float64))
        tumour.append(middle_cell(cells) / cells.sum(axis=(1, 2)))
        kinds.append(kind[known])
        sources.append(piece.sources[known])
    if not shares:
        return {"groups": {}, "difference": None}
    share, probability, own, kind, source = (np.concatenate(a) for a in (shares, probabilities, tumour, kinds, sources))
    heard = np.isfinite(share)
    groups = {
        name: {
            "patches": int((kind == name).sum()),
            "silent": int((~heard[kind == name]).sum()),
            "positive": float(own[kind == name].mean()),
            "share": Figure.of(mean_interval(np.where(kind == name, share, np.nan), source)),
            "probability": Figure.of(mean_interval(np.where(kind == name, probability, np.nan), source)),
        }
        for name in LIES
        if (heard & (kind == name)).sum() >= LEAST
    }

    def difference(drawn: NDArray[np.intp]) -> dict[str, float]:
        centre, everywhere = (share[drawn][(heard & (kind == name))[drawn]] for name in ("centre", "everywhere"))
        return {"": float(centre.mean() - everywhere.mean()) if len(centre) and len(everywhere) else np.nan}

    both = {"centre", "everywhere"} <= groups.keys()
    told = intervals(difference, len(share), source).get("") if both else None
    return {"groups": groups, "difference": Figure.of(told) if told else None}
