"""Does the map depend on what was learned? It is compared with maps of networks whose weights are all random.

Maps of different patches by one random network are much alike, so networks, not patches, are what is drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation import claims
from core.evaluation.explanations.stage import CHUNK, MAIN, Maps, Patches, Sample, Stage, joined
from core.evaluation.explanations.table import Table
from core.evaluation.metrics.bootstrap import mean_interval
from core.evaluation.metrics.randomisation import (
    forgotten,
    magnitude_of_unrelated,
    randomised,
    similarity,
    spearman,
    unrelated,
)
from core.evaluation.schema import Curves, Figure, Findings, Row
from core.inference.caching import caching_reader
from core.inference.reader import Reader
from core.settings import settings

SEEDS = 20
"""Random networks."""
PATCHES = 12
"""Patches whose maps are made by each of them."""


def measure(sample: Sample) -> Findings:
    """How like the maps of random networks are, network by network; and one network's cascade, to look at.

    The cascade is no result: with the head alone drawn anew, a CAM changes whatever it shows.
    """
    rows: list[Row] = []
    networks = np.arange(SEEDS).astype(str)
    alike = likeness_by_seed(sample)
    for method, values in alike.items():
        table = Table()
        table.add(method, values)
        cells = _before(sample)[method][0].size
        rows += [
            row.model_copy(update={"patches": len(_places(sample))})
            for row in table.rows("after_randomising", networks, magnitude_of_unrelated(cells), unit="seed")
        ]
    claim = claims.measured("weights", change_by_seed(sample))
    return Findings(rows=rows, curves=Curves.of(**_cascade(sample)), claims=[] if claim is None else [claim])


def likeness_by_seed(sample: Sample) -> dict[str, NDArray[np.float64]]:
    """|Rank correlation| of the maps with those of each of SEEDS random networks: (SEEDS,) in [0, 1] by method.

    The mean over the patches. A patch whose map is even has no ranks and is left out; nan where all are.
    """
    return sample.once("after randomising", lambda: _likeness(sample))


def change_by_seed(sample: Sample, method: str = MAIN) -> NDArray[np.float64]:
    """1 - |rank correlation| with each random network, (SEEDS,) in [0, 1]: 0 says that the map ignores the network."""
    return np.asarray(1 - likeness_by_seed(sample)[method])


def _likeness(sample: Sample) -> dict[str, NDArray[np.float64]]:
    before, patches = _before(sample), sample.patches(_places(sample))
    found: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        reader = forgotten(sample.reader.stored, settings().threads, sample.plan.seed * SEEDS + seed)
        for method, heatmaps in _maps(sample, patches, reader).items():
            size = np.abs(spearman(before[method], heatmaps))
            found.setdefault(method, []).append(float(np.nanmean(size)) if np.isfinite(size).any() else np.nan)
        sample.tell(STAGE.name, seed + 1, SEEDS)
    return {method: np.array(values) for method, values in found.items()}


def _cascade(sample: Sample) -> dict[str, Any]:
    places, before = _places(sample), _before(sample)
    patches, groups = sample.patches(places), sample.groups(places)
    curves: dict[str, dict[str, list[Figure]]] = {}
    names: list[str] = []
    for depth, name, reader in randomised(sample.reader.stored, settings().threads, sample.plan.seed):
        names.append(name)
        for method, heatmaps in _maps(sample, patches, reader).items():
            curve = curves.setdefault(method, {"spearman": [], "ssim": []})
            for kind, values in similarity(before[method], heatmaps).items():
                curve[kind].append(Figure.of(mean_interval(values, groups)))
        sample.tell(STAGE.name, depth, depth + 1)
    cascade = {method: curve | {"unrelated": unrelated(before[method])} for method, curve in curves.items()}
    return {"cascade": cascade, "cascade_layers": names}


def _places(sample: Sample) -> NDArray[np.intp]:
    return sample.some(min(1.0, PATCHES / len(sample.indices)))


def _before(sample: Sample) -> Maps:
    return sample.once("before randomising", lambda: _maps(sample, sample.patches(_places(sample)), sample.reader))


def _maps(sample: Sample, patches: Patches, reader: Reader) -> Maps:
    shared = caching_reader(reader)
    return joined([sample.maps(patches[i : i + CHUNK], shared) for i in range(0, len(patches), CHUNK)])


STAGE = Stage("randomisation", "reading with random networks", measure, claims=True)
