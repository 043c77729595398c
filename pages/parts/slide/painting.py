"""The tissue outline as a reader corrects it: strokes of a brush, kept for the session and the slide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.slides.tissue import Stroke
from pages.parts.slide.remembered import remembered

MOST_STROKES, MOST_PLACES = 200, 500
"""Of a slide, and of a stroke. The viewer is told both, and says when a slide takes no more."""
FARTHEST = 1e9
"""Level-0 px; no slide is as wide."""


def as_told(path: Path) -> list[dict[str, Any]]:
    """What was painted on a slide, in the viewer's words."""
    return [{"adds": one.adds, "radius": one.radius, "places": one.places} for one in remembered(path).strokes]


def keep(path: Path, told: object) -> bool:
    """Take all strokes of a slide as the viewer tells them, and say whether they are others."""
    strokes, slide = understood(told), remembered(path)
    if strokes is None or strokes == slide.strokes:
        return False
    slide.strokes = strokes
    return True


def understood(told: object) -> tuple[Stroke, ...] | None:
    """Strokes in the viewer's words, which may be anything; None for what are none, or more than are taken.

    Nothing is cut off: what the viewer shows as painted is painted, or nothing of what it tells is.
    """
    if not isinstance(told, list) or len(told) > MOST_STROKES:
        return None
    found = [_stroke(one) for one in told]
    return None if None in found else tuple(one for one in found if one is not None)


def _stroke(told: object) -> Stroke | None:
    match told:
        case {"adds": bool(adds), "radius": float() | int() as radius, "places": [_, *_] as places}:
            found = [_pair(place) for place in places] if len(places) <= MOST_PLACES else [None]
            if 0 < radius < FARTHEST and None not in found:
                return Stroke(adds, float(radius), tuple(pair for pair in found if pair is not None))
    return None


def _pair(told: object) -> tuple[float, float] | None:
    match told:
        case [float() | int() as x, float() | int() as y] if abs(x) < FARTHEST and abs(y) < FARTHEST:
            return float(x), float(y)
    return None
