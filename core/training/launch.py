"""How a run is started from the command line: its configuration, its data, and the signals that stop it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.data.pcam import Split
from core.errors import TrainingConfigError
from core.models.store import read_description
from core.settings import ROOT, settings
from core.task import task_of
from core.training.config import PRESETS, TrainConfig, parse_config
from core.training.runs import CONFIG, Run


def chosen_config(out: Path, file: Path | None, preset: str | None, changes: Sequence[str]) -> TrainConfig:
    """The configuration of a command: of the run in `out` when nothing else is named, a file's, or a preset's.

    Args:
        out: folder of the run.
        file: JSON file, or the folder of a bundle that was trained here; None for a preset.
        preset: name of a preset, when there is no file; None for that of the run in `out`, else `default`.
        changes: `name=value` pairs; values are JSON, or text; dots lead into parts, as in `augmentation.stain=0.1` or
            `cycles.0.epochs=2`.

    Raises:
        TrainingConfigError: what is wrong with it.
    """
    if file is None and preset is None and not changes and (out / CONFIG).is_file():
        return Run.open(out).config
    if file is not None and file.is_dir():
        values = dict(read_description(file).training.config)
        if not values:
            raise TrainingConfigError(f"the model in {file} does not say how it was trained")
    elif file is not None:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingConfigError(f"{file} is not a JSON file that can be read") from error
        if not isinstance(values, dict):
            raise TrainingConfigError(f"{file} does not hold a configuration")
    elif (name := preset or "default") in PRESETS:
        values = json.loads(json.dumps(PRESETS[name][1]))
    else:
        raise TrainingConfigError(f"unknown preset '{name}'; known: {', '.join(PRESETS)}")
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise TrainingConfigError(f"'{change}' is not of the form name=value")
        _put(values, name.split("."), _value(text))
    return parse_config(with_task_of_data(values))


def with_task_of_data(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a configuration with the task of its data, where they name none; raises TaskError."""
    if "task" in values:
        return values
    folder = values.get("data", TrainConfig.model_fields["data"].default)
    return values | {"task": task_of(data_folder(folder))} if isinstance(folder, str) else values


def data_folder(data: str) -> Path:
    """Where a run's data lie; paths that are not absolute start at the project.

    A run that names no folder of its own takes NODELENS_DATA.
    """
    unnamed = data == TrainConfig.model_fields["data"].default
    return settings().data if unnamed else (ROOT / Path(data).expanduser()).resolve()


def opener(config: TrainConfig) -> Callable[[str], Split]:
    """A function that opens splits of the run's data folder."""
    folder = data_folder(config.data)
    return lambda name: Split.open(folder, name)


def is_main() -> bool:
    """Whether this process speaks for the run: alone, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def stop_on_signals() -> Callable[[], bool]:
    """Let Ctrl-C and SIGTERM end training after the step at hand; returns what tells whether one came."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: asked.append(received))  # noqa: ARG005
    return lambda: bool(asked)


def _put(values: Any, path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        key = _key(values, part)
        if isinstance(values, dict) and not isinstance(values.get(key), dict | list):
            values[key] = {}
        values = values[key]
    values[_key(values, path[-1])] = value


def _key(values: Any, part: str) -> str | int:
    """A name in a mapping, or a place in a list; raises TrainingConfigError."""
    if isinstance(values, dict):
        return part
    if not isinstance(values, list) or part not in map(str, range(len(values))):
        raise TrainingConfigError(f"there is no '{part}' to be set")
    return int(part)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
