"""The verdict: what the probability says, unless a flag speaks against reading the patch."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from core.data.flags import SYNTHETIC, UNLIKE, flag_bits
from core.models.schema import OperatingPoint
from core.task import NOT_READ, REFER, Task

GATES: dict[str, tuple[str, ...]] = {NOT_READ: (SYNTHETIC, "nearly blank", "not H&E-like"), REFER: (UNLIKE, "blurred")}
"""Flags that decide the verdict whatever the probability, the weightiest first. They stand above the refer band."""
TOO_CLOSE = "too close to call"


def verdict_words(task: Task) -> tuple[str, str, str, str]:
    """The words of all verdicts: the positive class, the other, REFER and NOT_READ."""
    return task.positive, task.negative, REFER, NOT_READ


def verdicts(
    probability: NDArray[np.floating], point: OperatingPoint, task: Task, flagged: NDArray[np.integer]
) -> NDArray[np.str_]:
    """(n,) words: what a gate says, else refer inside the band, else a class by the threshold.

    Args:
        probability: (n,) of the positive class.
        point: threshold and band.
        task: names the classes.
        flagged: (n,) bits of each patch's flags, see `flag_bits`.
    """
    words = np.where(probability >= point.threshold, task.positive, task.negative)
    in_band = (probability >= point.refer_low) & (probability < point.refer_high)
    words = np.where(in_band | gated(flagged, REFER), REFER, words)
    return np.where(gated(flagged, NOT_READ), NOT_READ, words)


def gated(flagged: NDArray[np.integer], verdict: str) -> NDArray[np.bool_]:
    """(n,) whether a flag makes this the verdict, by the bits of each patch's flags."""
    return np.asarray((flagged & flag_bits(GATES[verdict])) > 0)


def reason(verdict: str, flags: Collection[str]) -> str:
    """Why a patch with these flags has no class: the gate's flag, or that it is too close to call; '' for a class."""
    gate = next((name for name in GATES.get(verdict, ()) if name in flags), "")
    return gate or (TOO_CLOSE if verdict == REFER else "")
