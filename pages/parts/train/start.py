"""What is to be trained: a preset, its main values in a form and the rest as JSON; and the button that starts it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from core.data.pcam import split_names
from core.errors import NodeLensError, RunBusyError, TrainingConfigError
from core.jobs import Job
from core.models.architectures import ARCHITECTURES
from core.models.store import bundle_names
from core.settings import ROOT, settings, without_paths
from core.task import task_of
from core.training.config import PRESETS, TrainConfig, make_config, parse_config
from core.training.launch import with_task_of_data
from core.training.runs import NAME, Run, check_run_name, run_names
from pages.parts import access

RUNS, NEW, RANGE, DECAY = SECTIONS = ("Runs", "New run", "Learning-rate range", "Weight decay")
DEMO = "demo (synthetic, not tissue)"
LONGEST_JSON = 20_000
"""Characters of the form's other values."""


def choose_section() -> str:
    """Which part of the page is shown; in the URL."""
    wanted = st.session_state.pop("train_wanted", None)
    if wanted:
        st.session_state.update(wanted)
    sections = [name for name in SECTIONS if name != NEW or not access.readonly()]
    return st.segmented_control(
        "Section",
        sections,
        default=RUNS,
        required=True,
        key="section",
        bind="query-params",
        label_visibility="collapsed",
    )


def go_to(**state: Any) -> None:
    """Start the page over with other choices, such as section and run."""
    st.session_state["train_wanted"] = state
    st.rerun()


def training(run: Run) -> Job:
    """The process that trains a run."""
    return Job(run.folder / "log", f"training '{run.name}'")


def start(name: str, config: TrainConfig) -> None:
    """Make a run and train it in a process of its own; raises NodeLensError."""
    access.require_writable()
    check_run_name(name, settings().runs)
    if name in run_names(settings().runs):
        raise TrainingConfigError(f"there is a run '{name}' already; resume that one, or give another name")
    run = Run.create(settings().runs / name, config)
    try:
        go_on(run)
    except NodeLensError:
        with suppress(RunBusyError):
            run.delete()
        raise


def go_on(run: Run) -> None:
    """Train a run, from its start or from where it was stopped; raises NodeLensError."""
    access.start(training(run), ["train", "--out", str(run.folder)])


def start_run() -> None:
    """The form of a new run."""
    preset = choose_preset("new")
    with st.form("new_run", border=False):
        name = st.text_input("Name of the run", _free_name(preset), max_chars=80, key=f"new_name_{preset}").strip()
        values = choose_values("new", preset, cycles=True)
        begin = st.form_submit_button("Start training", type="primary")
    if begin and access.attempt(lambda: start(name, read_values(values))):
        go_to(section=RUNS, run=[name])
    st.caption(
        "Training runs in a process of its own: close the page, and it goes on. It uses every core of this machine, "
        "so reading is slower meanwhile. One long job works at a time; what is started meanwhile waits for its turn."
    )


def form_of(config: dict[str, Any], rate: float) -> dict[str, Any]:
    """State of the form of a new run: the preset that is nearest to a configuration, its main values, and a rate.

    Args:
        config: of a trial, as JSON.
        rate: peak learning rate of the first cycle.
    """
    alike = ("architecture", "start", "train_split", "batch")
    preset = max(PRESETS, key=lambda name: _shared(make_config(name).model_dump(mode="json"), config, alike))
    key = f"new_{preset}"
    values = {f"{key}_{name}": config[name] for name in ("architecture", "start", "batch")}
    return {"new_preset": preset, f"{key}_decay": config["weight_decay"], f"{key}_0_max_lr": rate} | values


def _shared(one: dict[str, Any], other: dict[str, Any], names: Sequence[str]) -> int:
    return sum(one.get(name) == other.get(name) for name in names)


def choose_preset(key: str) -> str:
    """A preset, with what it is for."""
    preset = st.selectbox("Preset", list(PRESETS), key=f"{key}_preset")
    st.caption(PRESETS[preset][0])
    return preset


