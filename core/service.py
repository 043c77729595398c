"""What a process holds once for all its readers: models, splits, and the jobs that score splits.

What is held is read-only or safe between threads.
"""

from __future__ import annotations

import threading
from pathlib import Path

from core.data.pcam import Split, file_of
from core.inference import Reader, load_reader
from core.inference.scores import ScoreStore, ScoringJob
from core.kept import Kept
from core.models.store import DESCRIPTION, bundle_folder
from core.settings import settings

__all__ = ["changed", "forget", "has_reader", "is_scoring", "reader", "scoring_job", "split"]

MODELS, SPLITS = 8, 16
"""Held at a time."""

_readers: Kept[Reader] = Kept(MODELS)
_splits: Kept[Split] = Kept(SPLITS)
_jobs: dict[Path, ScoringJob] = {}
_guard = threading.Lock()
"""Of the jobs."""


def changed(name: str) -> int:
    """When a model was last replaced, in nanoseconds; raises ModelNotFoundError."""
    return (bundle_folder(name, settings().models) / DESCRIPTION).stat().st_mtime_ns


def has_reader(name: str) -> bool:
    """Whether a model is loaded."""
    return _readers.has(name, changed(name))


def reader(name: str) -> Reader:
    """The one Reader of a model, by name or path; loaded anew when the model was replaced."""
    return _readers.get(name, lambda: load_reader(name), changed(name))


def split(folder: Path, name: str) -> Split:
    """A split, opened once; opened anew when its files were replaced."""
    path = file_of(folder, name, "x.h5")
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _splits.get((folder, name), lambda: Split.open(folder, name), stamp)


def is_scoring(scores: ScoreStore) -> bool:
    """Whether a job completes a store at this moment."""
    job = _jobs.get(scores.path)
    return job is not None and job.running


def scoring_job(scores: ScoreStore) -> ScoringJob:
    """The job that completes a store, started when there is none; it outlives the page.

    What stopped an earlier job is raised once; the next visit tries again.
    """
    with _guard:
        job = _jobs.get(scores.path)
        if job is not None and job.error is not None:
            del _jobs[scores.path]
            raise job.error
        if job is None or not job.running:
            for path in [path for path, old in _jobs.items() if not old.running and old.error is None]:
                del _jobs[path]
            job = _jobs[scores.path] = ScoringJob(scores)
        return job


def forget() -> None:
    """End every job after its current write, and hold nothing any more."""
    with _guard:
        for job in _jobs.values():
            job.end()
        _jobs.clear()
    _readers.clear()
    _splits.clear()
