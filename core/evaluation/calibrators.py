"""Ways to turn logits into probabilities, from the simplest on, compared on slides that they were not fitted on.

The rule was written before the first comparison: the simplest whose negative log-likelihood is as good as the best
one's serves, both of patches as they are and of patches varied as other slides, scanners and files could have them. As
good means that the 95 % interval of the difference over slides holds zero, or that the difference is at most MATTERS.
`SERVES` says what came of it on the models shipped; one way serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from core.evaluation.metrics.bootstrap import mean_interval
from core.evaluation.metrics.classification import calibrated_ece, expected_calibration_error
from core.evaluation.metrics.likelihood import losses
from core.models.calibration_curve import Curve, calibrated, sigmoid
from core.models.schema import CalibrationTrial, Interval

KNOTS = 6
"""Of the bent curve. On halves of the valid split, four served densenet169_local (shipped up to 0.2) worse and twelve
no better."""
STIFFNESS = 1e-3
"""Nats that a bend of the curve costs, in squares of log slope: it decides where there are few patches."""
STEEPEST = 20.0
"""Slopes are between one part in so many and so many: of patches that are told apart without a mistake the likeliest
slope has no end."""
MATTERS = 0.002
"""Nats of the negative log-likelihood below which a difference does not."""
HALVINGS = 10
"""Times that slides are divided into halves, each half read with what was fitted on the other."""
FEWEST = 5
"""Patches of either label that each half needs."""

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]
Probability = NDArray[np.float64]
Kind = Literal["as they are", "varied"]
Fit = Callable[[Logits, Labels], Curve]


def fit_temperature(logits: Logits, labels: Labels) -> Curve:
    """Two knots on a line through the origin, of the likeliest temperature (Guo et al. 2017, arXiv:1706.04599).

    Args:
        logits: (n,), positive minus negative class; the mean over views.
        labels: (n,) 0 or 1.
    """
    exact = np.asarray(logits, np.float64)

    def loss(slope: float) -> float:
        return float(losses(sigmoid(np.exp(slope) * exact), labels).mean())

    most = float(np.log(STEEPEST))
    slope = float(np.exp(minimize_scalar(loss, bounds=(-most, most), method="bounded", options={"xatol": 1e-7}).x))
    return ((-1.0, -slope), (1.0, slope))


def fit_platt(logits: Logits, labels: Labels) -> Curve:
    """Two knots, a slope and an intercept: logistic regression on the logit (Platt 1999, without his softened labels).

    Arguments as for `fit_temperature`.
    """
    return _on_one_line(fit_knots(logits, labels, 2))


def fit_knots(logits: Logits, labels: Labels, knots: int = KNOTS) -> Curve:
    """A bent line of knots from logits to calibrated ones (linear splines: Lucena 2018, arXiv:1809.07751).

    It can bend, as label smoothing, a teacher's soft answers and evidence that stops at zero ask for: patches that the
    network is surest of are right more often than a straight line grants, and those between less often.

    Args:
        logits: (n,), positive minus negative class; the mean over views.
        labels: (n,) 0 or 1.
        knots: 2 or more.

    Returns:
        Knots at even quantiles of the logits, whose heights minimise the negative log-likelihood. Slopes are between
        1 / STEEPEST and STEEPEST, and kept from changing from knot to knot by STIFFNESS.
    """
    logits = np.asarray(logits, np.float64)
    places = np.unique(np.quantile(logits, (np.arange(knots) + 0.5) / knots))
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
    bounds = [(-20.0, 20.0)] + [(-np.log(STEEPEST), np.log(STEEPEST))] * stretches
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    heights = found.x[0] + np.append(0, np.cumsum(np.exp(found.x[1:]) * np.diff(places)))
    return tuple(zip(places.tolist(), heights.tolist(), strict=True))


def _on_one_line(curve: Curve) -> Curve:
    """The same line with its knots at -1 and 1, so that slope and intercept can be seen."""
    (x, y), (other, higher) = curve
    slope = (higher - y) / (other - x)
    bias = y - slope * x
    return ((-1.0, bias - slope), (1.0, bias + slope))


CURVES: dict[str, Fit] = {"temperature": fit_temperature, "Platt": fit_platt, f"{KNOTS} knots": fit_knots}
"""What may serve, the simplest first: with one, two and six numbers."""
ISOTONIC = "isotonic"
"""What is compared but cannot serve: its steps give patches of different logits one probability, so that a threshold in
logits is not defined."""
SERVES = f"{KNOTS} knots"
"""What `model calibrate` fits: by the rule, the simplest that is as good as the best for every model it was judged on.

