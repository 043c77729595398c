"""A scan: every cell of a slide's tissue read, chunk by chunk, each kept on disk when it is done.

A scan is named by slide, model, stride and tissue, so that the same command goes on where it was stopped, at whatever
moment that was, and several processes may work on one: each claims the chunks that it reads, and one that two of them
read all the same is written twice with the same numbers. A chunk that cannot be read is a hole with a sentence, and
stops nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.data.flags import UNLIKE
from core.errors import SlideError
from core.files import atomic_path, write_text
from core.inference.reader import Reader
from core.slides.claims import claim, release
from core.slides.slide import Slide
from core.slides.tissue import UM_PER_PX, in_cells, tissue_mask
from core.task import STRIDE

Logits = NDArray[np.float32]
CHUNK_PX = 512
"""Pixels along a chunk, less what is no whole cell: 16 cells of stride 32. Of a finer map, read in one pass, a chunk
costs no more."""
LEAST_TISSUE = 0.05
"""Share of a cell that must be tissue for it to be read."""
ASKED = 32
"""Cells of an area whose patches are asked how familiar they are."""
AHEAD = 2
"""Chunks whose tissue is fetched while another is read."""
LOOKS = 256
"""Patches of the first look at most: seconds, whatever the slide's size."""
DONE, HOLE, CLAIM = ".npy", ".txt", ".claim"
WAIT = 0.2
"""Seconds between two looks at what other processes still read."""
WHOLE = "whole.npy"
"""All logits of a scan that is done, in the place of its chunks: a thousand slides are not a million files."""


class Tell(Protocol):
    """Told chunks done and chunks in all."""

    def __call__(self, done: int, total: int) -> None:
        """As they are done."""
        ...


