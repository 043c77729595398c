"""Charts of an evidence report: pure functions of what it holds, in the quiet style of `core.view.charts.scores`.

Chance is a dotted grey line wherever there is one; baselines are grey and hollow, or dashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from core.evaluation.explanations.stage import MAIN
from core.evaluation.measures import BASELINES, FAITHFULNESS, LOCALISATION, MEASURES, RANDOMISATION, STABILITY
from core.evaluation.metrics.position_bias import GRIDS, LIES, PARTS
from core.evaluation.ood import CHANCE
from core.evaluation.schema import (
    Curves,
    DriftCurve,
    EvidenceReport,
    Figure,
    OODFigures,
    PositionBias,
    Reliability,
    RemovalCurve,
    Row,
)
from core.task import Task
from core.view.charts.training import ACCENT, COLOURS, HEIGHT, SECOND
from core.view.narrative import (
    interval_words,
    method_title,
    ood_finding,
    percent_words,
    position_bias_finding,
    replaced_finding,
)
from core.view.overlay import DIFFERENCE, data_url, overlaid

PREDICTION = "Can the prediction be leaned on?"
"""The question beside those of `core.evaluation.measures`."""
GREY = COLOURS[-1]
FIRST = (MAIN, "layercam/last", "gradcam/6x6", "gradcam/12x12", "random", "hematoxylin")
"""Drawn from the start where there are many curves; a click in the legend adds the others."""
OPACITY = 0.55


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
    """

    title: str
    meaning: str
    figure: go.Figure
    finding: Sequence[tuple[str, str]] = ()
    tables: Sequence[Facts] = ()


class Mosaics(NamedTuple):
    """Mosaics to draw.

    Attributes:
        images: (n, h, h, 3) uint8 RGB, side * side patches each.
        maps: (n, k, k) float32, positive speaks for the positive class.
        cells: (n,) in reading order, the positive patch's.
        side: patches along one side.
    """

    images: NDArray[np.uint8]
    maps: NDArray[np.float32]
    cells: NDArray[np.integer]
    side: int


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
    if group == FAITHFULNESS and curves.deletion:
        meanings = {
            "deletion": "Mean logit as the hottest cells are blurred first. Sooner down is better.",
            "insertion": "Mean logit as the hottest cells come back first into a blurred patch. Sooner up is better.",
        }
        found += [
            Chart(kind.capitalize(), meaning, removal(curves.deletion, kind)) for kind, meaning in meanings.items()
        ]
        if curves.replaced is not None:
            found[-2] = found[-2]._replace(finding=replaced_finding(curves.replaced, report.task))
    if group == RANDOMISATION and curves.cascade:
        meaning = "Likeness to the trained network's map as layers are randomised from the head down, left to right."
        found += [
            Chart("Cascade, rank correlation", meaning, cascade(curves, "spearman")),
            Chart("Cascade, SSIM", meaning, cascade(curves, "ssim")),
        ]
    if group == STABILITY and curves.drift:
        moves = "1 - correlation with the map before; 1 is an unrelated map."
        found += [
            Chart("How far the map moves", moves, drift(curves.drift, "drift")),
            Chart(
                "How far the probability moves",
                "Mean change of the probability.",
                drift(curves.drift, "shift"),
            ),
        ]
    if group == PREDICTION:
        found += _prediction(curves, report.task.positive)
    return found


def _prediction(curves: Curves, positive: str) -> list[Chart]:
    found = []
    if curves.roc is not None:
        found.append(Chart("ROC", "The circle is the model's own operating point.", roc(curves)))
    if curves.reliability is not None:
        meaning = f"Of patches given a probability, the share that is {positive}. On the diagonal, 0.8 means 80 %."
        found.append(Chart("Reliability", meaning, reliability(curves.reliability, positive)))
    if curves.risk_coverage is not None:
        meaning = "Error among the patches read when the least certain are left to somebody else."
        found.append(Chart("Risk and coverage", meaning, risk(curves)))
    if curves.robustness:
        for kind, title in (("accuracy", "Accuracy"), ("auc", "AUC"), ("ece", "Calibration error (ECE)")):
            meaning = "Under each change at five strengths; 0 is the patch as it came."
            found.append(Chart(f"{title} under change", meaning, robustness(curves, kind)))
    if curves.ood is not None:
        found.append(_ood(curves.ood))
    return found


