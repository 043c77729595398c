"""Zips or folders of labelled pictures -> official PCam files.

Pictures are streamed one at a time into files that appear only when complete. Row numbers lie in the file of the
pixels, and labels never stand beside pixels of another import: see `_import_set`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from core.data.archive import Files, is_junk, opened
from core.data.labelled import LabelledSet, expected, labelled_sets, says_labels
from core.data.pcam import ROWS, file_of, split_names
from core.data.sources import Item, check_scale, read_item
from core.errors import ImportSourceError, OutputError
from core.files import atomic_path, sync, write_text
from core.task import TASK, Task, task_json, task_of

MAX_IMAGE_BYTES = 4 * 2**20
"""One patch, in any format, is far smaller; a picture that claims more is not read."""
SPLIT_NAME = r"\w[\w .+-]{0,63}"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Imported:
    """One split as it was imported: its name, the number of patches, and `FILE: NOTES` of every changed picture."""

    split: str
    patches: int
    changed: tuple[str, ...]


def find_sources(path: Path, task: Task) -> list[Path]:
    """What may be imported: a zip, the zips in a folder, and the folder itself where it holds labelled pictures.

    Raises:
        ImportSourceError: there is nothing.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ImportSourceError(path, "there is no zip and no folder of that name")
    zips = sorted(found for found in path.glob("*.zip") if found.is_file() and not is_junk(found.name))
    with opened(path) as files:
        if not zips and not files.names:
            raise ImportSourceError(path, f"it holds no zip and no labelled pictures; expected is {expected(task)}")
        if any("/" not in name and "label" in name.lower() for name in files.names):
            return [path]
        return zips + [path] * (not zips or says_labels(files.names, task))


def import_all(
    path: Path,
    out: Path,
    progress: Progress,
    *,
    split: str = "",
    um_per_px: float | None = None,
    task: Task | None = None,
) -> list[Imported]:
    """Import every source in a folder, or one zip; each split is written whole before the next is begun.

    Args:
        path: as for `find_sources`.
        out: folder for `..._x.h5` and `..._y.h5`.
        progress: called with the split's name, patches done and patches in all.
        split: its name, where the source holds one only; else what the source says, or the name of the zip or folder.
        um_per_px: of all pictures, where it is known.
        task: what they are read for; without one that of `out`, which is PCam's where it says nothing.

    Raises:
        ImportSourceError: something in a source is missing, damaged or no patch of the task. Splits imported before it
            stay, and what was there of its own split too.
        OutputError: `out` cannot be written. Nothing half-written stays under an official name.
    """
    task = _settled_task(out, task)
    check_scale(um_per_px, task, path)
    sources = find_sources(path, task)
    imported: list[Imported] = []
    for source in sources:
        with opened(source) as files:
            sets = labelled_sets(files, task)
            if split and len(sources) * len(sets) > 1:
                raise ImportSourceError(path, "it holds more than one split; import them one by one to name them")
            for one in sets:
                name = _split_name(source, split or one.split)
                if name in [earlier.split for earlier in imported]:
                    raise ImportSourceError(source, f"'{name}' was imported from another source just now; remove one")
                _write_task(out, task)
                imported.append(_import_set(files, one, name, out, progress, um_per_px, task))
    return imported


def _settled_task(out: Path, asked: Task | None) -> Task:
    """The task of a folder of data, or the one asked for: one folder holds one task's.

    Raises:
        ImportSourceError: the folder holds data of another task.
    """
    held = task_of(out)
    if asked is not None and asked.difference(held) and split_names(out):
        raise ImportSourceError(out, f"it holds data of the task '{held.name}'; choose another folder")
    return asked or held


def _write_task(out: Path, task: Task) -> None:
    """Say beside the files what they are read for, before the first split is written."""
    if task != task_of(out):
        write_text(out / TASK, task_json(task))


def _split_name(source: Path, named: str) -> str:
    """Name of the split that a source becomes: as named, or that of the zip or folder; raises ImportSourceError."""
    name = named or (source.stem if source.is_file() else source.resolve().name)
    if not re.fullmatch(SPLIT_NAME, name):
        raise ImportSourceError(source, "its name cannot name a split; use letters, digits, - and _, or give --split")
    return name


def _import_set(
    files: Files,
    labelled: LabelledSet,
    split: str,
    out: Path,
    progress: Progress,
    um_per_px: float | None,
    task: Task,
) -> Imported:
    """Write one split.

    Pixels and rows are one file and become the split's with one renaming. The labels of another import are taken away
    before it and these take their place after it, so that whoever finds both files finds them of one import; a process
    killed in between leaves a split without labels, which is not offered.
    """
    entries = labelled.entries
    changed: list[str] = []
    x_final, y_final = (file_of(out, split, kind) for kind in ("x.h5", "y.h5"))
    with atomic_path(y_final) as y_path, atomic_path(x_final) as x_path:
        if shutil.disk_usage(out).free < len(entries) * task.side**2 * 3:
            raise OutputError(x_final, f"there is no room for {len(entries):,} patches")
        with _new_hdf5(x_path, x_final) as file:
            rows = np.array([entry.row for entry in entries], dtype=np.int64)
            file.create_dataset(ROWS, data=rows, track_times=False)
            shape = (len(entries), task.side, task.side, 3)
            patches = file.create_dataset("x", shape, np.uint8, chunks=(1, *shape[1:]), track_times=False)
            for index, entry in enumerate(entries):
                item = _read(files, entry.file, um_per_px, task)
                patches[index] = item.patch
                if item.changes:
                    changed.append(f"{item.id}: {' '.join(item.changes)}")
                progress(split, index + 1, len(entries))
        with _new_hdf5(y_path, y_final) as file:
            labels = np.array([entry.label for entry in entries], dtype=np.uint8)
            file.create_dataset("y", data=labels.reshape(-1, 1, 1, 1), track_times=False)
        sync(x_path)  # which takes long, and not between the next steps
        for kind in ("y.h5", "mask.h5", "meta.csv"):
            file_of(out, split, kind).unlink(missing_ok=True)
        sync(out)
    return Imported(split, len(entries), tuple(changed))


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


def _read(files: Files, name: str, um_per_px: float | None, task: Task) -> Item:
    """One picture of a source, which is a patch; raises ImportSourceError."""

    def read() -> bytes:
        data = files.read(name, MAX_IMAGE_BYTES)
        if len(data) > MAX_IMAGE_BYTES:
            raise ImportSourceError(files.path, f"'{name}' is larger than {MAX_IMAGE_BYTES:,} bytes")
        return data

    item = read_item(name, read, um_per_px, task)
    if isinstance(item.refusal, ImportSourceError):
        raise item.refusal
    if item.refusal is not None:
        raise ImportSourceError(files.path, f"'{name}': {str(item.refusal).removesuffix('.')}") from item.refusal
    return item
