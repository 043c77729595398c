"""Many slides, one after another or at once: each is a folder of results, or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from PIL import Image

from core.errors import NodeLensError, SlideError
from core.files import write_text
from core.inference.reader import Reader
from core.slides.areas import areas_of, cut_of
from core.slides.export import cell_of, write_scan
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.task import STRIDE

TABLE = "slides.csv"
"""In the folder of all results: a row for each slide."""
SCANS = "scans"
"""Beside it: the chunks of scans, from which a later start goes on."""
ENDINGS = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".dcm", ".tif", ".tiff", ".jpg", ".jpeg", ".png")
Draw = Callable[[Scan], Image.Image]
READ, WITH_HOLES, REFUSED = "read", "read with holes", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of one slide."""

    slide: str
    status: str
    tissue_mm2: float
    areas: int
    reason: str = ""


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
            found += inside
        elif path.suffix == ".txt" and path.is_file():
            found += [path.parent / line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        elif path.is_file():
            found.append(path)
        else:
            raise SlideError(path, "there is no such file")
    return list(dict.fromkeys(found))


def read_slide(
    path: Path,
    reader: Reader,
    out: Path,
    draw: Draw,
    *,
    stride: int = STRIDE,
    um_per_px: float | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Outcome:
    """Read one slide into `out`/NAME, its name without the ending, and say what became of it.

    `draw` makes the overview picture. Whatever is wrong with the slide is a reason in words, and no error.
    """
    try:
        with Slide.open(path, um_per_px) as slide:
            scan = Scan(slide, reader, out / SCANS, stride)
            scan.run(tell=lambda done, total: tell(done, total))
            return write_outcome(scan, out, draw)
    except NodeLensError as error:
        return refused(path, str(error))


def write_outcome(scan: Scan, out: Path, draw: Draw) -> Outcome:
    """Write what a scan has found into a folder of the slide's name, and say what became of it."""
    slide, threshold = scan.slide, cut_of(scan.reader.model, scan.grid.stride).threshold
    assert slide.um_per_px is not None
    found = areas_of(scan.probability(), threshold, cell_of(scan), slide.um_per_px)
    areas = [replace(area, unlike=scan.unlike(*area.members)) for area in found]
    write_scan(scan, areas, out / slide.path.stem, threshold, draw(scan))
    holes = scan.holes()
    mm2 = float(scan.wanted.sum()) * (scan.grid.stride * scan.grid.um_per_px / 1000) ** 2
    return Outcome(slide.path.name, WITH_HOLES if holes else READ, mm2, len(areas), "; ".join(holes.values()))


def refused(path: Path, reason: str) -> Outcome:
    """Of a slide that could not be read."""
    return Outcome(path.name, REFUSED, 0.0, 0, reason)


def write_table(outcomes: Iterable[Outcome], out: Path) -> None:
    """TABLE of what became of each slide."""
    rows = [asdict(one) for one in outcomes]
    write_text(out / TABLE, pd.DataFrame(rows, columns=list(Outcome.__dataclass_fields__)).to_csv(index=False))


def read_slides(
    paths: Iterable[Path],
    reader: Reader,
    out: Path,
    draw: Draw,
    *,
    stride: int = STRIDE,
    um_per_px: float | None = None,
) -> Iterator[Outcome]:
    """Read slides one after another, the table kept after each."""
    outcomes: list[Outcome] = []
    for path in paths:
        outcomes.append(read_slide(path, reader, out, draw, stride=stride, um_per_px=um_per_px))
        write_table(outcomes, out)
        yield outcomes[-1]