def _ood(figures: OODFigures) -> Chart:
    meaning = (
        "How well patches of each kind are told from the split's own by their features (AUROC). Of "
        f"{figures.patches:,} patches of the split itself, {percent_words(figures.false_alarms)} are flagged as unlike "
        "training tissue."
    )
    return Chart("Out of distribution", meaning, ood(figures), finding=ood_finding(figures))


def _position_bias(curve: PositionBias, task: Task) -> Chart:
    finding = [
        (f"{line.name}{': ' if line.verdict else ''}{line.verdict}.", line.text)
        for line in position_bias_finding(curve, task)
    ]
    exchanged = Facts(
        (f"Exchanged for a {task.other} patch's", "the centre cell's evidence moves by", "the patch's logit falls by"),
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
    return Chart("Why the map leans where it leans", meaning, cells(curve.grids, curve.chance), finding, tables)


def forest(rows: Sequence[Row], measure: str) -> go.Figure:
    """One measure by method: figure and 95 % interval, with each method's chance as a cross.

    Args:
        rows: of the report.
        measure: a key of MEASURES.
    """
    shown = [row for row in rows if row.measure == measure]
    shown.sort(key=lambda row: row.value, reverse=MEASURES[measure].better == "low")
    names = [method_title(row.method) for row in shown]
    figure = _figure(MEASURES[measure].title, "")
    figure.add_scatter(
        x=[row.chance for row in shown], y=names, name="chance", mode="markers",
        marker={"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": GREY}},
        hovertemplate="chance %{x:.3f}<extra>%{y}</extra>",
    )  # fmt: skip
    for baseline, name, colour, symbol in (
        (False, "method", ACCENT, "circle"),
        (True, "baseline", GREY, "circle-open"),
    ):
        chosen = [row for row in shown if row.baseline is baseline]
        figure.add_scatter(
            x=[row.value for row in chosen], y=[method_title(row.method) for row in chosen], name=name,
            mode="markers", marker={"color": colour, "symbol": symbol, "size": 9},
            error_x={
                "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
                "array": [row.high - row.value for row in chosen],
                "arrayminus": [row.value - row.low for row in chosen],
            },
            customdata=[[row.low, row.high, row.patches] for row in chosen],
            hovertemplate="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}], n = %{customdata[2]}"
            "<extra>%{y}</extra>",
        )  # fmt: skip
    figure.update_layout(height=90 + 24 * len(shown), margin={"l": 180, "t": 32})
    return figure.update_yaxes(categoryorder="array", categoryarray=names, title=None)


def ood(figures: OODFigures) -> go.Figure:
    """AUROC of each kind of out-of-distribution picture with its 95 % interval, and chance; the worst told on top."""
    shown = sorted(figures.kinds, key=lambda kind: -(kind.auroc.value or 0.0))
    figure = _figure("AUROC", "")
    figure.add_scatter(
        x=[kind.auroc.value for kind in shown], y=[kind.name for kind in shown], mode="markers",
        marker={"color": ACCENT, "size": 9}, showlegend=False,
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
            "array": [_gap(kind.auroc, "high") for kind in shown],
            "arrayminus": [_gap(kind.auroc, "low") for kind in shown],
        },
        customdata=[
            [kind.auroc.low, kind.auroc.high, kind.found, kind.patches, kind.sources]
            for kind in shown
        ],
        hovertemplate="%{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}], flagged %{customdata[2]:.0%} of "
        "%{customdata[3]} patches from %{customdata[4]} sources<extra>%{y}</extra>",
    )  # fmt: skip
    figure.add_vline(
        x=CHANCE, line={"dash": "dot", "width": 1, "color": GREY}, annotation_text=f"chance ({CHANCE:.2f})",
        annotation_position="top",
    )  # fmt: skip
    figure.update_layout(height=110 + 24 * len(shown), margin={"l": 200, "t": 40})
    return figure.update_yaxes(categoryorder="array", categoryarray=[kind.name for kind in shown], title=None)


