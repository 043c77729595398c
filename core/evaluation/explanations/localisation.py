"""Does the map point at tumour, and does it say more than the prediction? Mosaics and the label's centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation.explanations.stage import CHUNK, MAIN, Patches, Sample, Stage
from core.evaluation.explanations.table import Groups, Table
from core.evaluation.metrics import localisation
from core.evaluation.schema import Curves, Findings, Paired, Row
from core.explain.grid import centre_share

SHARES = {2: 1 / 2, 3: 1 / 10}
"""Mosaics as a share of the sample, by patches along their side."""
SHOWN = 6
"""Mosaics that the report names, to be drawn with their maps."""


@dataclass(frozen=True)
class Mosaics:
    """How the maps of n mosaics point.

    Attributes:
        patches: (n, side^2) places in the split.
        cells: (n,) the positive patch's cell.
        shares, hits: by method, see `localisation.Pointing`.
        groups: (n,) slides of the positive patches, which is what pointing is about; None where they are not known.
    """

    patches: NDArray[np.intp]
    cells: NDArray[np.intp]
    shares: Table
    hits: Table
    groups: Groups


def measure(sample: Sample) -> Findings:
    """Mosaics of both sizes, and the share of true positives' evidence in the label's centre."""
    rows: list[Row] = []
    paired: list[Paired] = []
    curves: dict[str, Any] = {}
    for side in SHARES:
        found, name = mosaics(sample, side), f"mosaic{side}"
        if found is not None:
            rows += [*found.shares.rows(name, found.groups), *found.hits.rows(f"{name}_hit", found.groups)]
            paired += found.shares.paired(name, found.groups)
            curves[name] = {"side": side, "cells": found.cells[:SHOWN], "patches": found.patches[:SHOWN]}
    probability, maps = sample.read
    right = (probability >= sample.reader.model.point(1).threshold) & (sample.labels == 1)
    task = sample.reader.task
    if right.any() and task.label_share is not None:
        shares = Table()
        grid = maps[MAIN].shape[1:]
        known = localisation.baselines(sample.patches(np.flatnonzero(right)), grid, task, sample.plan.seed)
        beside = localisation.centred(known)
        for method, heatmaps in {**{name: m[right] for name, m in maps.items()}, **beside}.items():
            shares.add(method, centre_share(heatmaps, task))
        groups = sample.groups(right.nonzero()[0])
        rows += shares.rows("centre_share", groups, task.label_share)
        paired += shares.paired("centre_share", groups)
    effects, slides = paired_with_prediction(sample)
    claim = sample.claim("beyond_prediction", effects, 0.0, slides, _positives(sample))
    return Findings(rows=rows, paired=paired, curves=Curves.of(**curves), claims=claim)


def mosaics(sample: Sample, side: int) -> Mosaics | None:
    """How the maps of mosaics point; made once a sample, and None where patches of a kind are too few for two.

    Positive patches are the sample's. The others come from the whole split, so that none is needed twice.
    """
    return sample.once(("mosaics", side), lambda: _mosaics(sample, side))


def paired_with_prediction(sample: Sample, side: int = 2, method: str = MAIN) -> tuple[NDArray[np.float64], Groups]:
    """Does the map say more than the prediction? Its share of a mosaic's evidence less that of the patches' own logits.

    Returns:
        (n,) in [-1, 1], above 0 where the map points better than a map that paints every patch with the logit that it
        has alone; and the slides (n,) of the positive patches, None where they are not known. No mosaics: n is 0.
    """
    found = mosaics(sample, side)
    if found is None:
        return np.zeros(0), None
    return found.shares.values(method) - found.shares.values("own logit"), found.groups


def _positives(sample: Sample, side: int = 2) -> Patches:
    """The positive patch of each mosaic."""
    found = mosaics(sample, side)
    if found is None:
        return sample.patches(np.arange(0))
    return sample.split.patches(found.patches[np.arange(len(found.patches)), found.cells])


def _mosaics(sample: Sample, side: int) -> Mosaics | None:
    split, task, count = sample.split, sample.reader.task, sample.count(SHARES[side])
    usable = np.where(split.labels == 0, 0, -1)
    usable[sample.indices[sample.labels == 1]] = 1
    plan, cells = localisation.mosaic_plan(usable, side, count, sample.plan.seed)
    if len(plan) < 2:
        return None
    every = plan.ravel()
    pieces = [sample.margin(split.patches(every[i : i + CHUNK])) for i in range(0, len(every), CHUNK)]
    logits = np.concatenate(pieces).reshape(-1, side, side).astype(np.float32)
    shares, hits = Table(), Table()
    for number, indices in enumerate(plan):
        image = localisation.tiled(split.patches(indices)[None])
        maps = sample.region_maps(image)
        known = localisation.baselines(image, maps[MAIN].shape[1:], task, number)
        known |= {"activation norm": sample.activation_norm(image), "own logit": logits[number : number + 1]}
        for method, heatmap in {**maps, **localisation.centred(known)}.items():
            pointing = localisation.cell_share(heatmap, cells[number : number + 1], side)
            shares.add(method, pointing.share)
            hits.add(method, pointing.hit)
        sample.tell(STAGE.name, number + 1, len(plan))
    slides = split.slides
    groups = None if slides is None else slides[plan[np.arange(len(plan)), cells]]
    return Mosaics(plan, cells, shares, hits, groups)


STAGE = Stage("localisation", "mosaics", measure, claims=True)
