"""Rows of the report out of figures by patch: one measure, every method."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.evaluation.explanations.stage import MAIN
from core.evaluation.measures import BASELINES, MEASURES
from core.evaluation.metrics.bootstrap import mean_interval, paired_difference, share_interval
from core.evaluation.schema import Paired, Row
from core.models.schema import Interval

Groups = NDArray[np.str_] | None
Unit = Literal["slide", "place", "seed"]
"""What groups are."""


HIT = "_hit"
"""End of the names of measures that count hits."""


class Table:
    """Values (n,) of one measure by method."""

    def __init__(self) -> None:
        self._values: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, method: str, values: NDArray[np.floating]) -> None:
        """More values of a method."""
        self._values.setdefault(method, []).append(np.asarray(values, np.float64))

    def values(self, method: str) -> NDArray[np.float64]:
        """All of a method."""
        return np.concatenate(self._values[method])

    def mean(self, method: str) -> float:
        """Mean of those of a method that are known."""
        return float(np.nanmean(self.values(method)))

    def rows(
        self,
        measure: str,
        groups: Groups = None,
        chance: float | None = None,
        only: str | None = None,
        unit: Unit = "slide",
    ) -> list[Row]:
        """A row for each method, or for one `only`, with the measure's own chance where none is given.

        What was hit or missed has Wilson's interval where all agree, see `share_interval`.
        """
        chance = MEASURES[measure].chance if chance is None else chance
        found = []
        for method in [only] if only else self._values:
            values = self.values(method)
            known = np.isfinite(values)
            if known.any():
                hits = measure.endswith(HIT)
                interval = share_interval(values, groups) if hits else mean_interval(values, groups)
                assert interval is not None
                own = None if groups is None else groups[known]
                found.append(row(measure, method, interval, chance, int(known.sum()), own, unit))
        return found

    def paired(self, measure: str, groups: Groups = None) -> list[Paired]:
        """Grad-CAM at the last layer less every other method, on the same patches."""
        found = []
        for method in self._values:
            if method != MAIN:
                interval = paired_difference(self.values(MAIN), self.values(method), groups)
                if interval is not None:
                    found.append(Paired(measure=measure, method=MAIN, against=method, **interval.model_dump()))
        return found


def null_of(values: NDArray[np.float64]) -> float:
    """The mean (a chance level) of those that are known; 0 where none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def row(
    measure: str,
    method: str,
    interval: Interval,
    chance: float | None,
    count: int,
    groups: Groups = None,
    unit: Unit = "slide",
) -> Row:
    """One row of so many patches, drawn by group, a `unit` each, where they are known; baselines go by their name."""
    return Row(
        measure=measure,
        method=method,
        **interval.model_dump(),
        chance=chance,
        patches=count,
        units=count if groups is None else len(np.unique(groups)),
        resampled_by="patch" if groups is None else unit,
        baseline=method in BASELINES,
    )
