"""A scan that goes on while nobody looks: a thread of the server, one scan at a time."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import OrderedDict
from pathlib import Path

from core.errors import NodeLensError
from core.slides.scan import Scan

log = logging.getLogger(__name__)

LOOK = 0.2
"""Seconds after which a job that waits for its turn asks whether it is still wanted."""
MOST_ENDED = 64
"""Jobs that are over and still remembered, for what they have to say."""

_turn = threading.Lock()
_jobs: OrderedDict[Path, ScanJob] = OrderedDict()
_guard = threading.Lock()


class ScanJob:
    """One scan in a thread of its own; its chunks are on disk as they are done. Once over, it holds no slide."""

    def __init__(self, scan: Scan) -> None:
        """Start, or wait for the scan before it."""
        self.done, self.total = 0, len(scan.chunks)
        self.waiting = True
        """Whether another scan has its turn."""
        self.error: NodeLensError | None = None
        self._began: tuple[float, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(scan,), name="scan", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether there is still something to wait for."""
        return self._thread.is_alive()

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None while that cannot be told."""
        if self._began is None or self.done <= self._began[1]:
            return None
        return (time.monotonic() - self._began[0]) / (self.done - self._began[1]) * (self.total - self.done)

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end, and has not yet."""
        return self.running and self._stop.is_set()

    def stop(self) -> None:
        """Ask for an end after the current chunk; what is done stays."""
        self._stop.set()

    def end(self) -> None:
        """Ask for an end and wait for it."""
        self.stop()
        self._thread.join()

    def _run(self, scan: Scan) -> None:
        while not _turn.acquire(timeout=LOOK):
            if self._stop.is_set():
                return
        try:
            self.waiting = False
            scan.run(self._stop.is_set, self._tell)
            scan.pack()
        except NodeLensError as error:
            log.warning("a scan ended: %s", error)
            self.error = error
        finally:
            _turn.release()

    def _tell(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if self._began is None:
            self._began = time.monotonic(), done


def job_of(scan: Scan) -> ScanJob | None:
    """The job that works on a scan, or did last."""
    with _guard:
        return _jobs.get(scan.folder)


def start(scan: Scan) -> ScanJob:
    """Work on a scan, if nobody does."""
    with _guard:
        job = _jobs.get(scan.folder)
        if job is None or not job.running:
            job = _jobs[scan.folder] = ScanJob(scan)
            _jobs.move_to_end(scan.folder)
            over = [folder for folder, one in _jobs.items() if not one.running]
            for folder in over[:-MOST_ENDED]:
                del _jobs[folder]
        return job


def drop(folder: Path) -> None:
    """End the jobs whose scans are kept in a folder, and forget them."""
    with _guard:
        dropped = [_jobs.pop(one) for one in list(_jobs) if one.parent == folder]
    _end(dropped)


def forget() -> None:
    """End every job after its current chunk, those that wait at once."""
    with _guard:
        dropped = list(_jobs.values())
        _jobs.clear()
    _end(dropped)


def _end(jobs: list[ScanJob]) -> None:
    for job in jobs:
        job.stop()
    for job in jobs:
        job.end()


atexit.register(forget)
