"""What pages and command line call, and what a process holds once for all its readers.

Models and splits in memory, both bounded; the scoring of pictures and of splits; and the line of scoring jobs, of which
one computes at a time. Long jobs in processes of their own, which outlive the server, are `core.jobs`.
What is held is read-only or safe between threads.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from core.data.pcam import Split, find_splits, state_of
from core.data.sources import Item
from core.errors import ModelNotFoundError, NodeLensError
from core.inference import Reader, Readings, load_reader
from core.inference.scores import ScoreStore
from core.kept import Kept
from core.models.store import DESCRIPTION, bundle_folder, bundle_names, read_description
from core.settings import settings
from core.task import Task

__all__ = [
    "UNASKED",
    "Scored",
    "ScoringJob",
    "changed",
    "forget",
    "has_reader",
    "is_scoring",
    "model_names",
    "open_split",
    "reader",
    "score",
    "scoring",
    "scoring_job",
    "seconds_to_score",
    "split",
    "split_names",
    "starts_unasked",
    "stop_scoring",
    "store",
    "task",
]

log = logging.getLogger(__name__)

MODELS, SPLITS = 8, 16
"""Held at a time."""
UNASKED = 3000
"""Patches that are read because somebody looks at their split; more are read when somebody says so."""

_readers: Kept[Reader] = Kept(MODELS)
_splits: Kept[Split] = Kept(SPLITS)
_tasks: Kept[Task] = Kept(256)


# Models and splits ------------------------------------------------------------------------------------------------


def model_names() -> list[str]:
    """Installed models, the one to open with first, those of drawn pictures last; at least one.

    Raises:
        ModelNotFoundError: there is none.
    """
    names = bundle_names(settings().models)
    if not names:
        raise ModelNotFoundError(settings().model)
    return sorted(names, key=lambda name: (name != settings().model, _is_synthetic(name), name))


def _is_synthetic(name: str) -> bool:
    """Whether a model learned from drawn pictures; of one that cannot be opened nothing is known."""
    with suppress(NodeLensError):
        return read_description(bundle_folder(name, settings().models)).synthetic
    return False


def changed(name: str) -> int:
    """When a model was last replaced, in nanoseconds; raises ModelNotFoundError."""
    return (bundle_folder(name, settings().models) / DESCRIPTION).stat().st_mtime_ns


def has_reader(name: str) -> bool:
    """Whether a model is loaded."""
    return _readers.has(name, changed(name))


def reader(name: str) -> Reader:
    """The one Reader of a model, by name or path; loaded anew when the model was replaced."""
    return _readers.get(name, lambda: load_reader(name), changed(name))


def task(name: str) -> Task:
    """What a model reads for, from its description; no network is loaded."""
    folder = bundle_folder(name, settings().models)
    return _tasks.get(folder, lambda: read_description(folder).task, changed(name))


def split_names() -> list[str]:
    """Splits present; validation first where there is PCam, else the demo."""
    return sorted(_folders(), key=lambda name: name != "valid")


def split(name: str) -> Split:
    """A split by name; opened anew when its files were replaced."""
    return open_split(_folders().get(name, settings().data), name)


def open_split(folder: Path, name: str) -> Split:
    """A split, opened once; opened anew when its files were replaced."""
    return _splits.get((folder, name), lambda: Split.open(folder, name), state_of(folder, name))


def _folders() -> Mapping[str, Path]:
    return find_splits(settings().data, settings().demo)


# Scoring pictures -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """A picture and what the model read in it.

    Attributes:
        item: the picture.
        readings: that hold its reading; None when the picture was refused.
        place: of its reading in them.
    """

    item: Item
    readings: Readings | None
    place: int


def score(served: Reader, items: Iterable[Item], views: int = 1) -> Iterator[Scored]:
    """Read a stream of pictures, in batches of the engine; no more than one batch is held."""
    stream = iter(items)
    while group := list(islice(stream, served.engine.batch)):
        patches = [item.patch for item in group if item.patch is not None]
        drawn = [item.synthetic for item in group if item.patch is not None]
        readings = served.read(np.stack(patches), views=views, synthetic=drawn) if patches else None
        place = 0
        for item in group:
            yield Scored(item, readings if item.patch is not None else None, place)
            place += item.patch is not None


# Scoring splits ---------------------------------------------------------------------------------------------------


_line: list[ScoringJob] = []
_line_moved = threading.Condition()


class ScoringJob:
    """Completes a score store in a thread of its own, so that it outlives the page that asked for it.

    Those of a process stand in line, first come, first served: one computes at a time.
    """

    def __init__(self, scores: ScoreStore) -> None:
        """Get in line at once."""
        self.total = len(scores.split)
        self.done = scores.scores().done
        self.error: Exception | None = None
        self._began = (time.monotonic(), self.done)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(scores,), name="scoring", daemon=True)
        atexit.register(self.end)  # a process that ends inside the engine aborts
        with _line_moved:
            _line.append(self)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether there is still something to wait for."""
        return self._thread.is_alive()

    @property
    def before(self) -> int:
        """Jobs in line before this one; 0 when its turn has come, and when it has ended."""
        with _line_moved:
            return _line.index(self) if self in _line else 0

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None while that cannot be told."""
        began, already = self._began
        fresh = self.done - already
        return (time.monotonic() - began) / fresh * (self.total - self.done) if fresh else None

    def stop(self) -> None:
        """Ask for an end after the current write, or leave the line; what is done stays."""
        self._stop.set()
        with _line_moved:
            _line_moved.notify_all()

    def end(self) -> None:
        """Ask for an end and wait for it."""
        self.stop()
        self._thread.join()

    def _run(self, scores: ScoreStore) -> None:
        what = f"{scores.split.name} with {scores.model.name}"
        try:
            with _line_moved:
                _line_moved.wait_for(lambda: _line[0] is self or self._stop.is_set())
            if self._stop.is_set():
                return
            self._began = (time.monotonic(), self.done)
            log.info("scoring %s: %d of %d done", what, self.done, self.total)
            for done in scores.compute(self._stop.is_set):
                self.done = done
                _note_speed(scores, done - self._began[1], time.monotonic() - self._began[0])
            log.info("scored %s: %d of %d done", what, self.done, self.total)
        except Exception as error:
            log.exception("scoring %s failed", what)
            self.error = error
        finally:
            with _line_moved:
                _line.remove(self)
                _line_moved.notify_all()
            atexit.unregister(self.end)


_jobs: dict[Path, ScoringJob] = {}
_stopped: set[Path] = set()
"""Stores whose job a person has stopped."""
_speeds: dict[tuple[str, str, int], float] = {}
"""Patches a second by network, engine and views, as measured last."""
_guard = threading.Lock()
"""Of the jobs."""


def store(model: str, split_name: str) -> ScoreStore:
    """Where the one-view readings of a split are kept."""
    return ScoreStore(settings().cache, reader(model), split(split_name))


def is_scoring(scores: ScoreStore) -> bool:
    """Whether a job completes a store at this moment, or waits to."""
    job = _jobs.get(scores.path)
    return job is not None and job.running


def scoring(scores: ScoreStore) -> ScoringJob | None:
    """The job that completes a store at this moment, or waits to; what stopped an earlier one is raised once."""
    with _guard:
        return _running(scores)


def scoring_job(scores: ScoreStore) -> ScoringJob:
    """The job that completes a store, put in line when there is none; it outlives the page.

    What stopped an earlier job is raised once; the next visit tries again.
    """
    with _guard:
        job = _running(scores)
        if job is None:
            for path in [path for path, old in _jobs.items() if not old.running and old.error is None]:
                del _jobs[path]
            job = _jobs[scores.path] = ScoringJob(scores)
            _stopped.discard(scores.path)
        return job


def stop_scoring(scores: ScoreStore) -> None:
    """End a store's job after its current write; it is not begun again before somebody says so."""
    with _guard:
        _stopped.add(scores.path)
        if scores.path in _jobs:
            _jobs[scores.path].stop()


