"""What the trust card's figures are called, and where one stands among others. Without SciPy: every reading asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from core.task import Task

HOTTEST = 2
"""Cells that are exchanged; finer ones as tiles, which PCam's patches have nine of."""
Z = 1.96
"""Of the normal distribution at 97.5 %."""
MANY = 200
"""Patches that a percentile is said of without an interval."""


@dataclass(frozen=True)
class Figure:
    """One figure of the card.

    Attributes:
        title: what it is.
        meaning: in plain words.
        chance: what a map that knows nothing gets; None where there is none.
        better: which way speaks for the reading.
    """

    title: str
    meaning: str
    chance: float | None
    better: Literal["high", "low"]


FIGURES: dict[str, Figure] = {
    "centre": Figure(
        "Evidence in the label's centre",
        "Share of the positive evidence inside the box that the prediction is about.",
        None,
        "high",
    ),
    "donor_drop": Figure(
        "Hottest cells exchanged, against random ones",
        f"Logits the margin falls when the {HOTTEST} hottest cells give way to those of patches of the other class, "
        "less the fall for random cells.",
        0.0,
        "high",
    ),
    "map_turns": Figure(
        "Map under flips and turns",
        "Mean correlation of the map with the maps of the seven flipped or turned views, turned back.",
        0.0,
        "high",
    ),
    "probability_turns": Figure(
        "Probability under flips and turns",
        "Difference between the highest and the lowest probability among the eight views.",
        None,
        "low",
    ),
    "methods": Figure(
        "Agreement with other methods",
        "Mean rank correlation of Grad-CAM's cells with those of LayerCAM and, where layers are padded, Eigen-CAM.",
        0.0,
        "high",
    ),
}


def figures_of(task: Task) -> dict[str, Figure]:
    """Those of FIGURES that a task has, each with its chance: the label's box only where it is not the whole patch."""
    share = task.label_share
    found = {name: figure for name, figure in FIGURES.items() if name != "centre"}
    return found if share is None else {"centre": replace(FIGURES["centre"], chance=share)} | found


def percentile(value: float, quantiles: Mapping[str, Sequence[float]], name: str) -> float | None:
    """Where a value stands among patches of the same verdict, 0 to 100; None when that is not known.

    Args:
        value: of the patch on screen.
        quantiles: of one verdict by figure, see `reference`.
        name: of the figure.
    """
    if name not in quantiles or not np.isfinite(value):
        return None
    edges = np.asarray(quantiles[name])
    return float(np.interp(value, edges, np.linspace(0, 100, len(edges))))


def percentile_words(rank: float, patches: int) -> str:
    """A percentile among so many patches: of fewer than MANY with its 95 % interval.

    Wilson's for a share, 1927, doi:10.1080/01621459.1927.10502953.
    """
    if patches >= MANY:
        return f"{rank:.0f}"
    share, z2 = rank / 100, Z**2 / patches
    middle = (share + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return f"{rank:.0f} [{100 * (middle - half):.0f}, {100 * (middle + half):.0f}]"
