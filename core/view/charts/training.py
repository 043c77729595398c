"""Charts of training: pure functions of a run's facts, in the quiet style of `core.view.charts.scores`.

Epochs count on from cycle to cycle. With one run, colour tells what is drawn; with several, colour tells the run and
the dash what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_curve

from core.view.charts.style import ACCENT, COLOURS, HEIGHT, SECOND, diagonal, square

Facts = Sequence[Mapping[str, Any]]

MOST_POINTS = 1000
"""Points of a curve: more than a screen shows, and few enough to be sent every other second."""


def losses(runs: Mapping[str, Facts], cycle: int | None = None) -> go.Figure:
    """Training and validation loss over epochs.

    Args:
        runs: name -> facts of the run.
        cycle: one cycle alone, from 0 on, its epochs counted from its own start; all when None.
    """
    figure = _figure("epochs", "loss (nats)")
    for number, (name, facts) in enumerate(runs.items()):
        alone = len(runs) == 1
        colour = COLOURS[number % len(COLOURS)]
        x, y = _series(facts, "step", "loss", cycle)
        label = "training" if alone else name
        figure.add_scatter(x=x, y=y, name=label, legendgroup=name, mode="lines", line={"color": colour, "width": 1})
        x, y = _series(facts, "epoch", "valid_loss", cycle)
        style = {"color": SECOND if alone else colour, "width": 2, "dash": "solid" if alone else "dash"}
        label = "validation" if alone else f"{name}, validation"
        figure.add_scatter(x=x, y=y, name=label, legendgroup=name, mode="lines+markers", line=style)
    return _with_cycles(figure, runs, cycle)


def scores(runs: Mapping[str, Facts]) -> go.Figure:
    """Accuracy and AUC on the validation patches over epochs."""
    figure = _figure("epochs", "on validation")
    for number, (name, facts) in enumerate(runs.items()):
        alone = len(runs) == 1
        for place, (key, label, dash) in enumerate((("auc", "AUC", "solid"), ("accuracy", "accuracy", "dot"))):
            x, y = _series(facts, "epoch", key)
            style = {"color": COLOURS[place if alone else number % len(COLOURS)], "width": 2, "dash": dash}
            said = label if alone else f"{name}, {label}"
            figure.add_scatter(x=x, y=y, name=said, legendgroup=name, mode="lines+markers", line=style)
    return _with_cycles(figure, runs)


def rates(runs: Mapping[str, Facts], cycle: int | None = None) -> go.Figure:
    """Learning rate over epochs; for one run also that of its first layers where it differs, and the momentum.

    Args:
        runs, cycle: as for `losses`.
    """
    figure = _figure("epochs", "learning rate")
    for number, (name, facts) in enumerate(runs.items()):
        alone = len(runs) == 1
        x, y = _series(facts, "step", "rate", cycle)
        style = {"color": COLOURS[number % len(COLOURS)], "width": 2}
        figure.add_scatter(x=x, y=y, name="learning rate" if alone else name, mode="lines", line=style)
        if not alone:
            continue
        _, first = _series(facts, "step", "first_rate", cycle)
        if first != y:
            style = {"color": ACCENT, "width": 1, "dash": "dash"}
            figure.add_scatter(x=x, y=first, name="of the first layers", mode="lines", line=style)
        _, momentum = _series(facts, "step", "momentum", cycle)
        style = {"color": SECOND, "width": 1, "dash": "dot"}
        figure.add_scatter(x=x, y=momentum, name="momentum (right)", mode="lines", line=style, yaxis="y2")
        right = {"overlaying": "y", "side": "right", "range": [0.84, 0.96], "tickvals": [0.85, 0.9, 0.95]}
        figure.update_layout(yaxis2=right | {"title": "momentum", "showgrid": False})
    return _with_cycles(figure, runs, cycle)


def range_test(curve: Mapping[str, Any]) -> go.Figure:
    """One learning-rate range test: raw and smoothed loss over the rate, with its suggestions.

    Args:
        curve: as in a trial's record.
    """
    figure = _rate_axis(_figure("learning rate", "loss (nats)"))
    style = {"color": COLOURS[-1], "width": 1}
    figure.add_scatter(x=curve["rates"], y=curve["losses"], name="each batch", mode="lines", line=style, opacity=0.6)
    style = {"color": ACCENT, "width": 2}
    figure.add_scatter(x=curve["rates"], y=curve["smoothed"], name="smoothed", mode="lines", line=style)
    for name, symbol in (("steepest", "diamond"), ("valley", "circle")):
        rate = curve[name]
        if rate is not None:
            figure.add_scatter(
                x=[rate], y=[curve["smoothed"][curve["rates"].index(rate)]], name=f"{name}: {rate:.1e}",
                mode="markers", marker={"color": SECOND, "size": 11, "symbol": symbol},
            )  # fmt: skip
    return _within(figure, curve["smoothed"])


def decay_comparison(curves: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Smoothed losses of range tests with different weight decays on one plot; `curves` as in a trial's record."""
    figure = _rate_axis(_figure("learning rate", "smoothed loss (nats)"))
    for number, curve in enumerate(curves):
        style = {"color": COLOURS[number % len(COLOURS)], "width": 2, "dash": ("solid", "dash", "dot")[number % 3]}
        name = f"weight decay {curve['weight_decay']:g}"
        figure.add_scatter(x=curve["rates"], y=curve["smoothed"], name=name, mode="lines", line=style)
    return _within(figure, [loss for curve in curves for loss in curve["smoothed"]])


