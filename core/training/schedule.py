"""One-cycle schedules as pure functions of progress (Smith 2018, arXiv:1803.09820), shaped as fastai shapes them."""

from __future__ import annotations

import math

RISE = 0.25
"""Share of the cycle in which the learning rate rises."""
START, END = 25.0, 1e5
"""A cycle starts at peak / START and ends at peak / END."""
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine; `progress` in [0, 1]."""
    return start + (end - start) * (1 - math.cos(math.pi * progress)) / 2


def one_cycle(progress: float, peak: float) -> float:
    """Learning rate at `progress` in [0, 1]: cosine from peak / 25 up to the peak, then down to peak / 1e5."""
    if progress < RISE:
        return cosine(peak / START, peak, progress / RISE)
    return cosine(peak, peak / END, (progress - RISE) / (1 - RISE))


def one_cycle_momentum(progress: float) -> float:
    """Momentum (the first beta of Adam) at `progress` in [0, 1]: 0.95 down to 0.85 at the peak, then up again."""
    if progress < RISE:
        return cosine(MOMENTUM_HIGH, MOMENTUM_LOW, progress / RISE)
    return cosine(MOMENTUM_LOW, MOMENTUM_HIGH, (progress - RISE) / (1 - RISE))


def spread(first: float, last: float, groups: int) -> list[float]:
    """Peak learning rates of layer groups from the stem to the head, spaced geometrically; one group gets `last`."""
    if groups == 1:
        return [last]
    return [first * (last / first) ** (group / (groups - 1)) for group in range(groups)]
