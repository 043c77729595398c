"""One process or several: the group that trains a run, as `torchrun` starts it (gloo on processors, nccl on GPUs).

Every process takes its part of each global batch. Batch normalisation counts over the whole batch, so that two
processes learn what one would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from core.errors import TrainingConfigError
from core.inference.engines.torch_engine import best_device
from core.settings import settings


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def workers(self) -> int:
        """Processes that prepare batches for this one: its share of the cores where a GPU computes, else none."""
        if self.device.type == "cpu":
            return 0
        return max(1, settings().threads // self.size - 1)

    def shard(self, batch: int, unit: int = 1) -> slice:
        """Rows of a global batch that are this process's, in whole units; raises TrainingConfigError when uneven."""
        if batch % (self.size * unit):
            of = f" in units of {unit}" if unit > 1 else ""
            raise TrainingConfigError(f"a batch of {batch} cannot be shared evenly by {self.size} processes{of}")
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def broadcast(self, value: Any) -> Any:
        """The leader's value, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network as this process group trains it."""
        if self.size == 1:
            return net
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.forward = partial(_normalise_together, module, module.forward)  # type: ignore[method-assign]
        return DistributedDataParallel(net, broadcast_buffers=False)


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The process group of this process: what torchrun says, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = best_device()
    if size == 1:
        yield ProcessGroup(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()


def _normalise_together(norm: nn.BatchNorm2d, alone: Any, x: Tensor) -> Tensor:
    """Batch normalisation (and the activation that timm puts behind it) with statistics of the global batch."""
    if not norm.training:
        y: Tensor = alone(x)
        return y
    count = x.numel() // x.shape[1] * dist.get_world_size()
    mean = _sum_over_processes(x.float().sum((0, 2, 3))) / count
    centred = x.float() - mean[None, :, None, None]
    variance = _sum_over_processes(centred.square().sum((0, 2, 3))) / count
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.detach(), norm.momentum or 0.1)
        norm.running_var.lerp_(variance.detach() * count / (count - 1), norm.momentum or 0.1)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    y = (centred * scale[None, :, None, None] + norm.bias[None, :, None, None]).to(x.dtype)
    return norm.act(norm.drop(y)) if hasattr(norm, "act") else y  # type: ignore[operator]


def _sum_over_processes(value: Tensor) -> Tensor:
    summed: Tensor = all_reduce(value)  # type: ignore[no-untyped-call]
    return summed
