"""The trust card: how far the reading on screen can be leaned on, each figure beside its rank among other patches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from core.data.flags import flags
from core.data.pcam import Split
from core.data.transforms import VIEWS, dihedral, dihedral_back
from core.evaluation.metrics.faithfulness import of_donor, pearson, read_without
from core.evaluation.trust_scale import HOTTEST, figures_of
from core.explain.grid import centre_share, in_tiles
from core.explain.registry import LAST
from core.inference.reader import Reader
from core.task import Task

OTHERS = ("layercam", "eigencam")
"""Methods whose agreement with Grad-CAM is asked for; at the last layer the rest of the CAM family is Grad-CAM."""
RANDOM_DRAWS = 4
DONORS = 3
"""Patches of the other class whose cells stand in for a patch's own."""
DONORS_SEEN = 32
"""Patches among which donors are sought that nothing speaks against."""
QUANTILES = 101
FEW = 10
"""Fewer patches of a verdict than this give no percentile."""
NEIGHBOURS = 5
"""Labelled patches that are shown beside a patch."""
CHUNK = 16_384
"""Rows that distances are taken of at once."""


def donors(split: Split, task: Task) -> NDArray[np.uint8]:
    """Patches labelled 0 without a flag of their own, the same for everybody: uint8 (DONORS at most, side, side, 3)."""
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(split.labels == 0))[:DONORS_SEEN]
    found = split.patches(drawn)
    bare = [place for place, names in enumerate(flags(found, task)) if not names]
    return found[bare[:DONORS]]


def trust_figures(
    reader: Reader, patches: NDArray[np.uint8], donors: NDArray[np.uint8]
) -> dict[str, NDArray[np.float64]]:
    """The card's figures for patches: 8 forward passes for the views and 5 a donor with cells exchanged.

    Without padding each view takes a second, larger pass.

    Args:
        reader: serves the model; one that remembers (`core.inference.caching`) explains by other methods for nothing.
        patches: uint8 (n, side, side, 3).
        donors: uint8 (d, side, side, 3), see `donors`; a patch is no donor to itself.

    Returns:
        (n,) by key of FIGURES; nan where a figure is undefined (no positive evidence, an even map).
    """
    count = len(patches)
    margin = reader.task.margin
    methods = [name for name in OTHERS if reader.in_regions(name, LAST)]
    asked = [reader.explain(patches, name, LAST, margin, around=True) for name in methods]
    others = [one.attribution.reshape(count, -1) for one in asked]
    turned = [np.ascontiguousarray(dihedral(patches, index)) for index in range(VIEWS)]
    seen = [reader.explain(view, target=margin, around=True) for view in turned]
    maps = np.stack([dihedral_back(one.attribution, index) for index, one in enumerate(seen)])
    probability = np.stack([one.probability for one in seen])
    flat = maps.reshape(VIEWS, count, -1)
    tiled = in_tiles(maps[0], reader.task.side)
    tiles = tiled[0].size
    generator = np.random.default_rng(0)
    chosen = [np.argsort(-tiled.reshape(count, tiles), axis=1)[:, :HOTTEST]]
    chosen += [
        generator.permuted(np.tile(np.arange(tiles), (count, 1)), axis=1)[:, :HOTTEST] for _ in range(RANDOM_DRAWS)
    ]
    gone = np.zeros((count, 1 + RANDOM_DRAWS, tiles), bool)
    for number, cells in enumerate(chosen):
        np.put_along_axis(gone[:, number], cells, True, axis=1)
    masks = gone.reshape(count, 1 + RANDOM_DRAWS, *tiled.shape[1:])
    drops = np.full((1 + len(donors), count), np.nan)
    for drop, donor in zip(drops, donors, strict=False):
        left = read_without(patches, {"": masks}, lambda changed: reader.read(changed).logit, of_donor(donor))[""]
        itself = (patches == donor).all(axis=(1, 2, 3))
        drop[~itself] = (left[:, 1:].mean(axis=1) - left[:, 0])[~itself]
    ranks = rankdata(flat[0], axis=1)
    found = {
        "centre": centre_share(maps[0], reader.task),
        "donor_drop": mean_known(drops),
        "map_turns": mean_known(np.array([pearson(flat[0], other) for other in flat[1:]])),
        "probability_turns": np.ptp(probability, axis=0),
        "methods": mean_known(np.array([pearson(ranks, rankdata(other, axis=1)) for other in others])),
    }
    return {name: found[name] for name in figures_of(reader.task)}


def reference(
    reader: Reader, chunks: Iterable[NDArray[np.uint8]], donors: NDArray[np.uint8]
) -> dict[str, dict[str, Any]]:
    """How each figure is spread over patches, by verdict (by the threshold alone): see `schema.TrustSpread`."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    called: list[NDArray[np.bool_]] = []
    for patches in chunks:
        called.append(reader.read(patches).probability >= reader.model.point(1).threshold)
        for name, seen in trust_figures(reader, patches, donors).items():
            found.setdefault(name, []).append(seen)
    positive = np.concatenate(called)
    spread: dict[str, dict[str, Any]] = {}
    for verdict, chosen in ((reader.task.positive, positive), (reader.task.negative, ~positive)):
        spread[verdict] = {"patches": int(chosen.sum()), "quantiles": {}}
        for name, values in found.items():
            known = np.concatenate(values)[chosen]
            known = known[np.isfinite(known)]
            if len(known) >= FEW:
                spread[verdict]["quantiles"][name] = np.quantile(known, np.linspace(0, 1, QUANTILES)).tolist()
    return spread


class Neighbour(NamedTuple):
    """A labelled patch near another: its place in the split, its distance, and its pixels uint8 (side, side, 3)."""

    place: int
    distance: float
    patch: NDArray[np.uint8]


def nearest(
    split: Split,
    known: NDArray[np.floating],
    read: NDArray[np.bool_],
    patch: NDArray[np.uint8],
    at: NDArray[np.floating],
) -> list[Neighbour]:
    """The patches of a split that a model finds most alike a patch, nearest first; never the patch itself.

    Args:
        split: labelled patches.
        known: (n, d) whitened coordinates of its patches, see `core.models.ood`.
        read: (n,) which of them are known.
        patch: uint8 (side, side, 3); patches of the same pixels do not count.
        at: (d,) its own coordinates.

    Returns:
        At most NEIGHBOURS of them. A distance of 1 is one standard deviation of training patches along a direction.
    """
    far = np.full(len(known), np.inf)
    for start in range(0, len(known), CHUNK):
        rows = slice(start, start + CHUNK)
        far[rows] = np.linalg.norm(known[rows].astype(np.float32) - at, axis=1)
    far[~read] = np.inf
    order = np.argsort(far, kind="stable")[: int(np.isfinite(far).sum())]
    found: list[Neighbour] = []
    for start in range(0, len(order), 2 * NEIGHBOURS):
        places = order[start : start + 2 * NEIGHBOURS]
        for place, pixels in zip(places.tolist(), split.patches(places), strict=True):
            if not np.array_equal(pixels, patch):
                found.append(Neighbour(place, float(far[place]), pixels))
            if len(found) == NEIGHBOURS:
                return found
    return found


def mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means (n,) of what is known of (m, n) values; nan where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.asarray(
        np.divide(total, known.sum(axis=0), out=np.full(values.shape[1], np.nan), where=known.any(axis=0))
    )
