"""From a logit to a calibrated logit, and back: straight between the knots of a curve, and beyond them.

A curve is knots (logit, calibrated logit), ascending in both. Two of them are a temperature and a bias; without any a
logit stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Curve = tuple[tuple[float, float], ...]


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) in float64."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def along(places: NDArray[np.floating], knots: Sequence[float], values: Sequence[float]) -> NDArray[np.float64]:
    """Values at places, of any shape, on a line through k >= 2 ascending knots: straight between and beyond them."""
    starts, heights = np.asarray(knots, np.float64), np.asarray(values, np.float64)
    segment = np.clip(np.searchsorted(starts, places) - 1, 0, len(starts) - 2)
    slopes = np.diff(heights) / np.diff(starts)
    return np.asarray(heights[segment] + slopes[segment] * (places - starts[segment]))


def calibrated(curve: Curve, logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Calibrated logits, of the shape of the logits."""
    exact = np.asarray(logits, np.float64)
    return along(exact, *zip(*curve, strict=True)) if curve else exact


def uncalibrated(curve: Curve, logit: float) -> float:
    """The logit that is calibrated to this one."""
    if not curve:
        return logit
    logits, values = zip(*curve, strict=True)
    return float(along(np.asarray(logit), values, logits))