def confusion(counts: NDArray[np.integer], names: Sequence[str]) -> go.Figure:
    """Confusion matrix with counts and the share of each label.

    Args:
        counts: (c, c); rows are labels, columns what was read.
        names: of the classes.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    words = [
        [f"{count:,}<br>{part:.0%}" for count, part in zip(*row, strict=True)]
        for row in zip(counts, share, strict=True)
    ]
    figure = _figure("read", "labelled")
    figure.add_heatmap(
        z=share, x=list(names), y=list(names), text=words, texttemplate="%{text}", textfont={"size": 16}, zmin=0,
        zmax=1, colorscale=[[0, "rgba(47,127,181,0.06)"], [1, "rgba(47,127,181,0.75)"]], showscale=False, xgap=2,
        ygap=2, hovertemplate="labelled %{y}, read %{x}: %{text}<extra></extra>",
    )  # fmt: skip
    figure.update_layout(height=HEIGHT + 60, xaxis={"showgrid": False}, yaxis={"autorange": "reversed"})
    return figure


def roc(probability: ArrayLike, labels: ArrayLike, auc: float) -> go.Figure:
    """ROC curve.

    Args:
        probability: (n,) of tumour.
        labels: (n,) 0 or 1, both present.
        auc: area under it, for the legend.
    """
    false_positive, true_positive, _ = roc_curve(labels, probability)
    figure = _figure("false positive rate", "true positive rate")
    style = {"color": ACCENT, "width": 2}
    figure.add_scatter(x=false_positive, y=true_positive, name=f"AUC {auc:.3f}", mode="lines", line=style)
    diagonal(figure, "chance")
    return square(figure).update_layout(height=HEIGHT + 60)


def epochs_before(facts: Facts) -> list[float]:
    """Epochs that came before each cycle; the last number is the epochs of all cycles told of."""
    lengths: dict[int, float] = {}
    for fact in facts:
        if fact["fact"] in ("step", "epoch"):
            lengths[fact["cycle"]] = fact["epoch"]
    return [0.0, *accumulate(lengths[number] for number in sorted(lengths))]


def _series(facts: Facts, kind: str, key: str, cycle: int | None = None) -> tuple[list[float], list[float]]:
    """Epochs and values of one kind of fact; of a long run evenly chosen ones, the first and the last among them."""
    before = epochs_before(facts)
    told = [fact for fact in facts if fact["fact"] == kind and key in fact and cycle in (None, fact["cycle"])]
    if len(told) > MOST_POINTS:
        told = [told[place] for place in np.linspace(0, len(told) - 1, MOST_POINTS).astype(int)]
    x = [fact["epoch"] + (before[fact["cycle"]] if cycle is None else 0) for fact in told]
    return x, [fact[key] for fact in told]


def _figure(x: str, y: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 56, "r": 16, "t": 64, "b": 40},
        legend={"orientation": "h", "y": 1.0, "yref": "container", "yanchor": "top", "x": 0, "xanchor": "left"},
        xaxis={"title": x, "rangemode": "tozero"},
        yaxis={"title": y},
        hovermode="closest",
        uirevision="kept",
    )
    return figure


def _rate_axis(figure: go.Figure) -> go.Figure:
    return figure.update_xaxes(type="log", exponentformat="power", dtick=1)


def _within(figure: go.Figure, smoothed: Sequence[float]) -> go.Figure:
    """Leave out of sight what ran away: the valley is what one looks for."""
    if smoothed:
        low, high = min(smoothed), min(max(smoothed), 1.3 * smoothed[0])
        room = 0.08 * (high - low) or 0.1
        figure.update_yaxes(range=[low - room, high + room])
    return figure


def _with_cycles(figure: go.Figure, runs: Mapping[str, Facts], cycle: int | None = None) -> go.Figure:
    """A thin line where a cycle of a single run begins."""
    if len(runs) == 1 and cycle is None:
        for start in epochs_before(*runs.values())[1:-1]:
            figure.add_vline(x=start, line={"dash": "dot", "width": 1, "color": "gray"})
    return figure
