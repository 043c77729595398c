"""Which of two maps can be held against one another, and how: subtracted, in the same colours, or by rank alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.agreement import rank_correlation
from core.explain.registry import METHODS
from core.inference.reader import Readings
from core.view.export import scale_of
from core.view.verdict import is_read

APART = 3.0
"""How many times one model's colour scale may be another's for their maps to share one."""


class Shown(NamedTuple):
    """A patch, uint8 (side, side, 3), and what was read of it alone."""

    patch: NDArray[np.uint8]
    readings: Readings


def why_not_subtracted(left: Shown, right: Shown) -> str:
    """Why one map cannot be taken from the other, as the end of a sentence; '' where it can.

    It can where both are of the same patch, explain the same target in logits, and have the same cells.
    """
    one, other = left.readings, right.readings
    units = {METHODS[readings.method].unit for readings in (one, other)}
    if not np.array_equal(left.patch, right.patch):
        return "they are of two patches"
    if one.target != other.target:
        return f"one explains '{one.target}', the other '{other.target}'"
    if units != {"logits"}:
        return "values of a relative map mean something within it alone"
    if one.grid != other.grid:
        return "one has {} x {} cells, the other {} x {}".format(*one.grid, *other.grid)
    if not (is_read(one, 0) and is_read(other, 0)):
        return "one of them is not to be used"
    return ""


def scales_of(shown: Sequence[Shown], own: bool) -> tuple[list[float], list[bool]]:
    """Each panel's colour scale, and whether it is that of its model alone.

    Maps of one method and layer share the largest of theirs, so that colours can be compared; where scales of several
    models lie more than `APART` times apart each model keeps its own, as the smaller one's maps would be blank.

    Args:
        shown: one or more.
        own: take the highest of what is shown for a scale, and not the one from validation.
    """
    kinds = [(one.readings.method, one.readings.layer) for one in shown]
    single = [scale_of(one.readings, 0, own) for one in shown]
    scales, alone = [], []
    for number, kind in enumerate(kinds):
        alike = [i for i, other in enumerate(kinds) if other == kind]
        by_model: dict[str, float] = {}
        for i in alike:
            name = shown[i].readings.model.identity
            by_model[name] = max(single[i], by_model.get(name, 0.0))
        apart = max(by_model.values()) > APART * min(by_model.values())
        scales.append(by_model[shown[number].readings.model.identity] if apart else max(by_model.values()))
        alone.append(apart)
    return scales, alone


def pair_words(number: int, left: Shown, other: int, right: Shown, *, subtracting: bool) -> str:
    """How alike two panels' maps are, in a sentence; with why they are not subtracted, where that was asked for."""
    value = rank_correlation(left.readings.attribution[0], right.readings.attribution[0])
    alike = "not defined (a flat map)" if value is None else f"{value:+.2f}"
    words = f"panels {number} and {other}: {alike}"
    because = why_not_subtracted(left, right) if subtracting and other == number + 1 else ""
    return f"{words}, and no difference is shown, as {because}" if because else words
