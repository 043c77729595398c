"""Does the map depend on what was learned? Weights are randomised from the head down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.evaluation.explanations.stage import CHUNK, Sample, Stage, joined
from core.evaluation.explanations.table import Table
from core.evaluation.metrics.bootstrap import mean_interval
from core.evaluation.metrics.randomisation import randomised, similarity, unrelated
from core.evaluation.schema import Curves, Figure, Findings, Row
from core.inference.caching import caching_reader
from core.settings import settings


def measure(sample: Sample) -> Findings:
    """Likeness of maps before and after, layer group by layer group; the row is of the network with none left."""
    places = sample.some(STAGE.share)
    _, everything = sample.read
    before = {name: heatmaps[places] for name, heatmaps in everything.items()}
    patches = sample.patches(places)
    cascade: dict[str, dict[str, list[Figure]]] = {}
    last: dict[str, NDArray[np.float64]] = {}
    names: list[str] = []
    for depth, name, reader in randomised(sample.reader.stored, settings().threads, sample.plan.seed):
        names.append(name)
        shared = caching_reader(reader)
        maps = joined([sample.maps(patches[i : i + CHUNK], shared) for i in range(0, len(patches), CHUNK)])
        for method, heatmaps in maps.items():
            curve = cascade.setdefault(method, {"spearman": [], "ssim": []})
            alike = similarity(before[method], heatmaps)
            last[method] = alike["spearman"]
            for kind, values in alike.items():
                curve[kind].append(Figure.of(mean_interval(values, sample.groups(places))))
        sample.tell(STAGE.name, depth, depth + 1)
    table = Table()
    rows: list[Row] = []
    chances = {method: unrelated(before[method]) for method in last}
    for method, values in last.items():
        table.add(method, values)
        rows += table.rows("after_randomising", sample.groups(places), chances[method], only=method)
    curves = {method: curve | {"unrelated": chances[method]} for method, curve in cascade.items()}
    return Findings(rows=rows, curves=Curves.of(cascade=curves, cascade_layers=names))


STAGE = Stage("randomisation", "forgetting what was learned, layer by layer", measure, share=1 / 10)
