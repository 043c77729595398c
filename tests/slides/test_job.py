"""Jobs: one reads, the others wait and can be called off; none holds a slide longer than it reads it."""

import gc
import threading
import weakref
from pathlib import Path

import pytest

from core.errors import OutputError
from core.slides import job


class Slow:
    """A scan that reads until it is let go."""

    def __init__(self, name):
        self.folder, self.chunks = Path("scans") / name, [1, 2]
        self.started, self.free, self.packed = threading.Event(), threading.Event(), threading.Event()

    def run(self, stop, tell):
        self.started.set()
        while not (stop() or self.free.wait(0.01)):
            tell(1, 2)

    def pack(self):
        self.packed.set()


@pytest.fixture(autouse=True)
def _forget():
    yield
    job.forget()


def test_a_job_that_waits_ends_when_it_is_called_off():
    first, second = Slow("a"), Slow("b")
    reading = job.start(first)
    assert first.started.wait(5)
    waiting = job.start(second)
    assert waiting.waiting
    assert job.start(second) is waiting
    waiting.end()
    assert not waiting.running
    assert not second.started.is_set()
    assert reading.running
    reading.stop()
    reading.end()
    assert not reading.stopping
    assert job.start(second) is not waiting


def test_all_end_together_whoever_waits():
    scans = [Slow(name) for name in "abc"]
    jobs = [job.start(scan) for scan in scans]
    assert scans[0].started.wait(5)
    job.forget()
    assert not any(one.running for one in jobs)
    assert job.job_of(scans[0]) is None


def test_a_job_that_is_over_is_packed_and_holds_no_scan(monkeypatch):
    monkeypatch.setattr(job, "MOST_ENDED", 2)
    gone = []
    for name in "abcd":
        scan = Slow(name)
        scan.free.set()
        job.start(scan).end()
        assert scan.packed.is_set()
        gone.append(weakref.ref(scan))
        del scan
    gc.collect()
    assert [one() for one in gone] == [None] * 4
    assert len(job._jobs) <= 3


def test_what_goes_wrong_is_kept_to_be_said(monkeypatch):
    scan = Slow("a")
    scan.free.set()
    monkeypatch.setattr(scan, "pack", lambda: (_ for _ in ()).throw(OutputError(Path("x"), "no space left")))
    ended = job.start(scan)
    ended.end()
    assert "no space left" in str(ended.error)
