"""The labelled patches that a model finds most alike the one on screen: part of the trust card."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core import service
from core.data.pcam import Split
from core.errors import NodeLensError
from core.evaluation.trust import Neighbour, nearest
from core.inference import Readings
from core.inference.scores import Scores, ScoreStore
from core.kept import digest
from core.view.words import duration
from pages.parts import access, choices, library
from pages.parts.components.gallery import Tile, gallery
from pages.parts.read.lists import EXAMPLES

EVERY = 1.0


def show_neighbours(model: str, patch: NDArray[np.uint8], readings: Readings) -> None:
    """Thumbnails of the nearest labelled patches with label and distance, or how to get them."""
    st.markdown("**Nearest labelled patches**: what the model finds most alike, by its own features.")
    if not readings.coordinates.shape[1]:
        st.caption("Not known: nobody has shown this model its training tissue (`python -m core model fit-ood`).")
        return
    try:
        stores = _stores(model)
    except NodeLensError as error:
        st.caption(str(error))
        return
    running = service.is_scoring(stores[0])  # asked first: what ends meanwhile has left all its scores
    scored = [(store.split, store.scores()) for store in stores]
    found = next(((split, scores) for split, scores in scored if scores.done), None)
    if found is not None:
        _show(*found, patch, readings.coordinates[0])
    if scored[0][1].done < len(stores[0].split):
        _complete(stores[0], running)


def _stores(model: str) -> list[ScoreStore]:
    """Where neighbours are sought: the training patches that lie beside the split in use, then that split itself."""
    here = choices.split()
    names = [here.name]
    if here.name != "train" and "train" in service.split_names() and service.split("train").folder == here.folder:
        names.insert(0, "train")
    return [library.store(model, name) for name in names]


def _complete(store: ScoreStore, running: bool) -> None:
    """The job that Browse starts too: read every patch of the split."""
    if running:
        _progress(service.scoring_job(store), store.split.name)
        return
    name, count = store.split.name, len(store.split) - store.scores().done
    takes = duration(service.seconds_to_score(store))
    told = f"Reads {count:,} patches once, in the background, as Browse does: about {takes}."
    if st.button(f"Seek among '{name}'", help=told):
        service.scoring_job(store)
        st.rerun()


@st.fragment(run_every=EVERY)
def _progress(job: service.ScoringJob, name: str) -> None:
    if not job.running:
        st.rerun()
    left = f", about {duration(job.seconds_left)} left" if job.seconds_left else ""
    waits = f", {waiting}" if (waiting := access.waits(job)) else left
    st.progress(
        job.done / job.total,
        f"Reading {name}: {job.done:,} of {job.total:,} patches{waits}. It goes on when you leave.",
    )


def _show(split: Split, scores: Scores, patch: NDArray[np.uint8], at: NDArray[np.float32]) -> None:
    found = _nearest(split, scores, patch, at)
    labels = [split.task.label(split.labels[one.place]) for one in found]
    choices.synthetic_badge(split.synthetic)
    st.markdown(f"**{labels.count(split.task.positive)} of {len(found)} are labelled {split.task.positive}.**")
    gallery(
        [
            Tile(
                one.place,
                one.patch,
                None,
                split.title(one.place),
                (f"labelled {label}", f"distance {one.distance:.1f}"),
                "",
            )
            for one, label in zip(found, labels, strict=True)
        ],
        scale=1.0,
        key="neighbours",
        on_open=lambda index: st.session_state.update(source=EXAMPLES, split=split.name, patch=index),
    )
    searched = f"{scores.done:,}" if scores.done == len(split) else f"{scores.done:,} of the {len(split):,}"
    st.caption(
        f"Sought among {searched} patches of '{split.name}'; a patch is not its own neighbour. Distances are in "
        f"standard deviations of training patches, along {len(at)} directions of the features; two training patches "
        f"drawn by chance lie about {np.sqrt(2 * len(at)):.1f} apart. Open one to read it."
    )


def _nearest(split: Split, scores: Scores, patch: NDArray[np.uint8], at: NDArray[np.float32]) -> list[Neighbour]:
    found: list[Neighbour] = library.own("nearest", 16).get(
        (split.fingerprint(), scores.done, digest(patch), digest(at)),
        lambda: nearest(split, scores.coordinates, np.isfinite(scores.probability), patch, at),
    )
    return found
