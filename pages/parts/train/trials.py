"""Range tests and weight-decay comparisons: started in processes of their own, watched through the files they write."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from core.errors import NodeLensError, OutputError, TrainingConfigError
from core.files import write_text
from core.jobs import Job
from core.settings import settings, without_paths
from core.training.config import TrainConfig
from core.view.charts import training as figures
from core.view.glossary import meaning
from pages.parts import access
from pages.parts.components.chart import chart
from pages.parts.train.start import NEW, choose_preset, choose_values, form_of, go_to, read_values

EVERY = 1.0
MOST_DECAYS = 8


def trials(kind: str, command: str, meaning: str) -> None:
    """One section: how to start a trial, and those there are.

    Args:
        kind: "range" or "decay"; begins the names of its files.
        command: of the command line.
        meaning: what the test does and how its curve is read.
    """
    st.markdown(meaning)
    names = _names(kind)
    if not access.readonly():
        with st.expander("Start one", expanded=not names):
            _choose(kind, command)
    elif not names:
        st.info(f"{access.READ_ONLY}no test has been made here, and none can be started.")
    if names:
        st.session_state.setdefault(kind, names[0])
        if st.session_state[kind] not in names:
            st.session_state[kind] = names[0]
        shown = st.selectbox("Shown", names, key=kind, bind="query-params", width=240)
        running = _job(shown).running
        st.fragment(_show, run_every=EVERY if running else None)(shown, running)


def latest_comparison() -> dict[str, Any] | None:
    """The newest finished comparison of weight decays; None where there is none."""
    records = (_record(name) for name in _names("decay"))
    return next((record for record in records if record and record["finished"]), None)


def _choose(kind: str, command: str) -> None:
    preset = choose_preset(kind)
    with st.form(f"{kind}_form", border=False):
        values = choose_values(kind, preset, cycles=False, decay=kind == "range")
        decays = ""
        if kind == "decay":
            decays = st.text_input("Weight decays to compare", "1e-2, 1e-4, 1e-6", max_chars=200, key="decays")
        begin = st.form_submit_button("Start", type="primary")
    if begin and access.attempt(lambda: _start(kind, command, read_values(values), _numbers(decays))):
        go_to(**{kind: _names(kind)[0]})


def _start(kind: str, command: str, config: TrainConfig, decays: Sequence[str]) -> None:
    access.require_writable()
    options = [word for decay in decays for word in ("--decay", decay)]
    path = _new(kind)
    write_text(path.with_suffix(".config"), config.model_dump_json(indent=2))
    try:
        access.start(
            _job(path.name),
            [command, str(path.with_suffix(".config")), *options, "--out", str(path.with_suffix(".json"))],
        )
    except NodeLensError:
        _delete(path.name)
        raise


def _delete(name: str) -> None:
    if _job(name).running:
        raise NodeLensError(f"The test '{name}' works or waits. Stop it first.")
    for path in _folder().glob(f"{name}.*"):
        path.unlink(missing_ok=True)


def _show(name: str, drawn_as_running: bool) -> None:
    job, record = _job(name), _record(name)
    if job.running != drawn_as_running:
        st.rerun()
    if job.error_message:
        st.error(without_paths(job.error_message))
    curves = record["curves"] if record else []
    done = sum(len(curve["rates"]) for curve in curves)
    if waiting := access.waits(job):
        st.info(f"The test {waiting}. It starts by itself, also when nobody looks.")
    elif drawn_as_running:
        of = record["steps"] * len(record["decays"]) if record else 1
        st.progress(min(done / of, 1.0), f"{done} of {of} batches" if record else "Building the network ...")
    elif record and not record["finished"]:
        st.info("This test was stopped before its end.")
    if record and curves:
        config = record["config"]
        st.caption(f"{config['architecture']} from {config['start']}, {config['train_split']}, batch {config['batch']}")
        if len(record["decays"]) == 1:
            chart(figures.range_test(curves[0]), name)
            st.markdown(_suggestions(curves[0]), help=meaning("learning rate"))
            if not access.readonly():
                _use(name, curves[0], config)
        else:
            chart(figures.decay_comparison(curves), name)
    with st.container(horizontal=True):
        if drawn_as_running:
            access.stop_button(job, "this test", f"stop_{name}")
        elif record:
            st.download_button(
                "Curves (JSON)", json.dumps(record, indent=2), f"{name}.json", "application/json", on_click="ignore"
            )
        if not drawn_as_running and not access.readonly():
            with st.popover("Delete"):
                st.markdown(f"Delete the test '{name}'? {access.whose(job, 'this test', job.since)}")
                pressed = st.button("Delete for good", key=f"delete_{name}")
            if pressed and access.attempt(_delete, name):
                st.rerun(scope="app")


def _use(name: str, curve: dict[str, Any], config: dict[str, Any]) -> None:
    """A press fills the form of a new run with what was tested and the rate for its first cycle, which was tested."""
    with st.container(horizontal=True):
        for suggested in ("valley", "steepest"):
            rate = curve[suggested]
            if rate is not None and st.button(
                f"Use {rate:.1e} in a new run",
                key=f"use_{suggested}_{name}",
                help="Opens the form of a new run with this network, batch and weight decay, and this peak rate in its "
                "first cycle. Nothing is started.",
            ):
                go_to(section=NEW, **form_of(config, rate))


def _suggestions(curve: dict[str, Any]) -> str:
    if not curve["ended"]:
        return "Suggestions come when the test has ended."
    found = [f"{name} {curve[name]:.1e}" for name in ("valley", "steepest") if curve[name] is not None]
    why = "The loss ran away." if curve["ended"] == "diverged" else "The last rate was reached."
    return f"{why} Suggested peak rates: {', '.join(found)}." if found else f"{why} It never fell: nothing to suggest."


def _numbers(text: str) -> list[str]:
    words = text.replace(",", " ").split()
    if len(words) > MOST_DECAYS:
        raise TrainingConfigError(f"{len(words)} weight decays are too many to compare; give at most {MOST_DECAYS}")
    for word in words:
        try:
            sensible = 0 <= float(word) <= 1
        except ValueError:
            sensible = False
        if not sensible:
            raise TrainingConfigError(f"'{word}' is no weight decay; give numbers from 0 to 1, such as 1e-2, 1e-4")
    return words


def _folder() -> Path:
    return settings().runs / ".trials"


def _names(kind: str) -> list[str]:
    found = [path.stem for path in _folder().glob(f"{kind}-*.config") if path.stem.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda name: -int(name.rpartition("-")[2]))


def _free_name(kind: str) -> str:
    names = _names(kind)
    return f"{kind}-{int(names[0].rpartition('-')[2]) + 1 if names else 1}"


def _new(kind: str) -> Path:
    """A name that nobody else takes at the same time."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        while True:
            path = _folder() / _free_name(kind)
            with suppress(FileExistsError):
                path.with_suffix(".config").touch(exist_ok=False)
                return path
    except OSError as error:
        raise OutputError(_folder(), os.strerror(error.errno or 0).lower()) from error


def _job(name: str) -> Job:
    return Job(_folder() / name, f"test '{name}'")


def _record(name: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads((_folder() / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
