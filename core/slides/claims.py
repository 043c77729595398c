"""Work that several processes share, claimed by files beside its results: each is done by one of them.

A claim is a promise and no lock: what two do all the same, for a machine that sleeps, must be harmless.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from core.errors import OutputError

STALE = 600.0
"""Seconds after which a claim by another machine is nobody's any more."""


def claim(path: Path) -> bool:
    """Claim what a file stands for; False where somebody else is at it.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    own = f"{socket.gethostname()} {os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(own)
        except FileExistsError:
            if not _is_free(path):
                return False
            path.write_text(own, encoding="utf-8")
    except OSError as error:
        raise OutputError(path, os.strerror(error.errno or 0).lower()) from error
    return True


def release(path: Path) -> None:
    """It is done, or left to others."""
    path.unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    """Whether nobody is at it who lives: this process's own earlier try counts as none."""
    try:
        host, _, process = path.read_text(encoding="utf-8").partition(" ")
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:  # released meanwhile: whoever looks again finds it done
        return False
    if host == socket.gethostname() and process.isdecimal():
        return int(process) == os.getpid() or not _lives(int(process)) or age > STALE
    return age > STALE


def _lives(process: int) -> bool:
    """Whether a process of this machine lives; where that cannot be asked without harm, as if it did."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True
