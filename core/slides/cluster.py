"""Slides read by a Dask cluster: the chunks of their scans are its tasks, and their files the result.

Workers see slides, models and results under the same paths as here. Each holds one Reader and the slides it reads. A
task whose worker is lost is given to another; what is on disk is read by none again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.inference.reader import Reader, load_reader
from core.settings import ENGINES
from core.slides.batch import FAULTS, SCANS, WAITING, Batch, Outcome, Table, already_read, refused
from core.slides.scan import Scan
from core.slides.slide import A_PERSON, Slide

Chunk = tuple[int, int]
RETRIES = 3
"""Times that a task may fail before it says anything."""
QUEUED = 64
"""Chunks for each thread of the cluster that wait at its scheduler: more would only fill its memory."""


@dataclass
class Reading:
    """A slide that the cluster reads, or why it does not."""

    path: Path
    scan: Scan | None
    tasks: list[Any]
    refusal: Outcome | None = None

    def unfinished(self) -> int:
        """Tasks that still wait or run."""
        return sum(not task.done() for task in self.tasks)


def read_on_cluster(client: Any, batch: Batch) -> Generator[Outcome, None, None]:
    """Read slides on a cluster; each is told of when it is done, and so many are begun that no worker waits.

    A slide whose chunks cost worker after worker its life waits for the next start, with its reason.

    Args:
        client: of `dask.distributed`.
        batch: the slides.

    Raises:
        OutputError: the folder is full or read-only.
    """
    table = Table(batch)
    left = deque((yield from already_read(batch, table)))
    begun: deque[Reading] = deque()
    while left or begun:
        queued = QUEUED * max(1, sum(client.nthreads().values()))
        while left and (not begun or sum(one.unfinished() for one in begun) < queued):
            begun.append(_begin(client, left.popleft(), batch))
        one = begun.popleft()
        outcome = _finish(client, one, batch)
        table.tell(one.path, outcome)
        table.write()
        yield outcome


def _begin(client: Any, path: Path, batch: Batch) -> Reading:
    try:
        slide = batch.open(path)
        scan = Scan(slide, batch.reader, batch.out / SCANS, batch.stride)
    except FAULTS as error:
        return Reading(path, None, [], refused(path, error))
    scan.forget_holes()
    engine = batch.reader.engine.name
    told = slide.um_per_px[0] if slide.um_per_px and slide.told_by == A_PERSON else None
    facts = (
        *(slide.sha256(), str(batch.reader.stored.folder), engine if engine in ENGINES else "auto"),
        *(str(batch.out / SCANS), batch.stride, told),
    )
    tasks = [
        client.submit(read_chunk, str(path), chunk, *facts, retries=RETRIES, pure=False) for chunk in scan.missing()
    ]
    return Reading(path, scan, tasks)


def _finish(client: Any, one: Reading, batch: Batch) -> Outcome:
    from distributed.scheduler import KilledWorker

    if one.scan is None:
        assert one.refusal is not None
        return one.refusal
    try:
        said = next((words for words in client.gather(one.tasks) if words), "")
        if not said and one.scan.missing():
            said = f"Its workers read with another model, or not with {batch.reader.engine.name} as this machine does."
        return Outcome(one.path.name, WAITING, reason=said) if said else batch.finish(one.scan)
    except KilledWorker:
        return Outcome(one.path.name, WAITING, reason="Workers that read it were lost, one after another.")
    finally:
        one.scan.slide.close()


def read_chunk(
    path: str, chunk: Chunk, sha256: str, model: str, engine: str, scans: str, stride: int, um_per_px: float | None
) -> str:
    """On a worker: read one chunk and keep it; returns what a person should know, where it cannot be done."""
    try:
        _scan(path, sha256, model, engine, scans, stride, um_per_px).read_chunk(chunk)
    except FAULTS as error:
        return refused(Path(path), error).reason
    return ""


@lru_cache(maxsize=4)
def _scan(path: str, sha256: str, model: str, engine: str, scans: str, stride: int, um_per_px: float | None) -> Scan:
    slide = Slide.open(Path(path), um_per_px)
    slide.told_sha256(sha256)
    return Scan(slide, _reader(model, engine), Path(scans), stride)


@lru_cache(maxsize=1)
def _reader(model: str, engine: str) -> Reader:
    return load_reader(model, engine)
