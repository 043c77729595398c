"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import platform

M_ARENA_MAX = -8
"""`mallopt`'s name for the most arenas, from glibc's malloc.h."""


def share_one_arena() -> None:
    """Let all threads take memory from one arena of glibc's; nothing elsewhere.

    By default up to eight arenas a core are kept, and each of them holds on to the feature maps of the largest
    explanation that was ever made in one of its threads. As every page run is a thread of its own, that came to 4 GiB
    on two cores. Computing takes turns anyway, so that threads hardly compete for the arena.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
