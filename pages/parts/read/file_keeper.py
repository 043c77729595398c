"""What was dropped survives a reload of the tab: the browser holds it, and sends it to the new session."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parents[3] / "assets"

_component = st.components.v2.component(
    "nodelens_file_keeper",
    html='<p class="keeper" data-testid="file-keeper" role="status"></p>',
    css=".keeper { margin: 0; font: 0.875rem var(--st-font); color: var(--st-text-color); }",
    js=(ASSETS / "file_keeper.js").read_text(encoding="utf-8"),
)


def keep_in_browser(
    held: Sequence[str],
    *,
    fresh: bool,
    most: int,
    key: str,
    on_return: Callable[[Sequence[tuple[str, bytes]]], None],
) -> None:
    """Let the browser hold what is dropped here, and send it back once to a session that has just begun.

    Args:
        held: SHA-256, in hex, of what this session holds; what it held once and holds no more the browser forgets.
        fresh: whether this session has never held a file; only then anything that comes back is heard.
        most: files that are heard.
        key: Streamlit's key for this component.
        on_return: told names and bytes before the page's next rerun. A browser may say anything.
    """
    limit = int(st.get_option("server.maxUploadSize")) * 2**20

    def returned() -> None:
        match st.session_state.get(key):
            case {"files": list(files)} if fresh:
                found = [file for file in map(_file, files[:most]) if file is not None]
                if sum(len(data) for _, data in found) <= limit:
                    on_return(found)

    _component(key=key, data={"held": list(held), "fresh": fresh, "limit": limit}, on_files_change=returned)


def _file(claimed: object) -> tuple[str, bytes] | None:
    match claimed:
        case {"name": str(name), "data": str(data)}:
            with suppress(ValueError):
                return name, base64.b64decode(data, validate=True)
    return None
