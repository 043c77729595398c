"""The window picker: a frame of one patch, to scale, on a picture that is larger than one.

The frame moves in the browser alone; the server hears of it once, when it has come to rest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from core.view import overlay

ASSETS = Path(__file__).parents[3] / "assets"
SENT_SIDE = 1024
"""Longest side of what is sent to the browser: 40 megapixels would be a message of 100 MB."""
LOSSLESS_SIDE = 480
"""Up to here a picture is enlarged on the screen, where the blocks of a JPEG would show."""

HTML = """
<div class="picker" data-testid="window-picker">
  <div class="stage">
    <img alt="The whole picture" decoding="sync" draggable="false">
    <div class="frame" data-testid="window-frame" role="application" tabindex="0"
      aria-describedby="position help"></div>
  </div>
  <p id="position" class="position" data-testid="window-position" aria-live="polite"></p>
  <p id="help" class="help">
    Drag the frame or click the picture. Arrow keys move it by 1 px, with Shift by 32 px.
  </p>
</div>
"""

_component = st.components.v2.component(
    "nodelens_window_picker",
    html=HTML,
    css=(ASSETS / "window_picker.css").read_text(encoding="utf-8"),
    js=(ASSETS / "window_picker.js").read_text(encoding="utf-8"),
)


def pick_window(
    preview: str,
    size: tuple[int, int],
    *,
    side: int,
    at: tuple[int, int],
    key: str,
    on_move: Callable[[int, int], None],
) -> None:
    """Let the reader choose which patch of a picture is read.

    Args:
        preview: the picture's address, from `preview_of`.
        size: (width, height) of the picture in pixels, both at least `side`.
        side: of a patch in pixels.
        at: (left, top) of the window.
        key: Streamlit's key for this picker; each picture has a state of its own under it.
        on_move: told the left and top, always inside the picture, before the page's next rerun.
    """
    key = f"{key}-{hashlib.blake2b(preview.encode(), digest_size=8).hexdigest()}"
    (width, height), (left, top) = size, at

    def moved() -> None:
        match st.session_state.get(key):
            case {"window": {"left": int(x), "top": int(y)}} if bool not in (type(x), type(y)):
                on_move(min(max(x, 0), width - side), min(max(y, 0), height - side))

    _component(
        key=key,
        data={"picture": preview, "width": width, "height": height, "side": side, "left": left, "top": top},
        on_window_change=moved,
    )


def preview_of(pixels: NDArray[np.uint8]) -> str:
    """The picture as the address of an <img>, reduced by averaging areas when it is large."""
    if max(pixels.shape[:2]) <= LOSSLESS_SIDE:
        return overlay.data_url(pixels)
    image = Image.fromarray(pixels)
    image.thumbnail((SENT_SIDE, SENT_SIDE), Image.Resampling.BOX)  # never enlarges
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=90, subsampling=0)  # stain colours at full resolution
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
