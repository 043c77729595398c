"""Charts of how far a prediction can be relied on: pure functions of an evidence report.

Chance is a dotted grey line wherever there is one.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from core.evaluation.ood import CHANCE
from core.evaluation.schema import Curves, Figure, OODFigures, OODKind, Reliability
from core.view.charts.style import ACCENT, GREY, SECOND, blank, chance_line, diagonal, gap, line_style, square
from core.view.words import percent_words


def roc(curves: Curves, chosen: tuple[float, float] | None = None) -> go.Figure:
    """ROC with the model's own operating point, and a chosen one (1 - specificity, sensitivity) where given."""
    curve, figures = curves.roc, curves.figures
    assert curve is not None
    figure = blank("1 - specificity", "sensitivity")
    auc = curve.auc
    words = "ROC" if auc.value is None else f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    figure.add_scatter(
        x=curve.false_positive_rate, y=curve.sensitivity, name=words, mode="lines", line={"color": ACCENT}
    )
    diagonal(figure, "chance")
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
    return square(figure)


def reliability(curve: Reliability, positive: str) -> go.Figure:
    """Share of positives over mean probability by bin, with 95 % intervals; a marker's size tells how many patches."""
    figure = blank("mean probability", f"share of {positive}")
    diagonal(figure, "as said")
    size = 5 + 20 * np.sqrt(np.asarray(curve.count) / max(max(curve.count, default=1), 1))
    figure.add_scatter(
        x=curve.probability, y=curve.positive, mode="lines+markers", name="patches", line={"color": ACCENT},
        marker={"size": size.tolist(), "opacity": 0.8}, customdata=curve.count,
        error_y={
            "type": "data", "symmetric": False, "thickness": 1, "width": 2,
            "array": [gap(point, "high") for point in curve.intervals],
            "arrayminus": [gap(point, "low") for point in curve.intervals],
        },
        hovertemplate="said %{x:.2f}, was %{y:.2f}, n = %{customdata}<extra></extra>",
    )  # fmt: skip
    return square(figure)


def risk(curves: Curves) -> go.Figure:
    """Error over the share of patches read, with what the refer band buys."""
    curve, bought = curves.risk_coverage, curves.referral
    assert curve is not None
    figure = blank("share of patches read", "error among them")
    figure.add_scatter(
        x=curve.coverage, y=curve.risk, name=f"area {curve.area:.3f}", mode="lines", line={"color": ACCENT}
    )
    chance_line(figure, curve.chance, "certainty says nothing")
    if bought is not None and bought.referred is not None and bought.error_read is not None:
        figure.add_scatter(
            x=[1 - bought.referred], y=[bought.error_read], mode="markers", name="outside the refer band",
            marker={"color": SECOND, "symbol": "diamond", "size": 11},
        )  # fmt: skip
    return figure.update_xaxes(range=[0, 1.02])


def robustness(curves: Curves, kind: str) -> go.Figure:
    """One figure of the prediction over strength 0..5, by what is done to the patch."""
    figure = blank("strength", {"auc": "AUC", "ece": "ECE"}.get(kind, kind))
    for number, (name, by_strength) in enumerate(curves.robustness.items()):
        title = curves.drift[name].title
        told = [(int(strength), figures[kind]) for strength, figures in by_strength.items() if kind in figures]
        told.sort(key=lambda pair: pair[0])
        figure.add_scatter(
            x=[strength for strength, _ in told], y=[point.value for _, point in told], name=title,
            mode="lines+markers", line=line_style(number), customdata=[[p.low, p.high] for _, p in told],
            hovertemplate="%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra>" + title + "</extra>",
        )  # fmt: skip
    if kind == "auc":
        chance_line(figure, 0.5, "chance")
    return figure.update_xaxes(dtick=1)


def _undecided(kind: OODKind) -> str:
    """How many of a kind get no class, for under the pointer; '' in reports that do not say."""
    known = kind.undecided.value is not None
    return f"<br>referred or not read {percent_words(kind.undecided)}" if known else ""


def ood(figures: OODFigures) -> go.Figure:
    """AUROC of each kind of out-of-distribution picture with its 95 % interval, and chance; the worst told on top."""
    shown = sorted(figures.kinds, key=lambda kind: -(kind.auroc.value or 0.0))
    figure = blank("AUROC", "")
    figure.add_scatter(
        x=[kind.auroc.value for kind in shown], y=[kind.name for kind in shown], mode="markers",
        marker={"color": ACCENT, "size": 9}, showlegend=False,
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
            "array": [gap(kind.auroc, "high") for kind in shown],
            "arrayminus": [gap(kind.auroc, "low") for kind in shown],
        },
        customdata=[
            [kind.auroc.low, kind.auroc.high, kind.found, kind.patches, kind.sources, _undecided(kind)]
            for kind in shown
        ],
        hovertemplate="%{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}], flagged %{customdata[2]:.0%} of "
        "%{customdata[3]} patches from %{customdata[4]} sources%{customdata[5]}<extra>%{y}</extra>",
    )  # fmt: skip
    figure.add_vline(
        x=CHANCE, line={"dash": "dot", "width": 1, "color": GREY}, annotation_text=f"chance ({CHANCE:.2f})",
        annotation_position="top",
    )  # fmt: skip
    figure.update_layout(height=110 + 24 * len(shown), margin={"l": 200, "t": 40})
    return figure.update_yaxes(categoryorder="array", categoryarray=[kind.name for kind in shown], title=None)
