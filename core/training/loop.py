"""The training loop, from top to bottom: `fit` trains a run to its end and yields facts as they come.

Every step is a pure function of the configuration and the checkpoint before it, so a run that was killed goes on to
the same weights as one that was not.
"""

from __future__ import annotations

import copy
import csv
import math
import pickle
import platform
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy, softmax

from core.data.pcam import Split
from core.errors import TrainingError
from core.evaluation.report import record_of
from core.files import atomic_path
from core.models.bundle import DataRecord, Training
from core.models.nets import PatchNet, save_bundle, state_groups
from core.training.config import Cycle, TrainConfig
from core.training.data import Batches, Subset, subsets
from core.training.distributed import ProcessGroup, process_group
from core.training.features import FrozenFeatures
from core.training.losses.objective import Objective
from core.training.runs import CHECKPOINT, MODEL, PREDICTIONS, Fact, Run
from core.training.schedule import one_cycle, one_cycle_momentum, spread
from core.training.start import starting_net
from core.training.teacher import Teacher
from core.training.tensorboard import TensorBoardWriter

WORTH_ROUNDING = 1.2
"""How many times as fast bf16 has to be for `auto` to take it on a processor."""
EVERY = 10
"""Steps between two facts on the loss."""
SECOND_BETA, EPSILON = 0.99, 1e-5  # of Adam, as fastai sets them


def fit(run: Run, open_split: Callable[[str], Split], stopped: Callable[[], bool] = lambda: False) -> Iterator[Fact]:
    """Train a run to its end, or until `stopped`, from its last checkpoint on; it can then be resumed.

    Args:
        run: what to train, and where to write.
        open_split: name -> split.
        stopped: asked after every step.

    Yields:
        facts, also kept in the run's history: `step` (every ten steps), `epoch`, `finished`. Of several processes, only
        the one that leads yields.

    Raises:
        RunBusyError: another process trains it.
        TrainingError: the data cannot teach, or the loss is no number any more.
        OutputError: the disk is full or closed.
    """
    with process_group() as group:
        if not group.is_main:
            deque(_fit(run, open_split, stopped, group, None), maxlen=0)
            return
        with run.held(), closing(TensorBoardWriter(run.folder)) as tensorboard:
            try:
                yield from _fit(run, open_split, stopped, group, tensorboard)
            except TrainingError as error:
                run.append({"fact": "failed", "reason": str(error)})
                raise


def _fit(
    run: Run,
    open_split: Callable[[str], Split],
    stopped: Callable[[], bool],
    group: ProcessGroup,
    tensorboard: TensorBoardWriter | None,
) -> Iterator[Fact]:
    config = run.config
    train, valid = subsets(config, open_split)
    net = starting_net(config).to(memory_format=torch.channels_last).to(group.device)
    teacher = Teacher(config.distillation, net) if config.distillation else None
    average = copy.deepcopy(net).requires_grad_(False) if config.ema_decay else None
    state = State(run, group, net, average, tensorboard)
    saved = state.load()
    if saved.get("finished"):
        return
    if group.is_main and not saved:
        run.write_environment(describe_environment(train, valid, group, uses_bf16(config, group.device)))
    bf16 = group.broadcast(run.environment.get("bf16", config.precision == "bf16") if group.is_main else None)
    shard = group.shard(config.batch, config.unit)
    objective = Objective(config, net, teacher, group.device, bf16)

    for number, cycle in list(enumerate(config.cycles))[state.cycle :]:
        batches = Batches(train, config, number)
        freeze(net, cycle)
        source = FrozenFeatures(net, batches, run.folder, stopped) if cycle.fixed else batches
        if group.any(isinstance(source, FrozenFeatures) and not source.whole):
            return
        model = group.wrap(net.net.get_classifier() if cycle.fixed else net)
        optimiser, peaks = make_optimiser(net, cycle, config)
        if "optimiser" in saved:
            optimiser.load_state_dict(saved.pop("optimiser"))
        began, first = time.monotonic(), state.step

        for batch in source.stream(state.step, shard):
            progress = state.step / batches.steps
            rates = set_rates(optimiser, peaks, progress)
            set_training(net, cycle)
            loss = objective(model, cycle, batch, state.step)
            net.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.clip:
                nn.utils.clip_grad_norm_(net.parameters(), config.clip)
            optimiser.step()
            state.count(float(group.mean(loss.detach())))
            if average is not None:
                follow(average, net, config.ema_decay, state.taken)

            ends = state.step % batches.per_epoch == 0 or state.step == batches.steps
            if state.step % EVERY == 0 or ends:
                yield state.tell(
                    fact="step", cycle=number, step=state.step, steps=batches.steps,
                    epoch=state.step / batches.per_epoch, rate=rates[-1], first_rate=rates[0],
                    momentum=one_cycle_momentum(progress), loss=float(np.mean(state.losses[-EVERY:])),
                    speed=(state.step - first) * config.batch / (time.monotonic() - began),
                )  # fmt: skip
            if ends:
                judged = group.broadcast(
                    judge(*predict(average or net, valid, config, group.device)) if group.is_main else None
                )
                yield state.tell(
                    fact="epoch", cycle=number, step=state.step, epoch=state.step / batches.per_epoch,
                    train_loss=float(np.mean(state.losses)), **judged,
                )  # fmt: skip
                state.losses.clear()
            halt = group.any(stopped())
            if halt or state.step % config.checkpoint_every == 0:
                state.save(optimiser)
            if halt:
                return
        state.cycle, state.step = number + 1, 0
        state.save()

    if group.is_main:
        finish(run, average or net, train, valid, group.device)
    fact = state.tell(fact="finished")
    state.save(finished=True)
    yield fact


