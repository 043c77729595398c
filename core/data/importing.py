"""Zips or folders of labelled images -> official PCam files.

A source holds `labels.csv` (`row,label,file`) and the images it names, like the public JPEG copies of PCam. The split
is the name of the zip or folder. Images are streamed one at a time into files that appear only when complete.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
from numpy.typing import NDArray

from core.data.archive import open_zip, read_member
from core.data.intake import decode_patch
from core.data.patch import PATCH_SIDE
from core.data.pcam import file_of
from core.data.tables import MAX_TABLE_BYTES, read_columns
from core.errors import ImportSourceError, IntakeError, OutputError, SplitFormatError
from core.files import atomic_path

MAX_IMAGE_BYTES = 4 * 2**20
"""One 96 x 96 patch, in any format, is far smaller; a zip member that claims more is not read."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """A zip or folder with `labels.csv`: reads a member by name."""

    path: Path
    read: Callable[[str, int], bytes]

    @property
    def split(self) -> str:
        """Name of the split the source becomes, that of the zip or folder; raises ImportSourceError."""
        name = self.path.stem if self.path.is_file() else self.path.resolve().name
        if not re.fullmatch(r"\w[\w .+-]{0,63}", name):
            raise ImportSourceError(self.path, "its name cannot name a split; use letters, digits, - and _")
        return name


def find_sources(folder: Path) -> list[Path]:
    """Zips and folders in `folder` that may be imported; `folder` itself when it holds `labels.csv`.

    Raises:
        ImportSourceError: there are none.
    """
    if (folder / "labels.csv").is_file():
        return [folder]
    if folder.is_file():
        return [folder]
    zips = sorted(path for path in folder.glob("*.zip") if path.is_file())
    found = zips + sorted(path.parent for path in folder.glob("*/labels.csv"))
    if not found:
        raise ImportSourceError(folder, "it holds no zip and no folder with labels.csv")
    return found


def import_source(path: Path, out: Path, progress: Progress = lambda _done, _total: None) -> tuple[str, list[int]]:
    """Write one source as an official split into `out`.

    Args:
        path: a zip or a folder with `labels.csv`.
        out: folder for `..._x.h5` and `..._y.h5`.
        progress: called with patches done and patches in all.

    Returns:
        Name of the split and its official row numbers, increasing.

    Raises:
        ImportSourceError: something in the source is missing, damaged or not a 96 x 96 patch.
        OutputError: `out` cannot be written. Nothing half-written stays under an official name.
    """
    with _opened(path) as source:
        entries = _entries(source)
        labels = np.array([label for _, label, _ in entries], dtype=np.uint8)
        x_final, y_final = (file_of(out, source.split, kind) for kind in ("x.h5", "y.h5"))
        with atomic_path(y_final) as y_path, atomic_path(x_final) as x_path:
            if shutil.disk_usage(out).free < len(entries) * PATCH_SIDE**2 * 3:
                raise OutputError(x_final, f"there is no room for {len(entries):,} patches")
            with _new_hdf5(x_path, x_final) as file:
                shape = (len(entries), PATCH_SIDE, PATCH_SIDE, 3)
                patches = file.create_dataset("x", shape, np.uint8, chunks=(1, *shape[1:]), track_times=False)
                for index, (_, _, name) in enumerate(entries):
                    patches[index] = _patch(source, name)
                    progress(index + 1, len(entries))
            with _new_hdf5(y_path, y_final) as file:
                file.create_dataset("y", data=labels.reshape(-1, 1, 1, 1), track_times=False)
        return source.split, [row for row, _, _ in entries]


def import_all(folder: Path, out: Path, progress: Callable[[str, int, int], None]) -> dict[str, int]:
    """Import every source in `folder` and write `rows.csv` (`split,index,row`); returns patches by split."""
    rows = _known_rows(out)
    for path in find_sources(folder):
        name, numbers = import_source(path, out, lambda done, total, of=path.stem: progress(of, done, total))  # type: ignore[misc]
        rows[name] = numbers
    with atomic_path(out / "rows.csv") as part, part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("split", "index", "row"))
        for name, numbers in rows.items():
            writer.writerows((name, index, row) for index, row in enumerate(numbers))
    return {name: len(numbers) for name, numbers in rows.items()}


@contextmanager
def _new_hdf5(part: Path, path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file at `part`, on its way to `path`; a disk that fills up ends in OutputError."""
    file = h5py.File(part, "w")
    try:
        yield file
    finally:
        try:
            file.close()
        except RuntimeError as error:  # how HDF5 says that the last write failed
            raise OutputError(path, "the disk is full or was taken away") from error


def _known_rows(out: Path) -> dict[str, list[int]]:
    """Row numbers of earlier imports into the same folder."""
    if not (out / "rows.csv").is_file():
        return {}
    rows: dict[str, list[int]] = {}
    try:
        with (out / "rows.csv").open(encoding="utf-8") as handle:
            for name, row in read_columns(handle, ("split", "row")):
                rows.setdefault(name, []).append(int(row))
    except (OSError, ValueError) as error:
        raise SplitFormatError(out / "rows.csv", "it needs the columns split,index,row; repair or delete it") from error
    return rows


@contextmanager
def _opened(path: Path) -> Iterator[Source]:
    if path.is_dir():
        root = path.resolve()

        def read_file(name: str, limit: int) -> bytes:
            try:
                member = (root / name).resolve()
                if root not in member.parents:
                    raise ImportSourceError(path, f"'{name}' lies outside of it")
                if not member.is_file():  # a pipe would be waited for
                    raise ImportSourceError(path, f"'{name}' is missing or not a file")
                if member.stat().st_size > limit:
                    raise ImportSourceError(path, f"'{name}' is larger than {limit:,} bytes")
                return member.read_bytes()
            except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
                raise ImportSourceError(path, f"'{name}' is missing or cannot be read") from error

        yield Source(path, read_file)
        return
    with open_zip(path) as archive:

        def read_zipped(name: str, limit: int) -> bytes:
            data = read_member(archive, path, name, limit)
            if len(data) > limit:
                raise ImportSourceError(path, f"'{name}' is larger than {limit:,} bytes")
            return data

        yield Source(path, read_zipped)


def _entries(source: Source) -> list[tuple[int, int, str]]:
    """Rows of labels.csv as (official row, label, file), by row number."""
    try:
        table = io.StringIO(source.read("labels.csv", MAX_TABLE_BYTES).decode("utf-8-sig"))
        found = [(int(row), int(label), file) for row, label, file in read_columns(table, ("row", "label", "file"))]
    except ValueError as error:
        raise ImportSourceError(source.path, "labels.csv needs columns row,label,file, whole numbers") from error
    if not found:
        raise ImportSourceError(source.path, "labels.csv names no patch")
    if any(label not in (0, 1) for _, label, _ in found):
        raise ImportSourceError(source.path, "labels must be 0 or 1")
    if any(not 0 <= row < 2**63 for row, _, _ in found):
        raise ImportSourceError(source.path, "row numbers must be from 0 to 2^63 - 1")
    if len({row for row, _, _ in found}) != len(found):
        raise ImportSourceError(source.path, "labels.csv names a row twice")
    return sorted(found)


def _patch(source: Source, name: str) -> NDArray[np.uint8]:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ImportSourceError(source.path, f"'{name}' lies outside of it")
    try:
        return decode_patch(source.read(name, MAX_IMAGE_BYTES))
    except IntakeError as error:
        raise ImportSourceError(source.path, f"'{name}': {error}") from error
