"""Pictures a reader dropped: held for their session alone, and gone when they are removed or the tab is closed.

Held are the files as they came, the patch that is read of each, and for a larger picture a small view of it. Its pixels
are not: they are decoded again when another pixel size or another window is asked for.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data.flags import says_drawn
from core.data.intake import INTAKE_TYPES, Picture, open_picture
from core.errors import (
    CoarseImageError,
    FullError,
    ImageTooLargeError,
    IntakeError,
    PatchShapeError,
    PixelSizeError,
    printable,
)
from core.kept import Kept
from core.task import Task
from pages.parts import library
from pages.parts.budget import HELD, Reservation, take
from pages.parts.read.file_keeper import keep_in_browser
from pages.parts.read.paste_zone import paste_zone
from pages.parts.read.window_picker import preview_of

FILES = "your files"
"""How the source of a patch is called when it is one of these."""
MAX_FILES = 64
MAX_BYTES = 300 * 2**20
"""Bytes that one session may hold."""
MAX_NAME = 255
FULL = "Your table is full. Remove files, then drop this again."
HELD_HERE = (
    "Files are held in memory for this tab alone, not sent on, and forgotten when you remove them (the last one when "
    "something else is done to the list) or within about a minute of the tab's being closed. One above 1 MB passes "
    "through a nameless temporary file while it arrives. Your browser holds a copy, so that a reload of the tab does "
    "not lose them, and drops it with theirs, or when NodeLens is next opened after the tab was closed."
)
MANY = 8
"""More files than this show how far they are."""
_decoding = threading.BoundedSemaphore(2)
"""A picture of 40 megapixels needs some hundred megabytes while it is decoded: not all sessions do so at once."""


@dataclass(frozen=True, eq=False)
class Upload:
    """One file, and what is read of it or why it was refused.

    Attributes:
        key: what it is called by everywhere but on the screen; two files may share a name, or every byte.
        name: on the screen, in one line; no two of a session are alike.
        digest: of the file's bytes.
        task: what it was decoded for.
        data: the file, as long as another pixel size, window or task could be read of it; empty otherwise.
        stated: micrometres per pixel as the reader gave them, if they did.
        um_per_px: micrometres per pixel in force: the reader's, the file's, or the task's; None where it has none.
        size: (width, height) in pixels at the task's scale; (0, 0) when the file was refused.
        corner: (left, top) of the patch in them.
        patch: uint8 (side, side, 3) RGB; None when the file was refused.
        preview: address of a small view of a picture that is larger than one patch.
        notes: what was done to the file, in plain words.
        refusal: why there is no patch.
        synthetic: whether it says of itself that it was cut out of drawn tissue.
        place: what it takes of the process's byte budget.
    """

    key: str
    name: str
    digest: str
    task: Task
    data: bytes
    stated: float | None = None
    um_per_px: float | None = None
    size: tuple[int, int] = (0, 0)
    corner: tuple[int, int] = (0, 0)
    patch: NDArray[np.uint8] | None = None
    preview: str = ""
    notes: tuple[str, ...] = ()
    refusal: str = ""
    synthetic: bool = False
    place: Reservation = field(default_factory=lambda: Reservation(0))

    @property
    def held(self) -> int:
        """Bytes held."""
        return len(self.data) + len(self.preview) + (0 if self.patch is None else self.patch.nbytes)

    @property
    def is_larger(self) -> bool:
        """Whether a window has to be chosen on it."""
        return max(self.size) > self.task.side


def plain(name: str) -> str:
    """An untrusted name as Markdown that shows it letter by letter: no link, no picture, no formula."""
    return re.sub(r"([\\`*_\[\]()<>!$:~])", r"\\\1", printable(name))


def kept() -> dict[str, Upload]:
    """The session's uploads by key, in the order they came."""
    files: dict[str, Upload] = st.session_state.setdefault("uploads", {})
    return files


def opened() -> Upload | None:
    """The upload on the table: the one that was opened, else the last; None when there is none."""
    held = kept()
    return held.get(st.session_state.get("opened_upload", ""), next(reversed(held.values()), None))


def open_upload(key: str) -> None:
    """Put an upload on the table."""
    st.session_state["opened_upload"] = key


def twin_of(upload: Upload) -> Upload | None:
    """The upload that came earlier with the very same bytes, if there is one."""
    first = next(other for other in kept().values() if other.digest == upload.digest)
    return None if first.key == upload.key else first


def decode_for(task: Task) -> None:
    """Decode again, through a window in the middle, what was decoded for another task."""
    for upload in list(kept().values()):
        if upload.task.difference(task):
            _renew(_for(upload, task))