class State:
    """Where a run stands, on the processes that train it and on disk."""

    def __init__(
        self,
        run: Run,
        group: ProcessGroup,
        net: PatchNet,
        average: PatchNet | None,
        tensorboard: TensorBoardWriter | None,
    ) -> None:
        self.run, self.group, self.net, self.average, self.tensorboard = run, group, net, average, tensorboard
        self.cycle = self.step = self.taken = 0
        """The cycle, steps taken in it, and steps taken in all."""
        self.losses: list[float] = []
        """Of the epoch so far."""

    def count(self, loss: float) -> None:
        """One step more; raises TrainingError when its loss is no number."""
        self.step, self.taken = self.step + 1, self.taken + 1
        self.losses.append(loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is not a number any more at step {self.step} of cycle {self.cycle + 1}. "
                "Train with a lower peak learning rate."
            )

    def save(self, optimiser: torch.optim.Optimizer | None = None, finished: bool = False) -> None:
        """Write the checkpoint, whole or not at all."""
        if not self.group.is_main:
            return
        checkpoint = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "cycle": self.cycle,
            "step": self.step,
            "taken": self.taken,
            "losses": self.losses,
            "history": self.run.history_size(),
            "finished": finished,
        }
        if optimiser is not None:
            checkpoint["optimiser"] = optimiser.state_dict()
        content = BytesIO()
        torch.save(checkpoint, content)  # straight to a file, it would hide why the disk refused
        with atomic_path(self.run.folder / CHECKPOINT) as path:
            path.write_bytes(content.getbuffer())

    def load(self) -> dict[str, Any]:
        """Go on where the checkpoint stands; returns it, empty at a first start."""
        saved: dict[str, Any] = self.group.broadcast(self._read() if self.group.is_main else None)
        if saved:
            self.net.load_state_dict(saved["net"])
            if self.average is not None:
                self.average.load_state_dict(saved["average"])
            self.cycle, self.step, self.taken = saved["cycle"], saved["step"], saved["taken"]
            self.losses = saved["losses"]
        if self.group.is_main and not saved.get("finished"):
            self.run.rewind_history(saved.get("history", 0))
        return saved

    def tell(self, **fact: Any) -> Fact:
        """Keep a fact; the process that leads, which has a tensorboard, writes it."""
        fact["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        if self.tensorboard is not None:
            self.run.append(fact)
            self.tensorboard.write(fact, self.taken)
        return fact

    def _read(self) -> dict[str, Any]:
        path = self.run.folder / CHECKPOINT
        if not path.is_file():
            return {}
        try:
            saved = dict(torch.load(path, map_location="cpu", weights_only=True))
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"The checkpoint of '{self.run.name}' is damaged; start a new run.") from error
        return {part: _in_words_of_today(state) for part, state in saved.items()}


