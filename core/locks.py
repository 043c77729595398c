"""Locked files: held by a process as long as it lives, and signed, so that others know whom to ask.

The system lets a lock go when the last process that holds its file open ends, however it ends.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from filelock import lock_descriptor

from core.errors import NodeLensError

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where who looks takes the lock for a moment
    fcntl = None  # type: ignore[assignment]


def grasp(file: TextIO, patience: float) -> bool:
    """Lock an open file for this process; False when another holds it.

    Args:
        file: to be locked.
        patience: seconds that it waits for somebody who only looks whether the file is held.
    """
    give_up = time.monotonic() + patience
    while not lock_descriptor(file.fileno(), blocking=False):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def sign(file: TextIO, process: int) -> None:
    """Write into a locked file whose it is."""
    file.truncate(0)
    file.write(f"{process} {_birth(process)}")
    file.flush()


def is_held(path: Path) -> bool:
    """Whether a process that lives holds a file."""
    with suppress(OSError), path.open(encoding="utf-8") as file:
        return not _share(file, patient=False)
    return False


def outlast(path: Path) -> None:
    """Return when nobody holds a file any more."""
    with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        _share(file, patient=True)


def holder(path: Path) -> int | None:
    """Number of the process that holds a file and has signed it; None when nobody does.

    The system gives numbers away again: one that is another process by now, as when a child has kept the file open
    longer than the process that signed, is nobody's.
    """
    if not is_held(path):
        return None
    try:
        number, _, birth = path.read_text(encoding="utf-8").partition(" ")
        return int(number) if birth == _birth(int(number)) else None
    except (OSError, ValueError):
        return None


def ask_to_end(path: Path) -> bool:
    """Send SIGTERM to the process that holds a file; False when there is none.

    Raises:
        NodeLensError: it is another user's.
    """
    number = holder(path)
    if number is None:
        return False
    try:
        os.kill(number, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise NodeLensError("Another user of this machine started this; only they can stop it.") from error
    return True


def _share(file: TextIO, patient: bool) -> bool:
    """Lock an open file beside others who only look, when its holder is gone; False, unless `patient`, before that."""
    if fcntl is None:
        return lock_descriptor(file.fileno(), blocking=patient)
    try:
        fcntl.flock(file, fcntl.LOCK_SH if patient else fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _birth(process: int) -> str:
    """When a process began, in ticks since the machine did; empty where the system does not say (proc(5), stat)."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[19]
    except OSError:
        return ""
