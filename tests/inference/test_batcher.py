"""Many callers, one processor: order, batching, refusal, errors and interruption, with a forward that can be held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.errors import BusyError
from core.inference import batcher
from core.inference.batcher import COMPUTE_LOCK, MicroBatcher

ROOT = Path(__file__).resolve().parents[2]
WAIT = 20
"""Seconds after which a test that hangs fails; nothing is judged by time."""


class Forward:
    """A forward whose rows tell what they came from; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered, self.go = threading.Event(), threading.Event()
        self.raises: dict[int, BaseException] = {}

    def __call__(self, patches):
        values = [int(patch[0, 0, 0]) for patch in patches]
        self.batches.append(values)
        self.entered.set()
        assert self.go.wait(WAIT)
        for value in values:
            if value in self.raises:
                raise self.raises.pop(value)
        return rows(values)


def rows(values):
    logits = np.array(values, np.float32)[:, None] + np.float32([0, 0.5])
    return np.tile(logits[:, :1, None, None], (1, 2, 3, 3)), logits


def patches(*values: int):
    return np.tile(np.array(values, np.uint8)[:, None, None, None], (1, 96, 96, 3))


def waiting(shared: MicroBatcher, count: int) -> None:
    """Return when so many requests wait; callers have no other sign to give."""
    ticks = threading.Event()
    for _ in range(WAIT * 100):
        if len(shared._waiting) == count:
            return
        ticks.wait(0.01)
    pytest.fail(f"{len(shared._waiting)} requests wait, not {count}")


class Held:
    """A shared forward inside its first call, with callers that queue up behind it one by one."""

    def __init__(self, batch: int) -> None:
        self.forward = Forward()
        self.shared = MicroBatcher(self.forward, batch)
        self.pool = ThreadPoolExecutor(32)
        self.first = self.pool.submit(self.shared, patches(0))
        assert self.forward.entered.wait(WAIT)

    def queue(self, *values: int) -> Future:
        before = len(self.shared._waiting)
        future = self.pool.submit(self.shared, patches(*values))
        waiting(self.shared, before + 1)
        return future

    def release(self) -> None:
        self.forward.go.set()


@pytest.fixture
def hold() -> Iterator[Callable[[int], Held]]:
    made: list[Held] = []

    def make(batch: int = 32) -> Held:
        made.append(Held(batch))
        return made[-1]

    yield make
    for held in made:
        held.release()
        held.pool.shutdown()


def assert_rows(future: Future, *values: int) -> None:
    maps, logits = future.result(WAIT)
    np.testing.assert_array_equal(maps, rows(values)[0])
    np.testing.assert_array_equal(logits, rows(values)[1])


def test_who_waits_is_served_together_and_each_gets_their_own_rows(hold):
    held = hold(32)
    one, two, three = held.queue(1, 2), held.queue(3), held.queue(4, 5, 6)
    held.release()
    assert_rows(held.first, 0)
    assert_rows(one, 1, 2)
    assert_rows(two, 3)
    assert_rows(three, 4, 5, 6)
    assert held.forward.batches == [[0], [1, 2, 3, 4, 5, 6]]


def test_first_come_first_served_in_batches_that_fit(hold):
    held = hold(4)
    futures = [held.queue(1, 2), held.queue(3, 4, 5), held.queue(6), held.queue(7), held.queue(*range(8, 14))]
    held.release()
    for future in futures:
        future.result(WAIT)
    # A small one does not overtake a large one that came before it, and one larger than a batch goes alone.
    assert held.forward.batches == [[0], [1, 2], [3, 4, 5, 6], [7], [8, 9, 10, 11, 12, 13]]


def test_too_many_are_turned_away_and_come_back_later(hold, monkeypatch):
    monkeypatch.setattr(batcher, "MOST_WAITING", 4)
    held = hold(2)
    kept = [held.queue(1, 2), held.queue(3, 4)]
    with pytest.raises(BusyError):
        held.shared(patches(5))
    assert len(held.shared._waiting) == 2
    held.release()
    assert_rows(kept[0], 1, 2)
    assert_rows(kept[1], 3, 4)
    np.testing.assert_array_equal(held.shared(patches(5))[1], rows([5])[1])
    assert [5] in held.forward.batches


def test_a_request_above_the_limit_is_served_when_nobody_waits(monkeypatch):
    monkeypatch.setattr(batcher, "MOST_WAITING", 2)
    forward = Forward()
    forward.go.set()
    np.testing.assert_array_equal(MicroBatcher(forward, 2)(patches(1, 2, 3))[1], rows([1, 2, 3])[1])