def mosaics(drawn: Mosaics) -> go.Figure:
    """Mosaics in colour above the same in grayscale with their maps, the positive patch framed in both."""
    count, side = len(drawn.images), drawn.side
    figure = go.Figure()
    for number in range(count):
        image, heatmap = drawn.images[number], drawn.maps[number]
        scale = max(float(heatmap.max(initial=0.0)), 1e-6)
        reason = overlaid(image, heatmap, scale, image.shape[0], opacity=OPACITY, smooth=False)
        for row, picture in enumerate((image, np.asarray(reason))):
            x, y = number * 1.06, 1.06 * (1 - row) + 1
            place = {"x": x, "y": y, "sizex": 1, "sizey": 1, "xref": "x", "yref": "y"}
            figure.add_layout_image(source=data_url(picture), sizing="stretch", layer="below", **place)
            down, right = divmod(int(drawn.cells[number]), side)
            left, top = x + right / side, y - down / side
            box = {"x0": left, "x1": left + 1 / side, "y0": top - 1 / side, "y1": top}
            figure.add_shape(type="rect", line={"color": "white", "width": 4}, **box)
            figure.add_shape(type="rect", line={"color": "black", "width": 2, "dash": "dot"}, **box)
    # An even ground for the axes' range: images alone give none.
    figure.add_scatter(x=[0, count * 1.06], y=[0, 2.06], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    figure.update_xaxes(visible=False, range=[-0.02, count * 1.06], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-0.02, 2.08], fixedrange=True, scaleanchor="x")
    return figure.update_layout(height=400, margin={"l": 8, "r": 8, "t": 8, "b": 8}, showlegend=False)


