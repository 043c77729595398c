"""Prediction to lean on: what referral buys, where to set the threshold, and what a positive call means in a clinic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.models.schema import OperatingPoint

Probability = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the patches that are read, as the least certain ones are left to somebody else.

    Attributes:
        coverage: (n,) share of patches read, ascending from 1/n to 1.
        risk: (n,) share of errors among them; patches of equal certainty share their errors.
        area: mean of `risk` (AURC, Geifman & El-Yaniv 2017, arXiv:1705.08500), in [0, 1], lower is better.
        chance: the area when certainty says nothing: the error of all.
        best: the area when every error is less certain than every right call.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float
    chance: float
    best: float


def certainty(probability: Probability, threshold: float) -> NDArray[np.float64]:
    """How far a probability (n,) is from the threshold, in [0, 1]: 0 at it, 1 at the end of its own side."""
    room = np.where(probability >= threshold, 1 - threshold, threshold)
    far = np.abs(probability - threshold)
    return np.asarray(np.divide(far, room, out=np.ones(len(probability)), where=room > 0))


def risk_coverage(probability: Probability, labels: Labels, threshold: float) -> RiskCoverage:
    """The risk-coverage curve of calls at `threshold`, most certain first; probability and labels (n,), n >= 1."""
    sure = certainty(probability, threshold)
    wrong = ((probability >= threshold) != (labels == 1)).astype(np.float64)
    order = np.argsort(-sure, kind="stable")
    _, tied = np.unique(-sure[order], return_inverse=True)
    shared = (np.bincount(tied, weights=wrong[order]) / np.bincount(tied))[tied]
    number = np.arange(1, len(wrong) + 1)
    risk = np.cumsum(shared) / number
    ideal = np.cumsum(np.sort(wrong)) / number
    return RiskCoverage(number / len(wrong), risk, float(risk.mean()), float(wrong.mean()), float(ideal.mean()))


def referral(probability: Probability, labels: Labels, point: OperatingPoint) -> dict[str, float]:
    """What the refer band buys.

    Returns:
        "referred", the share inside the band; "error_all", without a band and the chance level: what referring as many
        at random would leave; "error_read", among the patches outside; "error_referred", had they been called; and
        "errors_caught", the share of all errors that the band holds, chance "referred". nan where nothing is counted.
    """
    wrong = (probability >= point.threshold) != (labels == 1)
    band = (probability >= point.refer_low) & (probability < point.refer_high)
    return {
        "referred": _mean(band),
        "error_all": _mean(wrong),
        "error_read": _mean(wrong[~band]),
        "error_referred": _mean(wrong[band]),
        "errors_caught": _mean(band[wrong]),
    }


def threshold_for(probability: Probability, labels: Labels, sensitivity: float) -> float:
    """The highest threshold at which at least that share of the tumour patches is called.

    Args:
        probability: (n,) of validation patches.
        labels: (n,) 0 or 1; at least one positive.
        sensitivity: in (0, 1].
    """
    positive = np.sort(probability[labels == 1])[::-1]
    needed = max(int(np.ceil(sensitivity * len(positive) - 1e-9)), 1)
    return float(positive[needed - 1])


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """What a call is worth where tumour is that common (Bayes): PPV and NPV, in [0, 1]; nan when no such call is made.

    PCam's 50 % is no clinic's prevalence: at 1 % a sensitivity and specificity of 0.9 give a PPV of 8 %.
    """
    hit, false_alarm = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    ppv = hit / (hit + false_alarm) if hit + false_alarm > 0 else float("nan")
    npv = clear / (clear + missed) if clear + missed > 0 else float("nan")
    return ppv, npv


def _mean(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if len(chosen) else float("nan")