def _in_words_of_today(state: Any) -> Any:
    """A state dict of a run begun when the feature projection was called `translator`."""
    if not isinstance(state, dict):
        return state
    return {re.sub("^translator[.]", "feature_projection.", str(name)): value for name, value in state.items()}


def freeze(net: PatchNet, cycle: Cycle) -> None:
    """Leave the head alone to be trained, or everything; a feature_projection in cycles of whole patches."""
    net.requires_grad_(not cycle.frozen)
    net.net.get_classifier().requires_grad_(True)
    for name, parameter in net.named_parameters():
        if not name.startswith("net."):
            parameter.requires_grad_(cycle.whole)


def set_training(net: PatchNet, cycle: Cycle) -> None:
    """Put the network into training mode; a frozen body with fixed normalisation stays as it is served."""
    net.train(not cycle.fixed)


def make_optimiser(net: PatchNet, cycle: Cycle, config: TrainConfig) -> tuple[torch.optim.Optimizer, list[float]]:
    """AdamW over layer groups from the stem to the head, and the peak learning rate of each group.

    Biases and normalisation are not decayed. A frozen body is left out.
    """
    groups = layer_groups(net)
    peaks = spread(cycle.min_group_lr or cycle.max_lr, cycle.max_lr, len(groups))
    settings, kept = [], []
    for parameters, peak in zip(groups, peaks, strict=True):
        for decay, chosen in ((config.weight_decay, True), (0.0, False)):
            members = [p for p in parameters if p.requires_grad and (p.ndim > 1) == chosen]
            if members:
                settings.append({"params": members, "weight_decay": decay})
                kept.append(peak)
    optimiser = torch.optim.AdamW(settings, lr=kept[-1], betas=(0.9, SECOND_BETA), eps=EPSILON, fused=True)
    return optimiser, kept


def layer_groups(net: PatchNet) -> list[list[nn.Parameter]]:
    """Parameters by depth, from the stem to the head, see `state_groups`; a feature projection by the head."""
    named = dict(net.net.named_parameters())
    groups = [[named[name] for name in names if name in named] for names in state_groups(net)]
    groups[-1] += [parameter for name, parameter in net.named_parameters() if not name.startswith("net.")]
    return groups


def set_rates(optimiser: torch.optim.Optimizer, peaks: list[float], progress: float) -> list[float]:
    """Set learning rate and momentum of every group for this step; returns the rates."""
    rates = [one_cycle(progress, peak) for peak in peaks]
    momentum = one_cycle_momentum(progress)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"], group["betas"] = rate, (momentum, SECOND_BETA)
    return rates


@torch.no_grad()
def follow(average: PatchNet, net: PatchNet, decay: float, taken: int) -> None:
    """Move the averaged weights towards the trained ones; the average is shorter in the first steps."""
    share = 1 - min(decay, (1 + taken) / (10 + taken))
    for old, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, share)
        else:
            old.copy_(new)


