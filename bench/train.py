"""Training images a second: our loop against fastai's Learner, same network, patches, batch and processor, loaders in.

The initial cycle trains the head of a frozen body, the second cycle all layers, with the study's peak learning rates.
Both start from the same weights and see the same patches in flips and turns. The clock runs from the making of the
network to the last step, without validation: our maps of the frozen body, computed once a cycle, are in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.measure import ROOT, Row, processor, resources
from core.data.pcam import Split
from core.training.config import TrainConfig, parse_config
from core.training.data import subsets
from core.training.loop import fit
from core.training.optimiser import layer_groups
from core.training.runs import Run
from core.training.start import starting_net
from core.training.validation import judge, predict

NAMES = ("nodelens", "fastai")
CYCLES = {
    "second": {"epochs": 2, "max_lr": 4e-4, "min_group_lr": 4e-5},
    "initial": {"epochs": 8, "max_lr": 2e-2, "frozen": True},
}
"""All layers; and the head alone, for as many epochs as in the study."""
BATCH, BATCHES = 64, 5


def configuration(cycle: str, batch: int, batches: int) -> TrainConfig:
    """One cycle over so many batches of the demo split an epoch."""
    values: dict[str, Any] = {"data": "assets/demo", "train_split": "demo", "holdout": "random", "batch": batch}
    return parse_config(values | {"cycles": [CYCLES[cycle]], "limit": batch * batches, "checkpoint_every": 10**6})


def open_split(name: str) -> Split:
    """The demo split."""
    return Split.open(ROOT / "assets" / "demo", name)


def nodelens(config: TrainConfig) -> dict[str, float]:
    """Our loop. It hands over after the last step of an epoch and again when it has validated."""
    seconds, steps = 0.0, 0
    train_loss = valid_loss = float("nan")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for fact in fit(Run.create(Path(folder) / "bench", config), open_split):
            if fact["fact"] == "step":
                seconds += time.perf_counter() - began
                steps = fact["step"]
            elif fact["fact"] == "epoch":
                train_loss, valid_loss = fact["train_loss"], fact["valid_loss"]
            began = time.perf_counter()
    return {"rate": steps * config.batch / seconds, "train_loss": train_loss, "valid_loss": valid_loss}


def fastai(config: TrainConfig) -> dict[str, float]:
    """fastai's Learner, as its documentation builds it."""
    from fastai.vision import all as fv

    began = time.perf_counter()
    (cycle,) = config.cycles
    train, valid = subsets(config, open_split)
    net = starting_net(config)
    statistics = [tuple(value / 255 for value in values) for values in (config.mean, config.std)]
    block = fv.DataBlock(
        blocks=(fv.ImageBlock, fv.CategoryBlock(vocab=[0, 1])),
        get_x=lambda index: fv.PILImage.create(train.split.patches([index])[0]),
        get_y=lambda index: int(train.split.labels[index]),
        splitter=fv.IndexSplitter(range(len(train), len(train) + len(valid))),
        batch_tfms=[
            *fv.aug_transforms(flip_vert=True, max_rotate=0, max_zoom=1, max_lighting=0, max_warp=0),
            fv.Normalize.from_stats(*statistics, cuda=False),
        ],
    )
    items = np.concatenate([train.indices, valid.indices]).tolist()
    learner = fv.Learner(
        block.dataloaders(items, bs=config.batch, device=torch.device("cpu")),
        net.net,
        loss_func=fv.CrossEntropyLossFlat(),
        splitter=lambda _: layer_groups(net),
        wd=config.weight_decay,
    )
    if cycle.frozen:
        learner.freeze()
    clock = _clock(fv.Callback)()
    seconds = time.perf_counter() - began
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(int(cycle.epochs), slice(cycle.min_group_lr or cycle.max_lr, cycle.max_lr), cbs=clock)
    valid_loss = judge(*predict(net, valid, config, torch.device("cpu")))["valid_loss"]
    rate = len(clock.losses) * config.batch / (seconds + clock.seconds)
    train_loss = float(np.mean(clock.losses[-len(train) // config.batch :]))
    return {"rate": rate, "train_loss": train_loss, "valid_loss": valid_loss}


def _clock(base: Any) -> Any:
    class Clock(base):
        """Seconds between the beginning and the end of the training part of each epoch."""

        def __init__(self) -> None:
            self.seconds, self.began = 0.0, 0.0
            self.losses: list[float] = []

        def before_train(self) -> None:
            self.began = time.perf_counter()

        def after_train(self) -> None:
            self.seconds += time.perf_counter() - self.began

        def after_batch(self) -> None:
            if self.training:
                self.losses.append(float(self.loss.detach()))

    return Clock


LOOPS: dict[str, Callable[[TrainConfig], dict[str, float]]] = {"nodelens": nodelens, "fastai": fastai}


def measured(name: str, cycle: str, batch: int, batches: int) -> dict[str, float]:
    """One loop over one cycle in a process of its own, with its peak memory in MiB."""
    arguments = [name, cycle, str(batch), str(batches)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.train", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run(repeats: int = 3, batch: int = BATCH, batches: int = BATCHES) -> dict[str, object]:
    """All rows: medians of runs that take turns."""
    import_module("fastai")  # missing: say so before anything is measured
    rows: list[Row] = []
    for cycle in CYCLES:
        turns = [{name: measured(name, cycle, batch, batches) for name in NAMES} for _ in range(repeats)]
        for name in NAMES:
            found = {key: median(turn[name][key] for turn in turns) for key in turns[0][name]}
            rows.append({"name": name, "batch": batch, "cycle": cycle, "unit": f"images/s, {cycle} cycle"} | found)
    return {"bench": "train", "processor": processor(), "rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train one cycle with one loop and print what was measured.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("cycle", choices=CYCLES)
    parser.add_argument("batch", type=int)
    parser.add_argument("batches", type=int)
    chosen = parser.parse_args()
    figures = LOOPS[chosen.name](configuration(chosen.cycle, chosen.batch, chosen.batches))
    figures["peak_mib"] = resources().peak_mib
    print(json.dumps(figures))
