"""The pictures of Read, and how they are looked at: told by the light table, kept for this reader's session."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.inference import Readings
from pages.parts.components.evidence_panel import evidence_panel
from pages.parts.components.light_table import LOOK, Panel, light_table
from pages.parts.read.choose import Chosen


def looked_at() -> dict[str, Any]:
    """What the reader chose on the light table, in its own words: one object all along, for a download's thread."""
    look: dict[str, Any] = st.session_state.setdefault("look", dict(LOOK))
    return look


@st.fragment
def show_pictures(chosen: Chosen, readings: Readings, *, own: bool, only_for: bool) -> None:
    """Tissue and its map side by side. What is chosen on them runs this again and nothing else."""
    task = readings.model.task
    light_table(
        [
            Panel(chosen.name, chosen.patch, task, colour=True, caption=" ".join(chosen.notes)),
            evidence_panel("Why", chosen.patch, readings, own=own, only_for=only_for),
        ],
        label_box=True,
        key="light_table",
        look=looked_at(),
    )
