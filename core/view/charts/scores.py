"""Charts, as Plotly figures without a background of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.models.schema import OperatingPoint
from core.task import Task

BINS = 40
LABEL_STYLES = {1: ("#1f5f8b", ""), 0: ("#9a9fa5", "/")}
"""Colour and hatching by label: told apart without colour too."""


def probability_histogram(
    probability: NDArray[np.floating], labels: NDArray[np.integer], point: OperatingPoint, task: Task
) -> Any:
    """How many patches of either label got which probability, with threshold and refer band.

    The axis of counts is a square root: the few patches that a model is wrong or unsure about show beside the many.

    Args:
        probability: (n,) in [0, 1]; NaN where not read yet.
        labels: (n,) 0 or 1.
        point: the operating point that is drawn.
        task: whose classes the labels are.
    """
    edges = np.linspace(0, 1, BINS + 1)
    figure = go.Figure()
    below = np.zeros(BINS)
    for label, (colour, hatch) in LABEL_STYLES.items():
        name = f"labelled {task.positive if label else task.negative}"
        counts, _ = np.histogram(probability[(labels == label) & np.isfinite(probability)], bins=edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            base=np.sqrt(below),
            y=np.sqrt(below + counts) - np.sqrt(below),  # so that both labels end where their sum does
            customdata=counts,
            width=1 / BINS,
            name=name,
            marker={"color": colour, "pattern": {"shape": hatch}, "line": {"width": 0}},
            hovertemplate="%{customdata} patches at %{x:.2f}<extra>" + name + "</extra>",
        )
        below += counts
    ticks = count_ticks(int(below.max()))
    if point.refer_high > point.refer_low:
        figure.add_vrect(x0=point.refer_low, x1=point.refer_high, fillcolor="gray", opacity=0.18, line_width=0)
        figure.add_annotation(
            x=(point.refer_low + point.refer_high) / 2,
            y=1,
            yref="paper",
            text="refer",
            showarrow=False,
            yanchor="bottom",
        )
    figure.add_vline(x=point.threshold, line={"dash": "dash", "width": 1, "color": "gray"})
    figure.update_layout(
        barmode="overlay",
        bargap=0,
        height=190,
        margin={"l": 48, "r": 8, "t": 20, "b": 36},
        dragmode="select",
        selectdirection="h",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        xaxis={"title": f"probability of {task.positive}, {point.state}", "range": [0, 1], "fixedrange": True},
        yaxis={
            "title": "patches",
            "tickvals": np.sqrt(ticks),
            "ticktext": [f"{tick:,}" for tick in ticks],
            "rangemode": "nonnegative",
            "fixedrange": True,
        },
    )
    return figure


def count_ticks(most: int) -> list[int]:
    """Round counts from 0 to `most` that lie evenly on a square-root axis, five at most."""
    rounded = [_rounded(most * (step / 4) ** 2) for step in (1, 2, 3, 4)]
    return list(dict.fromkeys([0, *(tick for tick in rounded if 0 < tick <= most)]))


def _rounded(value: float) -> int:
    """To one digit, and down, so that it stays on the axis."""
    if value < 1:
        return 0
    power = 10 ** int(np.log10(value))
    return int(value // power * power)
