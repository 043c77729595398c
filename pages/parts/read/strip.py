"""The worklist under the pictures of Read, what can be done to the file that is open, and all files as a table."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import service
from core.task import Task
from core.view.worklist import MAX_NOTE
from pages.parts import library
from pages.parts.components.worklist import window, worklist
from pages.parts.read import opinions, uploads
from pages.parts.read.lists import Files, Patches
from pages.parts.read.upload_table import adjust, show_table


def show_strip(found: Files | Patches | str, model: str, views: int, readable: bool) -> None:
    """The strip, or why there is none. It asks the network for nothing."""
    if isinstance(found, str):
        if found:
            st.caption(found)
        return
    identity = library.reader(model).model.identity
    places = window(found.at, len(found))

    def judge(entry: str, agreement: str, note: str) -> None:
        if found.has(entry) and len(note) <= MAX_NOTE:
            opinions.give(entry, identity, agreement, note)

    if len(found):
        worklist(
            found.thumbs(places, identity, lambda patch: library.known(model, patch, views)),
            first=places.start,
            total=len(found),
            at=found.at,
            title=found.title,
            readable=readable,
            scope=identity,
            key="worklist",
            on_open=found.open,
            on_opinion=judge,
        )
    else:
        st.caption("None of your files is here." if isinstance(found, Files) else f"{found.title}: no patch passes.")


def show_nothing(found: Files | Patches | str) -> None:
    """In the place of the pictures: why there are none, and what can be set right."""
    upload = uploads.opened() if isinstance(found, Files) else None
    if upload is None:
        st.info("Drop a patch above, or choose another list: none that can be read is on the table.")
    else:
        adjust(upload)


def show_file(readable: bool) -> None:
    """What can be set right of the file that is read, and what was removed last."""
    upload = uploads.opened()
    if upload is not None and readable:
        adjust(upload)
    gone = uploads.removed()
    if gone is not None:
        st.button(f"Undo: put {uploads.plain(gone.name)} back", on_click=uploads.put_back, key="put_back")


def show_files(model: str, task: Task, views: int, progress: DeltaGenerator) -> None:
    """All files as a table, in a fold.

    When the page stands the other files are read, so that the strip says what they are read as.
    """
    if not uploads.kept():
        return
    table = st.expander("All files as a table", key="all_files", on_change="rerun", bind="query-params")
    _read_rest(model, views, progress)
    if table.open:
        with table:
            show_table(model, task, views)


def _read_rest(model: str, views: int, progress: DeltaGenerator) -> None:
    held = [upload for upload in uploads.kept().values() if upload.patch is not None]
    of = (model, service.changed(model), views, tuple((upload.key, upload.corner, upload.um_per_px) for upload in held))
    if st.session_state.get("files_read") == of:
        return
    missing = [one.patch for one in held if one.patch is not None and library.known(model, one.patch, views) is None]
    for done, patch in enumerate(missing):
        progress.progress(done / len(missing), f"Reading {done} of {len(missing)} more files")
        library.predict(model, patch, views)
    st.session_state["files_read"] = of
    if missing:
        st.rerun()
