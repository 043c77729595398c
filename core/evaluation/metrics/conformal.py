"""Cuts that keep a promise on new slides: conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814).

A unit (a slide, or a patch) loses the share of its patches that fall on the wrong side of a cut. With n units, the cut
is the least cautious at which (sum of losses + 1) / (n + 1) is at most the risk that is promised. If the units that it
was chosen on and a new one are exchangeable, the new one's expected loss is at most that risk: on average over such
draws, not for each of them, and not for slides of another kind. The cut depends on the order of the patches alone, so
that a calibration curve that was fitted on the same patches does not weaken the promise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.bootstrap import share_interval
from core.models.schema import Interval

Units = NDArray[np.str_] | NDArray[np.intp]


def missed_at_most(scores: NDArray[np.floating], units: Units, risk: float) -> float:
    """The highest cut below which a new unit's expected share of `scores` is at most `risk`; -inf where there is none.

    There is none where 1 / (units + 1) is more than the risk: nothing may then be left below.

    Args:
        scores: (n,) of the patches that shall not fall below, one or more.
        units: (n,) slide of each, or its own number where patches are taken to be independent.
        risk: in (0, 1).
    """
    _, own, sizes = np.unique(units, return_inverse=True, return_counts=True)
    allowed = risk * (len(sizes) + 1) - 1
    if allowed < 0:
        return -np.inf
    order = np.argsort(scores, kind="stable")
    ascending = np.asarray(scores, np.float64)[order]
    below = np.append(0, np.cumsum(1 / sizes[own[order]]))  # lost when the cut stands at that place
    places = np.searchsorted(ascending, ascending)  # patches of equal scores fall together
    kept = ascending[below[places] <= allowed + 1e-9]
    return float(kept[-1])


def promised_threshold(
    probability: NDArray[np.floating], labels: NDArray[np.integer], units: Units, risk: float
) -> float:
    """The highest threshold, in [0, 1], that promises to miss at most `risk` of a new unit's positive patches.

    Args:
        probability: (n,) of the positive class.
        labels: (n,) 0 or 1; at least one positive.
        units: (n,) slides; those without positive patches say nothing.
        risk: in (0, 1).
    """
    tumour = labels == 1
    return max(missed_at_most(probability[tumour], units[tumour], risk), 0.0)


def promised_band(
    probability: NDArray[np.floating], labels: NDArray[np.integer], units: Units, risk: float, threshold: float
) -> tuple[float, float]:
    """The narrowest [low, high) that promises either kind of error for at most `risk` of a new unit's patches.

    Of its positive patches at most `risk` lie below `low`, and of its negative ones at most `risk` at `high` or above;
    what lies between is referred. Referred patches are no errors but stay in the denominator: only so does the share
    fall as the band widens, which the method needs. "Among those that are not referred" is another, harder promise.

    Args:
        probability: (n,) of the positive class.
        labels: (n,) 0 or 1, both there.
        units: (n,) slides.
        risk: in (0, 1).
        threshold: where the band shrinks to when none is needed.
    """
    low = promised_threshold(probability, labels, units, risk)
    normal = labels == 0
    last = -missed_at_most(-probability[normal], units[normal], risk)  # the highest that may be called negative
    high = float(np.clip(np.nextafter(last, np.inf), 0, 1))
    if low < high:
        return low, high
    return (float(np.clip(threshold, high, low)),) * 2


def by_unit(hits: NDArray[np.bool_], among: NDArray[np.bool_], units: Units) -> Interval | None:
    """Mean over units of the share of `hits` (n,) among those chosen (n,), with its 95 % interval over units.

    None where none are chosen.
    """
    if not among.any():
        return None
    _, own, sizes = np.unique(units[among], return_inverse=True, return_counts=True)
    return share_interval(np.bincount(own, weights=hits[among]) / sizes)
