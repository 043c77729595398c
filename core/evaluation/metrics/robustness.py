"""How good readings stay as patches get worse: accuracy, AUC and calibration by perturbation and strength."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.bootstrap import RESAMPLES
from core.evaluation.metrics.classification import Scored, area_under_roc, expected_calibration_error, with_intervals
from core.evaluation.metrics.stability import Held
from core.models.schema import Interval, OperatingPoint


def robustness(
    held: Mapping[tuple[str, int], Held],
    labels: NDArray[np.integer],
    point: OperatingPoint,
    slides: NDArray[np.str_] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, dict[int, dict[str, Interval]]]:
    """Curves of accuracy at the operating point's threshold, AUC (chance 0.5) and expected calibration error.

    Args:
        held: what `core.evaluation.metrics.stability.stress` found, ("none", 0) among it.
        labels: (n,) 0 or 1.
        point: gives the threshold; the refer band is not used.
        slides: (n,) slide of each patch, or None.
        resamples: of the bootstrap.

    Returns:
        By perturbation, by strength, by figure, each with its interval; strength 0 is the untouched patch. A figure
        that is undefined is left out.
    """
    found: dict[tuple[str, int], dict[str, Interval]] = {
        key: with_intervals(
            Scored(seen.probability, np.asarray(labels, np.uint8), point), slides, resamples, measure=_figures
        )
        for key, seen in held.items()
    }
    names = dict.fromkeys(name for name, strength in held if strength)
    return {
        name: {0: found["none", 0]} | {strength: found[name, strength] for other, strength in held if other == name}
        for name in names
    }


def _figures(scored: Scored) -> dict[str, float]:
    called = scored.probability >= scored.point.threshold
    return {
        "accuracy": float((called == (scored.labels == 1)).mean()),
        "auc": area_under_roc(scored.probability, scored.labels),
        "ece": expected_calibration_error(scored.probability, scored.labels),
    }
