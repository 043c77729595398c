"""Which patches of a scored split to show, and in what order."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

import numpy as np
from numpy.typing import NDArray

from core.data.flags import FLAGS
from core.evaluation.metrics.likelihood import losses
from core.inference.scores import Scores
from core.task import NOT_READ, REFER, Task

ANY = "any"
OUTCOMES = ("true positive", "false positive", "true negative", "false negative", "refer", "not read")
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


def in_words(wanted: Filter, order: str, task: Task) -> str:
    """'most wrong', 'row order, labelled tumour, refer, probability 0.20 to 0.40': order and filter of a list."""
    words = [order if order != ORDERS[0] else "row order"]
    if wanted.label is not None:
        words.append(f"labelled {task.label(wanted.label)}")
    if wanted.verdict != ANY:
        words.append(f"read {wanted.verdict}")
    if wanted.outcome != ANY:
        words.append(wanted.outcome)
    if wanted.probability != (0.0, 1.0):
        words.append("probability {:.2f} to {:.2f}".format(*wanted.probability))
    if wanted.flag != ANY:
        words.append("no flag" if wanted.flag == "none" else wanted.flag)
    return ", ".join(words)


def as_address(wanted: Filter, order: str) -> str:
    """Filter and order as text for a link, without what asks for nothing; `from_address` reads it."""
    told = {
        "order": order,
        "label": None if wanted.label is None else str(wanted.label),
        "verdict": wanted.verdict if wanted.verdict != ANY else None,
        "outcome": wanted.outcome if wanted.outcome != ANY else None,
        "p": "-".join(f"{end:.2f}" for end in wanted.probability) if wanted.probability != (0.0, 1.0) else None,
        "flag": wanted.flag if wanted.flag != ANY else None,
    }
    return urlencode({name: value for name, value in told.items() if value is not None})


def from_address(text: str) -> tuple[Filter, str]:
    """Filter and order out of a link. Untrusted: what means nothing asks for nothing."""
    told = {name: values[0] for name, values in parse_qs(text[:1000]).items()}
    label, outcome, order = told.get("label", ""), told.get("outcome", ANY), told.get("order", "")
    try:
        low, high = map(float, told.get("p", "0-1").split("-"))
    except ValueError:
        low, high = 0.0, 1.0
    return Filter(
        label=int(label) if label in ("0", "1") else None,
        verdict=told.get("verdict", ANY)[:64],
        outcome=outcome if outcome in OUTCOMES else ANY,
        probability=(low, high) if 0 <= low <= high <= 1 else (0.0, 1.0),
        flag=told.get("flag", ANY) if told.get("flag") in (*FLAGS, "none") else ANY,
    ), order if order in ORDERS else ORDERS[0]


def outcomes(scores: Scores, labels: NDArray[np.integer]) -> NDArray[np.str_]:
    """(n,) one of OUTCOMES: one that is referred or not read is neither right nor wrong."""
    called, truth = scores.probability >= scores.point.threshold, labels == 1
    right = np.where(called, "true positive", "true negative")
    wrong = np.where(called, "false positive", "false negative")
    kept = np.where(called == truth, right, wrong)
    return np.where(np.isin(scores.verdict, (REFER, NOT_READ)), scores.verdict, kept)


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
