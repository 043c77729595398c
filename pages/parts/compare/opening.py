"""The way to Compare from elsewhere, and which models can stand side by side there."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from core import service
from core.errors import NodeLensError
from core.task import Task
from pages.parts.read.choose import Chosen
from pages.parts.read.uploads import FILES

MOST = 4
"""Panels."""


def open_compare(chosen: Chosen, models: list[str]) -> None:
    """Go to Compare with one patch, read by each model.

    Args:
        chosen: of a split, or the file on the table.
        models: two to MOST.
    """
    query = {"panels": str(len(models))}
    for number, model in enumerate(models, start=1):
        query[f"model{number}"] = model
        if chosen.split is None:
            query[f"split{number}"] = FILES
            st.session_state[f"file{number}"] = chosen.key
        else:
            query |= {f"split{number}": chosen.split.name, f"patch{number}": str(chosen.index)}
    st.switch_page("pages/compare.py", query_params=query)


def of_one_task(model: str) -> list[str]:
    """A model and those that read what it reads, in the order of the menu; what cannot be opened reads nothing."""

    def reads(name: str) -> Task | None:
        with suppress(NodeLensError):
            return service.task(name)
        return None

    own = reads(model)
    return [name for name in service.model_names() if name == model or (own and _alike(own, reads(name)))]


def _alike(one: Task, other: Task | None) -> bool:
    return other is not None and one.difference(other) is None