def choose_values(key: str, preset: str, *, cycles: bool, decay: bool = True) -> dict[str, Any]:
    """A preset's main values as inputs and the rest as JSON text.

    Args:
        key: tells the forms of the page apart.
        preset: where values start from.
        cycles: whether epochs and rates are asked for as well.
        decay: whether one weight decay is asked for.

    Returns:
        what was entered, for `read_values`.
    """
    start_values = make_config(preset).model_dump(mode="json")
    key = f"{key}_{preset}"
    sources = _sources()
    one, two, three, four, five = st.columns(5)
    synthetic = DEMO in sources and start_values["train_split"] == "demo"
    entered: dict[str, Any] = {
        "source": one.selectbox(
            "Data",
            list(sources),
            index=list(sources).index(DEMO) if synthetic else 0,
            key=f"{key}_data",
            help=f"A training split is looked for in the folder '{without_paths(str(settings().data))}'; "
            "`python -m core data fetch` brings PCam's there, `data import` your own.",
        ),
        "architecture": two.selectbox(
            "Network",
            list(ARCHITECTURES),
            index=list(ARCHITECTURES).index(start_values["architecture"]),
            key=f"{key}_architecture",
            format_func=lambda name: ARCHITECTURES[name].title,
        ),
        "start": three.selectbox(
            "Start weights",
            starts := ["random", "imagenet", *bundle_names(settings().models)],
            index=starts.index(start_values["start"]),
            key=f"{key}_start",
            help="A model's weights fit a network of its own kind only.",
        ),
        "batch": four.number_input("Batch", value=start_values["batch"], step=1, key=f"{key}_batch"),
    }
    if decay:
        value = start_values["weight_decay"]
        entered["weight_decay"] = five.number_input(
            "Weight decay", value=value, step=1e-3, format="%g", key=f"{key}_decay"
        )
    rest = {name: value for name, value in start_values.items() if name not in entered}
    for name in ("data", "task", "train_split", "valid_split"):  # the task is that of the data
        del rest[name]
    entered["cycles"] = []
    if cycles:
        for number, cycle in enumerate(start_values["cycles"]):
            entered["cycles"].append(_choose_cycle(f"{key}_{number}", number, cycle))
        known = entered["cycles"][0].keys()
        rest["cycles"] = [{n: v for n, v in cycle.items() if n not in known} for cycle in start_values["cycles"]]
    with st.expander("All other values"):
        entered["rest"] = st.text_area(
            "As JSON", json.dumps(rest, indent=2), max_chars=LONGEST_JSON, height=320, key=f"{key}_rest"
        )
    return entered


def read_values(entered: dict[str, Any]) -> TrainConfig:
    """The configuration that was entered; raises TrainingConfigError."""
    try:
        rest = json.loads(entered["rest"])
    except (ValueError, RecursionError) as error:
        raise TrainingConfigError(f"the other values are not JSON ({error})") from error
    if not isinstance(rest, dict) or not isinstance(rest.get("cycles"), list):
        raise TrainingConfigError("the other values must be a JSON object with a list of cycles")
    main = {name: value for name, value in entered.items() if name not in ("source", "cycles", "rest")}
    chosen = entered["cycles"]
    cycles = [
        cycle | chosen[number] if number < len(chosen) and isinstance(cycle, dict) else cycle
        for number, cycle in enumerate(rest["cycles"])
    ]
    config = parse_config(with_task_of_data(rest | main | _sources()[entered["source"]] | {"cycles": cycles}))
    for name in config.distillation.teachers if config.distillation else ():
        if not NAME.fullmatch(name):  # a page opens no path it is given
            raise TrainingConfigError(f"'{name}' is no name of a model to learn from")
    return config


def _choose_cycle(key: str, number: int, cycle: dict[str, Any]) -> dict[str, Any]:
    what = "the head alone" if cycle["frozen"] else "all layers"
    side = "" if cycle["side"] is None else f", {cycle['side']} px crops"
    one, two, three, four = st.columns([2, 1, 1, 1], vertical_alignment="bottom")
    one.markdown(f"Cycle {number + 1}: {what}{side}")
    first = cycle["min_group_lr"]
    return {
        "epochs": two.number_input("Epochs", value=float(cycle["epochs"]), step=1.0, format="%g", key=f"{key}_epochs"),
        "max_lr": three.number_input("Peak rate", value=cycle["max_lr"], step=1e-4, format="%g", key=f"{key}_max_lr"),
        "min_group_lr": four.number_input(
            "Peak rate of the first layers",
            value=first,
            step=1e-4,
            format="%g",
            placeholder="the same",
            key=f"{key}_first",
            disabled=cycle["frozen"],
        ),
    }


def _sources() -> dict[str, dict[str, str]]:
    """Data to train on: what it is called, and where its splits are."""
    found, data = {}, settings().data
    if "train" in split_names(data):
        found[task_of(data).name] = {"data": _shown(data), "train_split": "train", "valid_split": "valid"}
    found[DEMO] = {"data": _shown(settings().demo), "train_split": "demo", "valid_split": "demo", "holdout": "random"}
    return found


def _shown(folder: Path) -> str:
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)


def _free_name(preset: str) -> str:
    taken, number = {name.casefold() for name in run_names(settings().runs)}, 1
    while f"{preset}-{number}" in taken:
        number += 1
    return f"{preset}-{number}"
