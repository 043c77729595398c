"""The verdict of one reading in words, the same on every page and in every file."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from core.data.flags import FLAGS
from core.explain.grid import centre_share
from core.explain.registry import LAST, METHODS
from core.inference.reader import REFLECTED, SURROUNDINGS, Readings
from core.inference.verdict import TOO_CLOSE, reason
from core.models.schema import Bundle
from core.task import NOT_READ

NOT_TO_BE_USED = "not to be used"
TOLD_APART = 0.005
"""Logits that two decimals show."""


def is_read(readings: Readings, index: int) -> bool:
    """Whether probability and map may be used: no gate says that the patch is none to read."""
    return str(readings.verdict[index]) != NOT_READ


def headline(readings: Readings, index: int) -> str:
    """'Tumour likely', 'Refer: too close to call', 'Not read: nearly blank'."""
    said = in_words(readings.model.task.headline(str(readings.verdict[index])), readings.flags[index])
    return said[:1].upper() + said[1:]


def explanation(readings: Readings, index: int) -> str:
    """Why the headline is what it is, in a sentence."""
    verdict, point = str(readings.verdict[index]), readings.point
    because = reason(verdict, readings.flags[index])
    if because in FLAGS:
        return FLAGS[because]
    if because == TOO_CLOSE:
        return f"Inside the band from {_told_apart(point.refer_low, point.refer_high)} that is left to a person."
    side = "at or above" if verdict == readings.model.task.positive else "below"
    beside = " and outside the refer band" if point.refers else f" ({point.threshold_rule})"
    return f"The probability is {side} the threshold {point.threshold:.2f}{beside}."


def probability_words(readings: Readings, index: int) -> str:
    """'probability of tumour 0.87, calibrated', for a caption; of what was not read that it is not to be used."""
    state = readings.point.state if is_read(readings, index) else NOT_TO_BE_USED
    return f"probability of {readings.model.task.positive} {readings.probability[index]:.2f}, {state}"


def in_words(verdict: str, flags: Collection[str]) -> str:
    """A verdict with its reason, for tables and captions: 'tumour', 'refer: too close to call', 'not read: blank'."""
    because = reason(verdict, flags)
    return f"{verdict}: {because}" if because else verdict


def evidence_words(readings: Readings, index: int) -> str:
    """What the map's cells come to: both sums where they add up to a logit, else the strongest cell and its place."""
    method, heatmap = METHODS[readings.method], readings.attribution[index]
    if not heatmap.any():
        return "none for or against"
    if not (method.sums_at_last and readings.layer == LAST):
        row, column = np.unravel_index(np.abs(heatmap).argmax(), heatmap.shape)
        rows, columns = heatmap.shape
        where = f"row {row + 1} of {rows}, column {column + 1} of {columns}"
        return f"strongest cell {_signed(float(heatmap[row, column]))} ({method.unit}), {where}"
    own = heatmap[readings.own]
    speaks_for, against = float(np.maximum(own, 0).sum()), float(np.minimum(own, 0).sum())
    words = f"{_signed(speaks_for)} for, {_signed(against)} against"
    if readings.target == readings.model.task.margin:
        margin = float(readings.logit[index])
        rest = "" if abs(margin - speaks_for - against) < TOLD_APART else "; the head's bias is the rest"
        words += f", margin {_signed(margin)}{rest}"
    return f"{words} ({method.unit})"


def second_opinion(others: Mapping[str, Readings]) -> str:
    """What other models make of the first patch, each with its probability of the positive class:

    'efficientnet_lite0 tumour 0.91, densenet169 refer: too close to call 0.40 (probability of tumour)'.
    """
    said = {name: in_words(str(one.verdict[0]), one.flags[0]) for name, one in others.items()}
    words = ", ".join(
        f"{name} {said[name]} " + (f"{one.probability[0]:.2f}" if is_read(one, 0) else f"({NOT_TO_BE_USED})")
        for name, one in others.items()
    )
    positive = {one.model.task.positive for one in others.values()}
    return f"{words} (probability of {' or '.join(sorted(positive))})" if others else ""


def views_words(readings: Readings, index: int) -> str:
    """What the probability is the mean of, and how far the views lie apart: 'eight flips and turns, 0.80 to 0.91'."""
    if readings.views == 1:
        return "one view, as the patch lies"
    lowest, highest = readings.view_probability[index].min(), readings.view_probability[index].max()
    return f"eight flips and turns, {lowest:.2f} to {highest:.2f}"


def centre_words(readings: Readings, index: int) -> str:
    """How much of the evidence lies in the label's box; '' where the label is about the whole patch."""
    task = readings.model.task
    if task.label_share is None:
        return ""
    share = float(centre_share(readings.attribution[index][None], task)[0])
    if np.isnan(share):
        return "no positive evidence to place"
    of = {REFLECTED: " of all cells, reflected tissue included", SURROUNDINGS: " of all cells"}.get(readings.around, "")
    return f"{share:.0%} of the positive evidence{of} (chance {task.label_share:.0%})"


def flag_sentence(flag: str) -> str:
    """A flag with what it means: 'Blurred: the patch is ...'."""
    return f"{flag[0].upper()}{flag[1:]}: {FLAGS[flag]}"


def _signed(value: float) -> str:
    """Two decimals, or the power of ten of what would be nothing by them."""
    return f"{round(value, 2) + 0.0:+.2f}" if abs(value) >= TOLD_APART or value == 0 else f"{value:+.1e}"


def provenance(bundle: Bundle, fingerprint: str) -> str:
    """What a model knows beforehand of the split with this fingerprint, in a sentence; '' where it knows nothing."""
    if any(data.fingerprint == fingerprint for data in bundle.training.data[:1]):
        return "The model learned from patches of this split: it knows them better than new ones."
    if any(data.fingerprint == fingerprint for data in bundle.training.data[1:]):
        return "The model was chosen by how it did on this split: it does a little worse on new patches."
    if bundle.calibrated_on is not None and bundle.calibrated_on.fingerprint == fingerprint:
        return "The model was calibrated on this split: its probabilities fit new patches a little less well."
    return ""


def _told_apart(low: float, high: float) -> str:
    """Two bounds with as many digits as tell them apart."""
    digits = next((n for n in (2, 3, 4) if f"{low:.{n}f}" != f"{high:.{n}f}"), 2)
    return f"{low:.{digits}f} to {high:.{digits}f}"
