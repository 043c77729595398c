"""Choices that several pages offer, each kept in the URL under its key."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core import service
from core.data.flags import SYNTHETIC
from core.data.pcam import Split
from core.explain.registry import METHODS
from core.inference.reader import scale_key
from core.models.schema import Bundle
from core.view import glossary
from pages.parts import library

VIEWS = (8, 1)
FIXED, OWN = "fixed", "own"
BOTH, ONLY_FOR = "for and against", "for only"


@dataclass(frozen=True)
class Explanation:
    """What a reader asks to be explained, in the words of `core.explain.registry`, and how it is painted."""

    method: str
    layer: str
    target: str
    views: int
    only_for: bool = False


def choose_model_and_split() -> None:
    """The two choices that hold on every page, in the page's top row, and in the address of each."""
    for name in ("model", "split"):
        if name in st.session_state and name not in st.query_params:
            st.session_state[name] = st.session_state[name]  # else Streamlit leaves it off the next page's address
    with st.container(horizontal=True, horizontal_alignment="right", key="top_row"):
        st.selectbox("Model", service.model_names(), key="model", bind="query-params", width=260)
        st.selectbox("Data", service.split_names(), key="split", bind="query-params", width=160)


def model() -> str:
    """The model chosen in the top row."""
    return str(st.session_state["model"])


def split() -> Split:
    """The split chosen in the top row."""
    return service.split(split_name())


def split_name() -> str:
    """What that is called; its files may be damaged or gone."""
    return str(st.session_state["split"])


def synthetic_badge(shown: bool) -> None:
    """Says of drawn tissue that it is drawn, wherever it is shown."""
    # A place of its own, shown or not: what follows keeps its place, so that no old verdict stands beside a new one.
    place = st.container()
    if shown:
        place.html('<span class="nl-badge" data-testid="synthetic">synthetic, not tissue</span>')


def synthetic_model_badge(model: Bundle) -> None:
    """Says of a model that it learned from drawings, wherever it reads."""
    place = st.container()
    if model.synthetic:
        place.html(f'<span class="nl-badge" data-testid="synthetic-model">{SYNTHETIC}: not for tissue</span>')


def choose_explanation(model: str, views: int, only_for: bool, number: str = "") -> Explanation:
    """Target, method and layer side by side; `number` tells the panels of a comparison apart in the URL.

    There they stand one under the other.
    """
    left, middle, right = (st,) * 3 if number else st.columns(3)
    task = service.task(model)
    target = left.selectbox(
        "Explain",
        list(task.targets),
        key=f"target{number}",
        bind="query-params",
        help=_with(
            f"{task.other} is short for {task.negative}" if task.other != task.negative else "",
            *(f"{name}: {meaning}" for name, meaning in task.targets.items()),
            glossary.meaning("logit", "margin"),
        ),
    )
    method = middle.selectbox(
        "Method",
        list(METHODS),
        key=f"method{number}",
        bind="query-params",
        format_func=lambda name: METHODS[name].title,
        help=_with(
            glossary.meaning("Grad-CAM"),
            *(f"{m.title}: {m.meaning} ({m.paper}; costs {m.cost})" for m in METHODS.values()),
        ),
    )
    read = library.reader(model)
    last = read.model.net.cells_in_words(task.side)
    layer = right.selectbox(
        "Layer",
        METHODS[method].layers(read.layers),
        key=f"layer{number}",
        bind="query-params",
        help=f"last: {last}. Earlier layers, named by their cells in a PCam patch, have finer "
        "ones, further from the decision. " + glossary.meaning("layer"),
    )
    return Explanation(method, layer, target, views, only_for)


def _with(*sentences: str) -> str:
    """A tooltip of several sentences, each on its own line."""
    return "\n\n".join(filter(None, sentences))


def choose_views() -> int:
    """Eight views or one."""
    return st.selectbox(
        "Views",
        VIEWS,
        key="views",
        bind="query-params",
        help="8: probability and map are means over the same eight flips and turns. 1: the patch as it lies. "
        + glossary.meaning("views"),
    )


def choose_scale(model: str | None = None, explanation: Explanation | None = None) -> bool:
    """Fixed or own colour scale; returns whether own. Fixed is there where the model has one of what is explained."""
    fixed = True
    if model is not None and explanation is not None:
        scales = library.reader(model).model.scales
        fixed = scale_key(explanation.method, explanation.layer) in scales
    options = [FIXED, OWN] if fixed else [OWN]
    if st.session_state.get("scale", options[0]) not in options:
        st.session_state["scale"] = options[0]
    chosen = st.selectbox(
        "Colour scale",
        options,
        key="scale",
        bind="query-params",
        help="Fixed: maps can be compared between patches. Own: stretched to this map, so weak evidence looks strong."
        + ("" if fixed else " No fixed scale of this method at this layer is kept with the model."),
    )
    return bool(chosen == OWN)


def choose_signs() -> bool:
    """Whether to paint only what speaks for the target."""
    chosen = st.selectbox(
        "Evidence",
        [BOTH, ONLY_FOR],
        key="evidence",
        bind="query-params",
        help="Brown speaks for the target, blue against it; where there is neither the tissue stays bare.",
    )
    return bool(chosen == ONLY_FOR)
