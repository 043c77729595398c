"""What a reader thinks of readings: held for this tab, by what was read and by which model."""

from __future__ import annotations

import streamlit as st

from core.view.worklist import Opinion, now, one_line

MOST = 10_000
"""Opinions that a session holds."""


def _held() -> dict[tuple[str, str], Opinion]:
    opinions: dict[tuple[str, str], Opinion] = st.session_state.setdefault("opinions", {})
    return opinions


def opinion_of(entry: str, model: str) -> Opinion:
    """Of an entry of a worklist, by its id, as a model reads it; an empty one where there is none."""
    return _held().get((entry, model), Opinion())


def give(entry: str, model: str, agreement: str, note: str) -> None:
    """Keep an opinion; an empty one takes it back. One that is the same stays as old as it is."""
    before, note = opinion_of(entry, model), one_line(note)
    if (agreement, note) == (before.agreement, before.note):
        return
    if not agreement and not note:
        _held().pop((entry, model), None)
    elif (entry, model) in _held() or len(_held()) < MOST:
        _held()[entry, model] = Opinion(agreement, note, now())


def entries(model: str) -> list[str]:
    """Ids of what there is an opinion on, in the order in which they came."""
    return [entry for entry, of in _held() if of == model]
