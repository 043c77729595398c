"""From logits to probabilities and verdicts, fitted on the validation split through the pipeline that is served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.evaluation.metrics.decisions import threshold_for
from core.evaluation.metrics.likelihood import losses
from core.models.calibration_curve import sigmoid
from core.models.schema import OperatingPoint

SENSITIVITY = 0.9
"""Share of the tumour patches that the threshold shall find.

A metastasis that is missed costs a patient more than a patch looked at in vain, and sensitivity is what falls on new
slides: so the threshold is chosen by it, and not by the best sum with specificity (Youden 1950).
"""
OUTSIDE_BAND = 0.95
"""Sensitivity, and specificity, that the readings left outside the refer band shall reach."""
KNOTS = 6
"""Of the calibration curve. On halves of the valid split, four served densenet169_local worse and twelve no better."""
STIFFNESS = 1e-3
"""Nats that a bend of the curve costs, in squares of log slope: it decides where there are few patches."""

Curve = tuple[tuple[float, float], ...]


def fit_calibration(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Curve:
    """A line of KNOTS knots from logits to calibrated ones (linear splines: Lucena 2018, arXiv:1809.07751).

    With two knots it would be a temperature and a bias (Guo et al. 2017, arXiv:1706.04599; Platt 1999). Those cannot
    bend it, as label smoothing, a teacher's soft answers and evidence that stops at zero ask for: patches that the
    network is surest of are right more often than a straight line grants, and those between less often.

    Args:
        logits: (n,), tumour minus normal; the mean over views.
        labels: (n,) 0 or 1.

    Returns:
        Knots at even quantiles of the logits, whose heights minimise the negative log-likelihood. Slopes are between
        1/20 and 20, and kept from changing from knot to knot by STIFFNESS.
    """
    logits = np.asarray(logits, np.float64)
    places = np.unique(np.quantile(logits, (np.arange(KNOTS) + 0.5) / KNOTS))
    if len(places) == 1:
        places = np.array([places[0] - 1, places[0] + 1])
    stretches = len(places) - 1
    starts, ends = np.append(-np.inf, places[1:-1]), np.append(places[1:-1], np.inf)
    parts = np.clip(logits[:, None], starts, ends) - places[:-1]  # (n, stretches)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        first, slopes = values[0], np.exp(values[1:])
        probability = sigmoid(first + parts @ slopes)
        by_logit = (probability - labels) / len(labels)
        bends = np.diff(values[1:])
        by_slope = slopes * (by_logit @ parts)
        by_slope += 2 * STIFFNESS * (np.append(0, bends) - np.append(bends, 0))
        total = float(losses(probability, labels).mean()) + STIFFNESS * float(bends @ bends)
        return total, np.append(by_logit.sum(), by_slope)

    start = np.append(places[0], np.zeros(stretches))
    bounds = [(-20, 20)] + [(-np.log(20), np.log(20))] * stretches
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    heights = found.x[0] + np.append(0, np.cumsum(np.exp(found.x[1:]) * np.diff(places)))
    return tuple(zip(places.tolist(), heights.tolist(), strict=True))


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
    """Calibration curve, threshold and refer band of one pipeline.

    The calibration is fitted on patches as they are and as other slides could have them together: fitted on the
    former alone, probabilities are too sure on new slides (Tomani et al. 2021, arXiv:2012.10988).

    Args:
        logits: (n, views) of the patches of `split`.
        varied: (n, views) of the same patches, see `core.evaluation.metrics.stability.varied`.
        labels: (n,) 0 or 1.
        split: name of the split.
    """
    curve = fit_calibration(np.concatenate([logits, varied]).mean(axis=1), np.tile(labels, 2))
    probability = OperatingPoint(curve=curve).probability(logits)
    threshold = threshold_for(probability, labels, SENSITIVITY)
    low, high = refer_band(probability, labels, threshold)
    return OperatingPoint(
        curve=curve,
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
