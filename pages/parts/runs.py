"""Training runs on the page: their list, one of them live, several overlaid, and what can be done with one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from core.bundle import bundle_names, read_description
from core.data.tables import csv_cell, csv_text
from core.errors import NodeLensError
from core.jobs import Job
from core.settings import settings
from core.training.config import make_config
from core.training.runs import Fact, Run
from core.training.watch import Progress, progress_of
from core.view import training_figures as figures
from pages.parts import library
from pages.parts.start import NEW, RUNS, go_to, start, training

GOING = ("running", "starting")
EVERY = 2.0
"""Seconds between two looks at a run that is going."""


def invite() -> None:
    """What a first visitor sees: what training is here, and a run of a minute to try it."""
    st.subheader("Nothing has been trained here yet")
    st.markdown(
        "Fine-tune a network on PCam with one-cycle schedules, watch it learn, stop and resume it at will, and make a "
        "model of it that Read, Browse and Compare offer at once.\n\n"
        "Try it on the synthetic demo split first: a small network, about a minute on a quiet machine."
    )
    with st.container(horizontal=True):
        if st.button("Start a smoke run", type="primary"):
            start("smoke-1", make_config("smoke", data=str(settings().demo)))
            go_to(section=RUNS, run=["smoke-1"])
        if st.button("Set up a run of your own"):
            go_to(section=NEW)


def choose_runs(names: Sequence[str]) -> list[str]:
    """The list of runs, and which of them are shown; in the URL."""
    going = any(_row(name)["status"] in GOING for name in names)
    st.fragment(_list, run_every=2 * EVERY if going else None)(names)
    if "run" in st.session_state:
        st.session_state["run"] = [name for name in st.session_state["run"] if name in names]
    return st.multiselect(
        "Shown", names, names[:1], key="run", bind="query-params", placeholder="Choose one run, or several"
    )


def _list(names: Sequence[str]) -> None:
    st.dataframe(
        pd.DataFrame([_row(name) for name in names]),
        hide_index=True,
        height=min(36 * (len(names) + 1), 220),
        column_config={
            "progress": st.column_config.ProgressColumn("progress", format="percent", width="small"),
            "best AUC": st.column_config.NumberColumn(format="%.3f", help="On validation, uncalibrated."),
            "started": st.column_config.DatetimeColumn("started (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
            "note": st.column_config.TextColumn(width="large"),
        },
        placeholder="",
        key="run_list",
    )


def open_runs(names: Sequence[str]) -> list[Run]:
    """The runs of these names."""
    return [Run.open(settings().runs / name) for name in names]


def state_of(run: Run) -> str:
    """What a run is doing, in a word."""
    status = run.status
    if status == "running":
        return status
    if training(run).running:
        return "starting"
    return "not started" if status == "new" else status


def show_run(run: Run) -> None:
    """One run, live while it goes."""
    state = state_of(run)
    st.fragment(_live, run_every=EVERY if state in GOING else None)(run, state)


def show_overlay(runs: Sequence[Run]) -> None:
    """The curves of several runs over one another."""
    going = any(state_of(run) in GOING for run in runs)
    st.fragment(_overlay, run_every=2 * EVERY if going else None)(runs)


def _live(run: Run, drawn_as: str) -> None:
    state = state_of(run)
    if state != drawn_as:
        st.rerun()
    facts = run.history()
    progress = progress_of(run.config, facts)
    st.progress(progress.share, _headline(run, state, progress))
    if state not in GOING and state != "finished":
        reason = facts[-1].get("reason", "") if facts else ""
        if complaint := reason or training(run).complaint:
            st.error(complaint)
    if not progress.cycle:
        if state in GOING:
            st.info("Reading the data and building the network. The curves begin with the tenth step.")
        return
    st.html(_strip(_numbers(run, progress, facts)))
    _charts({run.name: facts})


def _overlay(runs: Sequence[Run]) -> None:
    _charts({run.name: run.history() for run in runs})


def _charts(told: dict[str, Sequence[Fact]]) -> None:
    stem = "-".join(told)
    with st.container(key="run_charts"):
        one, two, three = st.columns(3)
        with one:
            chart(figures.losses(told), f"{stem}-losses")
        with two:
            chart(figures.scores(told), f"{stem}-scores")
        with three:
            chart(figures.rates(told), f"{stem}-rates")


def chart(figure: Any, name: str) -> None:
    """A chart that can be kept as PNG; its name is the file's."""
    options = {"format": "png", "filename": name[:80], "scale": 2}
    st.plotly_chart(
        figure,
        key=f"chart_{name}",
        config={
            "displaylogo": False,
            "toImageButtonOptions": options,
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        },
    )


