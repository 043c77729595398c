"""What every screen shares: the look, the notice, and how an error of ours is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.pages_manager import PagesManager

from core.errors import NodeLensError
from core.logs import configure as configure_logs
from core.settings import settings, without_paths
from core.view.words import on_screen
from pages.parts import choices, links
from pages.parts.components.tab import tab
from pages.parts.garbage import sweep

CSS = (Path(__file__).parents[2] / "assets" / "app.css").read_text(encoding="utf-8")


def require() -> None:
    """First line of every page: start over through app.py if it has not run.

    Until somebody has called `st.navigation`, Streamlit takes the folder `pages/` for its older kind of app and runs a
    page by itself, so that a deep link opened right after the server started would miss the frame.
    """
    if "in_frame" not in st.session_state:
        PagesManager.uses_pages_directory = False
        st.rerun()


def open_intake() -> None:
    """A place for what a page takes in, before all its menus: the first that Tab comes to."""
    st.session_state["intake"] = st.container(key="intake", horizontal=True, vertical_alignment="center")


def intake() -> DeltaGenerator:
    """That place, for the page that it was opened for; one that runs without app.py makes it, and the menus, itself."""
    if "intake" not in st.session_state:
        open_intake()
        choices.choose_model_and_split()
    place: DeltaGenerator = st.session_state.pop("intake")
    return place


@contextmanager
def around(title: str) -> Iterator[None]:
    """Draw a page between the style sheet and the notice; an error of ours ends it with its sentence.

    Its heading is for those who listen: others see in the row of pages where they are.

    Only ours: a bug should still look like a bug.
    """
    st.session_state["in_frame"] = True
    _drop_infinities()
    st.html(f"<style>{CSS}</style>")
    with st.container(key="page_title"):
        st.html(f"<h1>{title}</h1>")
    try:
        configure_logs(settings().log)
        links.say_what_is_missing()
        yield
    except NodeLensError as error:
        st.error(on_screen(without_paths(str(error))))
    st.html(
        '<p class="nl-foot">NodeLens is for research use only. It is not a medical device. '
        "A heatmap shows what moved the network, not where the finding is.</p>"
    )
    links.told()
    tab()
    sweep.if_due()  # in the place of Streamlit's own search after every run, which the configuration turns off


def _drop_infinities() -> None:
    """Of an address such as ?patch=1e400 Streamlit wants to make a whole number, and falls over."""
    for name in list(st.query_params):
        with suppress(ValueError):
            if math.isinf(float(st.query_params[name])):
                del st.query_params[name]
                st.rerun()
