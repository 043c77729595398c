"""Thousands of explanations in one process, and thousands of page runs on one server: what grows with them.

Memory is measured after a warm-up, when every graph is compiled and every cache has been filled once; from there on it
should stay level, and threads and file handles (less those of sessions that Streamlit remembers for a while, see
`Resources`) should stay the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from itertools import count as count_up
from operator import methodcaller
from pathlib import Path
from statistics import median

import numpy as np

from bench.measure import ROOT, Resources, Row, processor, resources
from bench.visitor import Answer, Server, Visitor
from core.data.pcam import Split
from core.inference import load_reader
from core.settings import settings

KINDS = (("last", 1), ("last", 8), ("last", 1), ("6x6", 1), ("last", 1), ("last", 8), ("last", 1), ("6x6", 8))
"""Layer and views of one explanation after the other."""
SAMPLES = 50
WARM_UP = 500


def explanations(count: int) -> Iterator[int]:
    """Explain one patch after the other, in the mixture of KINDS."""
    reader = load_reader()
    patches = Split.open(settings().demo, "demo").patches(np.arange(64))
    for number in range(count):
        layer, views = KINDS[number % len(KINDS)]
        readings = reader.explain(patches[number % len(patches)], layer=layer, views=views)
        assert np.isfinite(readings.attribution).all()
        yield number + 1


def page_runs(server: Server, count: int) -> Iterator[int]:
    """Read, Browse, Compare and About, by the widgets of a tab and by new addresses."""
    visitor = Visitor(server)
    for done, step in enumerate(islice(chain.from_iterable(map(round_trip, count_up())), count), start=1):
        answer = step(visitor)
        if answer.faults or answer.refusals:
            raise RuntimeError(f"run {done}: {answer.faults + answer.refusals}")
        yield done
    visitor.close()


def round_trip(number: int) -> list[Callable[[Visitor], Answer]]:
    """Twenty runs of pages; no two trips in a row show the same patches."""
    patch = number * 17 % 300
    return [
        methodcaller("open", "", patch=patch),
        *(methodcaller("choose", "patch", float(patch + n)) for n in range(1, 13)),
        methodcaller("choose", "layer", "6x6"),
        methodcaller("choose", "method", "layercam"),
        methodcaller("choose", "layer", "last"),
        methodcaller("open", "browse", page=number % 8 + 1),
        methodcaller("open", "compare", patch1=patch),
        methodcaller("choose", "patch2", float(patch + 7)),
        methodcaller("open", "about"),
    ]


def watched(name: str, unit: str, work: Iterator[int], count: int, look: Callable[[], Resources]) -> Row:
    """Do the work and tell what the process held after the warm-up and at the end.

    Levels are medians of a tenth of the samples, as memory goes up and down from one explanation to the next.
    """
    warm_up = min(WARM_UP, count // 4)
    every = max(1, (count - warm_up) // SAMPLES)
    samples: list[Resources] = []
    began = time.perf_counter()
    for done in work:
        if done >= warm_up and (done - warm_up) % every == 0:
            samples.append(look())
    seconds = time.perf_counter() - began
    tenth = max(1, len(samples) // 10)
    first, last = (median(s.rss_mib for s in part) for part in (samples[:tenth], samples[-tenth:]))
    return {
        "name": name,
        "batch": 1,
        "rate": count / seconds,
        "unit": unit,
        "peak_mib": samples[-1].peak_mib,
        "count": count,
        "rss_mib_after_warm_up": first,
        "rss_mib_at_the_end": last,
        "growth": last / first - 1,
        "threads": [samples[0].threads, samples[-1].threads],
        "handles": [samples[0].handles, samples[-1].handles],
        "rss_mib": [round(s.rss_mib, 1) for s in samples],
    }


def run(explanations: int = 10_000, reruns: int = 2_000) -> dict[str, object]:
    """Both marathons, each in a process of its own, one after the other."""
    command = [sys.executable, "-m", "bench.endurance", str(explanations)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[Row] = [json.loads(done.stdout.splitlines()[-1])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        with Server({"NODELENS_DATA": str(folder / "data"), "NODELENS_CACHE": str(folder / "cache")}) as server:
            work = page_runs(server, reruns)
            rows.append(watched("nodelens-page-runs", "page runs/s", work, reruns, server.resources))
    return {"bench": "endurance", "processor": processor(), "rows": rows}


if __name__ == "__main__":
    number = int(sys.argv[1])
    print(json.dumps(watched("nodelens-explanations", "explanations/s", explanations(number), number, resources)))
