"""What a session remembers of a slide, by its path: whatever else is closed, opened anew or read, it stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from core.slides.tissue import Stroke
from pages.parts import library

MADE = ("scans", "slide_maps", "slide_unlike", "slide_areas", "slide_outlines")
"""Shelves of the session for what is made of slides, and can be made again."""


@dataclass
class Remembered:
    """Of one slide. Places are level-0 px, so that they do not depend on the pixel size.

    Attributes:
        um_per_px: that the reader stated.
        strokes: that the reader painted, in order.
        clicked: where the patch beside the slide lies.
        went: how often the reader went to an area from the list.
        gone_to: the hottest place of the area gone to last.
    """

    um_per_px: float | None = None
    strokes: tuple[Stroke, ...] = ()
    clicked: tuple[float, float] | None = None
    went: int = 0
    gone_to: tuple[float, float] | None = None


def remembered(path: Path) -> Remembered:
    """Of the slide of that path, to be changed in place."""
    return _all().setdefault(path, Remembered())


def forget(path: Path) -> None:
    """Remember nothing of a slide."""
    _all().pop(path, None)
    for name in MADE:
        library.own(name, 1).clear()


def _all() -> dict[Path, Remembered]:
    slides: dict[Path, Remembered] = st.session_state.setdefault("slides_remembered", {})
    return slides
