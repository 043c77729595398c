"""What the process holds once and all readers share: models, splits, and the jobs that score splits.

Shared objects are read-only or safe between threads; what belongs to one reader lives in their session.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.bundle import DESCRIPTION, bundle_folder, bundle_names
from core.data.pcam import Split, file_of, find_splits
from core.errors import ModelNotFoundError
from core.explain.cam import METHODS
from core.inference import Reader, Readings, load_reader
from core.inference.scoring import ScoreStore, ScoringJob
from core.settings import settings

KEPT = 256
"""Readings kept for a session."""
FEW_PASSES = 8
"""A method that asks the network oftener than this shows how far it is."""


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
    """Read and explain one patch (96, 96, 3); kept for this reader's session, so drawing it again infers nothing.

    A method that asks the network many times shows how far it is.
    """
    # Not `st.cache_data`: what a function it keeps says on the way would be said again with every kept answer.
    kept: dict[tuple[object, ...], Readings] = st.session_state.setdefault("explained", {})
    key = (model, _changed(model), sha256(patch.tobytes()).digest(), method, layer, target, views)
    place = st.empty()
    if key not in kept:
        served, title = reader(model), METHODS[method].title

        def tell(done: int, total: int) -> None:
            place.progress(done / total, f"{title}: {done:,} of {total:,} passes through the network")

        dear = METHODS[method].passes_at(layer) > FEW_PASSES
        with nullcontext() if dear else st.spinner("Reading the patch ..."):
            kept[key] = served.explain(patch, method, layer, target, views, tell if dear else None)
        place.empty()
        if len(kept) > KEPT:
            del kept[next(iter(kept))]
    return kept[key]


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[Path, ScoringJob]:
    return {}


def store(model: str, split_name: str) -> ScoreStore:
    """Where the one-view readings of a split are kept."""
    return ScoreStore(settings().cache, reader(model), split(split_name))


def is_scoring(scores: ScoreStore) -> bool:
    """Whether a job completes a store at this moment."""
    job = _jobs().get(scores.path)
    return job is not None and job.running


def scoring_job(scores: ScoreStore) -> ScoringJob:
    """The job that completes a store, started when there is none; it outlives the page.

    What stopped an earlier job is raised once; the next visit tries again.
    """
    jobs = _jobs()
    job = jobs.get(scores.path)
    if job is not None and job.error is not None:
        del jobs[scores.path]
        raise job.error
    if job is None or not job.running:
        job = jobs[scores.path] = ScoringJob(scores)
    return job
