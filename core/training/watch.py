"""What a run tells those who watch it: how far it is, how long it will take, and what it said of its patches."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import TrainingError
from core.training.config import TrainConfig
from core.training.runs import PREDICTIONS, Fact


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        share: of all epochs, in [0, 1].
        cycle: the cycle at hand, from 1 on; 0 before the first step.
        epoch: epochs done in that cycle.
        rate, first_rate: learning rate now, of the last and of the first layers; None before the first step.
        momentum: now.
        loss: training loss, mean of the last ten steps.
        speed: patches a second.
        seconds_left: at this speed, without validation; None when unknown.
        best_auc: highest on the validation patches; None before the first epoch ends.
    """

    share: float = 0.0
    cycle: int = 0
    epoch: float = 0.0
    rate: float | None = None
    first_rate: float | None = None
    momentum: float | None = None
    loss: float | None = None
    speed: float | None = None
    seconds_left: float | None = None
    best_auc: float | None = None


def progress_of(config: TrainConfig, facts: Sequence[Fact]) -> Progress:
    """How far the run is that tells these facts; cycles count by their epochs."""
    steps = [fact for fact in facts if fact["fact"] == "step"]
    best = max((fact["auc"] for fact in facts if fact["fact"] == "epoch"), default=None)
    if not steps:
        return Progress(best_auc=best)
    last = steps[-1]
    epochs = [cycle.epochs for cycle in config.cycles]
    done = sum(epochs[: last["cycle"]]) + epochs[last["cycle"]] * last["step"] / last["steps"]
    finished = facts[-1]["fact"] == "finished"
    per_epoch = config.batch * last["steps"] / epochs[last["cycle"]]
    return Progress(
        share=1.0 if finished else done / sum(epochs),
        cycle=last["cycle"] + 1,
        epoch=last["epoch"],
        rate=last["rate"],
        first_rate=last["first_rate"],
        momentum=last["momentum"],
        loss=last["loss"],
        speed=last["speed"],
        seconds_left=0.0 if finished else (sum(epochs) - done) * per_epoch / last["speed"] if last["speed"] else None,
        best_auc=best,
    )


@dataclass(frozen=True)
class Predictions:
    """What a finished run says of its validation patches, before calibration: arrays of one length.

    Attributes:
        index: place of the patch in its split.
        label: 0 or 1.
        probability: of tumour.
    """

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    probability: NDArray[np.float64]

    def confusion(self, threshold: float = 0.5) -> NDArray[np.int64]:
        """(2, 2) counts: row is the label, column what is read, tumour second."""
        read = self.probability >= threshold
        return np.array([[np.sum((self.label == label) & (read == said)) for said in (0, 1)] for label in (0, 1)])


def read_predictions(run: Path) -> Predictions:
    """Predictions in the folder of a finished run; raises TrainingError when they are missing or damaged."""
    try:
        with (run / PREDICTIONS).open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        return Predictions(
            np.array([int(row["index"]) for row in rows]),
            np.array([int(row["label"]) for row in rows]),
            np.array([float(row["probability"]) for row in rows]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"The predictions of '{run.name}' cannot be read.") from error
