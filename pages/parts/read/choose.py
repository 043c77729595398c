"""Which patch is on the table: one of the reader's files, or one of a split. The choice stands in the URL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from core import service
from core.data.pcam import Split
from core.errors import DataError, TaskError
from core.models.schema import Bundle
from core.task import Task
from core.view.verdict import provenance
from pages.parts import choices
from pages.parts.components.gallery import Tile, gallery
from pages.parts.read import uploads
from pages.parts.read.upload_table import adjust
from pages.parts.read.uploads import FILES, Upload

SPLIT = "a split"
EXAMPLES = 6


@dataclass(frozen=True)
class Chosen:
    """A patch to read, uint8 (side, side, 3), and what is known of it."""

    name: str
    patch: NDArray[np.uint8]
    label: str = ""
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    split: Split | None = None

    def provenance(self, model: Bundle) -> str:
        """What a model knew of this patch beforehand, in a sentence; '' for nothing, and for a reader's own file."""
        return "" if self.split is None else provenance(model, self.split.fingerprint())


def choose_patch(task: Task) -> tuple[Chosen | None, DeltaGenerator]:
    """Draw the intake area for a task; returns the patch on the table, if there is one, and the place for the files.

    The table of files goes there when the rest of the page stands: to read them all may take a while.
    """
    if "source_wanted" in st.session_state:
        st.session_state["source"] = st.session_state.pop("source_wanted")
    source = st.segmented_control(
        "Patch from", [SPLIT, FILES], key="source", bind="query-params", default=SPLIT, required=True
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Your files")
        uploads.decode_for(task)
        uploads.drop_zone(task)
        st.caption(
            "Files are held in memory for this tab alone, not sent on, and forgotten when you remove them or within "
            "about a minute of the tab's being closed or reloaded. One above 1 MB passes through a nameless temporary "
            "file while it arrives."
        )
        table = st.container()
        own = _own_file()
    with right:
        st.subheader(f"From the split: {st.session_state['split']}")
        example = _example()
    return own if source == FILES else example, table


def _example() -> Chosen | None:
    """A patch of the split; one that cannot be opened or read says so, and leaves the reader's files alone."""
    try:
        split = choices.split()
        split.require(service.task(choices.model()))
        choices.synthetic_badge(split.synthetic)
        return _from_split(split)
    except (DataError, TaskError) as error:
        st.error(str(error))
        return None


def chosen_from(split: Split, index: int) -> Chosen:
    """One patch of a split, named and labelled."""
    return Chosen(
        name=f"{split.name}, {split.title(index)}" if not split.synthetic else f"demo {index}",
        patch=split.patches([index])[0],
        label=f"{split.task.label(split.labels[index])} {split.task.label_place}",
        synthetic=split.synthetic,
        split=split,
    )


def chosen_upload(upload: Upload) -> Chosen:
    """A file that was not refused."""
    assert upload.patch is not None
    return Chosen(upload.name, upload.patch, notes=upload.notes)


def _from_split(split: Split) -> Chosen:
    shown = examples(split)
    if st.session_state.get("patch", 0) >= len(split):
        st.session_state["patch"] = shown[0]
    index = st.number_input(
        f"Patch (0 to {len(split) - 1})", 0, len(split) - 1, value=shown[0], key="patch", bind="query-params"
    )
    patches = split.patches(shown)
    tiles = [
        Tile(i, patch, None, f"patch {i}", (f"labelled {split.task.label(split.labels[i])}",), "")
        for i, patch in zip(shown, patches, strict=True)
    ]
    gallery(tiles, scale=1.0, key=f"examples_{split.name}", on_open=_open_example)
    return chosen_from(split, index)


def _open_example(index: int) -> None:
    st.session_state["patch"] = index
    st.session_state["source"] = SPLIT


def examples(split: Split) -> list[int]:
    """Three patches of either label by turns, positive first; the same for everybody."""
    draw = np.random.default_rng(8)
    half = EXAMPLES // 2
    picks = [draw.permutation(np.flatnonzero(split.labels == label))[:half] for label in (1, 0)]
    return [int(index) for pair in zip(*picks, strict=False) for index in pair] or [0]


def _own_file() -> Chosen | None:
    upload = uploads.opened()
    if upload is None:
        return None
    adjust(upload)
    return None if upload.patch is None else chosen_upload(upload)
