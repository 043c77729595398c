"""The table of a reader's files: one row each with its reading, and the controls of the one that is open."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.data.pixel_size import MAX_UM_PER_PX, MIN_UM_PER_PX
from core.data.tables import csv_cell
from core.task import Task
from core.view.overlay import data_url
from core.view.verdict import in_words
from core.view.words import on_screen
from pages.parts import library
from pages.parts.read import uploads
from pages.parts.read.uploads import Upload
from pages.parts.read.window_picker import pick_window
from pages.parts.slide.pixel_size import state
from pages.parts.slide.sent import put_slide, say_refusal, sent

SHOWN = ["file", "probability", "reading", "flags", "notes"]


def show_table(model: str, task: Task, views: int) -> None:
    """All files with their readings. What the readings are of a file does not depend on how they are explained."""
    held = uploads.kept()
    if not held:
        return
    waiting = st.progress(0.0, "Reading ...") if len(held) > uploads.MANY else None
    rows, pictures = [], []
    for done, upload in enumerate(held.values(), start=1):
        rows.append(_row(upload, model, views))
        pictures.append(None if upload.patch is None else data_url(upload.patch, library.pictures()))
        if waiting:
            waiting.progress(done / len(held), f"Reading {done} of {len(held)}")
    if waiting:
        waiting.empty()
    table = pd.DataFrame(rows, columns=[*SHOWN, "model", "views"])
    keys = tuple(held)
    key = f"upload_table_{hash(keys)}"  # other files, another table: a selected row means a file, not a place
    with st.container(key="upload_table"):
        st.dataframe(
            table.assign(patch=pictures)[["patch", *SHOWN]],
            hide_index=True,
            key=key,
            on_select=lambda: _open_selected(key, keys),
            selection_mode="single-row",
            column_config={
                "patch": st.column_config.ImageColumn("Patch", width="small"),
                "file": st.column_config.TextColumn("File", width="medium"),
                "probability": st.column_config.NumberColumn("Probability", format="%.2f", help=f"of {task.positive}"),
                "reading": st.column_config.TextColumn("Reading"),
                "flags": st.column_config.TextColumn("Flags, or why it was refused", width="large"),
                "notes": st.column_config.TextColumn("Notes", help="What was done to the file.", width="large"),
            },
        )
    with st.container(horizontal=True):
        st.download_button("Table (CSV)", table.to_csv(index=False), "readings.csv", "text/csv", on_click="ignore")
        st.button("Remove all files", on_click=uploads.remove_all)


def _open_selected(table: str, keys: Sequence[str]) -> None:
    match st.session_state.get(table):
        case {"selection": {"rows": [int(row), *_]}} if 0 <= row < len(keys):
            uploads.open_upload(keys[row])


def _row(upload: Upload, model: str, views: int) -> dict[str, object]:
    """One line of the table, which is copied and kept elsewhere: no cell of it is a formula."""
    twin = uploads.twin_of(upload)
    same = () if twin is None else (f"The same picture as {twin.name}.",)
    words: dict[str, object] = {"file": csv_cell(upload.name), "notes": " ".join((*same, *upload.notes))}
    if upload.patch is None:
        return words | {"reading": "refused", "flags": upload.refusal}
    readings = library.predict(model, upload.patch, views)
    return words | {
        "probability": float(readings.probability[0]),
        "reading": in_words(str(readings.verdict[0]), readings.flags[0]),
        "flags": "; ".join(readings.flags[0]) or "none",
        "model": readings.model.identity,
        "views": readings.views,
    }


def adjust(upload: Upload) -> None:
    """What can be set right of the file on the table, refused or not: its pixel size, the window, that it is there."""
    key = upload.key  # Streamlit keeps callbacks, and must not keep the file with them
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if upload.data and upload.um_per_px is not None and upload.task.um_per_px is not None:
            field = f"um_{key}"
            st.number_input(
                "Pixel size (\u00b5m per pixel)",
                min_value=MIN_UM_PER_PX,
                max_value=MAX_UM_PER_PX,
                value=upload.um_per_px,
                step=0.01,
                format="%.3f",
                key=field,
                on_change=lambda: uploads.state_pixel_size(key, st.session_state[field]),
                help="From the microscope or the file. The picture is brought to "
                f"{upload.task.um_per_px:g} \u00b5m per pixel before it is read.",
                width=240,
            )
        st.button("Remove this file", on_click=uploads.remove, args=(key,))
        if upload.is_larger and upload.task.um_per_px is not None:
            _offer_whole(upload)
    if upload.refusal:
        st.error(on_screen(f"{uploads.plain(upload.name)}: {upload.refusal}"))
    elif upload.is_larger:
        pick_window(
            upload.preview,
            upload.size,
            side=upload.task.side,
            at=upload.corner,
            key=f"window_{key}_{upload.um_per_px}",
            on_move=lambda left, top: uploads.move_window(key, left, top),
        )


def _offer_whole(upload: Upload) -> None:
    """The way to the Slide page, which reads all of it."""
    if not st.button(
        "Read the whole region", key="read_whole", help="On the Slide page: a map over all of its tissue."
    ):
        return
    key = put_slide(re.sub(r" \(\d+\)$", "", upload.name), upload.data)
    if key is None:
        say_refusal()
        return
    state(sent()[key].slide.path, upload.stated)
    st.switch_page("pages/slide.py", query_params={"slide": key})
