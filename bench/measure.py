"""How things are timed here: interleaved repeats, medians, and peak memory in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
SETTLE = 0.1
"""Seconds between two tasks: threads of the one before may spin for a while, and would slow the next."""


def interleaved(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task.

    Tasks take turns, in an order drawn anew each time, so that neither a busy moment of the machine nor what the task
    before left in the caches falls on one of them alone.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()  # compile, load, warm up
    order = Random(0)
    for _ in range(repeats):
        for name in order.sample(list(tasks), len(tasks)):
            time.sleep(SETTLE)
            began = time.perf_counter()
            tasks[name]()
            seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


def peak_mib(module: str, *arguments: str) -> float:
    """Peak resident memory in MiB of `python -m module arguments` run on its own.

    VmHWM and not `ru_maxrss`, which a child inherits from its parent.
    """
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__');"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / 1024


def processor() -> str:
    """Name of the processor and its number of cores, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    extras = [name for name in ("avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags.split()]
    name = names[0] if names else platform.processor() or "unknown processor"
    return f"{name}, {len(names) or '?'} cores ({', '.join(extras) or 'no AVX-512 extras'})"
