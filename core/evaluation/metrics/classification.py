"""Figures of merit of a set of readings, each with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from core.evaluation.metrics.bootstrap import RESAMPLES, intervals, share_interval
from core.evaluation.metrics.likelihood import losses
from core.models.schema import Interval, OperatingPoint

ECE_BINS = 15

FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "AUC (area under the ROC curve)",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "nll": "Negative log-likelihood",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "referred": "Share referred",
    "sensitivity_outside": "Sensitivity of what is not referred",
    "specificity_outside": "Specificity of what is not referred",
}
"""Names of the figures and how a person calls them. Verdict figures use the threshold alone unless 'not referred'."""


@dataclass(frozen=True)
class Scored:
    """Readings reduced to what figures need: probability (n,), labels (n,) 0 or 1, and the operating point."""

    probability: NDArray[np.float64]
    labels: NDArray[np.uint8]
    point: OperatingPoint

    def take(self, indices: NDArray[np.integer]) -> Scored:
        """The readings at `indices`."""
        return Scored(self.probability[indices], self.labels[indices], self.point)


def area_under_roc(probability: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Chance that a random positive ranks above a random negative (Mann-Whitney; ties count half); nan without both."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(probability)[labels == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def reliability(probability: NDArray[np.floating], labels: NDArray[np.integer], bins: int = ECE_BINS) -> dict[str, Any]:
    """Reliability diagram in equal-width bins: mean probability, share of positives and count of each non-empty bin."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    mean = np.bincount(index, weights=probability, minlength=bins)[filled] / count[filled]
    share = np.bincount(index, weights=labels, minlength=bins)[filled] / count[filled]
    return {"probability": mean.tolist(), "positive": share.tolist(), "count": count[filled].tolist()}


def reliability_intervals(
    probability: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.str_] | None = None,
    resamples: int = RESAMPLES,
) -> list[Interval]:
    """Share of positives in each non-empty bin of `reliability`, with its 95 % interval; see `share_interval`."""
    bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
    members = [bins == number for number in np.unique(bins)]
    return [share_interval(labels[own] == 1, None if groups is None else groups[own], resamples) for own in members]


def expected_calibration_error(probability: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over 15 equal-width bins of |positive share - mean probability|, weighted by count (Naeini et al. 2015)."""
    bins = reliability(probability, labels)
    gaps = np.abs(np.array(bins["positive"]) - np.array(bins["probability"]))
    return float(np.average(gaps, weights=bins["count"]))


def figures(scored: Scored) -> dict[str, float]:
    """Every figure of FIGURES; nan where it is undefined (no positives, nothing left outside the band)."""
    p, truth, point = scored.probability, scored.labels == 1, scored.point
    called = p >= point.threshold
    outside = (p < point.refer_low) | (p >= point.refer_high)
    sensitivity, specificity = _share(called, truth), _share(~called, ~truth)
    return {
        "accuracy": float((called == truth).mean()),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "auc": area_under_roc(p, scored.labels),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "nll": float(losses(p, scored.labels).mean()),
        "brier": float(np.mean((p - truth) ** 2)),
        "ece": expected_calibration_error(p, scored.labels),
        "referred": float((~outside).mean()),
        "sensitivity_outside": _share(called, truth & outside),
        "specificity_outside": _share(~called, ~truth & outside),
    }


def with_intervals(
    scored: Scored,
    groups: NDArray[np.str_] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    measure: Callable[[Scored], dict[str, float]] = figures,
) -> dict[str, Interval]:
    """Each figure with its 95 % bootstrap interval, see `core.evaluation.metrics.bootstrap.intervals`.

    Args:
        scored: the readings.
        groups: (n,) slide of each patch; whole slides are drawn when given, since patches of one slide are alike.
        resamples: number of draws.
        seed: of the draws.
        measure: readings -> figures.
    """
    return intervals(lambda drawn: measure(scored.take(drawn)), len(scored.labels), groups, resamples, seed)


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    total = int(among.sum())
    return float((hits & among).sum() / total) if total else float("nan")
