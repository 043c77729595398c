"""Does the map point at tumour? Mosaics and the label's centre."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.evaluation.explanations.stage import MAIN, Sample, Stage
from core.evaluation.explanations.table import Table
from core.evaluation.metrics import localisation
from core.evaluation.schema import Curves, Findings, Paired, Row
from core.explain.grid import centre_share

SHARES = {2: 1 / 2, 3: 1 / 10}
"""Mosaics as a share of the sample, by patches along their side."""
SHOWN = 6
"""Mosaics that the report names, to be drawn with their maps."""


def measure(sample: Sample) -> Findings:
    """Mosaics of both sizes, and the share of true positives' evidence in the label's centre."""
    rows: list[Row] = []
    paired: list[Paired] = []
    curves: dict[str, Any] = {}
    for side in SHARES:
        _mosaics(sample, side, rows, paired, curves)
    probability, maps = sample.read
    right = (probability >= sample.reader.model.point(1).threshold) & (sample.labels == 1)
    task = sample.reader.task
    if right.any() and task.label_share is not None:
        shares = Table()
        grid = maps[MAIN].shape[1:]
        known = localisation.baselines(sample.patches(np.flatnonzero(right)), grid, task, sample.plan.seed)
        for method, heatmaps in {**{name: m[right] for name, m in maps.items()}, **known}.items():
            shares.add(method, centre_share(heatmaps, task))
        groups = sample.groups(right.nonzero()[0])
        rows += shares.rows("centre_share", groups, task.label_share)
        paired += shares.paired("centre_share", groups)
    return Findings(rows=rows, paired=paired, curves=Curves.of(**curves))


def _mosaics(sample: Sample, side: int, rows: list[Row], paired: list[Paired], curves: dict[str, Any]) -> None:
    name, count = f"mosaic{side}", sample.count(SHARES[side])
    try:
        plan, cells = localisation.mosaic_plan(sample.labels, side, count, sample.plan.seed)
    except ValueError:  # too few patches of a kind
        return
    shares, hits = Table(), Table()
    for number in range(count):
        image = localisation.tiled(sample.patches(plan[number])[None])
        maps = sample.region_maps(image)
        grid = maps[MAIN].shape[1:]
        for method, heatmap in {**maps, **localisation.baselines(image, grid, sample.reader.task, number)}.items():
            pointing = localisation.cell_share(heatmap, cells[number : number + 1], side)
            shares.add(method, pointing.share)
            hits.add(method, pointing.hit)
        sample.tell(STAGE.name, number + 1, count)
    rows += [*shares.rows(name), *hits.rows(f"{name}_hit")]
    paired += shares.paired(name)
    curves[name] = {"side": side, "cells": cells[:SHOWN], "patches": sample.indices[plan[:SHOWN]]}


STAGE = Stage("localisation", "mosaics", measure)
