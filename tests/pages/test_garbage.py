"""Garbage is looked for rarely, and found."""

import gc
import sys
import tomllib
import weakref
from pathlib import Path

import pytest

from pages.parts.garbage import Sweep

ROOT = Path(__file__).resolve().parents[2]


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
