"""Which patch is on the table, and what is gone through: the reader's files, Browse's list, or examples.

The choice stands in the URL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data.pcam import Split
from core.errors import DataError, TaskError
from core.models.schema import Bundle
from core.task import Task
from core.view.verdict import provenance
from pages.parts import choices
from pages.parts.read import uploads
from pages.parts.read.lists import BROWSED, EXAMPLES, Files, Patches, browsed, example_list, name_of, place_of
from pages.parts.read.uploads import FILES, Upload

SOURCES = (FILES, BROWSED, EXAMPLES)


@dataclass(frozen=True)
class Chosen:
    """A patch to read, uint8 (side, side, 3), and what is known of it."""

    name: str
    patch: NDArray[np.uint8]
    label: str = ""
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    split: Split | None = None
    um_per_px: float | None = None
    sha256: str = ""
    """Of a reader's own file, in bytes; and how large its pixels are, where that is known."""
    index: int = 0
    """In its split."""
    key: str = ""
    """Of a reader's own file, among those held."""

    def provenance(self, model: Bundle) -> str:
        """What a model knew of this patch beforehand, in a sentence; '' for nothing, and for a reader's own file."""
        return "" if self.split is None else provenance(model, self.split.fingerprint())


def choose_patch(task: Task, model: str) -> tuple[Chosen | None, Files | Patches | str]:
    """Draw the choices; returns the patch on the table, if there is one, and the list, or why there is none."""
    if "source_wanted" in st.session_state:
        st.session_state["source"] = st.session_state.pop("source_wanted")
    source = st.segmented_control(
        "Go through",
        SOURCES,
        key="source",
        bind="query-params",
        default=EXAMPLES,
        required=True,
        label_visibility="collapsed",
    )
    uploads.decode_for(task)
    if source == FILES:
        upload = uploads.opened()
        return (None if upload is None or upload.patch is None else chosen_upload(upload)), Files()
    try:
        split = choices.split()
        split.require(task)
        return _from_split(split, model, source == BROWSED)
    except (DataError, TaskError) as error:  # of the split: the reader's files are left alone
        st.error(str(error))
        return None, ""


def _from_split(split: Split, model: str, from_browse: bool) -> tuple[Chosen, Patches | str]:
    found = browsed(split) if from_browse else example_list(model, split)
    first = int(found.indices[0]) if isinstance(found, Patches) and len(found) else 0
    if st.session_state.get("patch", 0) >= len(split):
        st.session_state["patch"] = first
    index = st.number_input(
        f"Patch (0 to {len(split) - 1})",
        0,
        len(split) - 1,
        value=first,
        key="patch",
        bind="query-params",
        width=260,
    )
    chosen = chosen_from(split, int(index))
    return chosen, replace(found, at=place_of(found, int(index))) if isinstance(found, Patches) else found


def chosen_from(split: Split, index: int) -> Chosen:
    """One patch of a split, named and labelled."""
    return Chosen(
        name=name_of(split, index),
        patch=split.patches([index])[0],
        label=f"{split.task.label(split.labels[index])} {split.task.label_place}",
        synthetic=split.synthetic,
        split=split,
        index=index,
    )


def chosen_upload(upload: Upload) -> Chosen:
    """A file that was not refused."""
    assert upload.patch is not None
    return Chosen(
        upload.name,
        upload.patch,
        notes=upload.notes,
        synthetic=upload.synthetic,
        um_per_px=upload.um_per_px,
        sha256=upload.digest,
        key=upload.key,
    )
