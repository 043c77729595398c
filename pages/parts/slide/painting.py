"""The tissue outline as a reader corrects it: strokes of a brush, kept for the session and the slide."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.slides.tissue import Stroke

MOST_STROKES, MOST_PLACES = 200, 500
"""Of a slide, and of a stroke."""
FARTHEST = 1e9
"""Level-0 px; no slide is as wide."""


def strokes_of(token: str) -> tuple[Stroke, ...]:
    """What was painted on a slide, in order."""
    painted: dict[str, tuple[Stroke, ...]] = st.session_state.setdefault("slide_strokes", {})
    return painted.get(token, ())


def as_told(token: str) -> list[dict[str, Any]]:
    """The same in the viewer's words."""
    return [{"adds": one.adds, "radius": one.radius, "places": one.places} for one in strokes_of(token)]


def keep(token: str, told: object) -> bool:
    """Take all strokes of a slide as the viewer tells them, and say whether they are others."""
    strokes = understood(told)
    if strokes is None or strokes == strokes_of(token):
        return False
    st.session_state["slide_strokes"][token] = strokes
    return True


def understood(told: object) -> tuple[Stroke, ...] | None:
    """Strokes in the viewer's words, which may be anything; None for what are none."""
    found = [_stroke(one) for one in told[:MOST_STROKES]] if isinstance(told, list) else [None]
    return None if None in found else tuple(one for one in found if one is not None)


def _stroke(told: object) -> Stroke | None:
    match told:
        case {"adds": bool(adds), "radius": float() | int() as radius, "places": [_, *_] as places}:
            found = [_pair(place) for place in places[:MOST_PLACES]]
            if 0 < radius < FARTHEST and None not in found:
                return Stroke(adds, float(radius), tuple(pair for pair in found if pair is not None))
    return None


def _pair(told: object) -> tuple[float, float] | None:
    match told:
        case [float() | int() as x, float() | int() as y] if abs(x) < FARTHEST and abs(y) < FARTHEST:
            return float(x), float(y)
    return None
