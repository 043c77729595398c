"""One byte budget for the whole process: files that visitors sent, and the pictures decoded from them.

A caller reserves before it holds, and keeps the reservation beside what it holds:

    hold = HELD.reserve(pixels.nbytes)   # FullError when there is no room
    ...
    hold.release()                       # or simply drop it

A reservation lasts as long as somebody refers to it, so what lies in a reader's session is given back when the session
ends (`server.sweep` sees to that soon after a tab is closed). Files that still lie in Streamlit's own store are counted
by themselves, whoever sent them; `take` moves one out of there.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import cast

from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.stats import CacheStat
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import FullError

LIMIT = 512 * 2**20
"""Bytes that all visitors together may hold."""


class Reservation:
    """Bytes set aside; given back by `release`, or when nobody refers to them any more."""

    def __init__(self, count: int) -> None:
        self.bytes = count

    def release(self) -> None:
        """Give the bytes back."""
        self.bytes = 0


class Budget:
    """Bytes that may be held at a time, by reservations and, as `elsewhere` tells, besides them. Safe between threads.

    Reservations are summed rather than counted up and down: a sum cannot drift.
    """

    def __init__(self, limit: int, elsewhere: Callable[[], int] = lambda: 0) -> None:
        self._limit = limit
        self._elsewhere = elsewhere
        self._reservations: weakref.WeakSet[Reservation] = weakref.WeakSet()
        self._guard = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes held now."""
        return sum(reservation.bytes for reservation in self._reservations) + self._elsewhere()

    def reserve(self, count: int) -> Reservation:
        """Set `count` bytes aside.

        Raises:
            FullError: there is no room for them.
        """
        reservation = Reservation(0)
        self.resize(reservation, count)
        return reservation

    def resize(self, reservation: Reservation, count: int) -> None:
        """Set `count` bytes aside in the place of what a reservation held; for fewer there is always room.

        Raises:
            FullError: there is no room for so many; the reservation stays as it is.
        """
        with self._guard:
            more = count - reservation.bytes
            if more > 0 and self.held + more > self._limit:
                raise FullError
            reservation.bytes = count
            self._reservations.add(reservation)


def _sent() -> int:
    """Bytes of the files in Streamlit's own store."""
    if not runtime.exists():
        return 0
    families = runtime.get_instance().uploaded_file_mgr.get_stats().values()
    return sum(stat.byte_length for family in families for stat in family if isinstance(stat, CacheStat))


HELD = Budget(LIMIT, _sent)
"""The budget of this process."""


def take(file: UploadedFile) -> bytes:
    """The bytes of a file from a drop zone that is about to be replaced; Streamlit's store lets go of them."""
    data = file.getvalue()
    context = get_script_run_ctx()
    if context is not None:
        cast(MemoryUploadedFileManager, context.uploaded_file_mgr).remove_file(context.session_id, file.file_id)
    return data