@dataclass(frozen=True)
class Grid:
    """The cells of a scan: cell (row, column) is `stride` px of `um_per_px`, its patch lies about its middle.

    Attributes:
        rows, columns: of cells.
        stride: pixels from one cell to the next.
        side: of a patch in pixels.
        um_per_px: of those pixels.
    """

    rows: int
    columns: int
    stride: int
    side: int
    um_per_px: float

    @property
    def finer(self) -> int:
        """Cells along one of the task's usual stride, see `core.slides.areas.numbered`."""
        return max(1, STRIDE // self.stride)

    @property
    def chunk(self) -> int:
        """Cells along a chunk."""
        return CHUNK_PX // self.stride

    def chunks(self) -> list[tuple[int, int]]:
        """First row and column of each chunk, in reading order."""
        rows, columns = (range(0, count, self.chunk) for count in (self.rows, self.columns))
        return list(product(rows, columns))

    def cells(self, chunk: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a chunk."""
        row, column = chunk
        return slice(row, min(row + self.chunk, self.rows)), slice(column, min(column + self.chunk, self.columns))

    def box(self, rows: slice, columns: slice) -> tuple[int, int, int, int]:
        """Left, top, width and height, in pixels, of what the patches of some cells cover."""
        before = (self.side - self.stride) // 2
        width, height = ((part.stop - part.start - 1) * self.stride + self.side for part in (columns, rows))
        return columns.start * self.stride - before, rows.start * self.stride - before, width, height


class Scan:
    """One slide read by one model."""

    def __init__(
        self, slide: Slide, reader: Reader, folder: Path, stride: int = STRIDE, tissue: Logits | None = None
    ) -> None:
        """Name the scan; nothing is read but an overview.

        Args:
            slide: whose pixel size is known.
            reader: whose task has a pixel size.
            folder: under which scans are kept.
            stride: pixels of the task's size from one cell to the next, an even number below the patch's side.
            tissue: (rows, columns) share of tissue by cell, as somebody corrected it; by default what is found.

        Raises:
            SlideError, CoarseImageError: see `Slide.step`.
        """
        self.slide, self.reader = slide, reader
        um = reader.task.um_per_px
        assert um is not None
        width, height = slide.size_at(um)
        self.grid = Grid(-(-height // stride), -(-width // stride), stride, reader.task.side, um)
        self.corrected = tissue is not None
        """Whether somebody corrected what is tissue."""
        self.tissue = self._found_tissue() if tissue is None else tissue
        self.wanted = self.tissue >= LEAST_TISSUE
        facts = (slide.sha256(), slide.quickhash, slide.um_per_px, reader.model.graph_key, reader.engine.name, stride)
        name = hashlib.sha256(repr(facts).encode() + np.packbits(self.wanted).tobytes()).hexdigest()[:16]
        self.folder = folder / name
        self.chunks = [chunk for chunk in self.grid.chunks() if self.wanted[self.grid.cells(chunk)].any()]
        self._logits = np.full((self.grid.rows, self.grid.columns), np.nan, np.float32)
        self._unlike: float | None = None
        self._known: set[tuple[int, int]] = set()  # chunks whose logits are there

    def run(self, stop: Callable[[], bool] = lambda: False, tell: Tell = lambda done, total: None) -> None:  # noqa: ARG005
        """Read what is missing: a patch of each chunk first, then the chunks, the hottest first.

        Raises:
            OutputError: the folder is full or read-only.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = self.missing()
        tell(len(self.chunks) - len(missing), len(self.chunks))
        if not missing:
            return
        missing.sort(key=dict(zip(missing, self._first_look(missing, stop), strict=True)).__getitem__, reverse=True)
        left, coming = deque(missing), deque[tuple[tuple[int, int], Future[NDArray[np.uint8]]]]()
        with ThreadPoolExecutor(1) as fetching:
            try:
                while (left or coming) and not stop():
                    for chunk in self._next(left, AHEAD - len(coming)):
                        coming.append((chunk, fetching.submit(self._tissue_of, chunk)))
                    if coming:
                        self._read(coming[0][0], coming[0][1].result)
                        release(self._path(coming.popleft()[0], CLAIM))
                    elif left:
                        time.sleep(WAIT)
                    tell(len(self.chunks) - len(left) - len(coming), len(self.chunks))
            finally:
                for chunk, pixels in coming:
                    pixels.cancel()
                    release(self._path(chunk, CLAIM))

    def patch(self, row: int, column: int, margin: int = 0) -> NDArray[np.uint8]:
        """The patch about a cell's middle, and `margin` pixels around it: uint8 (side + 2 margin, same, 3) RGB.

        Raises:
            SlideError: the file is damaged there.
        """
        left, top, *sides = self.grid.box(slice(row, row + 1), slice(column, column + 1))
        width, height = (side + 2 * margin for side in sides)
        return self.slide.region(left - margin, top - margin, width, height, self.grid.um_per_px)

    def is_inside(self, row: int, column: int) -> bool:
        """Whether the patch about a cell lies within the slide, and shows nothing mirrored."""
        left, top, width, height = self.grid.box(slice(row, row + 1), slice(column, column + 1))
        across, down = self.slide.size_at(self.grid.um_per_px)
        return left >= 0 and top >= 0 and left + width <= across and top + height <= down

    def missing(self) -> list[tuple[int, int]]:
        """Chunks that are not on disk yet, by their first row and column."""
        return [chunk for chunk in self.chunks if not self._is_done(chunk)]

    def read_chunk(self, chunk: tuple[int, int]) -> None:
        """Read one chunk and keep it, where it is not there yet.

        Raises:
            OutputError: the folder is full or read-only.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_done(chunk):
            self._read(chunk, lambda: self._tissue_of(chunk))

    def logits(self) -> Logits:
        """(rows, columns) float32, one view, before calibration; nan where there is no tissue or nothing was read."""
        for chunk in self.chunks:
            if chunk not in self._known:
                with suppress(FileNotFoundError):
                    self._take(chunk, np.load(self._path(chunk, DONE)))
        if len(self._known) < len(self.chunks):
            with suppress(FileNotFoundError):
                whole = np.load(self.folder / WHOLE)
                for chunk in self.chunks:
                    self._take(chunk, whole[self.grid.cells(chunk)])
        return self._logits.copy()

    def pack(self) -> None:
        """Keep a scan that is done as one file; nothing where chunks are missing or could not be read.

        Raises:
            OutputError: the folder is full or read-only.
        """
        if self.missing() or self.holes():
            return
        with atomic_path(self.folder / WHOLE) as part, part.open("wb") as file:
            np.save(file, self.logits())
        for chunk in self.chunks:
            self._path(chunk, DONE).unlink(missing_ok=True)

    def probability(self) -> NDArray[np.float32]:
        """(rows, columns) float32 in [0, 1], calibrated; nan where nothing was read."""
        logits = self.logits()
        known = np.isfinite(logits)
        found = np.full(logits.shape, np.nan, np.float32)
        found[known] = self.reader.model.point(1).view_probability(logits[known])
        return found

    def unlike(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> float:
        """Share of some cells' patches that are flagged as unlike training tissue; of many ASKED are drawn evenly.

        nan where the model has no detector, or no cell can be read.
        """
        if self.reader.ood is None or not len(rows):
            return float("nan")
        drawn = np.unique(np.linspace(0, len(rows) - 1, min(ASKED, len(rows))).round().astype(int))
        patches = []
        for row, column in zip(rows[drawn].tolist(), columns[drawn].tolist(), strict=True):
            with suppress(SlideError):
                patches.append(self.patch(row, column))
        if not patches:
            return float("nan")
        flagged = self.reader.read(np.stack(patches)).flags
        return sum(UNLIKE in names for names in flagged) / len(flagged)

    def unlike_tissue(self) -> float:
        """`unlike` of the slide: of cells spread evenly over its tissue. Asked once."""
        if self._unlike is None:
            self._unlike = self.unlike(*np.nonzero(self.wanted))
        return self._unlike

    @property
    def tissue_mm2(self) -> float:
        """Area of the tissue that is to be read: of each cell, the share that is tissue."""
        return float(self.tissue[self.wanted].sum()) * (self.grid.stride * self.grid.um_per_px / 1000) ** 2

    def holes(self) -> dict[tuple[int, int], str]:
        """Chunks that could not be read, with a sentence each."""
        paths = {chunk: self._path(chunk, HOLE) for chunk in self.chunks}
        return {chunk: path.read_text(encoding="utf-8").strip() for chunk, path in paths.items() if path.is_file()}

    def forget_holes(self) -> None:
        """Have chunks tried again that could not be read: the disk may have been away."""
        for chunk in self.chunks:
            self._path(chunk, HOLE).unlink(missing_ok=True)

    def _next(self, left: deque[tuple[int, int]], most: int) -> list[tuple[int, int]]:
        """Take the next chunks that nobody else is at; those that somebody has read are taken away too."""
        taken: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        while left and len(taken) < most:
            chunk = left.popleft()
            if self._is_done(chunk):
                continue
            (taken if claim(self._path(chunk, CLAIM)) else others).append(chunk)
        left.extendleft(reversed(others))
        return taken

    def _found_tissue(self) -> Logits:
        across, down = self.slide.step(self.grid.um_per_px)
        side = round(max(self.slide.width / across, self.slide.height / down) * self.grid.um_per_px / UM_PER_PX)
        overview = self.slide.overview(max(1, side))
        um = self.grid.um_per_px * self.slide.width / across / overview.shape[1]
        cell = (
            self.grid.stride * across * overview.shape[1] / self.slide.width,
            self.grid.stride * down * overview.shape[0] / self.slide.height,
        )
        return in_cells(tissue_mask(overview, um), self.grid.rows, self.grid.columns, cell)

    def _first_look(self, chunks: list[tuple[int, int]], stop: Callable[[], bool]) -> Iterator[float]:
        """The logit of one patch of each chunk, of its cell with most tissue; of many chunks, of every so many."""
        every = -(-len(chunks) // LOOKS)
        looked = chunks[::every]
        for first in range(0, len(looked), self.reader.engine.batch):
            some = looked[first : first + self.reader.engine.batch]
            seen = [None if stop() else self._fullest(chunk) for chunk in some]
            patches = [patch for patch in seen if patch is not None]
            logits = iter(self.reader.read(np.stack(patches)).logit.tolist() if patches else [])
            for place, patch in enumerate(seen, start=first):
                logit = -np.inf if patch is None else next(logits)
                yield from [logit] * len(chunks[place * every : (place + 1) * every])

    def _fullest(self, chunk: tuple[int, int]) -> NDArray[np.uint8] | None:
        """The patch of a chunk's cell with most tissue; None where it cannot be read."""
        rows, columns = self.grid.cells(chunk)
        row, column = np.unravel_index(self.tissue[rows, columns].argmax(), self.tissue[rows, columns].shape)
        try:
            return self.patch(rows.start + int(row), columns.start + int(column))
        except SlideError:
            return None

    def _read(self, chunk: tuple[int, int], pixels: Callable[[], NDArray[np.uint8]]) -> None:
        wanted = np.zeros((self.grid.chunk,) * 2, bool)
        there = self.wanted[self.grid.cells(chunk)]
        inside = tuple(slice(0, count) for count in there.shape)
        wanted[inside] = there
        try:
            found = self.reader.patch_logits(pixels(), self.grid.stride, wanted)[inside]
        except SlideError as error:
            write_text(self._path(chunk, HOLE), f"{error}\n")
            return
        with atomic_path(self._path(chunk, DONE)) as part, part.open("wb") as file:
            np.save(file, found)

    def _tissue_of(self, chunk: tuple[int, int]) -> NDArray[np.uint8]:
        """A whole chunk's also at the slide's border: pictures of one size are read by one compiled graph."""
        return self._pixels(*(slice(first, first + self.grid.chunk) for first in chunk))

    def _pixels(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        return self.slide.region(*self.grid.box(rows, columns), self.grid.um_per_px)

    def _take(self, chunk: tuple[int, int], logits: Logits) -> None:
        cells = self.grid.cells(chunk)
        self._logits[cells] = np.where(self.wanted[cells], logits, np.float32(np.nan))
        self._known.add(chunk)

    def _is_done(self, chunk: tuple[int, int]) -> bool:
        kept = (self._path(chunk, DONE), self._path(chunk, HOLE), self.folder / WHOLE)
        return any(path.is_file() for path in kept)

    def _path(self, chunk: tuple[int, int], ending: str) -> Path:
        return self.folder / f"{chunk[0]}-{chunk[1]}{ending}"
