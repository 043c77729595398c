"""Many slides, one after another or at once: each is a folder of results, or a sentence that says why not."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from core.data.intake import DAMAGE
from core.data.tables import csv_text
from core.errors import NodeLensError, OutputError, SlideError
from core.files import write_text
from core.inference.reader import Reader
from core.slides.areas import ASKED_AREAS, areas_of, cut_of
from core.slides.export import AREAS, GEOJSON, HEATMAP, OVERVIEW, PICTURE, RECORD, cell_of, path_hash, write_scan
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.task import STRIDE

TABLE = "slides.csv"
"""In the folder of all results: a row for each slide."""
SCANS = "scans"
"""Beside it: the chunks of scans, from which a later start goes on."""
ENDINGS = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".dcm", ".tif", ".tiff", ".jpg", ".jpeg", ".png")
log = logging.getLogger(__name__)

Draw = Callable[[Scan], Image.Image]
FAULTS = (NodeLensError, *DAMAGE)
"""What may be wrong with one slide and keeps no other from being read."""
UNFORESEEN = "It could not be read for a reason that nobody foresaw; the log has it."
READ, WITH_HOLES, REFUSED, WAITING = "read", "read with holes", "refused", "waiting"
SERIES = re.compile(rb"\x20\x00\x0e\x00UI..([0-9.]+)", re.DOTALL)
"""SeriesInstanceUID of a DICOM file: those of one slide share it."""
HEAD = 2**16
"""Bytes of a DICOM file within which it stands."""


@dataclass(frozen=True)
class Outcome:
    """What became of one slide.

    Attributes:
        slide: the file's name.
        status: READ, WITH_HOLES, REFUSED or WAITING.
        tissue_mm2: area of its tissue; None where it was not read.
        areas: number of areas; None where it was not read.
        reason: why it was not read, or not whole.
        folder: name of the folder of its results.
        um_per_px, um_per_px_by: of level 0 across, and who said so.
        model, stride: that it was read by and at.
        unlike_training_tissue: share of its tissue that is; None where that was not asked.
    """

    slide: str
    status: str
    tissue_mm2: float | None = None
    areas: int | None = None
    reason: str = ""
    folder: str = ""
    um_per_px: float | None = None
    um_per_px_by: str = ""
    model: str = ""
    stride: int | None = None
    unlike_training_tissue: float | None = None


@dataclass(frozen=True)
class Batch:
    """Slides to be read in one way.

    Attributes:
        paths: of the slides.
        reader: that reads them all; threads share it.
        out: folder of all results.
        draw: makes the overview picture of a scan.
        stride: pixels between cells.
        um_per_px: of level 0 of slides whose files do not say it.
        override: let it stand above what files say, too.
    """

    paths: Sequence[Path]
    reader: Reader
    out: Path
    draw: Draw
    stride: int = STRIDE
    um_per_px: float | None = None
    override: bool = False

    def open(self, path: Path) -> Slide:
        """Open one of the slides, at the pixel size that it is to be read with; see `Slide.open`."""
        slide = Slide.open(path, self.um_per_px if self.override else None)
        if slide.um_per_px is None and self.um_per_px is not None:
            slide.close()
            return Slide.open(path, self.um_per_px)
        return slide

    @cached_property
    def folders(self) -> dict[Path, Path]:
        """Where each slide's results go: a folder of its name without the ending.

        Where two would share one, or another slide's results lie there, they have their whole names and a hash of where
        they lie.
        """
        names = Counter(path.stem.casefold() for path in self.paths)
        names[SCANS] += 1
        found = {}
        for path in self.paths:
            folder, mark = self.out / path.stem, path_hash(path)
            alone = names[path.stem.casefold()] == 1 and _holds(folder) in ("", mark)
            found[path] = folder if alone else self.out / f"{path.name}-{mark}"
        return found

    def receipt(self, path: Path) -> Path:
        """A file that says what became of a slide that was read whole, as it now is and by this model."""
        model, engine = self.reader.model, self.reader.engine.name
        facts = (
            *(str(path.resolve()), [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in files_of(path)]),
            *(model.graph_key, engine, repr(model.point(1)), repr(model.ood)),
            *(self.stride, self.um_per_px, self.override, repr(cut_of(model, self.stride))),
        )
        return self.out / SCANS / "read" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.json"

    def known(self, path: Path) -> Outcome | None:
        """What became of a slide that was read before, where all that was written of it is still there."""
        folder = self.folders[path]
        try:
            record = (folder / RECORD).read_bytes()
            told = json.loads(self.receipt(path).read_text(encoding="utf-8"))
            outcome = Outcome(**told["outcome"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        ours = told["record"] == hashlib.sha256(record).hexdigest()  # else another model, stride or size came after it
        files = (HEATMAP, PICTURE, AREAS, GEOJSON, OVERVIEW)
        return outcome if ours and all((folder / name).is_file() for name in files) else None

    def finish(self, scan: Scan) -> Outcome:
        """Write what a scan has found into its folder, and say what became of the slide.

        Raises:
            OutputError: the folder is full or read-only.
        """
        try:
            return self._finish(scan)
        except OutputError:
            raise
        except FAULTS as error:
            return refused(scan.slide.path, error)

    def _finish(self, scan: Scan) -> Outcome:
        slide, threshold = scan.slide, cut_of(scan.reader.model, scan.grid.stride).threshold
        folder = self.folders[slide.path]
        assert slide.um_per_px is not None
        found = areas_of(scan.probability(), threshold, cell_of(scan), slide.um_per_px, scan.grid.finer)
        areas = [replace(area, unlike=scan.unlike(*area.members)) for area in found[:ASKED_AREAS]] + found[ASKED_AREAS:]
        write_scan(scan, areas, folder, threshold, self.draw(scan))
        holes = scan.holes()
        share = scan.unlike_tissue()
        outcome = Outcome(
            *(slide.path.name, WITH_HOLES if holes else READ, scan.tissue_mm2, len(areas)),
            *("; ".join(holes.values()), folder.name, slide.um_per_px[0], slide.told_by),
            *(scan.reader.model.identity, scan.grid.stride, None if math.isnan(share) else share),
        )
        if not holes:  # which are tried again at the next start
            scan.pack()
            receipt = {
                "outcome": asdict(outcome),
                "record": hashlib.sha256((folder / RECORD).read_bytes()).hexdigest(),
            }
            write_text(self.receipt(slide.path), json.dumps(receipt) + "\n")
        return outcome


class Table:
    """TABLE on disk: a row for each slide, which waits until something becomes of it; and those of earlier commands."""

    def __init__(self, batch: Batch) -> None:
        """All slides wait."""
        self._path = batch.out / TABLE
        self._rows = {path: Outcome(path.name, WAITING) for path in batch.paths}
        folders, names = {folder.name for folder in batch.folders.values()}, {path.name for path in batch.paths}
        self._others = [
            row
            for row in _rows_of(self._path)
            if (row["folder"] not in folders if row["folder"] else row["slide"] not in names)
        ]

    def tell(self, path: Path, outcome: Outcome) -> None:
        """Put down what became of a slide."""
        self._rows[path] = outcome

    def write(self) -> None:
        """As it now is."""
        write_text(self._path, csv_text([*self._others, *(asdict(one) for one in self._rows.values())]))


def _rows_of(path: Path) -> list[dict[str, str]]:
    """What a table holds; nothing, where it is none of these."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []
    columns = [field.name for field in fields(Outcome)]
    return [row for row in rows if list(row) == columns and None not in row.values()]


