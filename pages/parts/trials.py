"""Range tests and weight-decay comparisons: started in processes of their own, watched through the files they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from core.errors import NodeLensError, TrainingConfigError
from core.files import write_text
from core.jobs import Job
from core.settings import settings
from core.view import training_figures as figures
from pages.parts.runs import chart
from pages.parts.start import choose_preset, choose_values, go_to, read_values

EVERY = 1.0


def trials(kind: str, command: str, meaning: str) -> None:
    """One section: how to start a trial, and those there are.

    Args:
        kind: "range" or "decay"; begins the names of its files.
        command: of the command line.
        meaning: what the test does and how its curve is read.
    """
    st.markdown(meaning)
    names = _names(kind)
    with st.expander("Start one", expanded=not names):
        _start(kind, command)
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


def _start(kind: str, command: str) -> None:
    preset = choose_preset(kind)
    with st.form(f"{kind}_form", border=False):
        values = choose_values(kind, preset, cycles=False, decay=kind == "range")
        decays = st.text_input("Weight decays to compare", "1e-2, 1e-4, 1e-6", key="decays") if kind == "decay" else ""
        begin = st.form_submit_button("Start", type="primary")
    if not begin:
        return
    try:
        options = [word for decay in _numbers(decays) for word in ("--decay", decay)]
        name = _free_name(kind)
        path = _folder() / name
        write_text(path.with_suffix(".config"), read_values(values).model_dump_json(indent=2))
        _job(name).start([command, str(path.with_suffix(".config")), *options, "--out", str(path.with_suffix(".json"))])
    except NodeLensError as error:
        st.error(str(error))
    else:
        go_to(**{kind: name})


def _show(name: str, drawn_as_running: bool) -> None:
    job, record = _job(name), _record(name)
    if job.running != drawn_as_running:
        st.rerun()
    if job.complaint:
        st.error(job.complaint)
    curves = record["curves"] if record else []
    done = sum(len(curve["rates"]) for curve in curves)
    if drawn_as_running:
        of = record["steps"] * len(record["decays"]) if record else 1
        st.progress(min(done / of, 1.0), f"{done} of {of} batches" if record else "Building the network ...")
    elif record and not record["finished"]:
        st.info("This test was stopped before its end.")
    if record and curves:
        config = record["config"]
        st.caption(f"{config['architecture']} from {config['start']}, {config['train_split']}, batch {config['batch']}")
        if len(record["decays"]) == 1:
            chart(figures.range_test(curves[0]), name)
            st.markdown(_suggestions(curves[0]))
        else:
            chart(figures.decay_comparison(curves), name)
    with st.container(horizontal=True):
        if drawn_as_running:
            st.button("Stop", on_click=job.stop, key=f"stop_{name}")
        elif record:
            st.download_button(
                "Curves (JSON)", json.dumps(record, indent=2), f"{name}.json", "application/json", on_click="ignore"
            )
        if not drawn_as_running:
            with st.popover("Delete"):
                st.markdown(f"Delete the test '{name}'?")
                if st.button("Delete for good", key=f"delete_{name}"):
                    for path in _folder().glob(f"{name}.*"):
                        path.unlink(missing_ok=True)
                    st.rerun(scope="app")


def _suggestions(curve: dict[str, Any]) -> str:
    if not curve["ended"]:
        return "Suggestions come when the test has ended."
    found = [f"{name} {curve[name]:.1e}" for name in ("valley", "steepest") if curve[name] is not None]
    why = "The loss ran away." if curve["ended"] == "diverged" else "The last rate was reached."
    return f"{why} Suggested peak rates: {', '.join(found)}." if found else f"{why} It never fell: nothing to suggest."


def _numbers(text: str) -> list[str]:
    words = text.replace(",", " ").split()
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
    found = [path.stem for path in _folder().glob(f"{kind}-*.config")]
    return sorted(found, key=lambda name: -int(name.rpartition("-")[2]))


def _free_name(kind: str) -> str:
    names = _names(kind)
    return f"{kind}-{int(names[0].rpartition('-')[2]) + 1 if names else 1}"


def _job(name: str) -> Job:
    return Job(_folder() / name)


def _record(name: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads((_folder() / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
