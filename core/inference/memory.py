"""What is done so that memory that was needed once does not stay taken."""

from __future__ import annotations

import ctypes
import platform


def give_back() -> None:
    """Give freed memory back to the system; nothing where the C library is not glibc.

    glibc keeps an arena for each of many threads, and each holds on to the feature maps that were freed in it. As every
    run of a page is a thread of its own, earlier-layer explanations for a dozen readers left 3 GB taken on two cores.
    It takes some 20 ms.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
