"""The worklist as files to take away: a table, and the table with pictures. They are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data.pcam import Split
from core.inference import Readings
from core.view.worklist import Entry, Opinion, as_archive, as_table, now
from pages.parts import library
from pages.parts.choices import Explanation
from pages.parts.read.lists import Files, Patches, entry_of, name_of
from pages.parts.read.opinions import entries, opinion_of
from pages.parts.read.uploads import Upload

Reads = Callable[[NDArray[np.uint8], bool], Readings]
ALL_FILES = "All your files, with what you noted of them."
NOTED = "The patches of this list that you agreed with, doubted or noted, and the one that is open."


def export_buttons(found: Files | Patches | str, model: str, e: Explanation, own: bool) -> None:
    """Two downloads of what is gone through: of files all, of a longer list what there is an opinion on."""
    if isinstance(found, str) or not len(found):
        return
    cases = _cases(found, model, e)
    told = ALL_FILES if isinstance(found, Files) else NOTED
    st.download_button(
        "Worklist (CSV)",
        lambda: as_table(cases(), now()).encode(),
        "worklist.csv",
        "text/csv",
        on_click="ignore",
        help=told,
    )
    st.download_button(
        "With pictures (ZIP)",
        lambda: as_archive(cases(), now(), own=own, only_for=e.only_for),
        "worklist.zip",
        "application/zip",
        on_click="ignore",
        help=told,
    )


def _cases(found: Files | Patches, model: str, e: Explanation) -> Callable[[], list[Entry]]:
    """All that the download needs, as it is now: its thread has no page and no session."""
    explain = library.explain_later(model)
    identity = library.reader(model).model.identity

    def reads(patch: NDArray[np.uint8], synthetic: bool) -> Readings:
        return explain(patch, e.method, e.layer, e.target, e.views, synthetic)

    if isinstance(found, Files):
        opinions = [opinion_of(found.id(place), identity) for place in range(len(found))]
        held = list(zip(found.held, opinions, strict=True))
        return lambda: [_of_file(upload, reads, opinion) for upload, opinion in held]
    split = found.split
    judged = [entry for entry in entries(identity) if found.has(entry)]
    if found.at is not None and found.id(found.at) not in judged:
        judged.append(found.id(found.at))
    given = [(int(entry.rpartition("/")[2]), opinion_of(entry, identity)) for entry in judged]
    return lambda: [_of_patch(split, index, reads, opinion) for index, opinion in given]


def _of_file(upload: Upload, reads: Reads, opinion: Opinion) -> Entry:
    readings = None if upload.patch is None else reads(upload.patch, False)
    name, notes = upload.name, upload.notes
    return Entry(upload.digest, name, upload.patch, readings, upload.refusal, notes, opinion=opinion)


def _of_patch(split: Split, index: int, reads: Reads, opinion: Opinion) -> Entry:
    patch, label = split.patches([index])[0], split.task.label(split.labels[index])
    readings = reads(patch, split.synthetic)
    return Entry(entry_of(split, index), name_of(split, index), patch, readings, label=label, opinion=opinion)
