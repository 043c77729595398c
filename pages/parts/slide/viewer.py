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
  <div class="frame"><div class="stage" data-testid="slide-stage" tabindex="0"></div>
    <div class="scale" data-testid="slide-scale" hidden></div></div>
  <div class="bar">
    <label>Map opacity <input type="range" min="0" max="100" value="50" data-testid="map-opacity">
      <span data-testid="map-opacity-words">50 %</span></label>
    <label><input type="checkbox" checked data-testid="show-outline"> Outlines</label>
    <span role="status" data-testid="viewer-status"></span>
  </div>
</div>
""",
    css=(ASSETS / "slide_viewer.css").read_text(encoding="utf-8"),
    js=(ASSETS / "slide_viewer.js").read_text(encoding="utf-8"),
)


def viewer(data: dict[str, Any], *, key: str, on_click: Callable[[float, float], None]) -> None:
    """Show a slide.

    Args:
        data: token, width, height, tile, levels, um, map (address of a picture), mapWidth, outline, areas, mark, goTo.
        key: Streamlit's key.
        on_click: told a place in level-0 px before the next rerun; a browser may say anything.
    """

    def clicked() -> None:
        match st.session_state.get(key):
            case {"clicked": {"x": float() | int() as x, "y": float() | int() as y, "token": str(token)}}:
                if token == data["token"] and 0 <= x < data["width"] and 0 <= y < data["height"]:
                    on_click(float(x), float(y))

    _component(key=key, data=data, on_clicked_change=clicked)
