"""Does the map hold still? Flips and turns, mild and rough changes; robustness of the prediction comes with them."""

from __future__ import annotations

import numpy as np

from core.evaluation.explanations.stage import MAIN, Sample, Stage
from core.evaluation.explanations.table import Table, null_of
from core.evaluation.metrics import stability
from core.evaluation.metrics.robustness import robustness
from core.evaluation.schema import Curves, Figure, Findings, Row
from core.evaluation.trust import mean_known

MILD = 2
"""Strength of the changes that maps should not notice, see `stability.PERTURBATIONS`."""


def measure(sample: Sample) -> Findings:
    """Drift under flips and turns, and under every change at every strength."""
    places = sample.some(STAGE.share)
    groups, labels = sample.groups(places), sample.labels[places]
    turned = stability.eight_views(sample.chunks(places, STAGE.name), sample.look)
    perturbations = stability.perturbations_of(sample.reader.task)
    held = stability.stress(sample.chunks(places, STAGE.name), sample.look, perturbations)
    mild = [held[name, MILD] for name in perturbations]
    rows: list[Row] = []
    for measure, values in {
        "turns_drift": turned.drift,
        "stress_drift": np.mean([one.drift for one in mild], axis=0),
        "moved_alone": mean_known(np.array([one.moved_alone for one in mild])),
    }.items():
        table = Table()
        table.add(MAIN, values)
        rows += table.rows(measure, groups)
    drift = {
        name: {
            "title": one.title,
            "unit": one.unit,
            "levels": one.levels,
            "drift": [held[name, s].drift.mean() for s in stability.STRENGTHS],
            "shift": [held[name, s].shift.mean() for s in stability.STRENGTHS],
        }
        for name, one in perturbations.items()
    }
    curves = robustness(held, labels, sample.reader.model.point(1), groups, resamples=200)
    robust = {
        name: {s: {k: Figure.of(v) for k, v in figures.items()} for s, figures in by_strength.items()}
        for name, by_strength in curves.items()
    }
    patches = sample.patches(places)
    own, null = stability.likeness_of_views(patches, sample.look, labels)
    claim = sample.claim("still", own - null, null_of(null), groups, patches)
    return Findings(rows=rows, curves=Curves.of(drift=drift, robustness=robust), claims=claim)


STAGE = Stage("stability", "turning, staining, blurring", measure, share=3 / 10, claims=True)