def test_an_error_is_told_to_everybody_in_that_batch_and_to_nobody_else(hold):
    held = hold(3)
    held.forward.raises[2] = RuntimeError("out of memory")
    good, hit, also_hit, after = held.queue(1, 9, 10), held.queue(2), held.queue(3, 4), held.queue(5)
    held.release()
    assert_rows(held.first, 0)
    assert_rows(good, 1, 9, 10)
    for future in (hit, also_hit):
        with pytest.raises(RuntimeError, match="out of memory"):
            future.result(WAIT)
    assert_rows(after, 5)
    assert held.forward.batches == [[0], [1, 9, 10], [2, 3, 4], [5]]


class Interrupted(BaseException):
    """Not an Exception: what stops a script's thread."""


def test_when_the_caller_whose_turn_it_is_is_interrupted_the_others_are_served(hold):
    held = hold(32)
    held.forward.raises[0] = Interrupted()
    others = [held.queue(1), held.queue(2, 3)]
    held.release()
    with pytest.raises(Interrupted):
        held.first.result(WAIT)
    assert_rows(others[0], 1)
    assert_rows(others[1], 2, 3)
    assert [value for batch in held.forward.batches[1:] for value in batch] == [1, 2, 3]
    assert not held.shared._waiting


def test_an_interrupted_caller_gives_back_the_requests_of_others_in_order(hold):
    """Whoever of the batch is interrupted, the rest of it is served, in the order in which it came."""
    held = hold(32)
    futures = {value: held.queue(value) for value in (1, 2, 3)}
    held.forward.raises[2] = Interrupted()
    held.release()
    outcomes = {value: future.exception(WAIT) for value, future in futures.items()}
    lost = [value for value, error in outcomes.items() if isinstance(error, Interrupted)]
    assert len(lost) == 1  # the one who computed
    for value in set(futures) - set(lost):
        assert_rows(futures[value], value)
    assert held.forward.batches[:2] == [[0], [1, 2, 3]]
    served = [value for batch in held.forward.batches[2:] for value in batch]
    assert served == [value for value in (1, 2, 3) if value not in lost]


def test_sixteen_threads_get_what_one_would():
    draw = np.random.default_rng(5)
    jobs = [[draw.integers(0, 256, draw.integers(1, 12)).tolist() for _ in range(40)] for _ in range(16)]
    forward = Forward()
    forward.go.set()
    shared = MicroBatcher(forward, 8)
    start = threading.Barrier(len(jobs))

    def reader(mine):
        start.wait(WAIT)
        return [shared(patches(*values)) for values in mine]

    with ThreadPoolExecutor(len(jobs)) as pool:
        results = list(pool.map(reader, jobs))
    for mine, got in zip(jobs, results, strict=True):
        for values, (maps, logits) in zip(mine, got, strict=True):
            np.testing.assert_array_equal(maps, rows(values)[0])
            np.testing.assert_array_equal(logits, rows(values)[1])
    computed = sum(len(batch) for batch in forward.batches)
    assert computed == sum(len(values) for mine in jobs for values in mine)


def test_two_engines_never_compute_at_once(hold):
    held, other = hold(32), Forward()
    other.go.set()
    shared = MicroBatcher(other, 32)
    second = held.pool.submit(shared, patches(7))
    waiting(shared, 1)
    assert not COMPUTE_LOCK.acquire(blocking=False)
    # Time enough for the second to compute, if it did not wait for its turn.
    assert not other.entered.wait(0.2)
    held.release()
    assert_rows(second, 7)
    assert COMPUTE_LOCK.acquire(timeout=WAIT)
    COMPUTE_LOCK.release()


def test_a_page_that_is_turned_away_says_so_and_works_again_afterwards(monkeypatch, shipped_reader):
    """The sentence stands on the page, without a traceback, and nothing of it is kept."""
    from core import service

    monkeypatch.setattr(service, "load_reader", lambda name: shipped_reader)
    service.forget()
    at = AppTest.from_file(ROOT / "app.py", default_timeout=120).run()
    assert 'data-testid="verdict"' in "".join(html.value for html in at.html)

    shared = shipped_reader.engine._forward
    blocked = batcher._Request(patches(1))
    with monkeypatch.context() as full:
        full.setattr(batcher, "MOST_WAITING", 1)
        shared._waiting.append(blocked)
        del at.session_state["in_frame"]  # AppTest forgets `st.navigation` and runs the page itself: start over
        at.number_input(key="patch").set_value(3).run()
        shared._waiting.remove(blocked)
    assert [error.value for error in at.error] == [str(BusyError())]
    assert not at.exception
    html = "".join(html.value for html in at.html)
    assert 'data-testid="verdict"' not in html
    assert "nl-foot" in html

    del at.session_state["in_frame"]
    at.run()
    assert not at.error
    assert 'data-testid="verdict"' in "".join(html.value for html in at.html)
    service.forget()
