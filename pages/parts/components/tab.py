"""What belongs to the browser's tab: its history, in which an entry is a page, and what is said aloud."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parents[3] / "assets"

_component = st.components.v2.component(
    "nodelens_tab",
    html='<p role="status" data-testid="said"></p>',
    css="p { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }",
    js=(ASSETS / "tab.js").read_text(encoding="utf-8"),
)


def say(words: str) -> None:
    """Have a screen reader say this when the page stands, if it is not what was said last.

    What Streamlit draws is put in the place of what it drew before, and so is not heard as a change.
    """
    st.session_state["said"] = words


def tab() -> None:
    """Last on every page: tells the browser that the page stands."""
    run = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    _component(key="tab", data={"run": run, "said": st.session_state.pop("said", "")})