def read_for(upload: Upload, task: Task) -> Upload:
    """What is read of an upload for a task: the upload itself, or where it was decoded for another, beside it."""
    if not upload.task.difference(task):
        return upload
    key = (upload.key, upload.stated, task.side, task.um_per_px)
    beside: Upload = _beside().get(key, lambda: replace(_for(upload, task), data=b"", preview=""))
    return beside


def _beside() -> Kept[Upload]:
    """What panels of other tasks show of this session's uploads: a patch each."""
    return library.own("beside", 8)


def _for(upload: Upload, task: Task) -> Upload:
    other = replace(upload, task=task, preview="")
    return _read(other) if upload.data else other


def drop_bar(task: Task) -> None:
    """One line to drop, choose or paste files; what is dropped moves into `kept` and the bar is empty again."""
    generation = st.session_state.setdefault("drop_zone", 0)
    stain = f"{task.stain} " if task.stain else ""
    scale = f" at {task.um_per_px:g} \u00b5m/px" if task.um_per_px else ""
    with st.container(key="drop_bar"):
        files = st.file_uploader(
            f"Drop or paste {stain}patches, {task.side} x {task.side} px or larger{scale}",
            type=list(INTAKE_TYPES),
            accept_multiple_files=True,
            key=f"drop_zone_{generation}",
            help=HELD_HERE,
        )
        if files:
            forget_removed()
            _left_out().clear()
            waiting = st.progress(0.0, "Opening ...") if len(files) > MANY else None
            for number, file in enumerate(files, start=1):
                _keep(file.file_id, file.name, take(file), task)
                if waiting:
                    waiting.progress(number / len(files), f"Opening {number} of {len(files)}")
            _open_first([file.file_id for file in files])
            st.session_state["drop_zone"] = generation + 1
            st.session_state["source_wanted"] = FILES
            st.rerun()
        paste_zone(key="paste_zone", on_paste=lambda name, data: put_on_table(name, data, task))
        keep_in_browser(
            [upload.digest for upload in (*kept().values(), removed()) if upload is not None],
            fresh="uploads_came" not in st.session_state and not kept(),
            most=MAX_FILES,
            key="file_keeper",
            on_return=lambda files: _return(files, task),
        )
    for sentence in _left_out():
        st.warning(sentence)


def _open_first(keys: list[str]) -> None:
    """Of what was dropped at once open the first that can be read, for them to be gone through from there."""
    came = [upload for key, upload in kept().items() if key in keys]
    first = next((upload for upload in came if upload.patch is not None), came[0] if came else None)
    if first is not None:
        open_upload(first.key)


def put_on_table(name: str, data: bytes, task: Task) -> None:
    """A picture that came otherwise than by the drop bar: pasted, or cut out of a slide."""
    forget_removed()
    _left_out().clear()
    _keep(f"pasted {next(_pasted)}", name, data, task)
    st.session_state["source_wanted"] = FILES


_pasted = count(1)


def _return(files: Sequence[tuple[str, bytes]], task: Task) -> None:
    """What the browser held over a reload of the tab."""
    st.session_state["uploads_came"] = True
    _left_out().clear()
    keys = [f"returned {next(_pasted)}" for _ in files]
    for key, (name, data) in zip(keys, files, strict=True):
        _keep(key, name, data, task)
    _open_first(keys)


def _left_out() -> list[str]:
    """What could not be kept of the last drop, in a sentence for each reason."""
    reasons: list[str] = st.session_state.setdefault("left_out", [])
    return reasons


def _keep(key: str, name: str, data: bytes, task: Task) -> None:
    """Add a file under a key of its own; one that is there already, from a drop that was interrupted, stays."""
    held = kept()
    if key in held:
        return
    st.session_state["uploads_came"] = True
    name = _unlike(shown(name), (other.name for other in held.values()))
    if len(held) >= MAX_FILES or sum(other.held for other in held.values()) + len(data) > MAX_BYTES:
        _left_out().append(f"{plain(name)}: {FULL}")
        return
    try:
        place = HELD.reserve(len(data))
        digest = hashlib.sha256(data).hexdigest()
        _put(_read(Upload(key, name, digest, task, data, synthetic=says_drawn(data), place=place)))
    except FullError as error:
        _left_out().append(f"{plain(name)}: {error}")
    else:
        open_upload(key)


def _put(upload: Upload) -> None:
    """Hold an upload, in the place of what its key held; raises FullError when the process has no room for it."""
    HELD.resize(upload.place, upload.held)
    kept()[upload.key] = upload


def _renew(upload: Upload) -> None:
    """Hold an upload that was decoded again; the file alone, refused, where there is no room for more."""
    try:
        _put(upload)
    except FullError as error:
        _put(_refused(upload, str(error)))


