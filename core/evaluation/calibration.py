"""From logits to probabilities and verdicts, fitted on the validation split through the pipeline that is served."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.bundle import OperatingPoint
from core.evaluation.decisions import threshold_for

SENSITIVITY = 0.9
"""Share of the tumour patches that the threshold shall find.

A metastasis that is missed costs a patient more than a patch looked at in vain, and sensitivity is what falls on new
slides: so the threshold is chosen by it, and not by the best sum with specificity (Youden 1950).
"""
OUTSIDE_BAND = 0.95
"""Sensitivity, and specificity, that the readings left outside the refer band shall reach."""
_TINY = 1e-12


def negative_log_likelihood(probability: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean of -log p(label) in nats; probability (n,) of label 1."""
    likelihood = np.where(labels == 1, probability, 1 - probability)
    return float(-np.log(np.clip(likelihood, _TINY, 1)).mean())


class Calibration(NamedTuple):
    """What makes a probability of a logit, see `OperatingPoint`: temperature, stretch and bias."""

    temperature: float
    stretch: float
    bias: float


def fit_calibration(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Calibration:
    """Temperature scaling (Guo et al. 2017, arXiv:1706.04599) with a bias (Platt 1999) and a sinh.

    Label smoothing and a teacher's soft answers press sure logits together, which no temperature undoes: patches that
    the network is surest of are right more often than a sigmoid grants, and those between less often. The sinh, inverse
    of the arsinh that flattens both ends alike, pulls them apart again; with a stretch of 0 it is not there.

    Args:
        logits: (n, views), tumour minus normal of each view; the shown probability is the mean over views of
            `OperatingPoint.view_probability`.
        labels: (n,) 0 or 1.

    Returns:
        The temperature in [0.05, 20], the stretch in [0, 1] and the bias in [-10, 10] that minimise the negative
        log-likelihood.
    """

    def loss(values: NDArray[np.float64]) -> float:
        point = OperatingPoint(temperature=float(np.exp(values[0])), stretch=float(values[1]), bias=float(values[2]))
        return negative_log_likelihood(point.probability(logits), labels)

    bounds = ((np.log(0.05), np.log(20)), (0, 1), (-10, 10))
    start = np.array([np.log(np.clip(logits.std() / 2, 0.05, 10)), 0.2, 0.0])
    options = {"maxiter": 2000, "initial_simplex": np.vstack([start, start + np.diag([0.5, 0.3, 0.5])])}
    found = minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options)
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]), float(found.x[2]))


def refer_band(
    probability: NDArray[np.floating], labels: NDArray[np.integer], threshold: float, goal: float = OUTSIDE_BAND
) -> tuple[float, float]:
    """The band [low, high) around `threshold` that refers fewest readings so that the others reach `goal`.

    Outside the band, sensitivity TP / (TP + FN) and specificity TN / (TN + FP) must both be defined and reach `goal`.
    Edges are sought among 400 quantiles on either side; when no band will do, everything is referred: [0, 1).
    """
    below, above = probability[probability < threshold], probability[probability >= threshold]
    lows = np.append(np.unique(np.quantile(below, np.linspace(0, 1, 400))), threshold) if below.size else [threshold]
    highs = np.append(threshold, np.unique(np.quantile(above, np.linspace(0, 1, 400)))) if above.size else [threshold]
    low, high = np.meshgrid(np.asarray(lows), np.asarray(highs), indexing="ij")
    positive, negative = np.sort(probability[labels == 1]), np.sort(probability[labels == 0])
    false_negative, true_negative = np.searchsorted(positive, low), np.searchsorted(negative, low)
    true_positive = len(positive) - np.searchsorted(positive, high)
    false_positive = len(negative) - np.searchsorted(negative, high)
    enough = (true_positive >= goal * (true_positive + false_negative)) & (
        true_negative >= goal * (true_negative + false_positive)
    )
    enough &= (true_positive > 0) & (true_negative > 0)
    kept = true_positive + false_negative + true_negative + false_positive
    if not enough.any():
        return 0.0, 1.0
    best = np.argmax(np.where(enough, kept, -1))
    return float(low.flat[best]), float(high.flat[best])


def fit_operating_point(
    logits: NDArray[np.floating], varied: NDArray[np.floating], labels: NDArray[np.integer], split: str
) -> OperatingPoint:
    """Temperature, bias, threshold and refer band of one pipeline.

    The calibration is fitted on patches as they are and as other slides could have them together: fitted on the
    former alone, probabilities are too sure on new slides (Tomani et al. 2021, arXiv:2012.10988).

    Args:
        logits: (n, views) of the patches of `split`.
        varied: (n, views) of the same patches, see `core.evaluation.stability.varied`.
        labels: (n,) 0 or 1.
        split: name of the split.
    """
    calibration = fit_calibration(np.concatenate([logits, varied]), np.tile(labels, 2))._asdict()
    probability = OperatingPoint(**calibration).probability(logits)
    threshold = threshold_for(probability, labels, SENSITIVITY)
    low, high = refer_band(probability, labels, threshold)
    return OperatingPoint(
        **calibration,
        calibration_rule=f"least negative log-likelihood on {split}, each patch as it is and varied as slides vary",
        threshold=threshold,
        threshold_rule=f"highest with a sensitivity of at least {SENSITIVITY:.0%} on {split}",
        refer_low=low,
        refer_high=high,
        refer_rule=(
            f"narrowest referral on {split} that leaves sensitivity and specificity of at least "
            f"{OUTSIDE_BAND:.0%} among the others"
        ),
    )
