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


def show_second_opinion(model: str, chosen: Chosen, views: int) -> None:
    """Two lines. Last on the page: other models are read when everything else stands, and only those in memory.

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
    others = [name for name in names if name != model]
    if not others:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="second_opinion"):
        if not all(map(_is_loaded, others)):
            st.button(
                "Second opinion",
                on_click=_load,
                args=(others,),
                help="What the other models make of this patch: " + ", ".join(others),
            )
            return
        read = {}
        for name in others:
            with suppress(NodeLensError):
                read[name] = library.predict(name, chosen.patch, views)
        words = f"Second opinion: {second_opinion(read)}."
        st.html(f'<p class="nl-why" data-testid="second-opinion">{escape(words)}</p>')
        if st.button("Compare", key="second_compare", help="This patch by these models, side by side"):
            open_compare(chosen, [model, *others][:MOST])


def _is_loaded(name: str) -> bool:
    with suppress(NodeLensError):
        return service.has_reader(name)
    return True  # it cannot be opened: nobody waits for it


def _load(names: Sequence[str]) -> None:
    for name in names:
        with suppress(NodeLensError):
            library.reader(name)