def cells(grids: Mapping[str, Sequence[Sequence[Figure]]], chance: float) -> go.Figure:
    """Grids of 3 x 3 mean shares side by side, pale at chance, the label's centre framed.

    The colour scale is the same for every model, from nothing to twice chance: a weak lean stays pale.

    Args:
        grids: by key of `core.evaluation.metrics.position_bias.GRIDS`, figures with intervals by cell.
        chance: share of the patch that the label's box covers.
    """
    figure = make_subplots(1, len(grids), subplot_titles=[GRIDS[name] for name in grids], horizontal_spacing=0.04)
    for column, grid in enumerate(grids.values(), start=1):
        value, low, high = (
            [[None if one is None else 100 * one for one in map(attrgetter(name), row)] for row in grid]
            for name in ("value", "low", "high")
        )
        figure.add_heatmap(
            z=value, coloraxis="coloraxis", texttemplate="%{z:.1f}%", xgap=2, ygap=2, row=1, col=column,
            customdata=[[list(pair) for pair in zip(*rows, strict=True)] for rows in zip(low, high, strict=True)],
            hovertemplate="%{z:.1f}% [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>",
        )  # fmt: skip
        left, top = len(grid[0]) // 2 - 0.5, len(grid) // 2 - 0.5
        box = {"x0": left, "x1": left + 1, "y0": top, "y1": top + 1}
        figure.add_shape(type="rect", line={"width": 2}, row=1, col=column, **box)
        figure.update_yaxes(scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    figure.update_xaxes(visible=False, fixedrange=True, constrain="domain")
    figure.update_yaxes(visible=False, fixedrange=True, constrain="domain", autorange="reversed")
    ticks = [0, 100 * chance, 200 * chance]
    scale = {
        "colorscale": [[place, colour] for place, colour in DIFFERENCE.to_plotly()],
        "cmin": ticks[0],
        "cmax": ticks[-1],
        "colorbar": {"tickvals": ticks, "ticktext": ["0%", f"chance {ticks[1]:.0f}%", f"{ticks[2]:.0f}%"]},
    }
    return figure.update_layout(coloraxis=scale, height=HEIGHT + 40, margin={"l": 8, "r": 8, "t": 40, "b": 8})


def removal(curves: Mapping[str, RemovalCurve], kind: str) -> go.Figure:
    """Mean logit over the share of cells taken away (`kind` "deletion") or put back ("insertion"), by method."""
    verb = "blurred" if kind == "deletion" else "put back"
    figure = _figure(f"share of the patch {verb}", "mean logit")
    for number, (method, curve) in enumerate(curves.items()):
        figure.add_scatter(x=curve.share, y=getattr(curve, kind), **_line(method, number))
    return figure


def cascade(curves: Curves, kind: str) -> go.Figure:
    """Likeness to the trained network's map by depth of randomisation, `kind` "spearman" or "ssim"; 95 % intervals."""
    names = curves.cascade_layers
    figure = _figure("", "rank correlation" if kind == "spearman" else "SSIM")
    for number, (method, curve) in enumerate(curves.cascade.items()):
        figure.add_scatter(
            x=names, y=[point.value for point in getattr(curve, kind)], **_line(method, number),
            error_y={
                "type": "data", "symmetric": False, "thickness": 1, "width": 2,
                "array": [_gap(point, "high") for point in getattr(curve, kind)],
                "arrayminus": [_gap(point, "low") for point in getattr(curve, kind)],
            },
        )  # fmt: skip
    chance = curves.cascade[MAIN].unrelated if MAIN in curves.cascade else None
    if kind == "spearman" and chance is not None:
        _chance(figure, chance, "Grad-CAM of another patch")
    return figure.update_layout(height=HEIGHT + 60)


def drift(curves: Mapping[str, DriftCurve], kind: str) -> go.Figure:
    """How far maps (`kind` "drift") or probabilities ("shift") move, over strength, by what is done to the patch."""
    figure = _figure("strength", "1 - correlation" if kind == "drift" else "change of probability")
    for number, one in enumerate(curves.values()):
        figure.add_scatter(
            x=list(range(1, 1 + len(one.levels))), y=getattr(one, kind), name=one.title, mode="lines+markers",
            line=_style(number), customdata=[[level, one.unit] for level in one.levels],
            hovertemplate="%{y:.3f} at %{customdata[0]} %{customdata[1]}<extra>" + one.title + "</extra>",
        )  # fmt: skip
    if kind == "drift":
        _chance(figure, 1.0, "an unrelated map")
    return figure.update_xaxes(dtick=1)


def robustness(curves: Curves, kind: str) -> go.Figure:
    """One figure of the prediction over strength 0..5, by what is done to the patch."""
    figure = _figure("strength", {"auc": "AUC", "ece": "ECE"}.get(kind, kind))
    for number, (name, by_strength) in enumerate(curves.robustness.items()):
        title = curves.drift[name].title
        told = [(int(strength), figures[kind]) for strength, figures in by_strength.items() if kind in figures]
        told.sort(key=lambda pair: pair[0])
        figure.add_scatter(
            x=[strength for strength, _ in told], y=[point.value for _, point in told], name=title,
            mode="lines+markers", line=_style(number), customdata=[[p.low, p.high] for _, p in told],
            hovertemplate="%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra>" + title + "</extra>",
        )  # fmt: skip
    if kind == "auc":
        _chance(figure, 0.5, "chance")
    return figure.update_xaxes(dtick=1)


def reliability(curve: Reliability, positive: str) -> go.Figure:
    """Share of positives over mean probability by bin, with 95 % intervals; a marker's size tells how many patches."""
    figure = _figure("mean probability", f"share of {positive}")
    _diagonal(figure, "as said")
    size = 5 + 20 * np.sqrt(np.asarray(curve.count) / max(max(curve.count, default=1), 1))
    figure.add_scatter(
        x=curve.probability, y=curve.positive, mode="lines+markers", name="patches", line={"color": ACCENT},
        marker={"size": size.tolist(), "opacity": 0.8}, customdata=curve.count,
        error_y={
            "type": "data", "symmetric": False, "thickness": 1, "width": 2,
            "array": [_gap(point, "high") for point in curve.intervals],
            "arrayminus": [_gap(point, "low") for point in curve.intervals],
        },
        hovertemplate="said %{x:.2f}, was %{y:.2f}, n = %{customdata}<extra></extra>",
    )  # fmt: skip
    return _square(figure)


def risk(curves: Curves) -> go.Figure:
    """Error over the share of patches read, with what the refer band buys."""
    curve, bought = curves.risk_coverage, curves.referral
    assert curve is not None
    figure = _figure("share of patches read", "error among them")
    figure.add_scatter(
        x=curve.coverage, y=curve.risk, name=f"area {curve.area:.3f}", mode="lines", line={"color": ACCENT}
    )
    _chance(figure, curve.chance, "certainty says nothing")
    if bought is not None and bought.referred is not None and bought.error_read is not None:
        figure.add_scatter(
            x=[1 - bought.referred], y=[bought.error_read], mode="markers", name="outside the refer band",
            marker={"color": SECOND, "symbol": "diamond", "size": 11},
        )  # fmt: skip
    return figure.update_xaxes(range=[0, 1.02])


def roc(curves: Curves, chosen: tuple[float, float] | None = None) -> go.Figure:
    """ROC with the model's own operating point, and a chosen one (1 - specificity, sensitivity) where given."""
    curve, figures = curves.roc, curves.figures
    assert curve is not None
    figure = _figure("1 - specificity", "sensitivity")
    auc = curve.auc
    words = "ROC" if auc.value is None else f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    figure.add_scatter(
        x=curve.false_positive_rate, y=curve.sensitivity, name=words, mode="lines", line={"color": ACCENT}
    )
    _diagonal(figure, "chance")
    sensitivity, specificity = (figures.get(name, Figure()).value for name in ("sensitivity", "specificity"))
    if sensitivity is not None and specificity is not None and curves.point is not None:
        figure.add_scatter(
            x=[1 - specificity], y=[sensitivity], mode="markers",
            name=f"threshold {curves.point.threshold:.2f}", marker={"color": ACCENT, "size": 11},
        )  # fmt: skip
    if chosen is not None:
        figure.add_scatter(
            x=[chosen[0]], y=[chosen[1]], mode="markers", name="chosen sensitivity",
            marker={"color": SECOND, "symbol": "diamond", "size": 12},
        )  # fmt: skip
    return _square(figure)


def _figure(x: str, y: str) -> go.Figure:
    figure = go.Figure()
    return figure.update_layout(
        height=HEIGHT + 40,
        margin={"l": 56, "r": 16, "t": 72, "b": 44},
        legend={"orientation": "h", "y": 1.0, "yref": "container", "yanchor": "top", "x": 0, "xanchor": "left"},
        xaxis={"title": x},
        yaxis={"title": y},
        hovermode="closest",
    )


def _square(figure: go.Figure) -> go.Figure:
    return figure.update_layout(xaxis={"range": [0, 1.01]}, yaxis={"range": [0, 1.01]})


def _diagonal(figure: go.Figure, name: str) -> None:
    style = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], name=name, mode="lines", line=style, hoverinfo="skip")


def _chance(figure: go.Figure, value: float, words: str) -> None:
    figure.add_hline(
        y=value, line={"dash": "dot", "width": 1, "color": GREY}, annotation_text=f"{words} ({value:.2f})",
        annotation_position="bottom right",
    )  # fmt: skip


def _line(method: str, number: int) -> dict[str, Any]:
    grey = {"color": GREY, "width": 1.5, "dash": ("dash", "dot", "dashdot")[number % 3]}
    return {
        "name": method_title(method),
        "mode": "lines+markers",
        "marker": {"size": 5},
        "line": grey if method in BASELINES else _style(number),
        "visible": True if method in FIRST else "legendonly",
    }


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % (len(COLOURS) - 1)], "width": 2, "dash": "solid" if number < 6 else "dash"}


def _gap(point: Figure, side: Literal["low", "high"]) -> float | None:
    value, edge = point.value, point.low if side == "low" else point.high
    return None if value is None or edge is None else abs(edge - value)
