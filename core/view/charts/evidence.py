"""The charts of an evidence report: which ones answer a question, with headings and findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from core.evaluation.measures import FAITHFULNESS, LOCALISATION, MEASURES, RANDOMISATION, STABILITY
from core.evaluation.metrics.position_bias import LIES, PARTS
from core.evaluation.schema import Curves, EvidenceReport, OODFigures, PlantedFigures, PositionBias
from core.task import Task
from core.view.charts.explanations import Mosaics, cascade, cells, drift, graded, mosaics, removal
from core.view.charts.prediction import ood, reliability, risk, robustness, roc
from core.view.charts.style import GREY, room_for_legend
from core.view.narrative import ood_finding, position_bias_finding, replaced_finding
from core.view.words import interval_words, percent_words, signed_words

PREDICTION = "Can the prediction be leaned on?"
"""The question beside those of `core.evaluation.measures`."""


class Facts(NamedTuple):
    """A small table: its head, and rows of as many words."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Chart(NamedTuple):
    """A figure with its heading and how it is read.

    Attributes:
        title: its heading.
        meaning: how it is read, and what it shows where that is generated.
        figure: it.
        finding: sentences made from the figures, each with its first words, to stand in bold.
        tables: what else belongs to it.
        beside: more of its kind, which stand beside it where there is room.
        curves: whether it is lines over a common axis, so that another model's may be laid over them.
    """

    title: str
    meaning: str
    figure: go.Figure
    finding: Sequence[tuple[str, str]] = ()
    tables: Sequence[Facts] = ()
    beside: Sequence[go.Figure] = ()
    curves: bool = False


def charts(report: EvidenceReport, group: str, drawn: Mosaics | None = None) -> list[Chart]:
    """The charts that answer one question; those without data are left out.

    Args:
        report: see `core.evaluation.schema.EvidenceReport`.
        group: a group of MEASURES, or PREDICTION.
        drawn: mosaics of the report with their maps, for LOCALISATION.
    """
    curves, found = report.curves, []
    if group == LOCALISATION and drawn is not None:
        found.append(
            Chart(
                "Mosaics with their maps",
                f"One {report.task.positive} patch (framed) among {drawn.side**2 - 1} others, read as one picture; "
                f"below, Grad-CAM of {report.task.margin}, each map on its own scale.",
                mosaics(drawn),
            )
        )
    if group == LOCALISATION and curves.position_bias is not None:
        found.append(_position_bias(curves.position_bias, report.task))
    if group == FAITHFULNESS and curves.planted is not None and curves.planted.means:
        found.append(_graded(curves.planted, report.task))
    if group == FAITHFULNESS and curves.deletion:
        meanings = {
            "deletion": "Mean logit as the hottest cells are blurred first. Sooner down is better; what blurred cells "
            "read as in themselves is told below.",
            "insertion": "Mean logit as the hottest cells come back first into a blurred patch. Sooner up is better.",
        }
        found += [
            Chart(kind.capitalize(), meaning, removal(curves.deletion, kind), curves=True)
            for kind, meaning in meanings.items()
        ]
        if curves.replaced is not None:
            found[-2] = found[-2]._replace(finding=replaced_finding(curves.replaced, report.task))
    if group == RANDOMISATION and curves.cascade:
        meaning = "Likeness to the trained network's map as layers are randomised from the head down, left to right."
        found += [
            Chart("Cascade, rank correlation", meaning, cascade(curves, "spearman"), curves=True),
            Chart("Cascade, SSIM", meaning, cascade(curves, "ssim"), curves=True),
        ]
    if group == STABILITY and curves.drift:
        moves = "1 - correlation with the map before; 1 is an unrelated map."
        found += [
            Chart("How far the map moves", moves, drift(curves.drift, "drift"), curves=True),
            Chart(
                "How far the probability moves",
                "Mean change of the probability.",
                drift(curves.drift, "shift"),
                curves=True,
            ),
        ]
    if group == PREDICTION:
        found += _prediction(curves, report.task.positive)
    return found


def laid_over(ours: Chart, theirs: Chart, names: tuple[str, str]) -> Chart | None:
    """Two models' curves in one chart, the first's solid and the second's dashed; None where the axes are not the same.

    Chance and baselines are those of the first; of many methods those stay that are drawn from the start.

    Args:
        ours, theirs: the same chart of two reports.
        names: of the models.
    """
    if not (ours.curves and theirs.curves) or _places(ours.figure) != _places(theirs.figure):
        return None
    figure = go.Figure(ours.figure)
    solid = [trace for trace in figure.data if trace.visible != "legendonly"]  # all of both would fill the page
    for trace in solid:
        if trace.hoverinfo != "skip":  # the diagonal is nobody's
            trace.name = f"{trace.name}, {names[0]}"
    dashed = []
    for trace in go.Figure(theirs.figure).data:
        if trace.visible == "legendonly" or trace.hoverinfo == "skip" or trace.line.color == GREY:
            continue
        trace.update(name=f"{trace.name}, {names[1]}", line={"dash": "dash"})
        if trace.mode == "markers":
            trace.marker.symbol = f"{trace.marker.symbol or 'circle'}-open"
        dashed.append(trace)
    both = room_for_legend(go.Figure([*solid, *dashed], figure.layout))
    finding = [
        (f"{name}: {first}", text)
        for name, one in zip(names, (ours, theirs), strict=True)
        for first, text in one.finding
    ]
    meaning = f"{ours.meaning} Solid: {names[0]}. Dashed: {names[1]}."
    return ours._replace(meaning=meaning, figure=both, finding=finding)


