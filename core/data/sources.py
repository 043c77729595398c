"""Patches out of whatever a command line names: folders, images, zips of images, PCam HDF5 files. Always streamed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from core.data.archive import Files, opened
from core.data.chunks import read_rows
from core.data.intake import INTAKE_TYPES, MAX_BYTES, check_pixel_size, open_patch
from core.data.pcam import is_synthetic, open_patches
from core.errors import ImportSourceError, IntakeError, NodeLensError, OtherTaskError, printable
from core.task import PCAM, Task

HDF5_TYPES = ("h5", "hdf5")
READ_AHEAD = 256
"""Rows of an HDF5 file read at once."""


@dataclass(frozen=True)
class Item:
    """One thing to read.

    Attributes:
        id: its name among all that is read, see `items`.
        patch: uint8 (side, side, 3), or None when it was refused.
        refusal: why.
        notes: what was done to the picture, as in `Picture.notes`.
        synthetic: whether its file says that it was drawn.
    """

    id: str
    patch: NDArray[np.uint8] | None
    refusal: NodeLensError | None = None
    notes: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """The notes on what was changed; those that only say which pixel size is taken left out."""
        return tuple(note for note in self.notes if "pixel size" not in note and "is assumed" not in note)


def check_inputs(paths: Iterable[Path], um_per_px: float | None = None) -> list[Path]:
    """The paths, each once, all of which exist and are of a kind that can hold patches.

    Raises:
        ImportSourceError: naming the first that is not, or that cannot have a pixel size.
        PixelSizeError: the pixel size cannot be true.
    """
    if um_per_px is not None:
        check_pixel_size(um_per_px)
    checked = list(dict.fromkeys(paths))
    for path in checked:
        if not path.exists():
            raise ImportSourceError(path, "it does not exist")
        if not path.is_file() and not path.is_dir():
            raise ImportSourceError(path, "it is neither a file nor a folder")
        if path.is_file() and _kind(path.name) not in (*INTAKE_TYPES, *HDF5_TYPES, "zip"):
            raise ImportSourceError(path, "it is not an image, a zip, an HDF5 file or a folder")
        if path.is_dir() and not _ids_in(path):
            raise ImportSourceError(path, "it holds no images")
        if _kind(path.name) in HDF5_TYPES and um_per_px is not None:
            raise ImportSourceError(path, "its patches have the model's pixel size already; leave --um-per-px out")
    return checked


def check_scale(um_per_px: float | None, task: Task, source: Path = Path()) -> None:
    """Refuse a pixel size where the task's pixels have none, so that it is not passed over in silence.

    Raises:
        ImportSourceError: naming the source.
    """
    if um_per_px is not None and task.um_per_px is None:
        raise ImportSourceError(source, f"pixels of the task '{task.name}' have no size; leave --um-per-px out")


def items(paths: Sequence[Path], um_per_px: float | None = None, task: Task = PCAM) -> Iterator[Item]:
    """Every patch in `paths`, in order; files of a folder or zip by name. Memory grows with their names only.

    Ids are unique: the path inside the folder or zip, the name of an image, the row number in an HDF5 file. The file
    ending is left out unless two files differ in nothing else. Where two inputs share an id, every id begins with the
    name of its input, or with its path inside the folder that holds all inputs where the names are the same too.

    Args:
        paths: as `check_inputs` returns them.
        um_per_px: of all pictures, where the reader knows it.
        task: what is read.

    Raises:
        ImportSourceError, SplitFormatError: a container cannot be opened. A single bad image only refuses its item.
        OtherTaskError: the patches of an HDF5 file are of another size than the task's.
    """
    check_scale(um_per_px, task, *paths[:1])
    for path, prefix in zip(paths, _prefixes(paths), strict=True):
        if _holds_files(path):
            with opened(path) as files:
                for name, image in _ids(files).items():
                    yield read_item(prefix + name, lambda f=files, i=image: f.read(i, MAX_BYTES), um_per_px, task)  # type: ignore[misc]
        elif _kind(path.name) in HDF5_TYPES:
            yield from _hdf5_items(path, prefix, task)
        else:
            yield read_item(prefix.removesuffix("/") or path.stem, lambda p=path: _bytes_of(p), um_per_px, task)  # type: ignore[misc]


def count_items(paths: Iterable[Path]) -> int:
    """How many items `items` will yield, found without reading pixels."""
    return sum(len(_ids_in(path)) for path in paths)


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower().lstrip(".")


def is_image(name: str) -> bool:
    """Whether a file's name is that of a picture we read."""
    return _kind(name) in INTAKE_TYPES


def _holds_files(path: Path) -> bool:
    return path.is_dir() or _kind(path.name) == "zip"


def _ids(files: Files) -> dict[str, str]:
    """Image by id, in the order of the names."""
    short = {name: str(PurePosixPath(name).with_suffix("")) for name in files.names if is_image(name)}
    times = Counter(short.values())
    return {name if times[stem] > 1 or stem in short else stem: name for name, stem in short.items()}


def _ids_in(path: Path) -> Sequence[str]:
    """Ids of one input by itself."""
    if _holds_files(path):
        with opened(path) as files:
            return list(_ids(files))
    if _kind(path.name) in HDF5_TYPES:
        return [str(row) for row in range(open_patches(path).shape[0])]
    return [path.stem]


def _prefixes(paths: Sequence[Path]) -> list[str]:
    """What the ids of each input begin with, so that no two are alike."""
    times = Counter(name for path in paths for name in _ids_in(path)) if len(paths) > 1 else Counter()
    if max(times.values(), default=1) == 1:
        return [""] * len(paths)
    names = Counter(path.name for path in paths)
    return [f"{path.name if names[path.name] == 1 else _inside(path, paths)}/" for path in paths]


def _inside(path: Path, paths: Sequence[Path]) -> Path:
    """The path from the folder on that holds all the inputs."""
    places = [one.absolute() for one in paths]
    common = Path(os.path.commonpath(places))
    return path.absolute().relative_to(common.parent if common in places else common)


def read_item(name: str, read: Callable[[], bytes], um_per_px: float | None, task: Task) -> Item:
    """One picture as an item; what is wrong with it becomes its refusal."""
    try:
        picture = open_patch(read(), um_per_px=um_per_px, task=task)
        return Item(printable(name), picture.window(), notes=picture.notes)
    except IntakeError as error:
        return Item(printable(name), None, error)
    except ImportSourceError as error:  # without the folder: the refusal goes into files that are passed on
        return Item(printable(name), None, ImportSourceError(Path(error.source.name), error.reason))


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImportSourceError(path, "it cannot be read") from error


def _hdf5_items(path: Path, prefix: str, task: Task) -> Iterator[Item]:
    patches = open_patches(path)
    if patches.shape[1] != task.side:
        raise OtherTaskError(path.name, "patch side in px", patches.shape[1], task.side)
    for start in range(0, patches.shape[0], READ_AHEAD):
        read = read_rows(path, patches, start, min(start + READ_AHEAD, patches.shape[0]))
        for offset, patch in enumerate(read):
            yield Item(printable(f"{prefix}{start + offset}"), patch, synthetic=is_synthetic(patches))