def manage(run: Run) -> None:
    """Stop, resume, note, promote, delete."""
    state, job = state_of(run), training(run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if state in GOING:
            st.button("Stop", on_click=_stop, args=(run,), help="Saves first; it can be resumed.")
        elif state != "finished":
            word = "Start" if state == "not started" else "Resume"
            if st.button(word, type="primary"):
                job.start(["train", "--out", str(run.folder)])
                st.rerun()
        st.download_button(
            "History (CSV)", csv_text(run.history()), f"{run.name}.csv", "text/csv",
            on_click="ignore", disabled=not run.history_size(),
        )  # fmt: skip
        st.download_button(
            "Configuration (JSON)", run.config.model_dump_json(indent=2), f"{run.name}.json", "application/json",
            on_click="ignore",
        )  # fmt: skip
        with st.popover("Delete", disabled=state in GOING):
            st.markdown(f"Delete the run '{run.name}' with its history, checkpoint and model? Promoted models stay.")
            if st.button("Delete for good", key="delete_run"):
                run.delete()
                go_to(run=[])
    with st.container(key="run_words"):
        note, model = st.columns([1, 1], gap="large")
    with note:
        key = f"note_{run.name}"
        st.text_area(
            "Note", run.note, key=key, height=96, placeholder="What is tried here, and what came of it",
            on_change=lambda: setattr(run, "note", st.session_state[key]),
        )  # fmt: skip
    with model:
        if run.model:
            _promote(run)


def _stop(run: Run) -> None:
    if run.stop() or training(run).stop():
        st.toast("It stops after the step at hand and saves.")


def _promote(run: Run) -> None:
    job = Job(run.folder / "promote")
    if job.running:
        st.fragment(_wait_for_promotion, run_every=EVERY)(job)
        return
    if job.complaint:
        st.error(job.complaint)
    for name in _models_of(run):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"This run is the model **{name}**.")
            if st.button("Read with it", key=f"read_{name}"):
                st.switch_page("pages/read.py", query_params={"model": name})
    with st.form("promote"):
        one, two = st.columns([3, 2])
        name = one.text_input("Make a model of it, named", run.name, key=f"promote_{run.name}").strip()
        own = run.config.valid_split if run.config.holdout == "split" else run.config.train_split
        splits = [name for name in library.split_names() if name not in ("train", "test")]
        split = two.selectbox(
            "Calibrated on",
            splits,
            index=splits.index(own) if own in splits else 0,
            key=f"promote_split_{run.name}",
            help="Calibration, threshold, refer band and colour scales are fitted there; never on the test split.",
        )
        if st.form_submit_button("Promote"):
            folder = library.split(split).folder
            job.start(["model", "promote", str(run.folder), "--name", name, "--data", str(folder), "--split", split])
            st.rerun()


def _wait_for_promotion(job: Job) -> None:
    if not job.running:
        st.rerun()
    st.info("Calibrating the model through the served pipeline. It goes on when you leave.")


def _models_of(run: Run) -> list[str]:
    """Installed models that are this run's weights."""
    if run.model is None:
        return []
    weights = read_description(run.model).weights_sha256
    models = settings().models
    return [name for name in bundle_names(models) if read_description(models / name).weights_sha256 == weights]


def _row(name: str) -> dict[str, Any]:
    try:
        run = Run.open(settings().runs / name)
    except NodeLensError:
        return {"run": csv_cell(name), "status": "cannot be read"}
    progress = _progress(run.folder, run.history_size())
    return {
        "run": csv_cell(name),
        "status": state_of(run),
        "progress": progress.share,
        "best AUC": progress.best_auc,
        "started": pd.to_datetime(run.environment.get("started")),
        "note": csv_cell(run.note),
    }


@st.cache_data(max_entries=256, show_spinner=False)
def _progress(folder: Path, size: int) -> Progress:  # noqa: ARG001 - part of the cache key
    run = Run.open(folder)
    return progress_of(run.config, run.history())


def _headline(run: Run, state: str, progress: Progress) -> str:
    words = [f"**{run.name}** {state}"]
    if progress.cycle and state != "finished":
        cycles = run.config.cycles
        words.append(
            f"cycle {progress.cycle} of {len(cycles)}, "
            f"epoch {progress.epoch:.1f} of {cycles[progress.cycle - 1].epochs:g}"
        )
    if state == "running" and progress.seconds_left is not None:
        words.append(f"about {_time(progress.seconds_left)} left")
    return ", ".join(words)


def _numbers(run: Run, progress: Progress, facts: Sequence[Fact]) -> dict[str, str]:
    numbers = {"training loss": f"{progress.loss:.4f}"}
    judged = [fact for fact in facts if fact["fact"] == "epoch"]
    if judged:
        last = judged[-1]
        numbers["validation loss"] = f"{last['valid_loss']:.4f}"
        numbers["accuracy"] = f"{last['accuracy']:.3f}"
        numbers["AUC"] = f"{last['auc']:.3f} (best {progress.best_auc:.3f})"
    rate = f"{progress.rate:.2e}"
    if progress.first_rate != progress.rate:
        rate += f" (first layers {progress.first_rate:.1e})"
    numbers |= {"learning rate": rate, "momentum": f"{progress.momentum:.3f}"}
    numbers["speed"] = f"{progress.speed:,.0f} patches/s"
    numbers["network"] = f"{run.config.architecture}, from {run.config.start}"
    return numbers


def _strip(numbers: dict[str, str]) -> str:
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in numbers.items())
    return f'<dl class="nl-strip" data-testid="run-numbers">{cells}</dl>'


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
