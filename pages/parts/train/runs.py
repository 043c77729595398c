"""Training runs on the page: their list, one of them live, several overlaid."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.data.tables import csv_cell
from core.errors import NodeLensError
from core.kept import Kept
from core.settings import settings, without_paths
from core.task import task_of
from core.training.config import make_config
from core.training.runs import Fact, Run
from core.training.watch import Progress, progress_of
from core.view.charts import training as figures
from core.view.words import duration
from pages.parts import access
from pages.parts.components.chart import chart
from pages.parts.train.start import NEW, RUNS, go_to, start, training

GOING = ("running", "starting", "waiting")
EVERY = 2.0
"""Seconds between two looks at a run that is going."""
NOTE_WIDTH = 120
"""Characters of a note's first line that the list shows."""
_progresses: Kept[Progress] = Kept(256)


def invite() -> None:
    """What a first visitor sees: what training is here, and a run of a minute to try it."""
    st.subheader("Nothing has been trained here yet")
    st.markdown(
        f"Fine-tune a network on {task_of(settings().data).name} with one-cycle schedules, watch it learn, stop and "
        "resume it at will, and make a model of it that Read, Browse and Compare offer at once.\n\n"
        "Try it on the synthetic demo split first: a small network, about a minute on a quiet machine."
    )
    if access.readonly():
        st.info(f"{access.READ_ONLY}no run can be started here.")
        return
    with st.container(horizontal=True):
        config = make_config("smoke", data=str(settings().demo), task=task_of(settings().demo))
        if st.button("Start a smoke run", type="primary") and access.attempt(start, "smoke-1", config):
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
    job = training(run)
    if job.running:
        return "waiting" if job.before else "starting"
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
        if error_message := reason or training(run).error_message:
            st.error(without_paths(error_message))
    if not progress.cycle:
        if state == "waiting":
            st.info("It starts by itself when its turn comes, also when nobody looks.")
        elif state in GOING:
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


def _row(name: str) -> dict[str, Any]:
    try:
        run = Run.open(settings().runs / name)
    except NodeLensError:
        return {"run": csv_cell(name), "status": "cannot be read"}
    progress = _progress(run)
    return {
        "run": csv_cell(name),
        "status": state_of(run),
        "progress": progress.share,
        "best AUC": progress.best_auc,
        "started": pd.to_datetime(run.environment.get("started")),
        "note": csv_cell(_first_line(run.note)),
    }


def _progress(run: Run) -> Progress:
    return _progresses.get(run.folder, lambda: progress_of(run.config, run.history()), run.history_size())


def _headline(run: Run, state: str, progress: Progress) -> str:
    words = [f"**{run.name}** {access.waits(training(run)) or state}"]
    if progress.cycle and state != "finished":
        cycles = run.config.cycles
        words.append(
            f"cycle {progress.cycle} of {len(cycles)}, "
            f"epoch {progress.epoch:.1f} of {cycles[progress.cycle - 1].epochs:g}"
        )
    if state == "running" and progress.seconds_left is not None:
        words.append(f"about {duration(progress.seconds_left)} left")
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
    numbers["network"] = f"{run.config.architecture}, from {without_paths(run.config.start)}"
    return numbers


def _strip(numbers: dict[str, str]) -> str:
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in numbers.items())
    return f'<dl class="nl-strip" data-testid="run-numbers">{cells}</dl>'


def _first_line(note: str) -> str:
    line = note.strip().partition("\n")[0]
    return line if len(line) <= NOTE_WIDTH else f"{line[: NOTE_WIDTH - 4]} ..."