def predict(
    net: PatchNet, subset: Subset, config: TrainConfig, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Logits (n, 2) of the unchanged patches of a subset, and their labels (n,)."""
    net.eval()
    size = config.batch
    with torch.inference_mode():
        pieces = [
            net(torch.from_numpy(subset.patches(slice(start, start + size))).to(device))[1].cpu().numpy()
            for start in range(0, len(subset), size)
        ]
    return np.concatenate(pieces), subset.labels


def judge(logits: NDArray[np.float32], labels: NDArray[np.uint8]) -> Fact:
    """Loss, accuracy and area under the ROC curve of logits (n, 2), uncalibrated; raises TrainingError."""
    if not np.isfinite(logits).all():
        raise TrainingError("The network gives answers that are no numbers. Train with a lower peak learning rate.")
    scores = torch.from_numpy(logits)
    return {
        "valid_loss": float(cross_entropy(scores, torch.from_numpy(labels.astype(np.int64)))),
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "auc": float(roc_auc_score(labels, logits[:, 1] - logits[:, 0])),
    }


def finish(run: Run, net: PatchNet, train: Subset, valid: Subset, device: torch.device) -> None:
    """Keep what a run became: predictions on its validation patches, and a bundle to be calibrated."""
    config = run.config
    logits, labels = predict(net, valid, config, device)
    probability = softmax(torch.from_numpy(logits).double(), 1)[:, 1].numpy()
    with atomic_path(run.folder / PREDICTIONS) as path, path.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(("index", "label", "probability"))
        table.writerows(zip(valid.indices.tolist(), labels.tolist(), probability.tolist(), strict=True))
    training = Training(
        recipe=recipe_of(config),
        data=(_record(train), _record(valid)),
        config=config.model_dump(mode="json"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder = run.folder / MODEL
    save_bundle(
        net.cpu(), folder, version="1.0.0", mean=config.mean, std=config.std, training=training, task=config.task
    )


def recipe_of(config: TrainConfig) -> str:
    """The run in a sentence or two, for the model card."""
    cycles = "; ".join(
        f"{cycle.epochs:g} epochs at peak {cycle.max_lr:g}"
        + (f" (first layers {cycle.min_group_lr:g})" if cycle.min_group_lr else "")
        + (", body frozen" if cycle.frozen else "")
        + (f", {cycle.side} px crops" if cycle.side else "")
        for cycle in config.cycles
    )
    parts = [f"From {Path(config.start).name} weights, one cycle each of: {cycles}. AdamW, batch {config.batch}"]
    parts.append(f"weight decay {config.weight_decay:g}")
    if config.label_smoothing:
        parts.append(f"label smoothing {config.label_smoothing:g}")
    if config.ema_decay:
        parts.append(f"weights averaged (decay {config.ema_decay:g})")
    varied = [f"{name} {value:g}" for name, value in config.augmentation.model_dump().items() if value]
    parts.append("flips and turns" + (", " + ", ".join(varied) if varied else ""))
    if config.distillation:
        distillation = config.distillation
        seen = f" (mean of {distillation.views} views)" if distillation.views > 1 else ""
        parts.append(f"{distillation.weight:g} of the loss from the teacher {Path(distillation.teacher).name}{seen}")
        if distillation.maps:
            parts.append(f"and {distillation.maps:g} times the distance to its maps")
    if config.centre_cell:
        parts.append(f"{config.centre_cell:g} of the loss on what the label's own cell says alone")
    if config.mosaic_batches:
        parts.append("every other batch read as mosaics of four patches")
    if config.background_evidence:
        parts.append(f"{config.background_evidence:g} times the evidence for tumour in cells of patches without")
    if config.init_bias_prior is not None:
        parts.append(f"a head that starts from a prior of {config.init_bias_prior:g}")
    return ", ".join(parts) + "."


def describe_environment(train: Subset, valid: Subset, group: ProcessGroup, bf16: bool) -> dict[str, Any]:
    """With what, and on which data, a run is trained."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in ("torch", "timm", "numpy")},
        "platform": platform.platform(terse=True),
        "processes": group.size,
        "device": str(group.device),
        "bf16": bf16,
        "train": _record(train).model_dump(),
        "valid": _record(valid).model_dump(),
    }


def uses_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether to compute in bf16: as configured, or on a GPU that has it, or on a processor found faster with it."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bf16_is_faster()


@lru_cache(maxsize=1)
def bf16_is_faster() -> bool:
    """Whether this processor trains a convolution clearly sooner in bf16; some compute it slower than fp32."""
    images = torch.full((16, 128, 24, 24), 0.5).to(memory_format=torch.channels_last)
    with torch.random.fork_rng([]):  # a run's own draws are not to depend on this
        layer = nn.Conv2d(128, 64, 3, padding=1).to(memory_format=torch.channels_last)
    least = {False: math.inf, True: math.inf}
    for _ in range(5):
        for enabled in least:
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                loss = layer(images).float().sum()
            loss.backward()
            least[enabled] = min(least[enabled], time.perf_counter() - began)
    return least[False] > WORTH_ROUNDING * least[True]


def _record(subset: Subset) -> DataRecord:
    split = subset.split
    part = "" if len(subset) == len(split) else f"{len(subset):,} of {len(split):,} patches"
    record = record_of(split)
    note = "; ".join(filter(None, (record.note, part)))
    return record.model_copy(update={"patches": len(subset), "note": note})
