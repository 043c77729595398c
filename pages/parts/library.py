"""What the process holds once and all readers share: models, splits, and the jobs that score splits.

Shared objects are read-only or safe between threads; what belongs to one reader lives in their session.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.bundle import DESCRIPTION, bundle_folder, bundle_names
from core.data.pcam import Split, file_of, find_splits
from core.errors import ModelNotFoundError
from core.inference import Reader, Readings, load_reader
from core.inference.scoring import ScoreStore, ScoringJob
from core.settings import settings


def model_names() -> list[str]:
    """Installed models, the one to open with first."""
    names = bundle_names(settings().models)
    if not names:
        raise ModelNotFoundError(settings().model)
    return sorted(names, key=lambda name: (name != settings().model, name))


def reader(name: str) -> Reader:
    """The one Reader of a model, by name or path; loaded anew when the model was replaced."""
    return _reader(name, _changed(name))


@st.cache_resource(
    max_entries=8,
    show_spinner="Loading the model (the first time on a machine takes about half a minute) ...",
)
def _reader(name: str, changed: int) -> Reader:  # noqa: ARG001 - part of the cache key
    return load_reader(name)


def _changed(name: str) -> int:
    path = bundle_folder(name, settings().models) / DESCRIPTION
    return path.stat().st_mtime_ns


def split_names() -> list[str]:
    """Splits present; validation first where there is PCam, else the demo."""
    return sorted(_folders(), key=lambda name: name != "valid")


def _folders() -> Mapping[str, Path]:
    return find_splits(settings().data, settings().demo)


@st.cache_resource(show_spinner=False)
def _split(folder: Path, name: str, changed: int) -> Split:  # noqa: ARG001 - part of the cache key
    return Split.open(folder, name)


def split(name: str) -> Split:
    """A split by name; opened anew when its files were replaced."""
    folder = _folders().get(name, settings().data)
    path = file_of(folder, name, "x.h5")
    return _split(folder, name, path.stat().st_mtime_ns if path.exists() else 0)


def explain(model: str, patch: NDArray[np.uint8], method: str, layer: str, target: str, views: int) -> Readings:
    """Read and explain one patch (96, 96, 3); kept for this reader's session, so drawing it again infers nothing."""
    return _explain(model, _changed(model), patch, method, layer, target, views)


@st.cache_data(scope="session", max_entries=256, show_spinner="Reading the patch ...")
def _explain(
    model: str,
    changed: int,  # noqa: ARG001 - part of the cache key
    patch: NDArray[np.uint8],
    method: str,
    layer: str,
    target: str,
    views: int,
) -> Readings:
    return reader(model).explain(patch, method, layer, target, views)


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[Path, ScoringJob]:
    return {}


def store(model: str, split_name: str) -> ScoreStore:
    """Where the one-view readings of a split are kept."""
    return ScoreStore(settings().cache, reader(model).model, split(split_name))


def scoring_job(scores: ScoreStore, model: str) -> ScoringJob:
    """The job that completes a store, started when there is none; it outlives the page.

    What stopped an earlier job is raised once; the next visit tries again.
    """
    jobs = _jobs()
    job = jobs.get(scores.path)
    if job is not None and job.error is not None:
        del jobs[scores.path]
        raise job.error
    if job is None or not job.running:
        job = jobs[scores.path] = ScoringJob(scores, reader(model))
    return job
