"""The pieces of Browse: waiting for scores, filters, the brushable histogram, the gallery."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core import service
from core.data.flags import flags_of
from core.data.pcam import Split
from core.evaluation.metrics.likelihood import losses
from core.inference.reader import verdict_words
from core.inference.scores import Scores, ScoreStore
from core.task import Task
from core.view.charts.scores import probability_histogram
from core.view.selection import ANY, ORDERS, OUTCOMES, Filter, outcomes
from core.view.words import duration
from pages.parts import access, library
from pages.parts.compare import comparing
from pages.parts.components.gallery import Tile, gallery
from pages.parts.read.choose import SPLIT

PAGE = 48
PRESETS = {
    "most correct": ("most correct", ANY),
    "most wrong": ("most wrong", ANY),
    "random": ("random", ANY),
    "unsure": ("most uncertain", ANY),
}


def wait_for_scores(store: ScoreStore, model: str) -> Scores:
    """The scores of the split; while some are missing, how far their job is, or the button that starts it.

    A long job starts when somebody says so: few patches are read unasked, and none of what somebody has stopped.
    """
    job = service.scoring(store)  # asked first: what ends meanwhile has left all its scores
    scores = store.scores()
    if scores.done < len(scores.probability):
        if job is None and service.starts_unasked(store):
            job = service.scoring_job(store)
        if job is None:
            _ask(store, model, len(scores.probability) - scores.done)
        else:
            _progress(job, store, f"{store.split.name} with {model}", shown=scores.done)
    return scores


def _ask(store: ScoreStore, model: str, missing: int) -> None:
    takes = duration(service.seconds_to_score(store))
    st.info(
        f"{missing:,} of the {len(store.split):,} patches of '{store.split.name}' have not been read with {model}. "
        f"Reading them takes about {takes} here, once; it goes on when you leave, and can be stopped."
    )
    if st.button(f"Read {missing:,} patches (about {takes})", key="read_split"):
        service.scoring_job(store)
        st.rerun()


@st.fragment(run_every=1.0)
def _progress(job: service.ScoringJob, store: ScoreStore, what: str, shown: int) -> None:
    if not job.running or (shown < PAGE <= job.done):
        st.rerun()
    if waiting := access.waits(job):
        said = f"Reading {what} {waiting}. "
    else:
        left = job.seconds_left
        said = f"Reading {what}: {job.done:,} of {job.total:,} patches"
        said += f", about {duration(left)} left. " if left else ". "
    st.progress(
        job.done / job.total,
        said + "It goes on when you leave, and the patches read so far are shown below.",
    )
    with st.container(horizontal=True):
        if st.button("Show what has been read since", key="refresh_scores"):
            st.rerun()
        if not access.readonly() and st.button("Stop", key="stop_scoring", help="What has been read is kept."):
            access.attempt(service.stop_scoring, store)
            st.rerun()


def choose_preset() -> None:
    """The study's grids, one press each."""
    st.pills(
        "Presets", list(PRESETS), key="preset", on_change=_apply_preset, label_visibility="collapsed", width="content"
    )


def choose_filter(task: Task) -> tuple[Filter, str]:
    """The narrow column of filters and the order, all in the URL."""
    order = st.selectbox("Order", ORDERS, key="order", bind="query-params", on_change=_first_page)
    wanted = Filter(
        label={task.positive: 1, task.negative: 0}.get(_menu("Label", (task.positive, task.negative), "label")),
        verdict=_menu("Verdict", verdict_words(task), "verdict"),
        outcome=_menu("Outcome", OUTCOMES, "outcome"),
        probability=st.slider(
            "Probability", 0.0, 1.0, (0.0, 1.0), 0.01, key="p", bind="query-params", on_change=_first_page
        ),
        flag=_menu("Flags", ("none", *flags_of(task)), "flag"),
    )
    st.button("Clear filters", on_click=_clear)
    return wanted, order


def _menu(title: str, options: tuple[str, ...], key: str) -> str:
    return st.selectbox(title, (ANY, *options), key=key, bind="query-params", on_change=_first_page)


def _first_page() -> None:
    st.session_state["page"] = 1


def _clear() -> None:
    for key in ("label", "verdict", "outcome", "flag"):
        st.session_state[key] = ANY
    st.session_state["p"] = (0.0, 1.0)
    st.session_state["preset"] = None
    st.session_state["order"] = ORDERS[0]
    _first_page()


def _apply_preset() -> None:
    preset = st.session_state["preset"]
    if preset:
        _clear()
        st.session_state["preset"] = preset
        st.session_state["order"], st.session_state["outcome"] = PRESETS[preset]


def histogram(scores: Scores, split: Split) -> None:
    """Probability by label; a brush over it becomes the probability filter."""
    st.plotly_chart(
        probability_histogram(scores.probability, split.labels, scores.point, split.task),
        key="histogram",
        on_select=_brush,
        selection_mode="box",
        config={"displayModeBar": False},
    )


def _brush() -> None:
    match st.session_state.get("histogram"):
        case {"selection": {"box": [{"x": [int() | float() as one, int() | float() as other]}, *_]}}:
            low, high = (round(min(max(end, 0.0), 1.0), 2) for end in sorted((one, other)))
            if low <= high:  # NaN is not
                st.session_state["p"] = (low, high)
                _first_page()


def patch_gallery(scores: Scores, split: Split, model: str, found: NDArray[np.int64]) -> None:
    """One page of the patches found, 48 at most, with count and page always visible."""
    pages = max(1, math.ceil(len(found) / PAGE))
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = pages
    count, chosen = st.columns([3, 2], vertical_alignment="center")
    with chosen:
        page = st.pagination(pages, key="page", bind="query-params")
    shown = found[(page - 1) * PAGE : page * PAGE]
    first = (page - 1) * PAGE + 1
    where = f", {first:,} to {first + len(shown) - 1:,} shown" if len(shown) else ""
    count.markdown(f"**{len(found):,} of {len(split):,} patches**{where}; page {page} of {pages}. One view each.")
    if not len(shown):
        nothing = scores.done == 0
        st.info("No patch has been read yet." if nothing else "No patch passes these filters. Clear one.")
        return
    comparing.tray()
    gallery(
        _tiles(scores, split, shown),
        scale=library.reader(model).model.scales.get("gradcam/last", 1.0),
        key="gallery",
        on_open=lambda index: st.session_state.update(open_in_read=index),
        on_tick=lambda index, ticked: comparing.tick(split.name, index, model, ticked),
    )
    index = st.session_state.pop("open_in_read", None)
    if index is not None:
        # Model and split go along by themselves: both pages bind them to the URL. One view, as scored here.
        st.switch_page("pages/read.py", query_params={"source": SPLIT, "patch": str(index), "views": "1"})


def _tiles(scores: Scores, split: Split, shown: NDArray[np.int64]) -> list[Tile]:
    patches = split.patches(shown)
    loss = losses(scores.probability[shown], split.labels[shown])
    outcome = outcomes(scores, split.labels)[shown]
    return [
        Tile(
            index=int(index),
            patch=patches[i],
            heatmap=scores.attribution[index],
            title=split.title(index),
            lines=(
                f"read {scores.verdict[index]}",
                f"labelled {split.task.label(split.labels[index])}",
                f"loss {loss[i]:.2f}, probability {scores.probability[index]:.2f}",
            ),
            outcome=str(outcome[i]),
            ticked=comparing.is_ticked(split.name, int(index)),
        )
        for i, index in enumerate(shown)
    ]
