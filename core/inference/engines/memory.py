"""What is done so that memory that was needed once does not stay taken."""

from __future__ import annotations

import ctypes
import platform
from functools import lru_cache

M_ARENA_MAX = -8
"""Of glibc's malloc.h."""
ARENAS = 2


def give_back() -> None:
    """Give freed memory back to the system; nothing where the C library is not glibc.

    Earlier-layer explanations for a dozen readers left 3 GB taken on two cores. It takes some 20 ms.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@lru_cache(maxsize=1)
def share_arenas() -> None:
    """Let all threads allocate from the same two arenas from now on; nothing where the C library is not glibc.

    It would make one for each of many threads, every run of a page is a thread of its own, and each arena holds on to
    what was freed between pieces still in use: over 2,000 runs of pages half a gigabyte. Inference is one call at a
    time, so nobody waits for an arena.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
