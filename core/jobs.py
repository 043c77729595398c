"""Commands of ours in processes of their own: they outlive the page that starts them.

The process inherits an open, locked file. The system lets the lock go when the process ends, however it ends, so a
job runs exactly as long as its file is locked.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import NodeLensError, OutputError
from core.settings import ROOT

MISTAKE = "nodelens: "
"""What a command's line on a person's mistake begins with."""
TAIL_BYTES = 4096


@dataclass(frozen=True)
class Job:
    """`python -m core ...` in the background; `<path>.job` holds its number, `<path>.txt` what it says."""

    path: Path

    def start(self, arguments: Sequence[str]) -> None:
        """Start the command; it goes on when this process ends.

        Raises:
            NodeLensError: it is running already.
            OutputError: its files cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("a+", encoding="ascii") as lock, self.log.open("wb") as log:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise NodeLensError("This is running already. Wait for it, or stop it first.") from error
                process = subprocess.Popen(
                    [sys.executable, "-m", "core", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=[lock.fileno()],
                )  # fmt: skip
                lock.truncate(0)
                lock.write(str(process.pid))
        except OSError as error:
            raise OutputError(self.path, os.strerror(error.errno or 0).lower()) from error
        threading.Thread(target=process.wait, daemon=True).start()  # so that no zombie is left

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.path.with_name(self.path.name + ".txt")

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return holder(self._lock) is not None

    @property
    def complaint(self) -> str:
        """The sentence that the command ended with, or the last line of what it says when it fell over; else empty."""
        if not self.log.is_file() or self.running:
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            text = log.read().decode("utf-8", "replace").rstrip()
        last = text.rpartition("\n")[2]
        if last.startswith(MISTAKE):
            return last.removeprefix(MISTAKE)
        return f"It ended with an error of NodeLens itself: {last}" if "Traceback (most recent" in text else ""

    def stop(self) -> bool:
        """Ask the process to end; False when there is none."""
        return ask_to_end(self._lock)

    @property
    def _lock(self) -> Path:
        return self.path.with_name(self.path.name + ".job")


def holder(lock: Path) -> int | None:
    """Number of the process that holds a lock file and has signed it; None when nobody does."""
    try:
        with lock.open(encoding="ascii") as signed:
            try:
                fcntl.flock(signed, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(signed.read() or 0) or None
    except (OSError, ValueError):
        pass
    return None


def ask_to_end(lock: Path) -> bool:
    """Send SIGTERM to the process that holds a lock file; False when there is none."""
    number = holder(lock)
    if number is None:
        return False
    try:
        os.kill(number, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True
