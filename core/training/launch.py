"""How a run is started from the command line: its configuration, its data, and the signals that stop it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.data.pcam import Split
from core.errors import TrainingConfigError
from core.settings import ROOT
from core.training.config import PRESETS, TrainConfig, parse_config
from core.training.runs import CONFIG, Run


def chosen_config(out: Path, file: Path | None, preset: str, changes: Sequence[str]) -> TrainConfig:
    """The configuration of a command: of the run in `out` when nothing else is named, a file's, or a preset's.

    Args:
        out: folder of the run.
        file: JSON file, or None.
        preset: name of a preset, when there is no file.
        changes: `name=value` pairs; values are JSON, or text; dots lead into parts, as in `augmentation.stain=0.1`.

    Raises:
        TrainingConfigError: what is wrong with it.
    """
    if file is None and not changes and (out / CONFIG).is_file():
        return Run.open(out).config
    if file is not None:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingConfigError(f"{file} is not a JSON file that can be read") from error
        if not isinstance(values, dict):
            raise TrainingConfigError(f"{file} does not hold a configuration")
    elif preset in PRESETS:
        values = json.loads(json.dumps(PRESETS[preset][1]))
    else:
        raise TrainingConfigError(f"unknown preset '{preset}'; known: {', '.join(PRESETS)}")
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise TrainingConfigError(f"'{change}' is not of the form name=value")
        _put(values, name.split("."), _value(text))
    return parse_config(values)


def opener(config: TrainConfig) -> Callable[[str], Split]:
    """A function that opens splits of the run's data folder; paths that are not absolute start at the project."""
    folder = (ROOT / Path(config.data).expanduser()).resolve()
    return lambda name: Split.open(folder, name)


def stop_on_signals() -> Callable[[], bool]:
    """Let Ctrl-C and SIGTERM end training after the step at hand; returns what tells whether one came."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: asked.append(received))  # noqa: ARG005
    return lambda: bool(asked)


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = values.get(part)
        values[part] = inner if isinstance(inner, dict) else {}
        values = values[part]
    values[path[-1]] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
