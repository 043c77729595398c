"""The answer to the study's title, in five lines made from the figures: what the maps can be used for, and what not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.evaluation.measures import BASELINES, MEASURES, RANDOMISATION
from core.evaluation.metrics.bootstrap import interval_words

Row = Mapping[str, Any]


LEAST = 20
"""Patches, or slides where they are what is resampled, that a finding needs: a bootstrap of fewer draws the same few
again and again, and its interval is too narrow (of two patches that agree it has no width at all)."""


class Line(NamedTuple):
    """One line of the answer.

    Attributes:
        holds: whether the maps pass: the whole interval is better than chance; None where there are too few patches.
        text: the sentence, with figure, interval, chance, and the best of the baselines where there are any; without
            any figure where there are too few patches.
    """

    holds: bool | None
    text: str


class _Question(NamedTuple):
    """What a measure is asked, and how it is answered.

    Attributes:
        asked: what is asked, after 'whether'.
        good, bad: what is said when it is better than chance, and when not.
        also: another measure of the same thing, named when the two disagree.
        contradicted: what is said instead of `good` when the other is no better than chance; then the maps fail.
    """

    asked: str
    good: str
    bad: str
    also: str = ""
    contradicted: str = ""


_QUESTIONS = {
    "mosaic2": _Question(
        "the map shows which of several patches moved the network",
        "Use the map to see which of several patches moved the network",
        "Do not use the map to see which of several patches moved the network",
    ),
    "centre_share": _Question(
        "the map finds the centre that decides the label",
        "Within a patch the map leans towards the centre that decides the label",
        "Do not read the map as a pointer to tumour within a patch: it does not find the centre that decides the label",
        "centre_context",
        "Do not read the map as a pointer to tumour within a patch: it leans to the centre by place, not by tissue",
    ),
    "gap_inpainted": _Question(
        "what is hot matters",
        "What is hot matters: taking hot cells away moves the logit sooner than taking cold ones",
        "What is hot does not matter more than what is cold: taking either away moves the logit alike",
        "gap_blurred",
    ),
    "after_randomising": _Question(
        "the map depends on what was learned",
        "The map depends on what was learned: with random weights it is another one",
        "The map depends little on what was learned: with random weights it is more alike than maps of two patches are",
    ),
    "turns_drift": _Question(
        "the map holds still",
        "The map holds still in part when the glass is turned",
        "The map does not hold still: turning the glass gives an unrelated one",
    ),
}
ALL = "all"
"""Patches of either label."""


def answer_of(rows: Sequence[Row], method: str) -> list[Line]:
    """The five lines for one method's rows of an evidence report; a measure that was not taken is left out."""
    found = {row["measure"]: row for row in rows if row["method"] == method}
    lines = []
    for name, question in _QUESTIONS.items():
        if name in found:
            row, other = found[name], found.get(question.also)
            if not enough(row):
                lines.append(Line(None, f"Too few to tell whether {question.asked}: {_few(row)}."))
                continue
            holds: bool | None = beats_chance(row)
            text = question.good if holds else question.bad
            known = _best_baseline(rows, name)
            beside = f"; {known['method']}, which knows nothing of the network, {known['value']:.2f}" if known else ""
            if other is not None and enough(other) and beats_chance(other) != holds:
                beside += f"; yet {figure_text(other)}"
                if holds and question.contradicted:
                    holds, text = False, question.contradicted
            lines.append(Line(holds, f"{text} ({figure_text(row)}{beside})."))
    return lines


def replacement_text(way: str, kinds: Mapping[str, Mapping[str, Any]], decision: float) -> str:
    """What the network makes of wholly replaced patches, with a warning where the replacement reads as one class.

    It does where the whole interval of the mean over ALL lies on one side of the decision.

    Args:
        way: a key of `core.evaluation.metrics.faithfulness.REPLACEMENTS`.
        kinds: ALL, and by label "tumour" and "no tumour", each with "patches" and with "as_is" and "replaced", mean
            logits with intervals.
        decision: the logit from which on tumour is called.
    """
    means = [
        f"{one['replaced']['value']:+.2f} [{one['replaced']['low']:+.2f}, {one['replaced']['high']:+.2f}] where the "
        f"label is {name} ({one['as_is']['value']:+.2f} as they are)"
        for name, one in kinds.items()
        if name != ALL
    ]
    said = f"Wholly {way}, patches get a mean logit of {' and '.join(means)}; tumour is called from {decision:+.2f} on."
    replaced = kinds[ALL]["replaced"]
    if not enough(kinds[ALL]):
        return (
            f"{said} {LEAST} patches are needed to tell what {way} patches read as; here are {kinds[ALL]['patches']}."
        )
    if decision < replaced["low"]:
        reads = "tumour"
    elif replaced["high"] < decision:
        reads = "no tumour"
    else:
        return said
    return f"{said} Beware: a patch {way} reads as {reads} in itself, so the curves tell of that as well."


def _best_baseline(rows: Sequence[Row], measure: str) -> Row | None:
    known = [row for row in rows if row["measure"] == measure and row["method"] in BASELINES]
    sign = 1 if MEASURES[measure].better == "high" else -1
    return max(known, key=lambda row: sign * row["value"], default=None)


def enough(row: Row) -> bool:
    """Whether a row's figure is of LEAST patches, or slides, and can be a finding; so it is where none are counted."""
    count = row.get("units", row.get("patches"))
    return count is None or bool(count >= LEAST)


def _few(row: Row) -> str:
    """'n = 2, and 20 patches are needed'."""
    by = f"{row['resampled_by']}s" if row.get("resampled_by") == "slide" else "patches"
    return f"n = {row.get('units', row['patches'])}, and {LEAST} {by} are needed"


def beats_chance(row: Row) -> bool:
    """Whether the whole interval of a row is on the good side of chance; without a chance level it cannot be.

    Of what should be destroyed, an interval that reaches down to chance is good: no more can be asked.
    """
    if row["chance"] is None:
        return False
    measure = MEASURES[row["measure"]]
    if measure.group == RANDOMISATION:
        return bool(row["low"] <= row["chance"])
    return bool(row["low"] > row["chance"] if measure.better == "high" else row["high"] < row["chance"])


def figure_text(row: Row) -> str:
    """'mosaic 2 x 2 0.57 [0.54, 0.60], chance 0.25, n = 200'."""
    title = MEASURES[row["measure"]].title
    title = title if title.isupper() else title[0].lower() + title[1:]
    beside = "" if row["chance"] is None else f", chance {round(row['chance'], 2) + 0.0:.2f}"
    return f"{title} {interval_words(row)}{beside}, n = {row['patches']:,}"
