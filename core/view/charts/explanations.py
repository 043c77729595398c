"""Charts of how far maps can be believed: pure functions of an evidence report.

Chance is a dotted grey line wherever there is one; baselines are grey and hollow, or dashed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.evaluation.explanations.stage import MAIN
from core.evaluation.measures import BASELINES, MEASURES
from core.evaluation.metrics.position_bias import GRIDS
from core.evaluation.schema import Curves, DriftCurve, Figure, PlantedFigures, RemovalCurve, Row
from core.view.charts.style import ACCENT, GREY, HEIGHT, blank, chance_line, frame, gap, line_style, room_for_legend
from core.view.narrative import method_title
from core.view.overlay import EVIDENCE, data_url, overlaid

FIRST = (MAIN, "layercam/last", "gradcam/6x6", "gradcam/12x12", "random", "hematoxylin", "darkness")
"""Drawn from the start where there are many curves; a click in the legend adds the others."""
OPACITY = 0.55


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


def forest(rows: Sequence[Row], measure: str) -> go.Figure:
    """One measure by method: figure and 95 % interval, with each method's chance as a cross.

    Args:
        rows: of the report.
        measure: a key of MEASURES.
    """
    shown = [row for row in rows if row.measure == measure]
    shown.sort(key=lambda row: row.value, reverse=MEASURES[measure].better == "low")
    names = [method_title(row.method) for row in shown]
    figure = blank(MEASURES[measure].title, "")
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
            frame(figure, box)
    # An even ground for the axes' range: images alone give none.
    figure.add_scatter(x=[0, count * 1.06], y=[0, 2.06], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    figure.update_xaxes(visible=False, range=[-0.02, count * 1.06], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-0.02, 2.08], fixedrange=True, scaleanchor="x")
    return figure.update_layout(height=400, margin={"l": 8, "r": 8, "t": 8, "b": 8}, showlegend=False)


def cells(grids: Mapping[str, Sequence[Sequence[Figure]]], chance: float) -> list[go.Figure]:
    """A chart for each grid of 3 x 3 mean shares, pale at chance, the label's centre framed.

    The colour scale is the same for all, and for every model, from nothing to twice chance: a weak lean stays pale.

    Args:
        grids: by key of `core.evaluation.metrics.position_bias.GRIDS`, figures with intervals by cell.
        chance: share of the patch that the label's box covers.
    """
    return [_grid(GRIDS[name], grid, chance) for name, grid in grids.items()]


def _grid(title: str, grid: Sequence[Sequence[Figure]], chance: float) -> go.Figure:
    value, low, high = (
        [[None if one is None else 100 * one for one in map(attrgetter(name), row)] for row in grid]
        for name in ("value", "low", "high")
    )
    ticks = [0, 100 * chance, 200 * chance]
    figure = go.Figure()
    figure.add_heatmap(
        z=value, texttemplate="%{z:.1f}%", xgap=2, ygap=2,
        customdata=[[list(pair) for pair in zip(*rows, strict=True)] for rows in zip(low, high, strict=True)],
        hovertemplate="%{z:.1f}% [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>",
        colorscale=[[place, colour] for place, colour in EVIDENCE.to_plotly()], zmin=ticks[0], zmax=ticks[-1],
        colorbar={
            "orientation": "h", "thickness": 12, "y": -0.02, "yanchor": "top", "tickvals": ticks,
            "ticktext": ["0%", f"chance {ticks[1]:.0f}%", f"{ticks[2]:.0f}%"],
        },
    )  # fmt: skip
    left, top = len(grid[0]) // 2 - 0.5, len(grid) // 2 - 0.5
    frame(figure, {"x0": left, "x1": left + 1, "y0": top, "y1": top + 1})
    figure.update_xaxes(visible=False, fixedrange=True, constrain="domain")
    figure.update_yaxes(visible=False, fixedrange=True, constrain="domain", autorange="reversed", scaleanchor="x")
    heading = {"text": title, "x": 0.5, "xanchor": "center", "font": {"size": 14}}
    return figure.update_layout(title=heading, height=HEIGHT + 80, margin={"l": 8, "r": 8, "t": 40, "b": 48})


def removal(curves: Mapping[str, RemovalCurve], kind: str) -> go.Figure:
    """Mean logit over the share of cells taken away (`kind` "deletion") or put back ("insertion"), by method."""
    verb = "blurred" if kind == "deletion" else "put back"
    figure = blank(f"share of the patch {verb}", "mean logit")
    for number, (method, curve) in enumerate(curves.items()):
        figure.add_scatter(x=curve.share, y=getattr(curve, kind), **_curve(method, number))
    return room_for_legend(figure)


def graded(planted: PlantedFigures, titles: Mapping[str, str]) -> go.Figure:
    """Mean figure of maps of known quality, by metric, as a share of what the truth itself gets."""
    figure = blank("map", "share of the truth's figure")
    for number, (name, means) in enumerate(planted.means.items()):
        if means[-1]:
            figure.add_scatter(
                x=planted.grades, y=[mean / means[-1] for mean in means], name=titles[name], mode="lines+markers",
                line=line_style(number), customdata=means,
                hovertemplate="%{y:.2f}, mean %{customdata:.2f}<extra>" + titles[name] + "</extra>",
            )  # fmt: skip
    return room_for_legend(figure)


def cascade(curves: Curves, kind: str) -> go.Figure:
    """Likeness to the trained network's map by depth of randomisation, `kind` "spearman" or "ssim"; 95 % intervals."""
    names = depth_words(curves.cascade_layers)
    figure = blank("randomised from the head down to", "rank correlation" if kind == "spearman" else "SSIM")
    for number, (method, curve) in enumerate(curves.cascade.items()):
        figure.add_scatter(
            x=names, y=[point.value for point in getattr(curve, kind)], customdata=curves.cascade_layers,
            **_curve(method, number),
            hovertemplate="%{y:.2f}, down to %{customdata}<extra>" + method_title(method) + "</extra>",
            error_y={
                "type": "data", "symmetric": False, "thickness": 1, "width": 2,
                "array": [gap(point, "high") for point in getattr(curve, kind)],
                "arrayminus": [gap(point, "low") for point in getattr(curve, kind)],
            },
        )  # fmt: skip
    chance = curves.cascade[MAIN].unrelated if MAIN in curves.cascade else None
    if kind == "spearman" and chance is not None:
        chance_line(figure, chance, "Grad-CAM of another patch")
    return room_for_legend(figure)


