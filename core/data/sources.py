"""Patches out of whatever a command line names: folders, images, zips of images, PCam HDF5 files. Always streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from core.data.archive import open_zip, read_member
from core.data.chunks import read_rows
from core.data.intake import INTAKE_TYPES, MAX_BYTES, decode_patch
from core.data.pcam import open_patches
from core.errors import ImportSourceError, IntakeError, NodeLensError, printable

HDF5_TYPES = ("h5", "hdf5")
READ_AHEAD = 256
"""Rows of an HDF5 file read at once."""


@dataclass(frozen=True)
class Item:
    """One thing to read: its id (file stem or row number) and its patch uint8 (96, 96, 3), or why it was refused."""

    id: str
    patch: NDArray[np.uint8] | None
    refusal: NodeLensError | None = None


def check_inputs(paths: Iterable[Path]) -> list[Path]:
    """The paths, all of which exist and are of a kind that can hold patches.

    Raises:
        ImportSourceError: naming the first that is not.
    """
    checked = list(paths)
    for path in checked:
        if not path.exists():
            raise ImportSourceError(path, "it does not exist")
        if not path.is_file() and not path.is_dir():
            raise ImportSourceError(path, "it is neither a file nor a folder")
        if path.is_file() and _kind(path.name) not in (*INTAKE_TYPES, *HDF5_TYPES, "zip"):
            raise ImportSourceError(path, "it is not an image, a zip, an HDF5 file or a folder")
        if path.is_dir() and next(_images(path), None) is None:
            raise ImportSourceError(path, "it holds no images")
    return checked


def items(paths: Iterable[Path]) -> Iterator[Item]:
    """Every patch in `paths`, in order; files of a folder or zip by name. Memory does not grow with their number.

    Raises:
        ImportSourceError, SplitFormatError: a container cannot be opened. A single bad image only refuses its item.
    """
    for path in paths:
        if path.is_dir():
            for image in sorted(_images(path)):
                yield _item(image.stem, lambda path=path, image=image: _bytes_inside(path, image))  # type: ignore[misc]
        elif _kind(path.name) == "zip":
            yield from _zip_items(path)
        elif _kind(path.name) in HDF5_TYPES:
            yield from _hdf5_items(path)
        else:
            yield _item(path.stem, lambda path=path: _bytes_of(path))  # type: ignore[misc]


def count_items(paths: Iterable[Path]) -> int:
    """How many items `items` will yield, found without reading pixels."""
    total = 0
    for path in paths:
        if path.is_dir():
            total += sum(1 for _ in _images(path))
        elif _kind(path.name) == "zip":
            with open_zip(path) as archive:
                total += len(_members(archive))
        else:
            total += open_patches(path).shape[0] if _kind(path.name) in HDF5_TYPES else 1
    return total


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower().lstrip(".")


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and _kind(path.name) in INTAKE_TYPES)


def _item(name: str, read: Callable[[], bytes]) -> Item:
    try:
        return Item(printable(name), decode_patch(read()))
    except (IntakeError, ImportSourceError) as error:
        return Item(printable(name), None, error)


def _bytes_inside(folder: Path, path: Path) -> bytes:
    """Bytes of a file that lies in the offered folder; a link in it may lead to files that nobody offered."""
    if path.is_symlink() and folder.resolve() not in path.resolve().parents:
        raise ImportSourceError(path, "it is a link to a file outside of the folder")
    return _bytes_of(path)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImportSourceError(path, "it cannot be read") from error


def _members(archive: ZipFile) -> list[str]:
    return sorted(name for name in archive.namelist() if _kind(name) in INTAKE_TYPES)


def _zip_items(path: Path) -> Iterator[Item]:
    with open_zip(path) as archive:
        for name in _members(archive):

            def read(name: str = name) -> bytes:
                return read_member(archive, path, name, MAX_BYTES)

            yield _item(PurePosixPath(name).stem, read)


def _hdf5_items(path: Path) -> Iterator[Item]:
    patches = open_patches(path)
    for start in range(0, patches.shape[0], READ_AHEAD):
        read = read_rows(path, patches, start, min(start + READ_AHEAD, patches.shape[0]))
        for offset, patch in enumerate(read):
            yield Item(str(start + offset), patch)
