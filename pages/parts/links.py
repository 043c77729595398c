"""What a link asks for that is not here: it is said, where Streamlit would show something else without a word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import streamlit as st

from core import service
from core.errors import NodeLensError
from core.explain.registry import LAST, METHODS
from pages.parts import library
from pages.parts.read.uploads import FILES, plain

PANELS = ("", "1", "2", "3", "4")
"""What a page asks for has bare names, a panel of Compare adds its number."""
LONGEST = 60


def say_what_is_missing() -> None:
    """Say it once, in one sentence; `told` ends it, so that a run that was broken off says it again."""
    missing = [words for panel in PANELS for words in _missing(panel)]
    st.session_state["link_missing"] = missing
    place = st.container()  # there in every run, so that what follows keeps its place
    if missing and missing != st.session_state.get("link_told"):
        place.warning(f"This link asks for what is not here: {', '.join(missing)}; the usual is shown in its place.")


def told() -> None:
    """The page stands: what was said need not be said again."""
    st.session_state["link_told"] = st.session_state.pop("link_missing", [])


def _missing(panel: str) -> Iterator[str]:
    asked = {name: st.query_params.get(f"{name}{panel}") for name in ("model", "split", "patch", "method", "layer")}
    if not any(asked.values()):
        return
    models, splits = service.model_names(), service.split_names()
    methods = {title: name for name, method in METHODS.items() for title in (name, method.title)}
    known = {
        "model": models,
        "split": [*splits, *([FILES] if panel else [])],
        "method": [*methods],
    }
    for name, names in known.items():
        value = asked[name]
        if value is not None and value not in names:
            yield _named(name, value, panel)
            asked[name] = None
    with suppress(NodeLensError):  # of a model or split that cannot be opened: its page says so
        if (patch := asked["patch"]) is not None and asked["split"] != FILES:
            split = service.split(asked["split"] or st.session_state.get(f"split{panel}") or splits[0])
            if not patch.isdecimal() or int(patch) >= len(split):
                yield _named("patch", patch, panel) + f" of {plain(split.name)}"
        if (layer := asked["layer"]) is not None:
            method = METHODS[methods.get(asked["method"] or "", next(iter(METHODS)))]
            model = asked["model"] or st.session_state.get(f"model{panel}") or models[0]
            if layer != LAST and layer not in method.layers(library.reader(model).layers):
                yield _named("layer", layer, panel)


def _named(name: str, value: str, panel: str) -> str:
    shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}..."
    return f"{name} '{plain(shown)}'" + (f" in panel {panel}" if panel else "")
