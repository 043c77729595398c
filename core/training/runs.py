"""A run is a folder, written by one process and read by any.

`config.json` (what is trained), `environment.json` (with what, on which data), `history.jsonl` (one fact a line),
`events.out.tfevents.*` (the same for TensorBoard), `checkpoint.pt` (where to go on), `predictions.csv` and `model/`
(when it is finished), `note.txt` (a person's words), `lock` (held and signed by the process that trains). Nothing says
"running" but the lock, which a killed process drops.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.errors import OutputError, RunBusyError, RunNotFoundError, TrainingConfigError, TrainingError
from core.files import write_text
from core.locks import ask_to_end, grasp, holder, is_held, sign
from core.models.store import DESCRIPTION, bundle_folder, read_description
from core.settings import settings
from core.training.config import TrainConfig, parse_config

Fact = dict[str, Any]
Status = Literal["new", "running", "stopped", "failed", "finished"]

CONFIG, ENVIRONMENT, HISTORY, CHECKPOINT = "config.json", "environment.json", "history.jsonl", "checkpoint.pt"
PREDICTIONS, NOTE, LOCK, MODEL = "predictions.csv", "note.txt", "lock", "model"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
LOCK_PATIENCE = 2.0
"""Seconds that a start waits for somebody who only looks whether the run is held."""
LONGEST_NOTE = 4000
"""Characters."""
LONGEST_FACT = 64 * 1024
"""Bytes within which the last line of a history begins."""


class Run:
    """One training run on disk."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder = folder
        self.config = config

    @classmethod
    def create(cls, folder: Path, config: TrainConfig) -> Run:
        """Make a new run, or open one that was made with the same configuration.

        Raises:
            TrainingConfigError: the folder's name is none for a run, or differs from another's by capitals alone; or
                the teacher is of another task.
            ModelNotFoundError, BundleError: there is no such teacher, or it is damaged.
            TrainingError: the folder holds a run of another configuration.
            OutputError: the folder cannot be written.
        """
        check_run_name(folder.name, folder.parent)
        if (folder / CONFIG).is_file():
            run = cls.open(folder)
            if run.config != config:
                raise TrainingError(f"{folder} holds a run of another configuration; give a new name, or resume it.")
            return run
        check_teacher(config)
        write_text(folder / CONFIG, _json(config.model_dump(mode="json")))
        return cls(folder, config)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An existing run; raises RunNotFoundError, TrainingConfigError."""
        try:
            values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunNotFoundError(folder.name) from error
        except (ValueError, RecursionError, OSError) as error:
            raise TrainingConfigError(f"{folder / CONFIG} cannot be read") from error
        return cls(folder, parse_config(values))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def status(self) -> Status:
        """What the run is doing, told by its lock and its last fact."""
        return "running" if is_held(self.folder / LOCK) else self.settled

    @property
    def settled(self) -> Status:
        """What the run is when nobody trains it."""
        path = self.folder / HISTORY
        if not path.is_file():
            return "new"
        with path.open("rb") as lines:
            lines.seek(max(0, path.stat().st_size - LONGEST_FACT))
            whole = [line for line in lines.readlines() if line.endswith(b"\n")]
        if not whole:
            return "new"
        last = json.loads(whole[-1])
        return last["fact"] if last["fact"] in ("finished", "failed") else "stopped"

    @property
    def holder(self) -> int | None:
        """Process that trains the run now."""
        return holder(self.folder / LOCK)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run for this process; raises RunBusyError when another holds it."""
        try:
            lock = (self.folder / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise OutputError(self.folder, os.strerror(error.errno or 0).lower()) from error
        with lock:
            if not grasp(lock, LOCK_PATIENCE):
                raise RunBusyError(self.name)
            sign(lock, os.getpid())
            for left in self.folder.glob(f".{CHECKPOINT}.*.part"):  # half written when a process was killed
                left.unlink(missing_ok=True)
            yield

    def history(self, start: int = 0) -> list[Fact]:
        """Facts from line `start` on; a line half written is left for the next look."""
        path = self.folder / HISTORY
        if not path.is_file():
            return []
        with path.open("rb") as lines:
            whole = [line for line in lines.readlines()[start:] if line.endswith(b"\n")]
        return [json.loads(line) for line in whole]

    def append(self, fact: Fact) -> None:
        """Add one fact to the history; raises OutputError."""
        line = (json.dumps(fact) + "\n").encode()
        path = self.folder / HISTORY
        try:
            with path.open("ab") as history:
                before = history.tell()
                try:
                    history.write(line)
                    history.flush()
                except OSError:
                    os.truncate(path, before)  # a full disk may have taken half a line
                    raise
        except OSError as error:
            raise OutputError(path, os.strerror(error.errno or 0).lower()) from error

    def history_size(self) -> int:
        """Bytes of the history."""
        path = self.folder / HISTORY
        return path.stat().st_size if path.is_file() else 0

    def rewind_history(self, size: int) -> None:
        """Forget facts after the first `size` bytes: they will be found again."""
        if self.history_size() > size:
            os.truncate(self.folder / HISTORY, size)

    @property
    def environment(self) -> dict[str, Any]:
        """Libraries, processor, data fingerprints and start, as training wrote them; empty before that."""
        path = self.folder / ENVIRONMENT
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Keep with what the run is trained."""
        write_text(self.folder / ENVIRONMENT, _json(environment))

    @property
    def began(self) -> datetime:
        """When it was started first, or made if it never was."""
        told = self.environment.get("started")
        made = datetime.fromtimestamp((self.folder / CONFIG).stat().st_mtime, UTC)
        return datetime.fromisoformat(told) if told else made

    @property
    def note(self) -> str:
        """A person's words on the run, at most `LONGEST_NOTE` characters; a longer one raises TrainingError."""
        path = self.folder / NOTE
        if not path.is_file():
            return ""
        with path.open(encoding="utf-8", errors="replace") as words:
            return words.read(LONGEST_NOTE)

    @note.setter
    def note(self, text: str) -> None:
        if len(text) > LONGEST_NOTE:
            raise TrainingError(f"A note holds at most {LONGEST_NOTE:,} characters; this one has {len(text):,}.")
        write_text(self.folder / NOTE, text)

    @property
    def model(self) -> Path | None:
        """Folder of the bundle that the run became; None before it is finished."""
        folder = self.folder / MODEL
        return folder if (folder / DESCRIPTION).is_file() else None

    def stop(self) -> bool:
        """Ask the process that trains the run to save and end; False when there is none."""
        return ask_to_end(self.folder / LOCK)

    def delete(self) -> None:
        """Remove the run and all it holds; raises RunBusyError while a job on it works or waits."""
        if any(is_held(job) for job in self.folder.glob("*.job")):
            raise RunBusyError(self.name)
        with self.held():
            shutil.rmtree(self.folder)


def check_teacher(config: TrainConfig) -> None:
    """Refuse a teacher that reads patches for another task than the run's.

    Raises:
        TrainingConfigError: it does.
        ModelNotFoundError, BundleError: there is no such teacher, or it is damaged.
    """
    if config.distillation is None:
        return
    for name in config.distillation.teachers:
        apart = read_description(bundle_folder(name, settings().models)).task.difference(config.task)
        if apart is not None:
            field, found, wanted = apart
            raise TrainingConfigError(
                f"the teacher '{name}' is a model of another task: its {field} is {found}, the run's is {wanted}"
            )


def check_run_name(name: str, runs: Path) -> None:
    """Raise TrainingConfigError for what cannot name a run, or differs from another's name by capitals alone."""
    if not NAME.fullmatch(name):
        raise TrainingConfigError(f"'{name}' is no name for a run; use letters, digits, '-', '_' and '.'")
    for other in run_names(runs):
        if other != name and other.casefold() == name.casefold():
            raise TrainingConfigError(f"there is a run '{other}' already, and capitals tell no run from another")


def run_names(runs: Path) -> list[str]:
    """Names of the runs in a folder, the newest first."""
    found = [path.parent for path in runs.glob(f"*/{CONFIG}")]
    return [folder.name for folder in sorted(found, key=lambda f: (-(f / CONFIG).stat().st_mtime, f.name))]


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
