"""Slides read by a Dask cluster: the chunks of their scans are its tasks, and their files the result.

Workers see slides, models and results under the same paths as here. Each holds one Reader and the slides it reads. A
task whose worker is lost is given to another; what is on disk is read by none again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import NodeLensError
from core.inference.reader import Reader, load_reader
from core.slides.batch import SCANS, Draw, Outcome, refused, write_outcome, write_table
from core.slides.scan import Scan
from core.slides.slide import Slide

Chunk = tuple[int, int]
RETRIES = 3
"""Times that a task may fail by the machine's fault."""


def read_on_cluster(
    client: Any,
    paths: Iterable[Path],
    reader: Reader,
    out: Path,
    draw: Draw,
    *,
    stride: int,
    um_per_px: float | None = None,
) -> Iterator[Outcome]:
    """Read slides on a cluster; all their chunks are in its queue at once, and each slide is told of when it is done.

    Args:
        client: of `dask.distributed`.
        paths, reader, out, draw, stride, um_per_px: see `core.slides.batch.read_slides`.
    """
    waiting: list[tuple[Path, Scan | None, list[Any], str]] = []
    facts = (str(reader.stored.folder), str(out / SCANS), stride, um_per_px)
    for path in paths:
        try:
            slide = Slide.open(path, um_per_px)
            scan = Scan(slide, reader, out / SCANS, stride)
        except NodeLensError as error:
            waiting.append((path, None, [], str(error)))
            continue
        tasks = [
            client.submit(read_chunk, str(path), chunk, *facts, retries=RETRIES, pure=False) for chunk in scan.missing()
        ]
        waiting.append((path, scan, tasks, ""))
    outcomes = []
    for path, opened, tasks, reason in waiting:
        if opened is None:
            outcomes.append(refused(path, reason))
        else:
            client.gather(tasks)
            outcomes.append(write_outcome(opened, out, draw))
            opened.slide.close()
        write_table(outcomes, out)
        yield outcomes[-1]


def read_chunk(path: str, chunk: Chunk, model: str, scans: str, stride: int, um_per_px: float | None) -> None:
    """On a worker: read one chunk and keep it."""
    scan = _scan(path, model, scans, stride, um_per_px)
    scan.read_chunk(chunk)


@lru_cache(maxsize=4)
def _scan(path: str, model: str, scans: str, stride: int, um_per_px: float | None) -> Scan:
    return Scan(Slide.open(Path(path), um_per_px), _reader(model), Path(scans), stride)


@lru_cache(maxsize=1)
def _reader(model: str) -> Reader:
    return load_reader(model)