def starts_unasked(scores: ScoreStore) -> bool:
    """Whether looking at a split is enough to have what is missing read: it is little, and nobody has stopped it."""
    return len(scores.split) - scores.scores().done <= UNASKED and scores.path not in _stopped


def seconds_to_score(scores: ScoreStore) -> float:
    """How long it takes to read what is missing of a split: at the speed measured last, else at that of one batch."""
    if _speed_of(scores) not in _speeds:
        served, side = scores.reader, scores.model.task.side
        blank = np.full((served.engine.batch, side, side, 3), 200, np.uint8)
        served.read(blank[:1], views=scores.views)  # what is done once is not measured
        began = time.monotonic()
        served.read(blank, views=scores.views)
        _note_speed(scores, len(blank), time.monotonic() - began)
    return (len(scores.split) - scores.scores().done) / _speeds[_speed_of(scores)]


def forget() -> None:
    """End every job after its current write, and hold nothing any more."""
    with _guard:
        for job in _jobs.values():
            job.end()
        _jobs.clear()
        _stopped.clear()
    _speeds.clear()
    _readers.clear()
    _splits.clear()
    _tasks.clear()


def _running(scores: ScoreStore) -> ScoringJob | None:
    job = _jobs.get(scores.path)
    if job is not None and job.error is not None:
        del _jobs[scores.path]
        raise job.error
    return job if job is not None and job.running else None


def _speed_of(scores: ScoreStore) -> tuple[str, str, int]:
    return scores.model.graph_key, scores.reader.engine.name, scores.views


def _note_speed(scores: ScoreStore, patches: int, seconds: float) -> None:
    _speeds[_speed_of(scores)] = patches / max(seconds, 1e-6)
