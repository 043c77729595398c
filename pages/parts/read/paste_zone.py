"""Paste: a picture from the clipboard, taken anywhere on the page."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import streamlit as st

from pages.parts.components.heard import heard, news

ASSETS = Path(__file__).parents[3] / "assets"

_component = st.components.v2.component(
    "nodelens_paste_zone",
    html='<p class="paste" data-testid="paste-zone" role="status"></p>',
    css=".paste { margin: 0; font: 0.875rem var(--st-font); color: var(--st-text-color); }",
    js=(ASSETS / "paste_zone.js").read_text(encoding="utf-8"),
)


def paste_zone(*, key: str, on_paste: Callable[[str, bytes], None]) -> None:
    """Listen for pasted pictures; `on_paste` is told a name and the file's bytes before the next rerun."""

    limit = int(st.get_option("server.maxUploadSize")) * 2**20

    def pasted() -> None:
        match st.session_state.get(key):
            case {"pasted": told}:
                for file in news(key, told):
                    match file:
                        case {"name": str(name), "data": str(data)} if len(data) <= limit * 4 / 3 + 4:
                            with suppress(ValueError):  # not the browser's doing
                                on_paste(name, base64.b64decode(data, validate=True))

    _component(key=key, data={"limit": limit, "heard": heard(key)}, on_pasted_change=pasted)