def _holds(folder: Path) -> str:
    """Which slide's results lie in a folder, by `path_hash`; '' where none do that say so."""
    try:
        return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["slide"]["path_hash"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def files_of(path: Path) -> list[Path]:
    """The files that a slide may consist of: its own, and of formats of several what lies where theirs do."""
    beside = {".mrxs": path.with_suffix(""), ".vms": path.parent, ".dcm": path.parent}.get(path.suffix.lower())
    inside = beside.iterdir() if beside is not None and beside.is_dir() else ()
    return [path, *sorted(one for one in inside if one.is_file())]


def slides_in(inputs: Iterable[Path]) -> list[Path]:
    """Slides by path: files as they are named, those of a folder, and those that a text file lists, a line each.

    Of a folder's folders only DICOM is taken, which often has one for each slide.

    Raises:
        SlideError: there is no such file, or no slide in a folder.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in ENDINGS and one.is_file())
            inside += sorted(one for one in path.glob("*/*") if one.suffix.lower() == ".dcm" and one.is_file())
            if any(one.suffix.lower() == ".vms" for one in inside):  # whose pixels, macro and label are JPEGs
                inside = [one for one in inside if one.suffix.lower() not in (".jpg", ".jpeg")]
            if not inside:
                raise SlideError(path, "the folder holds no slides")
            found += one_of_each_series(inside)
        elif path.suffix == ".txt" and path.is_file():
            found += [path.parent / line for line in _lines(path)]
        elif path.is_file():
            found.append(path)
        else:
            raise SlideError(path, "there is no such file")
    return list(dict.fromkeys(found))


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SlideError(path, "a list of slides is text in UTF-8, a path a line") from error
    return [line.strip() for line in lines if line.strip()]


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


def read_slide(path: Path, batch: Batch, *, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Read one slide of a batch, and say what became of it.

    Whatever is wrong with the slide is a reason in words, and no error: it keeps no other from being read.

    Raises:
        OutputError: the folder is full or read-only.
    """
    if stop():
        return Outcome(path.name, WAITING)
    try:
        with batch.open(path) as slide:
            scan = Scan(slide, batch.reader, batch.out / SCANS, batch.stride)
            scan.forget_holes()
            scan.run(stop)
            return Outcome(path.name, WAITING) if scan.missing() else batch.finish(scan)
    except OutputError:
        raise
    except FAULTS as error:
        return refused(path, error)


def refused(path: Path, error: Exception) -> Outcome:
    """Why a slide was not read; what nobody foresaw goes to the log."""
    if isinstance(error, NodeLensError):
        return Outcome(path.name, REFUSED, reason=str(error))
    log.error("a slide could not be read", exc_info=error)
    return Outcome(path.name, REFUSED, reason=UNFORESEEN)


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
    table = Table(batch)
    left = yield from already_read(batch, table)
    over = threading.Event()
    with ThreadPoolExecutor(workers, "slides") as pool:
        try:
            at_work = {pool.submit(read_slide, path, batch, stop=over.is_set): path for path in left}
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
    known = {path: batch.known(path) for path in batch.paths}
    for path, outcome in known.items():
        if outcome:
            table.tell(path, outcome)
    table.write()
    yield from (outcome for outcome in known.values() if outcome)
    return [path for path, outcome in known.items() if not outcome]
