"""What a threshold and a refer band can promise, for what, and what happened on a split beside it.

The threshold and the band that serve are point estimates: they reach their goal on the patches that they were chosen
on. A guarantee for new slides costs more, and stands beside them: with clusters of colour in place of slides, the band
that promises 95 % refers 38 to 50 % of the shipped models' valid patches with one view, not 22 to 29 %. At more than
ten points beyond what serves it was to stay beside it, by a rule written before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.pcam import Split
from core.evaluation.calibration import OUTSIDE_BAND, SENSITIVITY
from core.evaluation.metrics.clusters import COUNTS, colour_clusters, mean_density
from core.evaluation.metrics.conformal import by_unit, promised_band, promised_threshold
from core.models.schema import Guarantee, OperatingPoint, Outcome, Unit

CLUSTERS = COUNTS[-1]
"""Of colour, where slides are not named. With fewer than 19 units nothing is promised at 95 %, so that 16 refer all;
for densenet169 32 and 64 refer nearly the same."""
_CHUNK = 1024


@dataclass(frozen=True)
class Grouping:
    """What is taken as one in a split: its slides where they are named, else clusters of colour.

    Attributes:
        names: (n,) the slide or cluster of each patch.
        unit: which of the two.
    """

    names: NDArray[np.str_]
    unit: Unit


def grouping(split: Split) -> Grouping:
    """Slides of a split, or clusters of colour; a part of the split in memory at a time."""
    if split.slides is not None:
        return Grouping(split.slides, "slide")
    starts = range(0, len(split), _CHUNK)
    colour = np.concatenate([mean_density(split.patches(slice(start, start + _CHUNK))) for start in starts])
    return Grouping(colour_clusters(colour, CLUSTERS), "cluster of colour")


def guarantees(
    probability: NDArray[np.floating],
    labels: NDArray[np.integer],
    grouped: Grouping,
    point: OperatingPoint,
    views: int,
) -> tuple[Guarantee, ...]:
    """Threshold and band of conformal risk control, once by patch and once by slide, for the goals of what serves.

    By patch a promise is cheap, and empty where patches of a slide are alike: it is told to show what the slide adds.

    Args:
        probability: (n,) of validation patches.
        labels: (n,) 0 or 1, five or more of either.
        grouped: their slides.
        point: what serves; a band that needs no width stands at its threshold.
        views: that the probabilities were read with.
    """
    found = []
    units: dict[Unit, NDArray[np.str_]] = {"patch": np.arange(len(labels)).astype(str), grouped.unit: grouped.names}
    for unit, names in units.items():
        count = len(np.unique(names[labels == 1]))
        cut = promised_threshold(probability, labels, names, 1 - SENSITIVITY)
        low, high = promised_band(probability, labels, names, 1 - OUTSIDE_BAND, point.threshold)
        for about, risk, edges in (("threshold", 1 - SENSITIVITY, (cut, cut)), ("band", 1 - OUTSIDE_BAND, (low, high))):
            found.append(
                Guarantee.model_validate(
                    {
                        "views": views,
                        "about": about,
                        "unit": unit,
                        "units": count,
                        "risk": round(risk, 6),
                        "low": edges[0],
                        "high": edges[1],
                    }
                )
            )
    return tuple(found)


def outcomes(
    promised: Iterable[Guarantee], probability: NDArray[np.floating], labels: NDArray[np.integer], grouped: Grouping
) -> tuple[Outcome, ...]:
    """What became of guarantees on patches of a split, in the unit that each speaks of.

    Args:
        promised: for the pipeline that read the patches.
        probability: (n,) of the positive class.
        labels: (n,) 0 or 1.
        grouped: the slides of the patches, or what stands for them here.
    """
    return tuple(
        Outcome(
            guarantee=one,
            missed=by_unit(probability < one.low, labels == 1, names),
            false_alarms=by_unit(probability >= one.high, labels == 0, names),
            referred=float(((probability >= one.low) & (probability < one.high)).mean()),
        )
        for one in promised
        for names in (np.arange(len(labels)) if one.unit == "patch" else grouped.names,)
    )
