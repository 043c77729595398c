"""What the figures of an evidence report say, in sentences: the one home of English about figures.

Nothing here is kept: every sentence is made from the figures when it is read, so it cannot outlive them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.evaluation.claims import CLAIMS
from core.evaluation.measures import BASELINES, MEASURES, RANDOMISATION
from core.evaluation.ood import CHANCE
from core.evaluation.ood_kinds import SAME_TISSUE
from core.evaluation.schema import (
    ALL,
    ClaimResult,
    EvidenceReport,
    Figure,
    OODFigures,
    PositionBias,
    Replaced,
    Replacement,
    Row,
)
from core.explain.registry import METHODS, layer_words
from core.models.schema import Bundle
from core.task import Task
from core.view.words import interval_words, percent_words, signed_words

PLACES = (
    *("upper left", "at the top", "upper right"),
    *("on the left", "in the centre", "on the right"),
    *("lower left", "at the bottom", "lower right"),
)
"""The nine cells in reading order, in words."""
LEAST = 20
"""Patches, or slides where they are what is resampled, that a finding needs: a bootstrap of fewer draws the same few
again and again, and its interval is too narrow (of two patches that agree it has no width at all)."""
EVEN = 1e-6
"""Figures nearer than this are the same: what is left of rounding is no finding."""


def method_title(name: str) -> str:
    """'Grad-CAM, last layer' for 'gradcam/last'; baselines say that they are one."""
    if name in BASELINES:
        return f"{name} (baseline)"
    method, _, layer = name.partition("/")
    title = METHODS[method].title if method in METHODS else method
    return f"{title}, {layer_words(layer)}"


def provenance(report: EvidenceReport) -> str:
    """What was examined, in one line."""
    data = report.data
    by = {row.resampled_by for row in report.rows} or {"patch"}
    note = f"{data.note}; " if data.note else ""
    return (
        f"{report.model.identity} on {report.examined:,} of {data.patches:,} patches in "
        f"'{data.split}' ({note}fingerprint {data.fingerprint[:8]}), engine {report.engine}, finished "
        f"{report.finished}. Intervals are 95 % bootstrap intervals, resampled by {' or '.join(sorted(by))}."
    )


# The answer to the study's title


VERDICTS = {"holds": "Holds", "fails": "Fails", "undecided": "Undecided"}
UNCLAIMED = "This report makes no claims: it was made before they were written down. Examine the model again."


class Line(NamedTuple):
    """One line of the answer.

    Attributes:
        verdict: a key of VERDICTS.
        text: the sentence, with figure, interval, null, least effect that matters, and how many were resampled.
        what: what is claimed, short.
    """

    verdict: str
    text: str
    what: str


def price(bundle: Bundle) -> str:
    """How well a model tells patches apart, which a map that points may cost; '' where it was never measured."""
    if not bundle.evaluations:
        return ""
    last = bundle.evaluations[-1]
    seen = "one view" if last.views == 1 else f"{last.views} views"
    area = interval_words(last.figures["auc"])
    return f"Tells patches apart: area under the ROC curve {area} ({last.data.split}, {seen})."


def answer(report: EvidenceReport) -> list[Line]:
    """The claims of a report about Grad-CAM at the last layer; empty where there are none, see UNCLAIMED."""
    return [
        Line(one.verdict, f"{one.sentence} {claim_text(one)}", CLAIMS[one.name].asked)
        for one in report.claims
        if one.name in CLAIMS
    ]


def claim_text(one: ClaimResult) -> str:
    """'Correlation ... 0.61 [0.55, 0.67]; null, ..., 0.10; least difference that matters 0.2; n = 90 patches.'."""
    claim = CLAIMS[one.name]
    figure = claim.figure[0].upper() + claim.figure[1:]
    units = {"patch": "patches"}.get(one.unit_of_resampling, f"{one.unit_of_resampling}s")
    design = f" ({claim.planned} by design)" if one.unit_of_resampling == claim.unit and one.n != claim.planned else ""
    wider = one.by_colour
    colour = f", over clusters of like colour [{wider[0]:.2f}, {wider[1]:.2f}]" if wider else ""
    null = f"{round(one.null, 2) + 0.0:.2f}"
    return (
        f"{figure}: {interval_words(one)}{colour}; null ({claim.null}) {null}; least difference that "
        f"matters {one.least:g}; n = {one.n:,} {units}{design}."
    )


def claimed_on(report: EvidenceReport) -> str:
    """What the claims were measured on, in one sentence; '' where there are none."""
    if not report.claims:
        return ""
    if report.confirmation is None:
        return "Measured on the patches above, on which they were developed: not confirmed yet."
    data = report.confirmation.data
    return (
        f"Confirmed once, on {data.patches:,} patches of '{data.split}' (fingerprint {data.fingerprint[:8]}), finished "
        f"{report.confirmation.finished}, for {report.confirmation.identity}. All else is exploratory."
    )


def enough(row: Row) -> bool:
    """Whether a row's figure is of LEAST patches, or slides, and can be a finding."""
    return (row.patches if row.units is None else row.units) >= LEAST


