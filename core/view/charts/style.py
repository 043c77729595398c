"""What charts share: colours, heights, axes, and how chance and intervals are drawn."""

from __future__ import annotations

from typing import Any, Literal

import plotly.graph_objects as go

from core.evaluation.schema import Figure

COLOURS = ("#2f7fb5", "#c2701c", "#8a5fb0", "#2e8b74", "#b0526f", "#7d7f2a", "#7a828a")
"""Told apart by colour-blind readers, on light ground and on dark."""
ACCENT, SECOND = COLOURS[:2]
GREY = COLOURS[-1]
HEIGHT = 290


def blank(x: str, y: str) -> go.Figure:
    """An empty chart with its axes named."""
    figure = go.Figure()
    return figure.update_layout(
        height=HEIGHT + 40,
        margin={"l": 56, "r": 16, "t": 72, "b": 44},
        legend={"orientation": "h", "y": 1.0, "yref": "container", "yanchor": "top", "x": 0, "xanchor": "left"},
        xaxis={"title": x},
        yaxis={"title": y},
        hovermode="closest",
    )


def room_for_legend(figure: go.Figure, per_row: int = 2) -> go.Figure:
    """Make a chart as much taller as its legend is long, so that the plot keeps its height in half a page."""
    rows = -(-sum(trace.showlegend is not False for trace in figure.data) // per_row)
    legend = 20 * max(rows, 2)
    return figure.update_layout(height=HEIGHT + legend, margin={"t": legend + 16})


def square(figure: go.Figure) -> go.Figure:
    """Both axes from 0 to 1."""
    return figure.update_layout(xaxis={"range": [0, 1.01]}, yaxis={"range": [0, 1.01]})


def diagonal(figure: go.Figure, name: str) -> None:
    """A dotted line from corner to corner."""
    style = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], name=name, mode="lines", line=style, hoverinfo="skip")


def frame(figure: go.Figure, box: dict[str, float]) -> None:
    """A frame around a box (x0, x1, y0, y1) that shows on any picture, on light ground and on dark."""
    figure.add_shape(type="rect", line={"color": "white", "width": 4}, **box)
    figure.add_shape(type="rect", line={"color": "black", "width": 2, "dash": "dot"}, **box)


def chance_line(figure: go.Figure, value: float, words: str) -> None:
    """A dotted line at the level of chance."""
    figure.add_hline(
        y=value, line={"dash": "dot", "width": 1, "color": GREY}, annotation_text=f"{words} ({value:.2f})",
        annotation_position="bottom right",
    )  # fmt: skip


def line_style(number: int) -> dict[str, Any]:
    """Colour and dash of the n-th curve."""
    return {"color": COLOURS[number % (len(COLOURS) - 1)], "width": 2, "dash": "solid" if number < 6 else "dash"}


def gap(point: Figure, side: Literal["low", "high"]) -> float | None:
    """How far one end of an interval lies from its figure."""
    value, edge = point.value, point.low if side == "low" else point.high
    return None if value is None or edge is None else abs(edge - value)
