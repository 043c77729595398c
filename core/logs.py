"""Logs: one JSON object a line on stderr. Never pixels, readings of uploads, or (below debug) names of files.

So an exception is told by its type and the lines of code that it came through. Its text may name a file that somebody
uploaded, and is told at debug alone.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
PLACES = 30
"""Lines of code told of an exception at most, the innermost."""


class JsonLines(logging.Formatter):
    """Time (UTC), level, logger, message; of an exception its types and places, and its text if `text` is set."""

    def __init__(self, text: bool = False) -> None:
        super().__init__()
        self.text = text

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = " from ".join(map(_kind, _causes(error)))
            line["places"] = list(_places(error.__traceback__))
            if self.text:
                line["text"] = str(error)
        return json.dumps(line, ensure_ascii=False)


class Stderr(logging.StreamHandler[TextIO]):
    """Writes to what is stderr now, as a test or a service may have changed it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The process's stderr."""
        return sys.stderr


def configure(level: str) -> None:
    """Send what the process logs to stderr, from `level` on; calling it again changes the level and nothing else."""
    root = logging.getLogger()
    handler = next((one for one in root.handlers if isinstance(one, Stderr)), None)
    if handler is None:
        handler = Stderr()
        root.addHandler(handler)
    handler.setFormatter(JsonLines(text=level == "debug"))
    handler.setLevel(level.upper())
    logging.getLogger("core").setLevel(level.upper())


def hand_over(logger: logging.Logger) -> None:
    """Let a logger of a library speak through ours: it loses handlers of its own."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True


def take_over() -> None:
    """Let nothing in this process write to stderr but JSON lines: libraries, warnings, threads that end in an error.

    For a server. A command's bug should look like a bug.
    """
    for name in list(logging.root.manager.loggerDict):
        hand_over(logging.getLogger(name))
    logging.captureWarnings(True)
    sys.excepthook = lambda _, error, __: _tell("the process ended", error)
    threading.excepthook = lambda args: _tell("a thread ended", args.exc_value)
    sys.unraisablehook = lambda args: _tell("an error could not be raised", args.exc_value)


def _tell(what: str, error: BaseException | None) -> None:
    if not isinstance(error, SystemExit | KeyboardInterrupt):
        logging.getLogger("core").error(what, exc_info=error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, each once."""
    told: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in told:
        yield cause
        told.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _kind(error: BaseException) -> str:
    """Its type, and the system's words (which name no file)."""
    words = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__} ({words})" if words else type(error).__name__


def _places(trace: TracebackType | None) -> Iterator[str]:
    """'core/models/nets.py:12 in load', the innermost last; no source and no values."""
    for frame, line in list(traceback.walk_tb(trace))[-PLACES:]:
        yield f"{_short(Path(frame.f_code.co_filename))}:{line} in {frame.f_code.co_name}"


def _short(path: Path) -> str:
    """A file of code without the folders that it is installed in."""
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
