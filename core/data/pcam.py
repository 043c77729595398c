"""Splits in PCam's official layout, read lazily.

A split is two HDF5 files in one folder (Veeling et al. 2018): `..._x.h5` with dataset `x` uint8 (N, side, side, 3) and
`..._y.h5` with dataset `y` uint8 (N, 1, 1, 1); optional beside them `..._meta.csv` (official: slide and coordinates)
and `..._mask.h5` (dataset `mask` uint8 (N, side, side, 1)). The official row numbers of an import are the dataset `row`
int64 (N,) of its x file, or, from NodeLens 0.2 and before, a table `rows.csv`. What is read for is PCam's task, with
96 px, or that of `task.json` in the folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from core.data.chunks import check_chunks, read_rows
from core.data.tables import MAX_PATCHES, MAX_TABLE_BYTES, read_columns
from core.errors import OtherTaskError, SplitFormatError, SplitNotFoundError
from core.task import TASK, Task, task_of

SPLITS = ("train", "valid", "test")
PREFIX = "camelyonpatch_level_2_split_"
FINGERPRINT_SAMPLE = 256
ROWS = "row"
"""Dataset of the official row numbers in the x file of an import."""
ROWS_TABLE = "rows.csv"
"""Where NodeLens 0.2 kept them."""
MAX_SLIDE_NAME = 256


def file_of(folder: Path, split: str, kind: str) -> Path:
    """Path of one official file; `kind` is `x.h5`, `y.h5`, `mask.h5` or `meta.csv`."""
    return folder / f"{PREFIX}{split}_{kind}"


def split_names(folder: Path) -> list[str]:
    """Names of the splits whose patches and labels lie in `folder`, PCam's own three first."""
    named = {path.name[len(PREFIX) : -len("_x.h5")] for path in folder.glob(f"{PREFIX}*_x.h5")}
    found = {name for name in named if not _missing(folder, name)}
    return [name for name in SPLITS if name in found] + sorted(found - set(SPLITS))


def state_of(folder: Path, split: str) -> tuple[tuple[int, int] | None, ...]:
    """Size and modification time of all files that a split is opened from: tells whether to open it anew."""
    paths = [file_of(folder, split, kind) for kind in ("x.h5", "y.h5", "meta.csv")]
    return tuple(_stamp(path) if path.exists() else None for path in (*paths, folder / ROWS_TABLE, folder / TASK))


def _missing(folder: Path, split: str) -> list[str]:
    """Names of the files that a split needs and that are not there."""
    needed = [file_of(folder, split, kind) for kind in ("x.h5", "y.h5")]
    return [path.name for path in needed if not path.is_file()]


