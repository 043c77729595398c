"""Which patch is on the table: one of the reader's files, or one of a split. The choice stands in the URL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.data.pcam import Split
from core.view.overlay import data_url
from pages.parts import choices, library, uploads
from pages.parts.choices import Explanation
from pages.parts.gallery import Tile, gallery
from pages.parts.uploads import FILES

SPLIT = "a split"
EXAMPLES = 6
LABELS = {0: "no tumour in the centre 32 x 32 px", 1: "tumour in the centre 32 x 32 px"}


@dataclass(frozen=True)
class Chosen:
    """A patch to read, uint8 (96, 96, 3), and what is known of it."""

    name: str
    patch: NDArray[np.uint8]
    label: str = ""
    synthetic: bool = False
    notes: tuple[str, ...] = ()


def choose_patch(model: str, explanation: Explanation, views: int) -> Chosen | None:
    """Draw the intake area; returns the patch on the table, or None when the chosen source has none yet."""
    if "source_wanted" in st.session_state:
        st.session_state["source"] = st.session_state.pop("source_wanted")
    source = st.segmented_control(
        "Patch from", [SPLIT, FILES], key="source", bind="query-params", default=SPLIT, required=True
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Your files")
        uploads.drop_zone()
        st.caption(
            "Files are held in memory for this tab alone: not stored, not sent on, and forgotten within minutes "
            "of its being closed or reloaded."
        )
        own = _own_files(model, explanation, views)
    with right:
        st.subheader(f"From the split: {choices.split().name}")
        choices.synthetic_badge(choices.split().synthetic)
        example = _from_split(choices.split())
    return own if source == FILES else example


def chosen_from(split: Split, index: int) -> Chosen:
    """One patch of a split, named and labelled."""
    return Chosen(
        name=f"{split.name}, patch {index}, PCam row {split.rows[index]}" if not split.synthetic else f"demo {index}",
        patch=split.patches([index])[0],
        label=LABELS[int(split.labels[index])],
        synthetic=split.synthetic,
    )


def _from_split(split: Split) -> Chosen:
    shown = examples(split)
    if st.session_state.get("patch", 0) >= len(split):
        st.session_state["patch"] = shown[0]
    index = st.number_input(
        f"Patch (0 to {len(split) - 1})", 0, len(split) - 1, value=shown[0], key="patch", bind="query-params"
    )
    patches = split.patches(shown)
    tiles = [
        Tile(i, patch, None, f"patch {i}", (f"labelled {'tumour' if split.labels[i] else 'no tumour'}",), "")
        for i, patch in zip(shown, patches, strict=True)
    ]
    gallery(tiles, scale=1.0, key=f"examples_{split.name}", on_open=_open_example)
    return chosen_from(split, index)


def _open_example(index: int) -> None:
    st.session_state["patch"] = index
    st.session_state["source"] = SPLIT


def examples(split: Split) -> list[int]:
    """Three patches of either label by turns, tumour first; the same for everybody."""
    draw = np.random.default_rng(8)
    half = EXAMPLES // 2
    picks = [draw.permutation(np.flatnonzero(split.labels == label))[:half] for label in (1, 0)]
    return [int(index) for pair in zip(*picks, strict=False) for index in pair] or [0]


def _own_files(model: str, explanation: Explanation, views: int) -> Chosen | None:
    held = uploads.kept()
    if not held:
        return None
    rows, shown = [], list(held.values())
    waiting = st.progress(0.0, "Reading ...") if len(shown) > 8 else None
    for done, upload in enumerate(shown, start=1):
        rows.append(_row(upload, model, explanation, views))
        if waiting:
            waiting.progress(done / len(shown), f"Reading {done} of {len(shown)}")
    if waiting:
        waiting.empty()
    event = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="upload_table",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "patch": st.column_config.ImageColumn("Patch", width="small"),
            "file": st.column_config.TextColumn("File", width="medium"),
            "probability": st.column_config.NumberColumn("Probability", format="%.2f", help="of tumour, calibrated"),
            "reading": st.column_config.TextColumn("Reading"),
            "flags": st.column_config.TextColumn("Flags, or why it was refused", width="large"),
        },
    )
    if event.selection.rows:
        st.session_state["opened_upload"] = shown[event.selection.rows[0]].key
    st.button("Remove all files", on_click=uploads.remove_all)
    upload = held.get(st.session_state.get("opened_upload", ""), shown[-1])
    if upload.refusal and upload.picture is None:
        st.error(f"{uploads.plain(upload.name)}: {upload.refusal}")
        return None
    if upload.picture and not upload.picture.is_patch:
        upload = uploads.choose_window(upload)
    if upload.patch is None:
        st.error(f"{uploads.plain(upload.name)}: {upload.refusal}")
        return None
    return Chosen(upload.name, upload.patch, notes=upload.picture.notes if upload.picture else ())


def _row(upload: uploads.Upload, model: str, explanation: Explanation, views: int) -> dict[str, object]:
    if upload.patch is None:
        return {"file": upload.name, "reading": "refused", "flags": upload.refusal}
    e = explanation
    readings = library.explain(model, upload.patch, e.method, e.layer, e.target, views)
    return {
        "patch": data_url(upload.patch),
        "file": upload.name,
        "probability": float(readings.probability[0]),
        "reading": str(readings.verdict[0]),
        "flags": "; ".join(readings.flags[0]) or "none",
    }