On the valid split with one view and 32 clusters of colour it was best or within 0.001 of it for all three. Platt was
as good for efficientnet_lite0, worse by 0.004 [0.0004, 0.007] nats for densenet169 on varied patches, and by 0.015 and
0.028 for densenet169_local (shipped up to 0.2), whose logits bend. A temperature passes for the first two for want of
slides, not for being good: its calibration errors were 0.03 to 0.05 where right probabilities would show 0.017.
"""


def isotonic(logits: Logits, labels: Labels, others: Logits) -> Probability:
    """Probability (m,) of `others` (m,) on the likeliest steps that never fall (Zadrozny & Elkan 2002).

    Kept from 0 and 1 by one patch in 2 n, for there one mistake would cost without end.
    """
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(out_of_bounds="clip").fit(logits, labels).predict(others)
    least = 0.5 / len(logits)
    return np.asarray(np.clip(steps, least, 1 - least), np.float64)


def _read(method: str, logits: Logits, labels: Labels, others: Logits) -> Probability:
    if method == ISOTONIC:
        return isotonic(logits, labels, others)
    return sigmoid(calibrated(CURVES[method](logits, labels), others))


def compare(
    logits: Logits,
    varied: Logits,
    labels: Labels,
    groups: NDArray[np.str_],
    views: int,
    seed: int = 0,
) -> tuple[CalibrationTrial, ...]:
    """Every way to calibrate on slides that it was not fitted on, fitted as they are served: on both kinds of patches.

    The slides are divided into halves HALVINGS times, and each patch is read with what the other half made; its loss is
    the mean. Intervals draw slides.

    Args:
        logits: (n,) of patches as they are; the mean over views.
        varied: (n,) of the same patches varied, see `core.evaluation.metrics.stability.varied`.
        labels: (n,) 0 or 1.
        groups: (n,) slides, or clusters of colour that stand for them.
        views: that the logits are a mean of.
        seed: of the halves.

    Returns:
        A row for each way and kind of patch, the simplest way first; none where the slides or patches are too few.
    """
    halves = _halves(groups, labels, seed)
    if not halves:
        return ()
    methods = (*CURVES, ISOTONIC)
    kinds: dict[Kind, NDArray[np.float64]] = {
        "as they are": np.asarray(logits, np.float64),
        "varied": np.asarray(varied, np.float64),
    }
    read = {(method, kind): np.empty((len(halves), len(labels))) for method in methods for kind in kinds}
    for halving, first in enumerate(halves):
        for fitted in (first, ~first):
            known = np.concatenate([own[fitted] for own in kinds.values()])
            for method in methods:
                for kind, own in kinds.items():
                    read[method, kind][halving, ~fitted] = _read(
                        method, known, np.tile(labels[fitted], len(kinds)), own[~fitted]
                    )
    loss = {key: np.mean([losses(p, labels) for p in found], axis=0) for key, found in read.items()}
    best = {kind: min(methods, key=lambda method: float(loss[method, kind].mean())) for kind in kinds}
    return tuple(
        CalibrationTrial(
            views=1 if views == 1 else 8,
            method=method,
            patches=kind,
            nll=_mean(loss[method, kind], groups),
            beyond_best=_mean(loss[method, kind] - loss[best[kind], kind], groups),
            brier=_mean(np.mean((read[method, kind] - labels) ** 2, axis=0), groups),
            ece=float(np.mean([expected_calibration_error(p, labels) for p in read[method, kind]])),
            ece_if_right=float(np.mean([calibrated_ece(p, draws=20).value for p in read[method, kind]])),
        )
        for method in methods
        for kind in kinds
    )


def as_good(row: CalibrationTrial) -> bool:
    """Whether a way is as good as the best on that kind of patch."""
    return row.beyond_best.low <= 0 or row.beyond_best.value <= MATTERS


def simplest(rows: Iterable[CalibrationTrial]) -> str:
    """The simplest way that may serve and is as good as the best on all its rows, by the rule; "" where none is."""
    found = list(rows)
    ways = [name for name in CURVES if any(row.method == name for row in found)]
    return next((name for name in ways if all(as_good(row) for row in found if row.method == name)), "")


def _mean(values: NDArray[np.float64], groups: NDArray[np.str_]) -> Interval:
    found = mean_interval(values, groups)
    assert found is not None
    return found


def _halves(groups: NDArray[np.str_], labels: Labels, seed: int) -> list[NDArray[np.bool_]]:
    """Which patches (n,) are in the first half of the slides, HALVINGS times less those with too few patches."""
    names, own = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(HALVINGS):
        first = np.isin(own, generator.permutation(len(names))[: len(names) // 2])
        counts = [np.bincount(labels[half], minlength=2) for half in (first, ~first)]
        if np.min(counts) >= FEWEST:
            found.append(first)
    return found
