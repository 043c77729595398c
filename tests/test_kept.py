"""Values kept for a while, by hand."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from core.kept import Kept, digest

WAIT = 20.0


def test_the_one_not_asked_for_longest_makes_room():
    kept = Kept(2)
    for key in ("a", "b"):
        kept.get(key, lambda key=key: f"value of {key}")
    assert kept.get("a", lambda: "made again") == "value of a"
    kept.get("c", lambda: "value of c")
    assert [kept.has(key) for key in "abc"] == [True, False, True]
    assert len(kept) == 2


def test_bytes_are_counted_and_the_latest_always_stays():
    kept = Kept(100, most_bytes=10, size=len)
    for key in (1, 2, 3):
        kept.get(key, lambda: "1234")
    assert [kept.has(key) for key in (1, 2, 3)] == [False, True, True]
    assert kept.bytes == 8
    assert kept.get("large", lambda: "x" * 50) == "x" * 50
    assert (len(kept), kept.bytes) == (1, 50)
    kept.get("large", lambda: "small", stamp="anew")
    assert (len(kept), kept.bytes) == (1, 5)
    kept.clear()
    assert (len(kept), kept.bytes) == (0, 0)


def test_another_stamp_takes_the_place_of_the_old_value():
    kept = Kept(8)
    assert kept.get("model", lambda: "old", stamp=1) == "old"
    assert not kept.has("model", stamp=2)
    assert kept.get("model", lambda: "new", stamp=2) == "new"
    assert len(kept) == 1


def test_what_several_ask_for_is_made_once_and_others_do_not_wait():
    kept, started, go = Kept(8), threading.Event(), threading.Event()
    made = []

    def slow() -> str:
        made.append("slow")
        started.set()
        assert go.wait(WAIT)
        return "slow"

    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(kept.get, "slow", slow) for _ in range(4)]
        assert started.wait(WAIT)
        assert pool.submit(kept.get, "quick", lambda: "quick").result(WAIT) == "quick"
        go.set()
        assert [one.result(WAIT) for one in asked] == ["slow"] * 4
    assert made == ["slow"]


def test_a_failure_is_not_kept():
    kept = Kept(8)

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept.get("a", fail)
    assert not kept.has("a")
    assert kept.get("a", lambda: "made") == "made"


def test_a_failure_leaves_nothing_behind():
    kept = Kept(8)
    for number in range(3):
        with suppress(ZeroDivisionError):
            kept.get(number, lambda: 1 // 0)
    assert len(kept._turns) == 0


def test_what_makes_a_value_may_keep_it_itself():
    kept = Kept(8, most_bytes=100, size=len)
    assert kept.get("a", lambda: kept.get("a", lambda: "made inside")) == "made inside"
    assert (len(kept), kept.bytes) == (1, 11)


def test_a_digest_names_content_shape_and_type():
    array = np.arange(12, dtype=np.uint8)
    same = [digest(array), digest(array.copy()), digest(np.arange(24, dtype=np.uint8)[:12])]
    others = [digest(array.reshape(3, 4)), digest(array.view(np.int8)), digest(array[::-1])]
    assert len(set(same)) == 1
    assert len({same[0], *others}) == 4
