"""The prediction that the maps explain: ROC, reliability, risk and coverage, what the refer band buys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from core.evaluation.explanations.stage import Sample, Stage
from core.evaluation.metrics.classification import Scored, reliability, reliability_intervals, with_intervals
from core.evaluation.metrics.decisions import referral, risk_coverage
from core.evaluation.schema import Curves, Figure, Findings
from core.models.schema import Interval

MOST_POINTS = 200
"""Of the risk-coverage curve that are kept."""


def measure(sample: Sample) -> Findings:
    """One view of the whole sample."""
    probability, _ = sample.read
    labels, groups = sample.labels, sample.groups()
    point = sample.reader.model.point(1)
    risk = risk_coverage(probability, labels, point.threshold)
    every = max(1, len(risk.coverage) // MOST_POINTS)
    measured = with_intervals(Scored(probability, labels, point), groups)
    bins = reliability(probability, labels)
    spread = [Figure.of(one) for one in reliability_intervals(probability, labels, groups)]
    return Findings(
        curves=Curves.of(
            figures={name: Figure.of(interval) for name, interval in measured.items()},
            **_roc(probability, labels, measured.get("auc")),
            reliability=bins | {"intervals": spread},
            risk_coverage={
                "coverage": risk.coverage[::every],
                "risk": risk.risk[::every],
                "area": risk.area,
                "chance": risk.chance,
                "best": risk.best,
            },
            referral=referral(probability, labels, point),
            point=point,
        )
    )


def _roc(probability: NDArray[np.float64], labels: NDArray[np.uint8], auc: Interval | None) -> dict[str, Any]:
    """The ROC, which is none where all patches have one label."""
    if len(np.unique(labels)) < 2:
        return {}
    false_positive_rate, sensitivity, thresholds = roc_curve(labels, probability)
    return {
        "roc": {
            "false_positive_rate": false_positive_rate,
            "sensitivity": sensitivity,
            "thresholds": np.minimum(thresholds, 1.0),
            "auc": Figure.of(auc),
        }
    }


STAGE = Stage("prediction", "the prediction", measure)
