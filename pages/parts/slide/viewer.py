"""The deep-zoom viewer of a slide: what the server tells it, and where the reader clicks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

ASSETS = Path(__file__).parents[3] / "assets"

_component = st.components.v2.component(
    "nodelens_slide",
    html="""
<div class="slide">
  <div class="frame">
    <div class="stage" data-testid="slide-stage" tabindex="0" role="application" aria-label="Slide"
      aria-describedby="nl-slide-keys"></div>
    <div class="cross" aria-hidden="true"></div>
    <div class="scale" data-testid="slide-scale" hidden></div>
  </div>
  <div class="bar">
    <button type="button" data-testid="slide-zoom-out" aria-label="Zoom out">&minus;</button>
    <button type="button" data-testid="slide-zoom-in" aria-label="Zoom in">+</button>
    <button type="button" data-testid="slide-whole">Whole slide</button>
    <button type="button" data-testid="slide-next" hidden>Next area</button>
    <label class="mapped" hidden>Map opacity
      <input type="range" min="0" max="100" value="50" data-testid="map-opacity">
      <span class="percent" data-testid="map-opacity-words">50 %</span></label>
    <label><input type="checkbox" checked data-testid="show-outline"> Outlines</label>
  </div>
  <details class="paint"><summary>Correct the tissue outline</summary>
    <div class="bar" role="group" aria-label="Correct the tissue outline">
      <button type="button" data-testid="paint-add" aria-pressed="false">Paint tissue in</button>
      <button type="button" data-testid="paint-out" aria-pressed="false">Paint tissue out</button>
      <button type="button" data-testid="paint-undo" disabled>Undo</button>
      <span>Drag over the slide, or press <kbd>Space</kbd> for its middle.</span>
    </div>
  </details>
  <div class="bar legend">
    <span class="mapped" hidden><span class="ticks"><i></i><b class="colours"></b><i></i></span>
      <span data-testid="map-words"></span></span>
    <span class="mapped" hidden><b class="unread"></b> not read</span>
    <span class="lines"><b class="line tissue-line"></b> tissue</span>
    <span class="lines area-key" hidden><b class="line area-line"></b> area</span>
  </div>
  <p class="keys" id="nl-slide-keys">Keys in the picture: <kbd>+</kbd> <kbd>&minus;</kbd> zoom, arrows move,
    <kbd>0</kbd> whole slide, <kbd>N</kbd> next area, <kbd>P</kbd> the one before, <kbd>Enter</kbd> reads the patch in
    the middle.</p>
  <p class="status" role="status" data-testid="viewer-status"></p>
</div>
""",
    css=(ASSETS / "slide_viewer.css").read_text(encoding="utf-8"),
    js=(ASSETS / "slide_viewer.js").read_text(encoding="utf-8"),
)


def viewer(
    data: dict[str, Any],
    *,
    key: str,
    on_click: Callable[[float, float], None],
    on_paint: Callable[[object], None],
) -> None:
    """Show a slide.

    Args:
        data: token, width, height, tile, levels, um, map (address of a picture), mapWidth, legend (gradient, ticks,
            words), outline, areas (rings, box, hot, words), total (of all areas), mark, goTo (number, area), strokes
            (see `painting`), mostStrokes, mostPlaces, least (radius of a brush, level-0 px).
        key: Streamlit's key.
        on_click: told a place in level-0 px before the next rerun.
        on_paint: told all strokes as the browser tells them, which may be anything.
    """

    def clicked() -> None:
        match st.session_state.get(key):
            case {"clicked": {"x": float() | int() as x, "y": float() | int() as y, "token": str(token)}}:
                if token == data["token"] and 0 <= x < data["width"] and 0 <= y < data["height"]:
                    on_click(float(x), float(y))

    def painted() -> None:
        match st.session_state.get(key):
            case {"painted": {"token": str(token), "strokes": strokes}} if token == data["token"]:
                on_paint(strokes)

    _component(key=key, data=data, on_clicked_change=clicked, on_painted_change=painted)
