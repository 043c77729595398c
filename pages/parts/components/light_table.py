"""The light table: patches side by side, looked at with one set of controls.

Opacity, hold-to-hide, cells or smooth, label box, zoom and pan happen in the browser alone, so a control answers while
it moves. What the reader chose is kept for the browser tab, across patches, pages and reloads. A table with a look
tells the server of it as pointer or focus leave it, and draws nothing but itself anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.kept import Kept
from core.task import Task
from core.view import overlay
from core.view.export import nothing_words
from core.view.words import on_screen
from pages.parts import library

ASSETS = Path(__file__).parents[3] / "assets"
SMOOTH = 2
"""Pixels of the smooth heatmap along a pixel of the patch; it is enlarged before it is coloured."""

HATCHED = 768
"""Pixels of the hatching's side: its lines are fine."""

LOOK = {"opacity": 50, "grid": "cells", "tissue": "smooth", "box": True}
"""What is chosen on a light table until the reader chooses otherwise, in the words of its form."""

HTML = """
<div class="table" data-testid="light-table">
  <div class="panels"></div>
  <template>
    <section class="panel" data-testid="panel">
      <div class="head"><h3></h3><p class="readout" data-testid="readout"></p>
        <img class="inset" data-testid="inset" alt="The same patch in its own colours"></div>
      <div class="stage" data-testid="stage" role="group" tabindex="0">
        <div class="layers">
          <img class="tissue" data-testid="tissue" decoding="sync" draggable="false">
          <div class="heatmap" data-testid="heatmap">
            <img class="smooth" alt="" decoding="sync" draggable="false">
            <img class="cells" alt="" decoding="sync" draggable="false">
            <img class="hatching" data-testid="hatching" alt="" decoding="sync" draggable="false">
          </div>
          <div class="label-box" role="img" ></div>
        </div>
        <div class="scale-bar" data-testid="scale-bar"><span></span></div>
      </div>
      <p class="message" data-testid="message"></p>
      <p class="verdict" data-testid="panel-verdict"></p>
      <p class="caption" data-testid="caption"></p>
      <div class="values"><table data-testid="values"></table></div>
    </section>
  </template>
  <form class="controls">
    <div class="row evidence">
      <div class="bars"></div>
      <label class="slider">Heatmap opacity
        <input type="range" name="opacity" min="0" max="100" value="50" data-testid="opacity">
        <output data-testid="opacity-value"></output>
      </label>
      <button type="button" class="hold" data-testid="hold" aria-pressed="false">Hold to hide heatmap
        <kbd>H</kbd></button>
    </div>
    <div class="row">
      <fieldset class="evidence"><legend>Heatmap</legend>
        <label><input type="radio" name="grid" value="smooth" data-testid="grid-smooth">
          <span>Smooth</span></label>
        <label><input type="radio" name="grid" value="cells" data-testid="grid-cells" checked>
          <span class="grids"></span></label>
      </fieldset>
      <fieldset><legend>Tissue</legend>
        <label><input type="radio" name="tissue" value="pixels" data-testid="tissue-pixels">
          <span>Pixels</span></label>
        <label><input type="radio" name="tissue" value="smooth" data-testid="tissue-smooth" checked>
          <span>Smooth</span></label>
      </fieldset>
      <div class="zoom" role="group" aria-label="Zoom">Zoom
        <button type="button" data-testid="zoom-out" aria-label="Zoom out">&minus;</button>
        <output data-testid="zoom"></output>
        <button type="button" data-testid="zoom-in" aria-label="Zoom in">+</button>
        <button type="button" data-testid="zoom-reset">Reset</button>
      </div>
      <label class="tick"><input type="checkbox" name="box" data-testid="label-box">
        <span class="where"></span></label>
    </div>
  </form>
</div>
"""

