"""The worklist as files to take away: a table, and the table with pictures. They are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data.pcam import Split
from core.inference import Readings
from core.view.case import Case
from core.view.worklist import Entry, Opinion, as_archive, as_table, now
from pages.parts import library
from pages.parts.choices import Explanation
from pages.parts.read.choose import chosen_from, chosen_upload
from pages.parts.read.downloads import case_of, look_now
from pages.parts.read.lists import Files, Patches, entry_of, name_of
from pages.parts.read.opinions import entries, opinion_of
from pages.parts.read.reliability import lean_later
from pages.parts.read.uploads import Upload

Reads = Callable[[NDArray[np.uint8], bool], Readings]
ALL_FILES = "All your files, with what you noted of them."
MOST = 200
"""Cases of one report."""
NOTED = "The patches of this list that you agreed with, doubted or noted, and the one that is open."


def export_buttons(found: Files | Patches | str, model: str, e: Explanation, own: bool) -> None:
    """Downloads of what is gone through: of files all, of a longer list what there is an opinion on."""
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
    reports = _reports(found, model, e, own)
    most = f" The first {MOST} of them at most."
    for words, make, name, kind in (
        ("Worklist report (PDF)", lambda: _pdf(*reports()), "worklist.pdf", "application/pdf"),
        ("Worklist report (HTML)", lambda: _html(*reports()), "worklist.html", "text/html"),
    ):
        st.download_button(words, make, name, kind, on_click="ignore", help=told + most)


def _cases(found: Files | Patches, model: str, e: Explanation) -> Callable[[], list[Entry]]:
    """All that the download needs, as it is now: its thread has no page and no session."""
    reads, given = _reads(model, e), _given(found, library.reader(model).model.identity)
    return lambda: [
        _of_file(one, reads, opinion) if isinstance(one, Upload) else _of_patch(*one, reads, opinion)
        for one, opinion in given
    ]


def _reports(
    found: Files | Patches, model: str, e: Explanation, own: bool
) -> Callable[[], tuple[list[Case], dict[str, str]]]:
    """The same as cases of a report, and the names of files that were refused with the reason."""
    reads, given = _reads(model, e), _given(found, library.reader(model).model.identity)[:MOST]
    leans, look = lean_later(model), look_now(own=own, only_for=e.only_for)

    def make() -> tuple[list[Case], dict[str, str]]:
        cases, refused, seen = [], {}, look()
        for one, opinion in given:
            if isinstance(one, Upload) and one.patch is None:
                refused[one.name] = one.refusal
                continue
            chosen = chosen_upload(one) if isinstance(one, Upload) else chosen_from(*one)
            readings = reads(chosen.patch, chosen.synthetic)
            case = case_of(chosen, readings, opinion, leans(chosen.patch, readings, chosen.synthetic))
            cases.append(replace(case, look=seen))
        return cases, refused

    return make


def _reads(model: str, e: Explanation) -> Reads:
    explain = library.explain_later(model)
    return lambda patch, synthetic: explain(patch, e.method, e.layer, e.target, e.views, synthetic)


def _given(found: Files | Patches, identity: str) -> list[tuple[Upload | tuple[Split, int], Opinion]]:
    """What goes into a download, with the reader's opinion."""
    if isinstance(found, Files):
        return [(upload, opinion_of(found.id(place), identity)) for place, upload in enumerate(found.held)]
    judged = [entry for entry in entries(identity) if found.has(entry)]
    if found.at is not None and found.id(found.at) not in judged:
        judged.append(found.id(found.at))
    return [((found.split, int(entry.rpartition("/")[2])), opinion_of(entry, identity)) for entry in judged]


def _pdf(cases: list[Case], refused: dict[str, str]) -> bytes:
    from core.view.case_report import pdf

    return pdf(cases, datetime.now(UTC), refused)


def _html(cases: list[Case], refused: dict[str, str]) -> bytes:
    from core.view.case_report import html

    return html(cases, datetime.now(UTC), refused).encode()


def _of_file(upload: Upload, reads: Reads, opinion: Opinion) -> Entry:
    readings = None if upload.patch is None else reads(upload.patch, upload.synthetic)
    name, notes = upload.name, upload.notes
    return Entry(upload.digest, name, upload.patch, readings, upload.refusal, notes, opinion=opinion)


def _of_patch(split: Split, index: int, reads: Reads, opinion: Opinion) -> Entry:
    patch, label = split.patches([index])[0], split.task.label(split.labels[index])
    readings = reads(patch, split.synthetic)
    return Entry(entry_of(split, index), name_of(split, index), patch, readings, label=label, opinion=opinion)