def beats_chance(row: Row) -> bool:
    """Whether the whole interval of a row is on the good side of chance; without a chance level it cannot be.

    What should be destroyed passes where it is nearer to chance than to being the same.
    """
    if row.chance is None:
        return False
    measure = MEASURES[row.measure]
    if measure.group == RANDOMISATION:
        return row.high < (1 + row.chance) / 2
    return row.low > row.chance if measure.better == "high" else row.high < row.chance


# What the figures of a chart say


def replaced_finding(replaced: Replaced, task: Task) -> list[tuple[str, str]]:
    """What wholly replaced patches read as, by way of replacing: first words, and the rest."""
    return [
        (f"{way.capitalize()}.", replacement_text(way, kinds, replaced.decision, task))
        for way, kinds in replaced.ways.items()
    ]


def replacement_text(way: str, kinds: Mapping[str, Replacement], decision: float, task: Task) -> str:
    """What the network makes of wholly replaced patches, with a warning where the replacement reads as one class.

    It does where the whole interval of the mean over ALL lies on one side of the decision.

    Args:
        way: a key of `core.evaluation.metrics.faithfulness.REPLACEMENTS`.
        kinds: ALL, and by label the two classes.
        decision: the logit from which on the positive class is called.
        task: whose classes they are.
    """
    means = [
        f"{signed_words(one.replaced)} where the label is {name} ({one.as_is.value or 0.0:+.2f} as they are)"
        for name, one in kinds.items()
        if name != ALL
    ]
    said = (
        f"Wholly {way}, patches get a mean logit of {' and '.join(means)}; {task.positive} is called from "
        f"{decision:+.2f} on."
    )
    replaced = kinds[ALL].replaced
    if kinds[ALL].patches < LEAST:
        return f"{said} {LEAST} patches are needed to tell what {way} patches read as; here are {kinds[ALL].patches}."
    if _above(replaced, decision):
        reads = task.positive
    elif _below(replaced, decision):
        reads = task.negative
    else:
        return said
    return f"{said} Beware: a patch {way} reads as {reads} in itself, so the curves tell of that as well."


def ood_finding(figures: OODFigures) -> list[tuple[str, str]]:
    """Which kinds cannot be told from training tissue, and whether other means are: first words, and the rest."""
    few = [kind.name for kind in figures.kinds if min(kind.patches, figures.patches) < LEAST]
    missed = [
        kind.name
        for kind in figures.kinds
        if kind.name not in (*few, *SAME_TISSUE) and kind.auroc.low is not None and kind.auroc.low <= CHANCE
    ]
    if missed:
        text = f"{', '.join(missed)}: the interval reaches chance, so no flag on such a patch means nothing."
    else:
        text = "No other kind." if few else "No kind; the interval of each lies above chance."
    finding = [("Cannot be told:", text)]
    same = [kind for kind in figures.kinds if kind.name in SAME_TISSUE and kind.name not in few]
    if same:
        shares = ", ".join(f"{kind.found:.0%} of {kind.name}" for kind in same)
        finding.append(
            ("The same tissue by other means:", f"flagged {shares}; so far the flag tells how a picture was made.")
        )
    if few:
        finding.insert(0, (f"Fewer than {LEAST} patches:", f"{', '.join(few)}; nothing is found of these."))
    return finding


class Explanation(NamedTuple):
    """One sentence of the finding.

    Attributes:
        name: of the explanation; "The lean" for what is to be explained.
        verdict: "supported", "supported in part" or "not supported"; "" for the lean itself.
        text: the sentence, with figures and intervals.
    """

    name: str
    verdict: str
    text: str


