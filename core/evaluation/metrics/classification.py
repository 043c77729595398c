"""Figures of merit of a set of readings, each with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from core.evaluation.metrics.bootstrap import LEVEL, RESAMPLES, intervals, share_interval
from core.evaluation.metrics.likelihood import losses
from core.inference.verdict import gated
from core.models.schema import Interval, OperatingPoint
from core.task import NOT_READ, REFER

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
    "not_read": "Share not read, for a gate",
    "referred_gated": "Share referred, by the band or a gate",
    "accuracy_gated": "Accuracy of what gets a class",
    "sensitivity_gated": "Sensitivity of what gets a class",
    "specificity_gated": "Specificity of what gets a class",
}
"""Names of the figures and how a person calls them. The first eight know no gates and use the threshold alone; the
next three leave out the refer band; the last go by the verdict as it is shown, gates and all."""


@dataclass(frozen=True)
class Scored:
    """Readings reduced to what figures need.

    Attributes:
        probability: (n,) of the positive class.
        labels: (n,) 0 or 1.
        point: the operating point.
        flagged: (n,) bits of each patch's flags; without them nothing is said of gates.
    """

    probability: NDArray[np.float64]
    labels: NDArray[np.uint8]
    point: OperatingPoint
    flagged: NDArray[np.uint8] | None = None

    def take(self, indices: NDArray[np.integer]) -> Scored:
        """The readings at `indices`."""
        flagged = None if self.flagged is None else self.flagged[indices]
        return Scored(self.probability[indices], self.labels[indices], self.point, flagged)


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


def calibrated_ece(probability: NDArray[np.floating], draws: int = RESAMPLES, seed: int = 0) -> Interval:
    """The calibration error that these probabilities (n,) would show if they were exactly right, by chance alone.

    Labels are drawn from the probabilities (consistency resampling, Broecker & Smith 2007): mean over the draws, with
    their 2.5 and 97.5 percentiles. An error within them is none that could be told from nothing.
    """
    p = np.asarray(probability, np.float64)
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    expected = np.bincount(bins, weights=p, minlength=ECE_BINS)
    generator = np.random.default_rng(seed)
    errors = [
        np.abs(np.bincount(bins[generator.random(len(p)) < p], minlength=ECE_BINS) - expected).sum() / len(p)
        for _ in range(draws)
    ]
    low, high = np.quantile(errors, LEVEL)
    return Interval(value=float(np.mean(errors)), low=float(low), high=float(high))


def figures(scored: Scored) -> dict[str, float]:
    """The figures of FIGURES, those of gates where flags are known; nan where one is undefined (no positives, nothing
    left outside the band)."""
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
        **({} if scored.flagged is None else _with_gates(scored.flagged, called, truth, outside)),
    }


def _with_gates(
    flagged: NDArray[np.uint8], called: NDArray[np.bool_], truth: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> dict[str, float]:
    not_read = gated(flagged, NOT_READ)
    classed = outside & ~not_read & ~gated(flagged, REFER)
    return {
        "not_read": float(not_read.mean()),
        "referred_gated": float((~classed & ~not_read).mean()),
        "accuracy_gated": _share(called == truth, classed),
        "sensitivity_gated": _share(called, truth & classed),
        "specificity_gated": _share(~called, ~truth & classed),
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
