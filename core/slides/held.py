"""Slides that somebody sent: readable as long as whoever holds them does, and then gone with all that was read of them.

OpenSlide opens files by path only. Where the system can (Linux), the file lies in memory and its path leads there;
elsewhere it lies in a folder that nobody else may enter.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.data.image_limits import exceeds_structure_limits, odd_jpeg
from core.errors import SlideError
from core.slides import job, shelf
from core.slides.slide import Slide

KINDS = {
    b"II*\0": "svs tif tiff ndpi scn bif",
    b"MM\0*": "svs tif tiff ndpi scn bif",
    b"II+\0": "svs tif tiff ndpi scn bif",
    b"MM\0+": "svs tif tiff ndpi scn bif",
    b"\xff\xd8\xff": "jpg jpeg",
    b"\x89PNG": "png",
    b"BM": "bmp",
    b"RIFF": "webp",
}
"""What a file begins with, and how its name may end. All are of one file: the kinds of several name their other files,
and what somebody sent must not name files of the server."""
PYRAMIDS = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".dcm")
"""Endings of what is read tile by tile."""
DICOM, DICOM_AT = b"DICM", 128
SENT_TYPES = ("svs", "tif", "tiff", "ndpi", "scn", "bif", "dcm", "jpg", "jpeg", "png")
"""Endings that are offered."""
LONGEST = 60


class HeldSlide:
    """A slide held for one reader. Let go of it, and file and scans are gone."""

    def __init__(self, name: str, data: bytes) -> None:
        """Take a file in.

        Args:
            name: as its sender calls it.
            data: the whole file.

        Raises:
            SlideError: it is no slide or picture of one file that can be read here.
        """
        self.name = re.sub(r"[^\w. -]", "_", name)[-LONGEST:].lstrip(" .") or "slide"
        """As its sender calls it, in letters that every system has in names."""
        _check(Path(self.name), data)
        folder = TemporaryDirectory(prefix="nodelens-", ignore_cleanup_errors=True)
        self.scans = Path(folder.name) / "scans"
        """Where what is read of it may be kept."""
        self.path = Path(folder.name) / "slide" / f"slide{Path(self.name).suffix.lower()}"
        """By which it is opened; a name may tell of a person, and is not on any disk."""
        self.path.parent.mkdir()
        memory = _in_memory(self.path, data)
        self._gone = weakref.finalize(self, _leave, self.path, self.scans, memory, folder)
        self._gone.atexit = False  # a thread cannot be started then; see `leave_all`
        _held.add(self)
        try:
            with Slide.open(self.path) as slide:
                in_one_piece = self.path.suffix not in PYRAMIDS
                self.size = len(data) + in_one_piece * 3 * slide.width * slide.height
                """Bytes held, those of a decoded picture too."""
        except SlideError as error:  # whatever is wrong with it is said at once
            raise SlideError(Path(self.name), error.reason) from error

    def leave(self) -> None:
        """Let go of it now, and wait until it is gone."""
        known = self._gone.detach()
        if known is not None:
            _clear(*known[2])


_held: weakref.WeakSet[HeldSlide] = weakref.WeakSet()


def leave_all() -> None:
    """The server ends while tabs are open: let go of every slide."""
    for one in list(_held):
        one.leave()


def _check(path: Path, data: bytes) -> None:
    if not data:
        raise SlideError(path, "it is empty")
    ending = path.suffix.lower().removeprefix(".")
    if data[DICOM_AT : DICOM_AT + len(DICOM)] == DICOM and ending == "dcm":
        return
    if not any(data.startswith(begin) and ending in endings.split() for begin, endings in KINDS.items()):
        raise SlideError(path, "what is in it is none of the kinds of slides and pictures that may be sent")
    if exceeds_structure_limits(data):
        raise SlideError(path, "it is built of far too many parts; save it anew")
    if reason := odd_jpeg(data):
        raise SlideError(path, reason)


def _in_memory(path: Path, data: bytes) -> int | None:
    """Put a file where `path` leads; its descriptor, where it lies in memory."""
    if not hasattr(os, "memfd_create"):
        path.write_bytes(data)
        return None
    memory = os.memfd_create("slide")
    with open(memory, "wb", closefd=False) as file:
        file.write(data)
    path.symlink_to(f"/proc/{os.getpid()}/fd/{memory}")
    return memory


def _leave(*held: Any) -> None:
    """As `_clear`, by a thread of its own: a finalizer must not wait for anybody."""
    threading.Thread(target=_clear, args=held, name="leave a slide").start()


def _clear(path: Path, scans: Path, memory: int | None, folder: TemporaryDirectory[str]) -> None:
    job.drop(scans)
    shelf.drop(path)
    path.unlink(missing_ok=True)  # first: its number may be another file's at once
    if memory is not None:
        os.close(memory)
    folder.cleanup()
