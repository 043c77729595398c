"""How things are timed here: interleaved repeats, medians, and peak memory in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Resources:
    """Memory in MiB now and at most, threads and open file handles of a process.

    The most is VmHWM and not `ru_maxrss`, which a child inherits from its parent.

    Streamlit holds an event loop, three handles, for each session that it remembers: up to 128 of tabs closed in the
    last two minutes. They come and go with the visitors' pace, so `loops` counts them and `handles` all others.
    """

    rss_mib: float
    peak_mib: float
    threads: int
    handles: int
    loops: int


def resources(proc: Path = Path("/proc/self")) -> Resources:
    """What a process holds now; no memory when it has ended."""
    lines = (line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
    status = {name: words.split()[0] for name, words in lines if words.split()}
    kinds = [_kind(handle) for handle in (proc / "fd").iterdir()]
    loops = kinds.count("anon_inode:[eventpoll]")
    return Resources(
        rss_mib=int(status.get("VmRSS", 0)) / 1024,
        peak_mib=int(status.get("VmHWM", 0)) / 1024,
        threads=int(status["Threads"]),
        handles=len(kinds) - 3 * loops,
        loops=loops,
    )


def _kind(handle: Path) -> str:
    try:
        return str(handle.readlink())
    except OSError:  # closed meanwhile
        return ""


def peak_mib(module: str, *arguments: str) -> float:
    """Peak resident memory in MiB of `python -m module arguments` run on its own."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__');"
        "from bench.measure import resources; print(resources().peak_mib)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def processor() -> str:
    """Name of the processor and its number of cores, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    extras = [name for name in ("avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags.split()]
    name = names[0] if names else platform.processor() or "unknown processor"
    return f"{name}, {len(names) or '?'} cores ({', '.join(extras) or 'no AVX-512 extras'})"