@dataclass(frozen=True, eq=False)
class Split:
    """One split on disk. Cheap to make, safe to share between threads, to pickle and to use after a fork.

    Labels and row numbers are held in memory (one or a few bytes a patch); pixels are read when asked for.
    """

    folder: Path
    name: str
    task: Task
    labels: NDArray[np.uint8] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    slides: NDArray[np.str_] | None = field(repr=False)
    synthetic: bool
    stamp: tuple[int, int]
    """Size and modification time of the x file when the split was opened: tells whether it was replaced since."""

    @classmethod
    def open(cls, folder: Path, name: str) -> Split:
        """Check the files of a split and read its labels.

        Raises:
            SplitNotFoundError: no such files, or one of the two.
            SplitFormatError: files that are damaged, of another layout, or that point at other files.
        """
        path, task = file_of(folder, name, "x.h5"), task_of(folder)
        if missing := _missing(folder, name):
            raise SplitNotFoundError(folder, name, split_names(folder), missing[0] if len(missing) == 1 else "")
        patches = _dataset(path, "x", (task.side, task.side, 3))
        y_path = file_of(folder, name, "y.h5")
        y = _dataset(y_path, "y", (1, 1, 1))
        labels = read_rows(y_path, y, 0, y.shape[0]).reshape(-1)
        count = patches.shape[0]
        if len(labels) != count:
            raise SplitFormatError(path, f"it has {count} patches but {len(labels)} labels")
        if not np.isin(labels, (0, 1)).all():
            raise SplitFormatError(y_path, "labels must be 0 or 1")
        return cls(
            folder=folder,
            name=name,
            task=task,
            labels=labels,
            rows=_official_rows(folder, name, patches),
            slides=_slides(folder, name, count),
            synthetic=is_synthetic(patches),
            stamp=_stamp(path),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def title(self, index: int) -> str:
        """What a patch is called; drawn ones have no row of a file they come from."""
        return f"patch {index}" if self.synthetic else f"patch {index}, row {self.rows[index]}"

    def patches(self, indices: Sequence[int] | NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Read the patches at `indices`, in that order: uint8 (n, side, side, 3) RGB.

        Raises:
            IndexError: an index outside 0..len-1.
            SplitFormatError: the file was damaged or replaced since the split was opened.
        """
        return self._read("x", indices)

    def masks(self, indices: Sequence[int] | NDArray[np.integer] | slice) -> NDArray[np.uint8] | None:
        """Pixels of the positive class, uint8 (n, side, side), 0 or 1 whatever the file has; None without masks."""
        if not file_of(self.folder, self.name, "mask.h5").is_file():
            return None
        return (self._read("mask", indices)[..., 0] > 0).astype(np.uint8)

    def require(self, task: Task) -> None:
        """Refuse to be read for another task than the split's; raises OtherTaskError."""
        if (apart := self.task.difference(task)) is not None:
            raise OtherTaskError(self.name, *apart)

    def index_of_row(self, row: int) -> int | None:
        """Position of an official row number, or None when the split does not hold it."""
        position = int(np.searchsorted(self.rows, row))
        return position if position < len(self) and self.rows[position] == row else None

    def fingerprint(self) -> str:
        """Hex digest that names this data: all labels and row numbers, and the pixels of 256 evenly spaced patches."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.name, len(self))).encode())
        digest.update(self.labels.tobytes())
        digest.update(self.rows.tobytes())
        sample = np.unique(np.linspace(0, len(self) - 1, FINGERPRINT_SAMPLE).astype(np.int64))
        digest.update(self.patches(sample).tobytes())
        return digest.hexdigest()

    def _read(self, key: str, indices: Sequence[int] | NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        path = file_of(self.folder, self.name, f"{key}.h5")
        if _stamp(file_of(self.folder, self.name, "x.h5")) != self.stamp:
            raise SplitFormatError(path, "it was replaced while open; reload the page")
        wanted = np.arange(len(self))[indices] if isinstance(indices, slice) else np.asarray(indices, dtype=np.int64)
        outside = wanted[(wanted < 0) | (wanted >= len(self))]
        if outside.size:
            raise IndexError(f"patch {int(outside[0])} of {len(self)}")
        # HDF5 wants increasing unique positions; the inverse puts the patches back in the order asked for.
        unique, inverse = np.unique(wanted, return_inverse=True)
        shape = (self.task.side, self.task.side, 3 if key == "x" else 1)
        dataset = _dataset(path, key, shape)
        if dataset.shape[0] != len(self):
            raise SplitFormatError(path, f"it has {dataset.shape[0]} rows where {len(self)} were expected")
        # A slice for each run of neighbours: HDF5's own selection of scattered rows is a hundred times slower.
        runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1) if unique.size else []
        read = [read_rows(path, dataset, int(run[0]), int(run[-1]) + 1) for run in runs]
        found = np.concatenate([np.empty((0, *shape), np.uint8), *read])
        return np.asarray(found[inverse])


def find_splits(*folders: Path) -> dict[str, Path]:
    """Splits by name over several folders; of two with one name the first folder's is taken."""
    found: dict[str, Path] = {}
    for folder in folders:
        for name in split_names(folder):
            found.setdefault(name, folder)
    return found


def open_patches(path: Path) -> h5py.Dataset:
    """The checked dataset `x` of one file in the official layout, uint8 (N, side, side, 3); raises SplitFormatError.

    It is read with `core.data.chunks.read_rows`, which measures what would fill the memory.
    """
    side = task_of(path.parent).side
    return _dataset(path, "x", (side, side, 3))


_handles: dict[Path, tuple[int, tuple[int, int], h5py.Dataset]] = {}
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def _dataset(path: Path, key: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """The checked dataset of `path`, opened once per process.

    HDF5 handles do not survive a fork, so each entry carries the process that opened it; h5py itself serialises
    threads. A file replaced on disk is opened anew.
    """
    with _lock:
        stamp = _stamp(path)
        owner, opened, dataset = _handles.get(path, (0, (0, 0), None))
        if owner == os.getpid() and opened == stamp:
            _check_layout(path, key, dataset, shape)  # another task may stand beside it by now
            return dataset
        # HDF5 would share a handle still open on a file rewritten in place, and answer from what it cached of it.
        del dataset
        _handles.pop(path, None)
        dataset = _open_dataset(path, key, shape)
        _handles[path] = (os.getpid(), stamp, dataset)
        return dataset


def _open_dataset(path: Path, key: str, shape: tuple[int, ...]) -> h5py.Dataset:
    try:
        file = h5py.File(path, "r")
        if not isinstance(file.get(key, getlink=True), h5py.HardLink):
            # Soft and external links can lead to files that nobody offered.
            raise SplitFormatError(path, f"dataset '{key}' is missing or is a link")
        dataset = file[key]
        if not isinstance(dataset, h5py.Dataset):
            raise SplitFormatError(path, f"'{key}' is not a dataset")
        if dataset.is_virtual or dataset.external:
            raise SplitFormatError(path, f"dataset '{key}' keeps its data in other files")
        _check_layout(path, key, dataset, shape)
        check_chunks(path, key, dataset)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # TypeError: a type NumPy lacks
        raise SplitFormatError(path, "it is not an HDF5 file, or it is damaged") from error
    return dataset


def _check_layout(path: Path, key: str, dataset: h5py.Dataset, shape: tuple[int, ...]) -> None:
    if dataset.dtype != np.uint8 or dataset.shape is None or dataset.shape[1:] != shape or dataset.shape[0] == 0:
        expected = " x ".join(map(str, ("N", *shape)))
        raise SplitFormatError(path, f"'{key}' is {dataset.dtype} {dataset.shape}, expected uint8 {expected}")
    if dataset.shape[0] > MAX_PATCHES:
        raise SplitFormatError(path, f"it claims {dataset.shape[0]:,} patches; {MAX_PATCHES:,} is the most")


def is_synthetic(dataset: h5py.Dataset) -> bool:
    """Whether the file says that its patches were drawn; an attribute that is neither true nor false counts as true."""
    if "synthetic" not in dataset.attrs:
        return False
    try:
        return bool(dataset.attrs["synthetic"])
    except (OSError, KeyError, RuntimeError, TypeError, ValueError):
        return True


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SplitFormatError(path, "it is no longer there") from error
    return status.st_size, status.st_mtime_ns


def _official_rows(folder: Path, split: str, patches: h5py.Dataset) -> NDArray[np.int64]:
    """Row numbers (N,), increasing: the x file's own, else those in rows.csv, else 0 to N - 1."""
    path, count = file_of(folder, split, "x.h5"), patches.shape[0]
    rows = _rows_inside(path, patches.file)
    if rows is None:
        path = folder / ROWS_TABLE
        rows = _rows_beside(path, split)
    if rows is None:
        return np.arange(count, dtype=np.int64)
    if len(rows) != count or (np.diff(rows) <= 0).any():
        raise SplitFormatError(path, f"rows of split '{split}' must be {count} increasing whole numbers")
    return rows


def _rows_inside(path: Path, file: h5py.File) -> NDArray[np.int64] | None:
    try:
        link = file.get(ROWS, getlink=True)
        if link is None:
            return None
        rows = file[ROWS] if isinstance(link, h5py.HardLink) else None
        if not isinstance(rows, h5py.Dataset) or rows.dtype != np.int64 or rows.ndim != 1:
            raise SplitFormatError(path, f"'{ROWS}' must be whole numbers of 64 bits, one a patch")
        if rows.is_virtual or rows.external or rows.chunks is not None or rows.size > MAX_PATCHES:
            raise SplitFormatError(path, f"'{ROWS}' must lie in one piece in the file itself")
        return np.asarray(rows[:])
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise SplitFormatError(path, f"'{ROWS}' is damaged") from error


def _rows_beside(path: Path, split: str) -> NDArray[np.int64] | None:
    written = [row for name, row in _table(path, ("split", "row")) if name == split] if path.is_file() else []
    try:
        return np.array([int(row) for row in written], dtype=np.int64) if written else None
    except (ValueError, OverflowError):
        return np.empty(0, dtype=np.int64)


def _slides(folder: Path, split: str, count: int) -> NDArray[np.str_] | None:
    path = file_of(folder, split, "meta.csv")
    if not path.is_file():
        return None
    names = [name for (name,) in _table(path, ("wsi",))]
    if len(names) != count:
        raise SplitFormatError(path, f"it has {len(names)} rows for {count} patches")
    if max(map(len, names)) > MAX_SLIDE_NAME:  # NumPy gives every name the room of the longest
        raise SplitFormatError(path, f"it names a slide with more than {MAX_SLIDE_NAME} characters")
    return np.array(names, dtype=str)


def _table(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The named columns, row by row."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise SplitFormatError(path, f"it is larger than {MAX_TABLE_BYTES:,} bytes")
        with path.open(encoding="utf-8-sig") as table:
            yield from read_columns(table, columns)
    except UnicodeDecodeError as error:
        raise SplitFormatError(path, "it is not a CSV table") from error
    except ValueError as error:
        raise SplitFormatError(path, str(error)) from error
    except OSError as error:
        raise SplitFormatError(path, "it cannot be read") from error
