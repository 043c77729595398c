"""Which patches of a scored split to show, and in what order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.likelihood import losses
from core.inference.scores import Scores
from core.task import REFER

ANY = "any"
OUTCOMES = ("true positive", "false positive", "true negative", "false negative", "refer")
ORDERS = ("row", "most wrong", "most correct", "most uncertain", "most positive", "random")


@dataclass(frozen=True)
class Filter:
    """What a patch must be to be shown; `ANY` and () ask for nothing.

    Attributes:
        label: 1, 0 or None for any, by the data.
        verdict: "any" or a verdict, by the model.
        outcome: "any" or one of OUTCOMES.
        probability: lowest and highest probability of the positive class, both included.
        flag: "any", "none" or a name of `core.data.flags.FLAGS`.
    """

    label: int | None = None
    verdict: str = ANY
    outcome: str = ANY
    probability: tuple[float, float] = (0.0, 1.0)
    flag: str = ANY


def outcomes(scores: Scores, labels: NDArray[np.integer]) -> NDArray[np.str_]:
    """(n,) one of OUTCOMES: a referred patch is neither right nor wrong."""
    called, truth = scores.probability >= scores.point.threshold, labels == 1
    right = np.where(called, "true positive", "true negative")
    wrong = np.where(called, "false positive", "false negative")
    return np.where(scores.verdict == REFER, REFER, np.where(called == truth, right, wrong))


def select(scores: Scores, labels: NDArray[np.integer], wanted: Filter, order: str = "row") -> NDArray[np.int64]:
    """Positions of the patches that pass the filter, in the order asked for. Patches not read yet never pass.

    Args:
        scores: of the whole split.
        labels: (n,) 0 or 1.
        wanted: the filter.
        order: one of ORDERS; "random" is the same shuffle every time.
    """
    p = scores.probability
    low, high = wanted.probability
    passes = np.isfinite(p) & (p >= low) & (p <= high)
    if wanted.label is not None:
        passes &= labels == wanted.label
    if wanted.verdict != ANY:
        passes &= scores.verdict == wanted.verdict
    if wanted.outcome != ANY:
        passes &= outcomes(scores, labels) == wanted.outcome
    if wanted.flag == "none":
        passes &= scores.flag_bits == 0
    elif wanted.flag != ANY:
        passes &= scores.has_flag(wanted.flag)
    found = np.flatnonzero(passes)
    return found[np.argsort(_rank(p[found], labels[found], found, order), kind="stable")]


def _rank(
    p: NDArray[np.floating], labels: NDArray[np.integer], found: NDArray[np.int64], order: str
) -> NDArray[np.floating] | NDArray[np.integer]:
    if order == "most wrong":
        return np.asarray(-losses(p, labels))
    if order == "most correct":
        return losses(p, labels)
    if order == "most uncertain":
        return np.asarray(np.abs(p - 0.5))
    if order == "most positive":
        return np.asarray(-p)
    if order == "random":
        return np.asarray(np.random.default_rng(0).permutation(int(found.max(initial=0)) + 1)[found])
    return found
