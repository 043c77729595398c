"""Does the map find tissue that was put there, and which metrics rank maps of known quality rightly?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation.explanations.stage import CHUNK, MAIN, Maps, Sample, Stage, joined
from core.evaluation.explanations.table import Table
from core.evaluation.metrics import localisation, planted
from core.evaluation.metrics.bootstrap import mean_interval
from core.evaluation.metrics.shapley import coalitions
from core.evaluation.schema import Curves, Figure, Findings, Row

RANKED = 24
"""Plants whose coalitions are read to try the metrics on, at most."""


def measure(sample: Sample) -> Findings:
    """Nothing where the label is not about the middle of 3 x 3 cells, or a label is missing."""
    everyone = np.arange(len(sample.indices))
    try:
        count = sample.count(STAGE.share)
        plants = planted.planted(sample.patches(everyone), sample.labels, sample.reader.task, count, sample.plan.seed)
    except ValueError:
        return Findings()
    maps, logit = _seen(sample, plants.positive)
    others, control = _seen(sample, plants.control)
    hits, shares = Table(), Table()
    null = {name: planted.hit(heatmaps, plants.cell) for name, heatmaps in others.items()}
    rows: list[Row] = []
    for method, heatmaps in maps.items():
        own = planted.hit(heatmaps, plants.cell)
        hits.add(method, own)
        rows += hits.rows("planted_hit", chance=float(null[method].mean()), only=method)
        shares.add(method, planted.positive_share(heatmaps, plants.cell))
        chance = float(planted.positive_share(others[method], plants.cell).mean())
        rows += shares.rows("planted_share", chance=chance, only=method)
    effects = hits.values(MAIN) - null[MAIN]
    claim = sample.claim("planted", effects, float(null[MAIN].mean()), None, plants.host)
    before = np.concatenate([sample.margin(plants.host[i : i + CHUNK]) for i in range(0, count, CHUNK)])
    curve: dict[str, Any] = {
        "logit": Figure.of(mean_interval(logit - before)),
        "control": Figure.of(mean_interval(control - before)),
        "grades": list(planted.GRADES),
        "means": {},
        "tau": {},
    }
    ranked = slice(None, min(RANKED, count))
    donors = np.roll(plants.host[ranked], 1, axis=0)
    table = coalitions(plants.positive[ranked], donors, (3, 3), sample.margin)
    curve["means"], curve["tau"] = planted.ranking(plants.cell[ranked], table, sample.plan.seed)
    return Findings(rows=rows, curves=Curves.of(planted=curve), claims=claim)


def _seen(sample: Sample, images: NDArray[np.uint8]) -> tuple[Maps, NDArray[np.float64]]:
    """Maps by every method and baseline whose grid has 3 x 3 cells or a multiple, and logits."""
    pieces, logits = [], []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        read = sample.explained(part)
        logits.append(read[MAIN].logit)
        pieces.append(
            {name: one.attribution for name, one in read.items() if not any(n % 3 for n in one.attribution.shape[1:])}
        )
        sample.tell(STAGE.name, min(start + CHUNK, len(images)), len(images))
    grid = pieces[0][MAIN].shape[1:]
    known = localisation.baselines(images, grid, sample.reader.task, sample.plan.seed)
    return {**joined(pieces), **known}, np.concatenate(logits).astype(np.float64)


STAGE = Stage("planted", "planting tissue", measure, share=2 / 3, claims=True)
