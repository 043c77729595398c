"""The training loop, from top to bottom: `fit` trains a run to its end and yields facts as they come.

Every step is a pure function of the configuration and the checkpoint before it, so a run that was killed goes on to
the same weights as one that was not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from core.data.pcam import Split
from core.errors import TrainingError
from core.training.data import Batches, subsets
from core.training.distributed import ProcessGroup, process_group
from core.training.features import FrozenFeatures
from core.training.losses.objective import Objective
from core.training.optimiser import freeze, make_optimiser, set_rates, set_training
from core.training.precision import uses_bf16
from core.training.recipe import describe_environment
from core.training.runs import Fact, Run, check_teacher
from core.training.schedule import one_cycle_momentum
from core.training.start import starting_net
from core.training.state import State
from core.training.teacher import Teacher, kept_answers
from core.training.tensorboard import TensorBoardWriter
from core.training.validation import finish, judge, predict

EVERY = 10
"""Steps between two facts on the loss."""
EMA_WARMUP = {"use_warmup": True, "warmup_gamma": 9.0, "warmup_power": 1.0}
"""The average is shorter in the first steps: its decay after t of them is at most 1 - 9 / (10 + t)."""


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
        TrainingError: the data or the teacher cannot teach, or the loss is no number any more.
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
    check_teacher(config)
    train, valid = subsets(config, open_split)
    net = starting_net(config).to(memory_format=torch.channels_last).to(group.device)
    teacher = Teacher(config.distillation, net) if config.distillation and not config.distillation.once else None
    ema = ModelEmaV3(net, config.ema_decay, **EMA_WARMUP).requires_grad_(False) if config.ema_decay else None
    judged = ema.module if ema else net
    state = State(run, group, net, ema, tensorboard)
    saved = state.load()
    if saved.get("finished"):
        return
    if group.is_main and not saved:
        run.write_environment(describe_environment(train, valid, group, uses_bf16(config, group.device)))
    bf16 = group.broadcast(run.environment.get("bf16", config.precision == "bf16") if group.is_main else None)
    shard = group.shard(config.batch, config.unit)
    objective = Objective(config, net, teacher, group.device, bf16)
    once = config.distillation if config.distillation and config.distillation.once else None
    kept = kept_answers(once, train, run.folder, group.device, stopped) if once and group.is_main else None
    answers = group.broadcast(kept)
    if once and answers is None:
        return

    for number, cycle in list(enumerate(config.cycles))[state.cycle :]:
        batches = Batches(train, config, number, answers)
        freeze(net, cycle)
        source = FrozenFeatures(net, batches, run.folder, stopped) if cycle.fixed else batches
        if group.any(isinstance(source, FrozenFeatures) and not source.whole):
            return
        model = group.wrap(net.net.get_classifier() if cycle.fixed else net)
        optimiser, peaks = make_optimiser(net, cycle, config)
        if "optimiser" in saved:
            optimiser.load_state_dict(saved.pop("optimiser"))
        began, first = time.monotonic(), state.step

        for batch in source.stream(state.step, shard, group.workers):
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
            if ema is not None:
                ema.update(net, step=state.taken + 2)

            ends = state.step % batches.per_epoch == 0 or state.step == batches.steps
            if state.step % EVERY == 0 or ends:
                yield state.tell(
                    fact="step", cycle=number, step=state.step, steps=batches.steps,
                    epoch=state.step / batches.per_epoch, rate=rates[-1], first_rate=rates[0],
                    momentum=one_cycle_momentum(progress), loss=float(np.mean(state.losses[-EVERY:])),
                    speed=(state.step - first) * config.batch / (time.monotonic() - began),
                )  # fmt: skip
            if ends:
                figures = judge(*predict(judged, valid, config, group.device)) if group.is_main else None
                yield state.tell(
                    fact="epoch", cycle=number, step=state.step, epoch=state.step / batches.per_epoch,
                    train_loss=float(np.mean(state.losses)), **group.broadcast(figures),
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
        finish(run, judged, train, valid, group.device)
    fact = state.tell(fact="finished")
    state.save(finished=True)
    yield fact