def depth_words(layers: Sequence[str]) -> list[str]:
    """Layers of a network, from its head down, in words: 'head', 'block 4', 'first layer'; by name where not known."""
    words = [_depth(layer) for layer in layers]
    return words if len({*words}) == len(words) else list(layers)


def _depth(layer: str) -> str:
    numbered = re.search(r"denseblock(\d+)|blocks\.(\d+)", layer)
    if numbered:
        return f"block {numbered[1] or int(numbered[2]) + 1}"
    for pattern, words in (("classifier|head", "head"), (r"stem|conv0", "first layer"), ("norm", "last norm")):
        if re.search(pattern, layer):
            return words
    return layer


def drift(curves: Mapping[str, DriftCurve], kind: str) -> go.Figure:
    """How far maps (`kind` "drift") or probabilities ("shift") move, over strength, by what is done to the patch."""
    figure = blank("strength", "1 - correlation" if kind == "drift" else "change of probability")
    for number, one in enumerate(curves.values()):
        figure.add_scatter(
            x=list(range(1, 1 + len(one.levels))), y=getattr(one, kind), name=one.title, mode="lines+markers",
            line=line_style(number), customdata=[[level, one.unit] for level in one.levels],
            hovertemplate="%{y:.3f} at %{customdata[0]} %{customdata[1]}<extra>" + one.title + "</extra>",
        )  # fmt: skip
    if kind == "drift":
        chance_line(figure, 1.0, "an unrelated map")
    return figure.update_xaxes(dtick=1)


def _curve(method: str, number: int) -> dict[str, Any]:
    grey = {"color": GREY, "width": 1.5, "dash": ("dash", "dot", "dashdot")[number % 3]}
    return {
        "name": method_title(method),
        "mode": "lines+markers",
        "marker": {"size": 5},
        "line": grey if method in BASELINES else line_style(number),
        "visible": True if method in FIRST else "legendonly",
    }