def _places(figure: go.Figure) -> set[str]:
    """Names along the axis, where it is not of numbers."""
    return {place for trace in figure.data if trace.x is not None for place in trace.x if isinstance(place, str)}


def _prediction(curves: Curves, positive: str) -> list[Chart]:
    found = []
    if curves.roc is not None:
        found.append(Chart("ROC", "The circle is the model's own operating point.", roc(curves), curves=True))
    if curves.reliability is not None:
        meaning = f"Of patches given a probability, the share that is {positive}. On the diagonal, 0.8 means 80 %."
        found.append(Chart("Reliability", meaning, reliability(curves.reliability, positive), curves=True))
    if curves.risk_coverage is not None:
        meaning = "Error among the patches read when the least certain are left to somebody else."
        found.append(Chart("Risk and coverage", meaning, risk(curves), curves=True))
    if curves.robustness:
        for kind, title in (("accuracy", "Accuracy"), ("auc", "AUC"), ("ece", "Calibration error (ECE)")):
            meaning = "Under each change at five strengths; 0 is the patch as it came."
            found.append(Chart(f"{title} under change", meaning, robustness(curves, kind), curves=True))
    if curves.ood is not None:
        found.append(_ood(curves.ood))
    return found


def _ood(figures: OODFigures) -> Chart:
    known = figures.undecided.value is not None
    own = f", and {percent_words(figures.undecided)} are referred or not read for any reason" if known else ""
    meaning = (
        "How well patches of each kind are told from the split's own (AUROC). Of "
        f"{figures.patches:,} patches of the split itself, {percent_words(figures.false_alarms)} are flagged as unlike "
        f"training tissue{own}."
    )
    return Chart("Out of distribution", meaning, ood(figures), finding=ood_finding(figures))


def _graded(planted: PlantedFigures, task: Task) -> Chart:
    meaning = (
        f"Maps of known quality, of patches with {task.positive} planted in a known cell: from the inverted truth "
        "over noise to the truth. A metric whose figures do not rise with the quality decides nothing here."
    )
    facts = Facts(
        ("Metric", "Kendall's tau with the quality"),
        [(MEASURES[name].title, f"{tau:.2f}") for name, tau in planted.tau.items()],
    )
    effect = (
        f"Planting {task.positive} moves the logit by {signed_words(planted.logit)}, planting {task.negative} by "
        f"{signed_words(planted.control)}."
    )
    titles = {name: MEASURES[name].title for name in planted.means}
    return Chart(
        "Do the metrics rank known maps rightly?", meaning, graded(planted, titles), [("Planted.", effect)], [facts]
    )


def _position_bias(curve: PositionBias, task: Task) -> Chart:
    finding = [
        (f"{line.name}{': ' if line.verdict else ''}{line.verdict}.", line.text)
        for line in position_bias_finding(curve, task)
    ]
    exchanged = Facts(
        (
            f"Exchanged for that of a patch labelled {task.negative}",
            "the centre cell's evidence moves by",
            "the patch's logit falls by",
        ),
        [
            (part, f"{interval_words(curve.moved[name])} logits", f"{interval_words(curve.fall[name])} logits")
            for name, part in PARTS.items()
        ],
    )
    tables = [exchanged]
    groups = curve.windows.groups
    if groups:
        head = (
            f"{task.positive.capitalize()} lies",
            "patches",
            "the centre's share of it",
            "its share of the evidence",
            "mean probability",
        )
        rows = [
            (
                LIES[name],
                f"{one.patches:,}" + (f" ({one.silent:,} without evidence)" if one.silent else ""),
                f"{one.positive:.1%}",
                percent_words(one.share),
                interval_words(one.probability),
            )
            for name, one in groups.items()
        ]
        tables.append(Facts(head, rows))
    meaning = (
        f"Mean share of the positive evidence by cell, Grad-CAM of {task.margin} in {curve.patches:,} true "
        f"positives shown to the network in three ways; the frame is the label's centre, chance {curve.chance:.0%}."
    )
    first, *rest = cells(curve.grids, curve.chance)
    return Chart("Why the map leans where it leans", meaning, first, finding, tables, rest)
