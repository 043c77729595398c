"""From logits to probabilities and verdicts, fitted on the validation split through the pipeline that is served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.evaluation.calibrators import CURVES, SERVES
from core.evaluation.metrics.decisions import threshold_for
from core.models.schema import OperatingPoint

SENSITIVITY = 0.9
"""Share of the tumour patches that the threshold shall find.

A metastasis that is missed costs a patient more than a patch looked at in vain, and sensitivity is what falls on new
slides: so the threshold is chosen by it, and not by the best sum with specificity (Youden 1950).
"""
OUTSIDE_BAND = 0.95
"""Sensitivity, and specificity, that the readings left outside the refer band shall reach."""


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
    curve = CURVES[SERVES](np.concatenate([logits, varied]).mean(axis=1), np.tile(labels, 2))
    probability = OperatingPoint(curve=curve).probability(logits)
    threshold = threshold_for(probability, labels, SENSITIVITY)
    low, high = refer_band(probability, labels, threshold)
    return OperatingPoint(
        curve=curve,
        calibration_rule=(
            f"{SERVES}, least negative log-likelihood on {split}, each patch as it is and varied as pictures vary"
        ),
        threshold=threshold,
        threshold_rule=f"highest with a sensitivity of at least {SENSITIVITY:.0%} on {split}",
        refer_low=low,
        refer_high=high,
        refer_rule=(
            f"narrowest referral on {split} that leaves sensitivity and specificity of at least "
            f"{OUTSIDE_BAND:.0%} among the others"
        ),
    )
