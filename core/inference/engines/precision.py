"""Is bf16 worth its rounding on this processor? The one probe, for training and for serving."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

WORTH_ROUNDING = 1.2
"""How many times as fast bf16 has to be to be taken."""
REPEATS = 5


def worth_rounding(exact: Callable[[], object], rounded: Callable[[], object]) -> bool:
    """Whether `rounded` does the work of `exact` clearly sooner; each is run once before it counts."""
    seconds = least_seconds({"exact": exact, "rounded": rounded})
    return seconds["exact"] > WORTH_ROUNDING * seconds["rounded"]


def least_seconds(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Least seconds that each piece of work takes; they take turns, and the first turn does not count."""
    least = dict.fromkeys(works, math.inf)
    for repeat in range(REPEATS + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if repeat:
                least[name] = min(least[name], time.perf_counter() - began)
    return least