_component = st.components.v2.component(
    "nodelens_light_table",
    html=HTML,
    css=(ASSETS / "light_table.css").read_text(encoding="utf-8"),
    js=(ASSETS / "light_table.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Panel:
    """One picture on the light table: a patch, and perhaps a heatmap over it.

    Attributes:
        title: short heading above the picture.
        patch: (side, side, 3) uint8 RGB.
        task: what it is read for; says where the label's box lies.
        colour: the tissue in its own colours; grayscale otherwise.
        heatmap: (h, w) float32 in `unit` on its native grid; positive speaks for the target.
        unit: of the heatmap and its scale.
        scale: evidence in that unit that takes the last colour. It is never stretched to a patch on the quiet.
        scale_note: what the colour bar says of itself; panels with the same scale and note share a bar.
        hatched: (h, w) cells of the heatmap whose sign is not known.
        reflected: (h, w) cells that saw reflected tissue; hatched too.
        inset: the patch in its own colours, small, beside the heading.
        only_for: paint only what speaks for the target; otherwise both signs, in colours of their own.
        unusable: a gate says that nothing here may be used: small and grey.
        verdict: in words, below the picture.
        caption: what is explained, below that.
    """

    title: str
    patch: NDArray[np.uint8]
    task: Task
    colour: bool = False
    heatmap: NDArray[np.float32] | None = None
    unit: str = "logits"
    scale: float = 1.0
    scale_note: str = ""
    hatched: NDArray[np.bool_] | None = None
    reflected: NDArray[np.bool_] | None = None
    inset: bool = False
    only_for: bool = False
    unusable: bool = False
    verdict: str = ""
    caption: str = ""


def light_table(
    panels: Sequence[Panel],
    *,
    key: str,
    label_box: bool = False,
    controls_first: bool = False,
    look: dict[str, Any] | None = None,
) -> None:
    """Show one to five panels side by side; stacked where there is no room.

    Args:
        panels: from left to right.
        key: Streamlit's key for this table.
        label_box: whether label boxes are outlined until the reader chooses otherwise.
        controls_first: whether what the panels share stands above them.
        look: is kept at what the reader chose, in the words of `Look.told`. Whoever hands one over calls this within
            a fragment, as each choice runs it again.
    """
    # Of an empty map there is nothing to be told by colours.
    bars = dict.fromkeys(
        (panel.scale, f"{panel.scale_note}, {panel.unit}", panel.only_for)
        for panel in panels
        if panel.heatmap is not None and panel.heatmap.any() and not panel.unusable
    )
    grids = dict.fromkeys("{} x {}".format(*panel.heatmap.shape) for panel in panels if panel.heatmap is not None)
    boxes = dict.fromkeys(_box(panel.task) for panel in panels if panel.task.label_share is not None)

    result = _component(
        key=key,
        on_look_change=lambda: None,
        data={
            "panels": [_panel(panel, library.pictures()) for panel in panels],
            "bars": [_bar(*bar) for bar in bars],
            "grids": ", ".join(grids),
            "label_box": label_box,
            "controls_first": controls_first,
            "boxes": ", ".join(boxes),
            "look": look and dict(look),
        },
    )
    if look is not None and isinstance(chosen := result.get("look"), dict):
        look.update({name: chosen[name] for name in LOOK if name in chosen})


def _panel(panel: Panel, kept: Kept[str]) -> dict[str, Any]:
    tissue = panel.patch if panel.colour else overlay.grayscale(panel.patch)
    shown = {
        "title": panel.title,
        "tissue": overlay.data_url(tissue, kept),
        "alt": f"{panel.task.stain or 'RGB'} patch, {'in its own colours' if panel.colour else 'grayscale'}",
        "box": None if panel.task.label_share is None else _box(panel.task),
        "inset_of_box": panel.task.label_box.start / panel.task.side,
        "inset": overlay.data_url(panel.patch, kept) if panel.inset else None,
        "verdict": panel.verdict,
        "caption": on_screen(panel.caption),
        "message": "",
        "unusable": panel.unusable,
        "scale_bar": _scale_bar(panel.task),
    }
    if panel.heatmap is None:
        return shown
    side = SMOOTH * panel.task.side
    doubts = {name: cells for name in ("hatched", "reflected") if (cells := getattr(panel, name)) is not None}
    marked = np.any([*doubts.values()], axis=0) if doubts else np.zeros(1, bool)
    return shown | {
        "message": nothing_words(panel.heatmap, panel.only_for),
        "cells": overlay.heatmap_url(panel.heatmap, panel.scale, kept, only_for=panel.only_for),
        "smooth": overlay.heatmap_url(panel.heatmap, panel.scale, kept, side=side, only_for=panel.only_for),
        "values": panel.heatmap.round(6).tolist(),
        **{name: cells.tolist() if cells.any() else None for name, cells in doubts.items()},
        "hatching": overlay.hatching_url(marked, HATCHED, kept) if marked.any() else None,
        "unit": panel.unit,
    }


def _box(task: Task) -> str:
    return f"centre {task.label_region} x {task.label_region}"


def _scale_bar(task: Task) -> dict[str, Any] | None:
    bar = overlay.scale_bar(task)
    return bar and {"share": bar[0], "words": bar[1]}


def _bar(scale: float, note: str, only_for: bool) -> dict[str, Any]:
    stops = (f"{colour} {position:.2%}" for position, colour in overlay.colour_stops(only_for=only_for))
    words = [
        end.replace("<=", "\u2264").replace(">=", "\u2265").replace("-", "\u2212")
        for end in overlay.ticks(scale, only_for=only_for)
    ]
    return {"gradient": f"linear-gradient(to right, {', '.join(stops)})", "ticks": words, "note": note}
