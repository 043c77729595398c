"""Whether a run computes in bf16."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from core.inference.engines.precision import worth_rounding
from core.training.config import TrainConfig


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

    def step(enabled: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = layer(images).float().sum()
        loss.backward()

    return worth_rounding(lambda: step(False), lambda: step(True))
