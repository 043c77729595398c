"""Many slides, one after another or at once: each is a folder of results, or a sentence that says why not."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image

from core.data.tables import csv_text
from core.errors import NodeLensError, OutputError, SlideError
from core.files import write_text
from core.inference.reader import Reader
from core.slides.areas import areas_of, cut_of
from core.slides.export import AREAS, GEOJSON, HEATMAP, OVERVIEW, RECORD, cell_of, write_scan
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.task import STRIDE

TABLE = "slides.csv"
"""In the folder of all results: a row for each slide."""
SCANS = "scans"
"""Beside it: the chunks of scans, from which a later start goes on."""
ENDINGS = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".dcm", ".tif", ".tiff", ".jpg", ".jpeg", ".png")
Draw = Callable[[Scan], Image.Image]
READ, WITH_HOLES, REFUSED, WAITING = "read", "read with holes", "refused", "waiting"
SERIES = re.compile(rb"\x20\x00\x0e\x00UI..([0-9.]+)", re.DOTALL)
"""SeriesInstanceUID of a DICOM file: those of one slide share it."""
HEAD = 2**16
"""Bytes of a DICOM file within which it stands."""


@dataclass(frozen=True)
class Outcome:
    """What became of one slide; `folder` is the name of the folder of its results."""

    slide: str
    status: str
    tissue_mm2: float = 0.0
    areas: int = 0
    reason: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Batch:
    """Slides to be read in one way.

    Attributes:
        paths: of the slides.
        reader: that reads them all; threads share it.
        out: folder of all results.
        draw: makes the overview picture of a scan.
        stride: pixels between cells.
        um_per_px: of level 0, where a person says so.
    """

    paths: Sequence[Path]
    reader: Reader
    out: Path
    draw: Draw
    stride: int = STRIDE
    um_per_px: float | None = None

    def folders(self) -> dict[Path, Path]:
        """Where each slide's results go: a folder of its name without the ending.

        Where two would share one, both have their whole names and a hash of where they lie.
        """
        names = Counter(path.stem.casefold() for path in self.paths)
        names[SCANS] += 1
        found = {}
        for path in self.paths:
            mark = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]
            found[path] = self.out / (path.stem if names[path.stem.casefold()] == 1 else f"{path.name}-{mark}")
        return found

    def receipt(self, path: Path) -> Path:
        """A file that says what became of a slide that was read whole, as it now is and by this model."""
        here, reader = path.stat(), self.reader
        facts = (
            *(str(path.resolve()), here.st_size, here.st_mtime_ns),
            *(reader.model.graph_key, reader.engine.name, repr(reader.model.point(1))),
            *(self.stride, self.um_per_px, repr(cut_of(reader.model, self.stride))),
        )
        return self.out / SCANS / "read" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.json"

    def known(self, path: Path, folder: Path) -> Outcome | None:
        """What became of a slide that was read before, where all that was written of it is still there."""
        try:
            told = Outcome(**json.loads(self.receipt(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        files = (HEATMAP, AREAS, GEOJSON, RECORD, OVERVIEW)
        return told if told.folder == folder.name and all((folder / name).is_file() for name in files) else None

    def finish(self, scan: Scan, folder: Path) -> Outcome:
        """Write what a scan has found into a folder, and say what became of the slide."""
        slide, threshold = scan.slide, cut_of(scan.reader.model, scan.grid.stride).threshold
        assert slide.um_per_px is not None
        found = areas_of(scan.probability(), threshold, cell_of(scan), slide.um_per_px)
        areas = [replace(area, unlike=scan.unlike(*area.members)) for area in found]
        write_scan(scan, areas, folder, threshold, self.draw(scan))
        holes = scan.holes()
        mm2 = float(scan.wanted.sum()) * (scan.grid.stride * scan.grid.um_per_px / 1000) ** 2
        status = WITH_HOLES if holes else READ
        outcome = Outcome(slide.path.name, status, mm2, len(areas), "; ".join(holes.values()), folder.name)
        if not holes:  # which are tried again at the next start
            scan.pack()
            write_text(self.receipt(slide.path), json.dumps(asdict(outcome)) + "\n")
        return outcome


class Table:
    """TABLE on disk: a row for each slide, which waits until something becomes of it."""

    def __init__(self, batch: Batch) -> None:
        """All slides wait."""
        self._path = batch.out / TABLE
        self._rows = {path: Outcome(path.name, WAITING) for path in batch.paths}

    def tell(self, path: Path, outcome: Outcome) -> None:
        """Put down what became of a slide."""
        self._rows[path] = outcome

    def write(self) -> None:
        """As it now is."""
        write_text(self._path, csv_text([asdict(one) for one in self._rows.values()]))


def slides_in(inputs: Iterable[Path]) -> list[Path]:
    """Slides by path: files as they are named, those of a folder, and those that a text file lists, a line each.

    Raises:
        SlideError: there is no such file, or no slide in a folder.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in ENDINGS and one.is_file())
            if not inside:
                raise SlideError(path, "the folder holds no slides")
            found += one_of_each_series(inside)
        elif path.suffix == ".txt" and path.is_file():
            found += [path.parent / line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        elif path.is_file():
            found.append(path)
        else:
            raise SlideError(path, "there is no such file")
    return list(dict.fromkeys(found))


def one_of_each_series(paths: Iterable[Path]) -> list[Path]:
    """Without the other files of slides that DICOM keeps in several, a level each."""
    found: dict[object, Path] = {}
    for path in paths:
        series = None
        if path.suffix.lower() == ".dcm":
            with path.open("rb") as file:
                series = SERIES.search(file.read(HEAD))
        found.setdefault(series.group(1) if series else path, path)
    return list(found.values())


def read_slide(
    path: Path,
    batch: Batch,
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Outcome:
    """Read one slide of a batch into a folder, and say what became of it.

    Whatever is wrong with the slide is a reason in words, and no error.

    Raises:
        OutputError: the folder is full or read-only.
    """
    if stop():
        return Outcome(path.name, WAITING)
    try:
        with Slide.open(path, batch.um_per_px) as slide:
            scan = Scan(slide, batch.reader, batch.out / SCANS, batch.stride)
            scan.forget_holes()
            scan.run(stop, lambda done, total: tell(done, total))
            return Outcome(path.name, WAITING) if scan.missing() else batch.finish(scan, folder)
    except OutputError:
        raise
    except NodeLensError as error:
        return Outcome(path.name, REFUSED, reason=str(error))


def read_slides(batch: Batch, workers: int = 1) -> Generator[Outcome, None, None]:
    """Read slides in threads of this process; each is told of when it is done, the table kept after each.

    Slides that were read whole before are told of first, and not looked at again.

    Args:
        batch: the slides.
        workers: slides at a time. The network computes for one at a time on all cores; meanwhile the others' tissue is
            fetched, masked and written.

    Raises:
        OutputError: the folder is full or read-only.
    """
    table, folders = Table(batch), batch.folders()
    left = yield from already_read(batch, table)
    over = threading.Event()
    with ThreadPoolExecutor(workers, "slides") as pool:
        try:
            at_work = {pool.submit(read_slide, path, batch, folders[path], stop=over.is_set): path for path in left}
            for one in as_completed(at_work):
                outcome = one.result()
                table.tell(at_work[one], outcome)
                table.write()
                yield outcome
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)


def already_read(batch: Batch, table: Table) -> Generator[Outcome, None, list[Path]]:
    """Tell of slides that were read before, and write the table; returns those that were not."""
    folders = batch.folders()
    known = {path: batch.known(path, folders[path]) for path in batch.paths}
    for path, outcome in known.items():
        if outcome:
            table.tell(path, outcome)
    table.write()
    yield from (outcome for outcome in known.values() if outcome)
    return [path for path, outcome in known.items() if not outcome]
