"""Nothing piles up: after many explanations and page runs the process holds what it held before."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest

from core import service
from core.inference import Reader
from core.settings import settings
from pages.parts import library

ROOT = Path(__file__).resolve().parents[1]
OURS = ("Readings", "_Request", "MicroBatcher", "Reader", "OpenVinoEngine", "TorchEngine", "PatchNet", "Split")
BORROWED = ("InferRequest", "CompiledModel", "Tensor", "Parameter", "RemovableHandle", "AppSession", "ScriptRunner")
HANDLES = Path("/proc/self/fd")

needs_proc = pytest.mark.skipif(not HANDLES.is_dir(), reason="open handles are counted as Linux tells them")


def held() -> Counter[str]:
    """How many objects of each kind are alive, how many hooks sit on networks, and threads and file handles."""
    gc.unfreeze()  # what a sweep has set aside is counted too
    gc.collect()
    alive: Counter[str] = Counter()
    for thing in gc.get_objects():
        name = type(thing).__name__
        if name in OURS or name in BORROWED:
            alive[name] += 1
        if issubclass(type(thing), torch.nn.Module):
            alive["hooks"] += len(thing._forward_hooks) + len(thing._backward_hooks)
    alive["threads"] = threading.active_count()
    alive["tasks of the system"] = len(list(HANDLES.with_name("task").iterdir()))
    alive["handles"] = len(list(HANDLES.iterdir()))
    return alive


def explain_all(reader: Reader, patches, count: int) -> list[int]:
    """`count` explanations in the mixture that readers ask for; returns how many cells each map had."""
    kinds = [("last", 1), ("last", 8), ("last", 1), (reader.layers[1], 1)]
    cells = []
    for number in range(count):
        layer, views = kinds[number % len(kinds)]
        readings = reader.explain(patches[number % len(patches)], layer=layer, views=views)
        cells.append(readings.attribution[0].size)
    return cells


@needs_proc
def test_explanations_leave_nothing_behind(tiny_reader, patches):
    explain_all(tiny_reader, patches, 24)  # compile, import and start every pool of threads
    before = held()
    assert before["MicroBatcher"] > 0  # the count sees what it should
    cells = explain_all(tiny_reader, patches, 300)
    assert len(set(cells)) == 2
    assert held() - before == Counter()
    assert held()["Readings"] == before["Readings"]


@needs_proc
def test_what_is_kept_is_counted(tiny_reader, patches):
    before = held()
    kept = [tiny_reader.read(patch) for patch in patches[:5]]
    assert (held() - before)["Readings"] == len(kept)


@pytest.fixture
def _shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shipped_reader: Reader) -> Iterator[None]:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("NODELENS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NODELENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(service, "load_reader", lambda name: shipped_reader)
    forget()
    yield
    forget()


def forget() -> None:
    settings.cache_clear()
    service.forget()


@needs_proc
@pytest.mark.usefixtures("_shipped")
def test_page_runs_leave_nothing_behind():
    at = AppTest.from_file(ROOT / "app.py", default_timeout=120)
    at.query_params["views"] = "1"
    at.switch_page("pages/read.py").run()
    runs(at, 8, start=0)
    before = held()
    runs(at, 40, start=100)
    after = held()
    # A session keeps what it has read, so that drawing it again infers nothing; up to 256 of them.
    for name in (*OURS[1:], *BORROWED, "hooks", "threads", "tasks of the system", "handles"):
        assert after[name] <= before[name], name
    del at
    assert held()["Readings"] <= 1


def runs(at: AppTest, count: int, start: int) -> None:
    for number in range(count):
        at.number_input(key="patch").set_value(start + number // 2).run()  # every other one is drawn from the cache
        assert not at.exception
        assert any('data-testid="verdict"' in html.value for html in at.html)


@pytest.mark.usefixtures("_shipped")
def test_what_a_session_keeps_has_a_limit(monkeypatch):
    calls: list[int] = []
    size = [1000]

    def explained(self: Reader, patch: Any, *asked: object, around: bool, surroundings: Any) -> SimpleNamespace:
        calls.append(int(patch[0]))
        return SimpleNamespace(nbytes=size[0])

    monkeypatch.setattr(Reader, "explain", explained)
    at = AppTest.from_function(ask_for, default_timeout=120)

    def read(first: int, last: int) -> list[int]:
        """The patches that had to be read when a page asked for these."""
        calls.clear()
        at.session_state["asked"] = (first, last)
        assert not at.run().exception
        return list(calls)

    assert read(0, 300) == list(range(300))
    assert read(44, 300) == []  # the newest 256 are kept
    assert read(43, 44) == [43]
    size[0] = library.KEPT_BYTES // 100
    assert read(300, 400) == list(range(300, 400))
    assert read(300, 400) == []  # 100 large maps fill the shelf
    assert read(44, 45) == [44]
    assert read(300, 301) == [300]


def ask_for() -> None:
    import numpy as np
    import streamlit as st

    from pages.parts import library

    for value in range(*st.session_state["asked"]):
        library.explain("densenet169", np.full(3, value), "gradcam", "last", "predicted", 1)
