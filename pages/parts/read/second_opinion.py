"""Under the verdict: what the other models make of the patch, and whose map points."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from html import escape

import streamlit as st

from core import service
from core.errors import NodeLensError
from core.view.pointing import pointing
from core.view.verdict import second_opinion
from pages.parts import library
from pages.parts.compare.opening import MOST, of_one_task, open_compare
from pages.parts.evidence.reports import kept_report
from pages.parts.read.choose import Chosen

ASKED = "second_opinion_asked"
"""In the session: the models that a second opinion was asked of."""


def show_second_opinion(model: str, chosen: Chosen, views: int) -> None:
    """Two lines. Last on the page: other models are read when everything else stands.

    They are loaded when somebody asks for them, and read at once wherever they are loaded already.

    Args:
        model: whose reading is on screen.
        chosen: the patch that it reads.
        views: as on screen.
    """
    names = of_one_task(model)
    reports = {}
    for name in names:
        with suppress(NodeLensError):
            if report := kept_report(name):
                reports[name] = report
    if said := pointing(model, reports):
        st.html(f'<p class="nl-why" data-testid="pointing">{escape(said)}</p>')
    others = tuple(name for name in names if name != model)
    if not others:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="second_opinion"):
        if st.session_state.get(ASKED) != others and not _are_loaded(others):
            help_text = "What the other models make of this patch: " + ", ".join(others)
            st.button("Second opinion", on_click=_ask, args=(others,), help=help_text)
            return
        read, missing = {}, []
        for name in others:
            try:
                read[name] = library.predict(name, chosen.patch, views, chosen.synthetic)
            except NodeLensError:  # About says why
                missing.append(name)
        words = [f"Second opinion: {second_opinion(read)}."] if read else []
        words += [f"{', '.join(missing)} cannot be opened."] if missing else []
        st.html(f'<p class="nl-why" data-testid="second-opinion">{escape(" ".join(words))}</p>')
        if read and st.button("Compare", key="second_compare", help="This patch by these models, side by side"):
            open_compare(chosen, [model, *read][:MOST])


def _are_loaded(names: Sequence[str]) -> bool:
    with suppress(NodeLensError):
        return all(map(service.has_reader, names))
    return False


def _ask(names: Sequence[str]) -> None:
    st.session_state[ASKED] = names
