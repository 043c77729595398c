"""The gallery: a dense grid of patches with their label and verdict in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.kept import Kept
from core.view import overlay
from pages.parts.components.heard import heard, news

ASSETS = Path(__file__).parents[3] / "assets"
HTML = """
<div class="gallery" data-testid="gallery">
  <p class="legend" data-testid="legend"></p>
  <div class="tiles"></div>
  <template>
    <div class="tile" data-testid="tile">
      <button type="button" data-testid="tile-open">
        <img class="tissue" alt="" decoding="sync">
        <img class="heatmap" alt="" decoding="sync">
        <span class="plate"></span>
      </button>
      <p class="words"></p>
      <label><input type="checkbox" data-testid="tile-compare"> Compare</label>
    </div>
  </template>
</div>
"""

_component = st.components.v2.component(
    "nodelens_gallery",
    html=HTML,
    css=(ASSETS / "gallery.css").read_text(encoding="utf-8"),
    js=(ASSETS / "gallery.js").read_text(encoding="utf-8"),
)

_pictures: Kept[str] = Kept(most=8192, most_bytes=64 * 2**20, size=len)
"""Encoded tiles, for all readers: some 2,500 patches."""


@dataclass(frozen=True)
class Tile:
    """One patch of the gallery; of a split, never what a reader dropped, as its picture is kept for all.

    Attributes:
        index: what an event names this tile by; unique within the gallery.
        patch: (side, side, 3) uint8 RGB.
        heatmap: (h, w) float32 in logits, shown in place under the pointer or the keyboard's focus.
        title: names the tile: "row 123".
        lines: the first two, label and verdict, stand on the picture; the others under it.
        outcome: "true positive", "true negative", "false positive", "false negative", "refer" or "".
        ticked: chosen for comparison.
    """

    index: int
    patch: NDArray[np.uint8]
    heatmap: NDArray[np.float32] | None
    title: str
    lines: tuple[str, ...]
    outcome: str
    ticked: bool = False


def gallery(
    tiles: Sequence[Tile],
    *,
    scale: float,
    key: str,
    on_open: Callable[[int], None],
    on_tick: Callable[[int, bool], None] | None = None,
) -> None:
    """Show a page of patches, at most 48 or so, at twice their size.

    Both callbacks run before the page's next rerun, so they may set the state of widgets. `tiles` say what is ticked:
    a tick that `on_tick` does not take up is gone after the rerun.

    Args:
        tiles: in reading order.
        scale: evidence in logits that takes the last colour, one for all tiles.
        key: Streamlit's key for this gallery.
        on_open: told the index of a tile that was opened.
        on_tick: told the index of a tile and its new tick; without it no tile can be ticked.
    """

    shown = {tile.index for tile in tiles}  # a browser may say anything: what is not of this gallery is not heard

    def opened() -> None:
        match st.session_state.get(key):
            case {"opened": int(index)} if index in shown:
                on_open(index)

    def ticked() -> None:
        match st.session_state.get(key):
            case {"ticked": told} if on_tick is not None:
                for tick in news(key, told):
                    match tick:
                        case {"index": int(index), "ticked": bool(ticked)} if index in shown:
                            on_tick(index, ticked)

    _component(
        key=key,
        data={
            "tiles": [_tile(tile, scale) for tile in tiles],
            "tickable": on_tick is not None,
            "heard": heard(key),
        },
        on_opened_change=opened,
        on_ticked_change=ticked,
    )


def _tile(tile: Tile, scale: float) -> dict[str, Any]:
    return {
        "index": tile.index,
        "tissue": overlay.data_url(tile.patch, _pictures),
        # A few bytes on the native grid: the browser enlarges it, bilinear like the light table.
        "heatmap": None if tile.heatmap is None else overlay.heatmap_url(tile.heatmap, scale, _pictures),
        "title": tile.title,
        "plate": tile.lines[:2],
        "words": [tile.title, *tile.lines[2:]],
        "outcome": tile.outcome,
        "ticked": tile.ticked,
    }
