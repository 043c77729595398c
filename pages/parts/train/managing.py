"""What can be done with a training run: stop, resume, note, delete, and make a model of it."""

from __future__ import annotations

import streamlit as st

from core import service
from core.data.tables import csv_text
from core.jobs import Job
from core.models.store import bundle_names, check_model_name, read_description
from core.settings import settings, without_paths
from core.training.runs import LONGEST_NOTE, Run
from pages.parts import access
from pages.parts.train.runs import EVERY, GOING, state_of
from pages.parts.train.start import go_on, go_to, training


def manage(run: Run) -> None:
    """Stop, resume, note, promote, delete; where pages only show, what there is to read of them."""
    if access.readonly():
        st.caption(f"{access.READ_ONLY}runs can be looked at, and nothing is started, changed or deleted.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = state_of(run)
        if not access.readonly():
            _stop_or_go_on(run, state)
        st.download_button(
            "History (CSV)", lambda: csv_text(run.history()), f"{run.name}.csv", "text/csv",
            on_click="ignore", disabled=not run.history_size(),
        )  # fmt: skip
        st.download_button(
            "Configuration (JSON)", run.config.model_dump_json(indent=2), f"{run.name}.json", "application/json",
            on_click="ignore",
        )  # fmt: skip
        if not access.readonly():
            _delete(run, state)
    with st.container(key="run_words"):
        note, model = st.columns([1, 1], gap="large")
    with note:
        _note(run)
    with model:
        if run.model:
            _show_models(run)
            if not access.readonly():
                _promote(run)


def _stop_or_go_on(run: Run, state: str) -> None:
    if state in GOING:
        access.stop_button(
            training(run), "this run", "stop_run", lambda: _stop(run), help="Saves first; it can be resumed."
        )
    elif state != "finished":
        word = "Start" if state == "not started" else "Resume"
        if st.button(word, type="primary") and access.attempt(go_on, run):
            st.rerun()


def _stop(run: Run) -> None:
    if run.stop():
        st.toast("It stops after the step at hand and saves.")
    else:
        training(run).stop()


def _delete(run: Run, state: str) -> None:
    with st.popover("Delete", disabled=state in GOING):
        st.markdown(
            f"Delete the run '{run.name}' with its history, checkpoint and model? Promoted models stay. {_whose(run)}"
        )
        pressed = st.button("Delete for good", key="delete_run")
    if pressed and access.attempt(run.delete):
        go_to(run=[])


def _note(run: Run) -> None:
    key = f"note_{run.name}"

    def keep() -> None:
        access.attempt(setattr, run, "note", st.session_state[key])

    st.text_area(
        "Note", run.note, key=key, height=96, max_chars=LONGEST_NOTE, on_change=keep, disabled=access.readonly(),
        placeholder="What is tried here, and what came of it",
    )  # fmt: skip


def _promote(run: Run) -> None:
    job = _promotion(run)
    if job.running:
        st.fragment(_wait_for_promotion, run_every=EVERY)(job)
        return
    if job.error_message:
        st.error(without_paths(job.error_message))
    one, two, three = st.columns([3, 2, 1], vertical_alignment="bottom")
    name = one.text_input("Make a model of it, named", run.name, max_chars=80, key=f"promote_{run.name}").strip()
    own = run.config.valid_split if run.config.holdout == "split" else run.config.train_split
    splits = [name for name in service.split_names() if name not in ("train", "test")]
    split = two.selectbox(
        "Calibrated on",
        splits,
        index=splits.index(own) if own in splits else 0,
        key=f"promote_split_{run.name}",
        help="Calibration, threshold, refer band and colour scales are fitted there; never on the test split.",
    )
    with three, st.popover("Promote"):
        st.markdown(f"Make the run '{run.name}' a model that every page offers? {_whose(run)}")
        pressed = st.button("Make it a model", type="primary")
    if pressed and access.attempt(_start_promotion, run, name, split):
        st.rerun()


def _start_promotion(run: Run, name: str, split: str) -> None:
    check_model_name(name, settings().models)  # a wrong name is refused before the wait
    folder = service.split(split).folder
    access.start(
        _promotion(run),
        ["model", "promote", str(run.folder), "--name", name, "--data", str(folder), "--split", split],
    )


def _promotion(run: Run) -> Job:
    return Job(run.folder / "promote", f"making a model of '{run.name}'")


def _wait_for_promotion(job: Job) -> None:
    if not job.running:
        st.rerun()
    if waiting := access.waits(job):
        st.info(f"Making the model {waiting}. It starts by itself, also when nobody looks.")
    else:
        st.info("Calibrating the model through the served pipeline. It goes on when you leave.")
    access.stop_button(job, "this", "stop_promotion")


def _show_models(run: Run) -> None:
    """Installed models that are this run's weights."""
    if run.model is None:
        return
    weights, models = read_description(run.model).weights_sha256, settings().models
    for name in bundle_names(models):
        if read_description(models / name).weights_sha256 == weights:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"This run is the model **{name}**.")
                if st.button("Read with it", key=f"read_{name}"):
                    st.switch_page("pages/read.py", query_params={"model": name})


def _whose(run: Run) -> str:
    return access.whose(training(run), "this run", run.began)
