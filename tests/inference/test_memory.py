"""Memory goes back where glibc would keep it, and garbage is looked for rarely."""

import gc
import subprocess
import sys
import tomllib
import weakref
from pathlib import Path

import pytest

from core.inference.engines.memory import Sweep

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys, threading
import numpy as np
from core.inference.engines.memory import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
    share_arenas()  # once is enough, and twice does no harm

def hold():
    kept.append([bytes(2000) for _ in range(200)])
    together.wait()

kept, together = [], threading.Barrier(12)
threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum("-p" in line and int(line.split("-")[0], 16) % 2**26 == 0 for line in open("/proc/self/maps")))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="arenas are counted as Linux tells them")
def test_threads_share_two_arenas():
    """An arena other than the first begins at a multiple of 64 MiB."""
    counts = {
        way: int(subprocess.run([sys.executable, "-c", CODE, way], cwd=ROOT, capture_output=True, check=True).stdout)
        for way in ("each", "shared")
    }
    assert counts["shared"] <= 2 < counts["each"]


class Knot:
    """Garbage that only a search finds, once nobody else holds it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def clock():
    now = [1000.0]
    yield now
    gc.unfreeze()


def test_a_sweep_comes_at_once_and_then_once_a_minute(clock):
    sweep = Sweep(lambda: clock[0])
    assert [sweep.if_due(), sweep.if_due()] == [True, False]
    clock[0] += Sweep.EVERY - 1
    assert not sweep.if_due()
    clock[0] += 1
    assert sweep.if_due()


def test_many_new_modules_are_set_aside_at_once(clock, monkeypatch):
    sweep = Sweep(lambda: clock[0])
    assert sweep.if_due()
    for number in range(Sweep.MODULES):
        assert not sweep.if_due()
        monkeypatch.setitem(sys.modules, f"library_{number}", sys)
    assert sweep.if_due()


def test_what_was_alive_at_a_sweep_is_found_by_the_next(clock):
    sweep = Sweep(lambda: clock[0])
    knot = Knot()
    gone = weakref.ref(knot)
    assert sweep.if_due()
    assert gc.get_freeze_count() > 10_000  # what start-up made is set aside
    del knot
    gc.collect()
    assert gone() is not None  # passed over: that is what makes collections short
    clock[0] += Sweep.EVERY
    sweep.if_due()
    assert gone() is None


def test_what_came_after_a_sweep_is_found_by_python_itself(clock):
    Sweep(lambda: clock[0]).if_due()
    knot = Knot()
    gone = weakref.ref(knot)
    del knot
    gc.collect()
    assert gone() is None


def test_streamlit_does_not_search_after_every_run():
    assert tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["runner"]["postScriptGC"] is False
