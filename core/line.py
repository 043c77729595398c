"""The line of long jobs: one works, the others wait for their turn, first come, first served.

A job draws a numbered ticket, a file that its process keeps locked from start to end, however it ends. Its turn has
come when no lower number is locked. So nobody has to keep the line: who is killed has left it, and the system itself
wakes who comes next.

`python -m core.line TICKET COMMAND ...` waits for the turn and then becomes the command. It loads nothing before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from filelock import lock_descriptor

from core.errors import LineFullError
from core.locks import is_held, outlast

LONGEST = 8
"""Jobs in line, the one that works included."""
DOOR = "door"
"""Locked while somebody draws a ticket."""


def join(folder: Path, words: str) -> TextIO:
    """Draw a ticket: an open, locked file to be handed on to the process that waits.

    Args:
        folder: of the line; those who share it wait for one another.
        words: written on the ticket.

    Raises:
        LineFullError: so many are in line that nobody else may join.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / DOOR).open("a", encoding="utf-8") as door:
        lock_descriptor(door.fileno())
        taken = tickets(folder)
        for path in set(_all(folder)) - set(taken):
            path.unlink(missing_ok=True)
        if len(taken) >= LONGEST:
            raise LineFullError(LONGEST)
        number = int(taken[-1].stem) + 1 if taken else 1
        ticket = (folder / f"{number}.ticket").open("w", encoding="utf-8")
        lock_descriptor(ticket.fileno())
        ticket.write(words)
        ticket.flush()
    return ticket


def tickets(folder: Path) -> list[Path]:
    """Tickets of those in line, in their order; the first is at work."""
    return [path for path in _all(folder) if is_held(path)]


def wait(ticket: Path) -> None:
    """Return when no ticket before this one is held."""
    for earlier in _all(ticket.parent):
        if int(earlier.stem) < int(ticket.stem):
            outlast(earlier)


def main() -> None:
    """Wait, then become the command; the locked files stay open."""
    ticket, *command = sys.argv[1:]
    wait(Path(ticket))
    os.execv(command[0], command)


def _all(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.ticket") if path.stem.isdecimal()), key=lambda path: int(path.stem))


if __name__ == "__main__":
    main()
