"""Commands of ours in processes of their own: they outlive the page that starts them, and wait for one another.

The process inherits two open, locked files: its own, and its ticket in the line of long jobs. The system lets a lock
go when the process ends, however it ends, so a job runs, or waits, exactly as long as its file is locked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from core import line
from core.errors import NodeLensError, OutputError
from core.locks import ask_to_end, grasp, is_held, sign
from core.settings import ROOT, settings

COMMAND = (sys.executable, "-m", "core")
MISTAKE = "nodelens: "
"""What a command's line on a person's mistake begins with."""
TAIL_BYTES = 4096
PATIENCE = 0.5
"""Seconds that a start waits for somebody who only looks whether the job runs."""
NOT_HERE = "Long jobs cannot be started from a page on this system. Start them with `python -m core`."
KILLED = "It was ended from outside, without a word (signal {}); perhaps memory ran out."


@dataclass(frozen=True)
class Job:
    """`python -m core ...` in the background; `<path>.job` holds its number, `<path>.txt` what it says.

    One job works at a time; the others are in line, also those of another server with the same cache folder.

    Attributes:
        path: its files begin with it.
        what: it does, in words for those who wait.
    """

    path: Path
    what: str = field(default="a job", compare=False)

    def start(self, arguments: Sequence[str]) -> None:
        """Put the command in line; it goes on when this process ends.

        Raises:
            NodeLensError: it is running already, so many are in line that nobody else may join, or the system cannot
                hand locked files on.
            OutputError: its files cannot be written.
        """
        if not hasattr(os, "fork"):
            raise NodeLensError(NOT_HERE)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("a+", encoding="utf-8") as lock:
                if not grasp(lock, PATIENCE):
                    raise NodeLensError("This is running already. Wait for it, or stop it first.")
                words = json.dumps({"path": str(self.path), "what": self.what})
                with line.join(_line_folder(), words) as ticket, self.log.open("wb") as log:
                    lock.truncate(0)
                    process = subprocess.Popen(
                        [sys.executable, "-m", "core.line", ticket.name, *COMMAND, *arguments], cwd=ROOT,
                        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                        pass_fds=[lock.fileno(), ticket.fileno()],
                    )  # fmt: skip
                    sign(lock, process.pid)
        except OSError as error:
            raise OutputError(self.path, os.strerror(error.errno or 0).lower()) from error
        threading.Thread(target=self._see_off, args=(process,), daemon=True).start()

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.path.with_name(self.path.name + ".txt")

    @property
    def running(self) -> bool:
        """Whether the process lives, at work or in line."""
        return is_held(self._lock)

    @property
    def before(self) -> int:
        """Jobs in line before this one; 0 when its turn has come, and when it does not run."""
        return next((place for place, job in enumerate(jobs_in_line()) if job == self), 0)

    @property
    def since(self) -> datetime | None:
        """When it was started last; None before that."""
        try:
            return datetime.fromtimestamp(self._lock.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    @property
    def error_message(self) -> str:
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
        """Ask the process to end, or to leave the line; False when there is none. Raises NodeLensError."""
        return ask_to_end(self._lock)

    def _see_off(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end, so that no zombie is left, and say in the log what a killed process could not."""
        code = process.wait()
        if code < 0 and -code not in (signal.SIGTERM, signal.SIGINT):
            with suppress(OSError), self.log.open("a", encoding="utf-8") as log:
                log.write(f"\n{MISTAKE}{KILLED.format(-code)}\n")

    @property
    def _lock(self) -> Path:
        return self.path.with_name(self.path.name + ".job")


def jobs_in_line() -> list[Job]:
    """The jobs that were started and have not ended, in their order; the first is at work."""
    found = []
    for ticket in line.tickets(_line_folder()):
        with suppress(OSError, ValueError):  # it has ended since
            words = json.loads(ticket.read_text(encoding="utf-8"))
            found.append(Job(Path(words["path"]), words["what"]))
    return found


def _line_folder() -> Path:
    return settings().cache / "line"
