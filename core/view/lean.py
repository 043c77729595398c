"""Can this reading be leaned on? One sentence from the trust figures, by rules that are stated here.

A reading that a gate or the band left without a class is not to be leaned on. A figure speaks against it that is worse
than in nine tenths of other patches of the same class, or, where nobody knows how it is spread, worse than a bound that
a map without reason would hold too. The worst is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.data.transforms import VIEWS
from core.evaluation.trust_scale import FIGURES, percentile, percentile_words
from core.explain.registry import LAST
from core.inference.reader import Readings
from core.inference.verdict import reason

WORSE = 90
"""Percent of patches that a figure must be worse than to speak against a reading."""
SAYS = {
    "centre": "less of its evidence lies in the label's centre",
    "donor_drop": "exchanging its hottest cells moves it less, against random ones,",
    "map_turns": "the map changes more under flips and turns",
    "probability_turns": "the probability swings more under flips and turns",
    "methods": "other methods agree less with its map",
}
BOUNDS = {
    "donor_drop": (0.0, "exchanging its hottest cells moves it no more than exchanging random ones"),
    "map_turns": (0.5, "its map changes with every flip and turn"),
}
"""Lowest value, and what is said of a lower one where no other patches are known."""
SWING = 0.5
"""Of the probability among the views: more says that it depends on how the glass lies."""


class Lean(NamedTuple):
    """The sentence, and how many figures speak against the reading; None where nothing could be compared."""

    text: str
    against: int | None


def seen_figures(readings: Readings, index: int) -> dict[str, float]:
    """The trust figures that a reading holds already: how it changed over the views it was made of."""
    if readings.views < VIEWS:
        return {}
    return {
        "probability_turns": float(readings.spread[index]),
        "map_turns": float(readings.map_agreement[index]),
    }


def is_usual(readings: Readings) -> bool:
    """Whether what is explained is what the trust figures are known of in other patches."""
    return (readings.method, readings.layer, readings.target) == ("gradcam", LAST, readings.model.task.margin)


def lean(
    readings: Readings, index: int, figures: Mapping[str, float], quantiles: Mapping[str, Sequence[float]], patches: int
) -> Lean:
    """What the figures come to.

    Args:
        readings: with the settings on screen.
        index: which patch of them.
        figures: by key of FIGURES, those that are known; nan where one is undefined.
        quantiles: how they are spread over patches of the same class for Grad-CAM of the margin at the last layer; maps
            of anything else are held against bounds instead.
        patches: how many those are.
    """
    because = reason(str(readings.verdict[index]), readings.flags[index])
    if because:
        return Lean(f"Not to be leaned on: {because}.", 1)
    usual = is_usual(readings)
    against: list[tuple[float, str]] = []
    compared = 0
    for name, value in figures.items():
        if np.isnan(value):
            continue
        rank = percentile(value, quantiles, name) if usual or name == "probability_turns" else None
        compared += 1
        if rank is not None:
            worse = rank if FIGURES[name].better == "low" else 100 - rank
            if worse >= WORSE:
                against.append(
                    (worse, f"{SAYS[name]} than in {percentile_words(min(worse, 99), patches)} % of patches")
                )
        elif name in BOUNDS and value <= BOUNDS[name][0]:
            against.append((100, BOUNDS[name][1]))
        elif name == "probability_turns" and value > SWING:
            against.append((100, f"the probability swings by {value:.2f} under flips and turns"))
    if against:
        more = f" ({len(against) - 1} more below)" if len(against) > 1 else ""
        return Lean(f"Lean on it with care: {max(against)[1]}{more}.", len(against))
    if not compared:
        return Lean("Not known whether it can be leaned on: one view is compared with nothing. Read eight views.", None)
    held = "1 figure" if compared == 1 else f"{compared} figures"
    return Lean(f"Nothing found against leaning on it, by {held}.", 0)
