"""The learning-rate range test (Smith 2015, arXiv:1506.01186), as fastai runs it, and the comparison of weight decays.

The rate grows exponentially from batch to batch until the loss runs away. The curve shows where learning begins and
where it breaks; two suggestions read a rate off it. A file keeps it as one JSON `record`, for whoever watches.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from core.data.pcam import Split
from core.inference.engines.torch_engine import best_device
from core.models.nets import PatchNet
from core.training.config import TrainConfig
from core.training.data import Batches, subsets
from core.training.losses.objective import loss_of
from core.training.optimiser import freeze, make_optimiser, set_training
from core.training.precision import uses_bf16
from core.training.start import starting_net

FIRST_RATE, LAST_RATE, STEPS = 1e-7, 10.0, 100
BETA = 0.98
"""Weight of the past in the smoothed loss."""
RUNAWAY = 4.0
"""The test ends when the smoothed loss exceeds its best value so many times."""
FALL = 0.05
"""Share of the smoothed loss that must be lost for a curve to have fallen; less is how batches differ by chance."""
DECAYS = (1e-2, 1e-4, 1e-6)
"""The study's weight decays."""


@dataclass(frozen=True)
class RangeCurve:
    """One range test, as far as it has come.

    Attributes:
        weight_decay: of the optimiser.
        rates: (n,) learning rate of each step.
        losses: (n,) loss of each step, in nats.
        smoothed: (n,) exponential moving average of the losses.
        ended: "" while it runs, "complete", or "diverged" when the loss ran away or was no number.
        steepest, valley: suggested rates when it has ended and the smoothed loss has fallen.
    """

    weight_decay: float
    rates: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    smoothed: tuple[float, ...] = ()
    ended: str = ""
    steepest: float | None = None
    valley: float | None = None


def range_test(
    config: TrainConfig,
    open_split: Callable[[str], Split],
    *,
    net: PatchNet | None = None,
    steps: int = STEPS,
) -> Iterator[RangeCurve]:
    """Try learning rates from 1e-7 up to 10 on the batches of the first cycle; yields the curve after each step.

    All layer groups take the same rate, momentum is 0.9, and the loss is that of the labels alone.

    Args:
        config: of a run; its weight decay, batch and augmentation hold.
        open_split: name -> split.
        net: network to start from, which stays as it is; a fresh one when None.
        steps: batches from the first rate to the last.

    Raises:
        TrainingError: the data cannot teach.
    """
    device = best_device()
    net = starting_net(config) if net is None else copy.deepcopy(net)
    net = net.to(device).to(memory_format=torch.channels_last)
    cycle = config.cycles[0]
    batches = Batches(subsets(config, open_split)[0], config, 0)
    freeze(net, cycle)
    set_training(net, cycle)
    optimiser, _ = make_optimiser(net, cycle, config)
    rates: list[float] = []
    losses: list[float] = []
    for step in range(steps):
        rate = FIRST_RATE * (LAST_RATE / FIRST_RATE) ** (step / max(1, steps - 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batches.batch(step)
        inputs, labels = (torch.from_numpy(array).to(device) for array in (batch.inputs, batch.labels))
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(config, device)):
            logits = net(inputs)[1]
        loss = loss_of(logits.float(), labels, None, config)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if math.isfinite(value := float(loss.detach())):
            rates.append(rate)
            losses.append(value)
        smoothed = smooth(losses)
        diverged = not math.isfinite(value) or ran_away(smoothed)
        ended = "diverged" if diverged else "complete" if step == steps - 1 else ""
        read_off = read_between(rates, smoothed, steps)
        if not ended or not has_fallen(read_off[1]):
            read_off = [], []
        yield RangeCurve(
            config.weight_decay, tuple(rates), tuple(losses), tuple(smoothed), ended,
            steepest=steepest(*read_off), valley=valley(*read_off),
        )  # fmt: skip
        if ended:
            return


def compare_decay(
    config: TrainConfig, open_split: Callable[[str], Split], decays: Sequence[float] = DECAYS, *, steps: int = STEPS
) -> Iterator[tuple[RangeCurve, ...]]:
    """A range test for each weight decay, each on a fresh network and the same batches; yields all curves so far.

    Raises:
        TrainingError: the data cannot teach.
    """
    done: tuple[RangeCurve, ...] = ()
    for decay in decays:
        for curve in range_test(config.model_copy(update={"weight_decay": decay}), open_split, steps=steps):
            yield (*done, curve)
        done = (*done, curve)


def record(config: TrainConfig, decays: Sequence[float], curves: Sequence[RangeCurve]) -> dict[str, Any]:
    """What a file keeps of a range test (one decay) or a comparison (several), while it runs and after, JSON-ready."""
    return {
        "config": config.model_dump(mode="json"),
        "decays": list(decays),
        "steps": STEPS,
        "finished": len(curves) == len(decays) and bool(curves[-1].ended),
        "curves": [asdict(curve) for curve in curves],
    }


def smooth(losses: Sequence[float], beta: float = BETA) -> list[float]:
    """Exponential moving average with the bias of its start taken out: sum of beta^(n-i) x_i over sum of beta^(n-i)."""
    average, smoothed = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = beta * average + (1 - beta) * loss
        smoothed.append(average / (1 - beta**count))
    return smoothed


def ran_away(smoothed: Sequence[float]) -> bool:
    """Whether the last loss is more than four times the best before it."""
    return bool(smoothed) and smoothed[-1] > RUNAWAY * min(smoothed)


def read_between(rates: Sequence[float], losses: Sequence[float], steps: int) -> tuple[list[float], list[float]]:
    """The part of a curve that suggestions are read off: without its first tenth and its last five steps."""
    return list(rates[steps // 10 : -5]), list(losses[steps // 10 : -5])


def has_fallen(losses: Sequence[float]) -> bool:
    """Whether a smoothed loss ever lies lower than where it began by more than chance explains: by `FALL` of it."""
    return len(losses) > 0 and min(losses) < (1 - FALL) * losses[0]


def steepest(rates: list[float], losses: list[float]) -> float | None:
    """Rate at which the loss falls fastest over the logarithm of the rate; None where it never falls.

    Unlike fastai's `steep` it looks no further than the lowest loss: beyond it the curve jumps, and a fall after a jump
    suggests a rate that breaks the network.
    """
    end = losses.index(min(losses)) + 1 if losses else 0
    slopes = [
        (later - loss) / math.log(next_rate / rate)
        for rate, next_rate, loss, later in zip(
            rates[: end - 1], rates[1:end], losses[: end - 1], losses[1:end], strict=True
        )
    ]
    if not slopes or min(slopes) >= 0:
        return None
    return rates[slopes.index(min(slopes))]


def valley(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Rate halfway down the longest valley: its middle third's middle; None where the loss never falls.

    The valley is the longest falling subsequence of the losses, as in fastai's `valley`; of two the first.
    """
    if len(losses) < 2:
        return None
    length = [1] * len(losses)
    end = 0
    for i in range(1, len(losses)):
        length[i] = 1 + max((length[j] for j in range(i) if losses[i] < losses[j]), default=0)
        if length[i] > length[end]:
            end = i
    if length[end] == 1:
        return None
    start = end - length[end]
    third = (end - start) / 3
    return rates[max(0, start + int(third) + int(third / 2))]