def shown(name: str) -> str:
    """A file's name as it can be shown: one line, at most 255 characters with room for a number, the ending kept."""
    line = " ".join(unicodedata.normalize("NFC", printable(name)).split()) or "a file without a name"
    most = MAX_NAME - len(f" ({MAX_FILES})")
    return line if len(line) <= most else f"{line[: most - 30]} ... {line[-25:]}"


def _unlike(name: str, taken: Iterable[str]) -> str:
    """The name, numbered where another file has it."""
    others = set(taken)
    numbered = (f"{name} ({number})" for number in count(2))
    return name if name not in others else next(one for one in numbered if one not in others)


def _read(upload: Upload, corner: tuple[int, int] | None = None) -> Upload:
    """The upload with its patch at a corner, the middle where none is given, or with the reason for its refusal."""
    try:
        with _decoding:
            picture = open_picture(upload.data, um_per_px=upload.stated, task=upload.task)
            return _through(upload, picture, corner)
    except IntakeError as error:
        refused_at = _pixel_size_refused(error, upload.task)
        of_use = refused_at or isinstance(error, PatchShapeError)
        upload = replace(upload, data=upload.data if of_use else b"", um_per_px=refused_at or upload.um_per_px)
        return _refused(upload, str(error))


def _refused(upload: Upload, why: str) -> Upload:
    return replace(upload, size=(0, 0), patch=None, preview="", notes=(), refusal=why)


def _through(upload: Upload, picture: Picture, corner: tuple[int, int] | None) -> Upload:
    height, width = picture.pixels.shape[:2]
    side = upload.task.side
    left, top = corner or ((width - side) // 2, (height - side) // 2)
    notes = picture.notes
    if not picture.is_patch:
        notes += (f"Read through a window at left {left}, top {top} of {width} x {height} pixels.",)
    same_picture = upload.preview and upload.um_per_px == picture.um_per_px
    return replace(
        upload,
        um_per_px=picture.um_per_px,
        size=(width, height),
        corner=(left, top),
        patch=picture.window(left, top),
        preview="" if picture.is_patch else upload.preview if same_picture else preview_of(picture.pixels),
        notes=notes,
        refusal="",
    )


def _pixel_size_refused(error: IntakeError, task: Task) -> float | None:
    """The pixel size a file was refused at, where another one could change that."""
    match error:
        case PatchShapeError(rescaled_from=um_per_px):
            return um_per_px or task.um_per_px
        case CoarseImageError(um_per_px=um_per_px) | PixelSizeError(um_per_px=um_per_px):
            return um_per_px
        case ImageTooLargeError(um_per_px=um_per_px):
            return um_per_px
    return None


def state_pixel_size(key: str, um_per_px: float) -> None:
    """Read an upload anew at a pixel size the reader knows."""
    upload = kept().get(key)
    if upload is not None and upload.data:
        _renew(_read(replace(upload, stated=um_per_px)))


def move_window(key: str, left: int, top: int) -> None:
    """Read an upload through another window."""
    upload = kept().get(key)
    if upload is not None and upload.patch is not None and (left, top) != upload.corner:
        _renew(_read(upload, (left, top)))


def remove(key: str) -> None:
    """Take one upload off the list, and open the next; until something else is done to the list it can be put back."""
    keys = list(kept())
    if key not in keys:
        return
    forget_removed()
    place = keys.index(key)
    st.session_state["removed_upload"] = kept().pop(key), place
    rest = keys[place + 1 : place + 2] or keys[max(place - 1, 0) : place]
    if opened_is(key) and rest:
        open_upload(rest[0])
    _beside().clear()
    _left_out().clear()


def removed() -> Upload | None:
    """What was removed last, as long as it can be put back."""
    gone: tuple[Upload | None, int] = st.session_state.get("removed_upload", (None, 0))
    return gone[0]


def put_back() -> None:
    """Undo the last removal."""
    upload, place = st.session_state.pop("removed_upload", (None, 0))
    if upload is None:
        return
    held = kept()
    others = list(held.items())
    held.clear()
    held.update([*others[:place], (upload.key, upload), *others[place:]])
    open_upload(upload.key)


def forget_removed() -> None:
    """Forget what was removed last for good."""
    upload, _ = st.session_state.pop("removed_upload", (None, 0))
    if upload is not None:
        upload.place.release()


def opened_is(key: str) -> bool:
    """Whether that upload was opened by name."""
    return bool(st.session_state.get("opened_upload") == key)


def remove_all() -> None:
    """Forget every upload, for good."""
    for key in list(kept()):
        remove(key)
    forget_removed()
