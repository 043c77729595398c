"""Pictures a reader dropped: held in their session's memory alone, never on disk, and gone with the tab."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data.intake import INTAKE_TYPES, Picture, open_picture
from core.errors import IntakeError, printable
from pages.parts.paste_zone import paste_zone
from pages.parts.window_picker import pick_window

FILES = "your files"
"""How the source of a patch is called when it is one of these."""
MAX_FILES = 64
MAX_BYTES = 300 * 2**20
"""Decoded pixels and file bytes that one session may hold."""


@dataclass(frozen=True)
class Upload:
    """One file: its picture and the window chosen on it, or why it was refused."""

    key: str
    name: str
    data: bytes
    picture: Picture | None = None
    refusal: str = ""
    corner: tuple[int, int] | None = None

    @property
    def patch(self) -> NDArray[np.uint8] | None:
        """The 96 x 96 window to read; None when the file was refused."""
        return self.picture.window(*(self.corner or (None, None))) if self.picture else None

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.data) + (self.picture.pixels.nbytes if self.picture else 0)


def plain(name: str) -> str:
    """A stranger's name as Markdown that shows it letter by letter: no link, no picture, no formula."""
    return re.sub(r"([\\`*_\[\]()<>!$:~])", r"\\\1", printable(name))


def kept() -> dict[str, Upload]:
    """The session's uploads by key, in the order they came."""
    return st.session_state.setdefault("uploads", {})


def drop_zone() -> None:
    """The place to drop or choose files; what is dropped moves into `kept` and the zone is empty again."""
    generation = st.session_state.setdefault("drop_zone", 0)
    files = st.file_uploader(
        "Drop H&E patches here: PNG, JPEG, TIFF, BMP or WebP, 96 x 96 px or larger, at 0.97 um/px",
        type=list(INTAKE_TYPES),
        accept_multiple_files=True,
        key=f"drop_zone_{generation}",
    )
    if files:
        for file in files:
            _keep(file.name, file.getvalue())
        st.session_state["drop_zone"] = generation + 1
        st.session_state["source_wanted"] = FILES
        st.rerun()
    paste_zone(key="paste_zone", on_paste=_paste)


def _paste(name: str, data: bytes) -> None:
    _keep(name, data)
    st.session_state["source"] = FILES


def _keep(name: str, data: bytes) -> None:
    held = kept()
    key = hashlib.sha256(data).hexdigest()[:16]
    upload = _opened(Upload(key, name, data))
    if key not in held and (
        len(held) >= MAX_FILES or sum(other.size for other in held.values()) + upload.size > MAX_BYTES
    ):
        upload = replace(
            upload, data=b"", picture=None, refusal="The table is full. Remove files, then drop this again."
        )
    held[key] = upload
    st.session_state["opened_upload"] = key


def _opened(upload: Upload, um_per_px: float | None = None) -> Upload:
    try:
        return replace(upload, picture=open_picture(upload.data, um_per_px=um_per_px), refusal="", corner=None)
    except IntakeError as error:
        return replace(upload, picture=None, refusal=str(error), corner=None)


def choose_window(upload: Upload) -> Upload:
    """For a picture larger than a patch: its pixel size, then the window; returns the upload as it is now."""
    stated = st.number_input(
        "Pixel size (um per pixel)",
        min_value=0.1,
        max_value=10.0,
        value=upload.picture.um_per_px if upload.picture else 0.97,
        step=0.01,
        format="%.3f",
        key=f"um_{upload.key}",
        help="From the microscope or the file. The picture is brought to 0.97 um per pixel before it is read.",
    )
    current = upload.picture.um_per_px if upload.picture else None
    if current is None or abs(stated - current) > 1e-9:
        upload = _opened(upload, stated)
    if upload.picture and not upload.picture.is_patch:
        height, width = upload.picture.pixels.shape[:2]
        start = upload.corner or ((width - 96) // 2, (height - 96) // 2)
        corner = pick_window(upload.picture.pixels, start=start, key=f"window_{upload.key}_{width}x{height}")
        upload = replace(upload, corner=corner)
    kept()[upload.key] = upload
    return upload


def remove_all() -> None:
    """Forget every upload."""
    kept().clear()
    st.session_state.pop("opened_upload", None)