def position_bias_finding(curve: PositionBias, task: Task) -> list[Explanation]:
    """What the figures say of each explanation; an explanation is supported where whole intervals speak for it.

    Args:
        curve: of a report.
        task: that the report is about.
    """
    served = _middle(curve.grids["served"])
    sought = _above(served, curve.chance)
    heard = curve.patches - curve.silent
    without = "has" if curve.silent == 1 else "have"
    silent = f" {curve.silent:,} more {without} no positive evidence." if curve.silent else ""
    lean = (
        f"The centre cell holds {_share(served)} of the positive evidence of {heard:,} true positives, "
        f"{_beside_chance(served, curve.chance)}.{silent}"
    )
    return [
        Explanation("The lean", "", lean),
        _padding(curve, sought),
        _receptive_field(curve, task),
        _label(curve, task),
    ]


def _padding(curve: PositionBias, sought: bool) -> Explanation:
    """Whether the border draws evidence in the direction that is to be explained: to the centre, or from it."""
    context, same = (_middle(curve.grids[name]) for name in ("context", "same"))
    cells = [cell.value or 0.0 for row in curve.grids["same"] for cell in row]
    most, least = int(np.argmax(cells)), int(np.argmin(cells))
    change = curve.context_change
    speaks = (
        [_below(change, 0), _above(same, curve.chance)] if sought else [_above(change, 0), _below(same, curve.chance)]
    )
    moves = "more than" if _above(change, 0) else "less than" if _below(change, 0) else "not told from"
    text = (
        f"With mirrored tissue in place of the padding it holds {_share(context)}, {moves} as served; with the same "
        f"tissue in every cell {_share(same)}, {_beside_chance(same, curve.chance)}, with most "
        f"{_place(curve, most)} ({cells[most]:.1%}) and least {_place(curve, least)} ({cells[least]:.1%})."
    )
    return Explanation("Zero padding", _verdict(speaks), text)


def _middle(grid: Sequence[Sequence[Figure]]) -> Figure:
    return grid[len(grid) // 2][len(grid[0]) // 2]


def _place(curve: PositionBias, cell: int) -> str:
    """A cell, in reading order, in words."""
    columns = len(curve.grids["same"][0])
    return PLACES[cell] if columns == 3 else f"in row {cell // columns + 1}, column {cell % columns + 1}"


def _receptive_field(curve: PositionBias, task: Task) -> Explanation:
    """Whether the centre cell tells of the surround more than of its own tissue."""
    centre, surround = (interval_words(curve.moved[part]) for part in ("centre", "surround"))
    text = (
        f"The centre cell's evidence moves by {centre} logits when its own tissue is exchanged for that of a patch "
        f"labelled {task.negative} and by {surround} when the surround is: {_share(curve.own)} of it is its own, of "
        f"the area {curve.chance:.1%}."
    )
    return Explanation("Receptive field", _verdict([_below(curve.own, 0.5)]), text)


def _label(curve: PositionBias, task: Task) -> Explanation:
    """Whether the positive class counts wherever it lies, so that patches which are it all over teach no place."""
    centre, surround = (curve.fall[part] for part in ("centre", "surround"))
    speaks = [_above(surround, 0)]
    text = (
        f"The logit falls by {interval_words(centre)} when the centre is exchanged and by {interval_words(surround)} "
        "when the surround is"
    )
    found = curve.windows
    if found.difference is not None:
        follows = _above(found.difference, 0)
        speaks.append(follows)
        inside, everywhere = (_share(found.groups[name].share) for name in ("centre", "everywhere"))
        text += (
            f"; where {task.positive} lies mostly in the centre the map {'follows' if follows else 'does not follow'} "
            f"({inside}, all over {everywhere})"
        )
    return Explanation(f"{task.positive.capitalize()} all over", _verdict(speaks), f"{text}.")


def _verdict(speaks: list[bool]) -> str:
    return "supported" if all(speaks) else "supported in part" if any(speaks) else "not supported"


def _above(figure: Figure, level: float) -> bool:
    return figure.low is not None and figure.low > level + EVEN


def _below(figure: Figure, level: float) -> bool:
    return figure.high is not None and figure.high < level - EVEN


def _beside_chance(figure: Figure, chance: float) -> str:
    words = "not told from"
    if _above(figure, chance):
        words = "more than"
    elif _below(figure, chance):
        words = "less than"
    return f"{words} chance ({chance:.1%})"


def _share(figure: Figure) -> str:
    return "an undefined share" if figure.value is None else percent_words(figure)
