"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

from core.errors import OutputError


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != EINVAL:  # a file system that cannot be asked to
            raise
    finally:
        os.close(handle)


def publish(part: Path, path: Path) -> None:
    """Give a finished file or folder its name; after a power cut the name holds the old or the new, never half of it.

    Raises:
        OSError: as `Path.replace`, which takes the place of a file or of an empty folder only.
    """
    for inside in (*sorted(part.rglob("*")), part):
        sync(inside)
    part.replace(path)
    sync(path.parent)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it becomes `path` when the block ends well, and is removed otherwise.

    What was written is on the disk before it takes the name.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False) as handle:
            temporary = Path(handle.name)
        yield temporary
        temporary.chmod(0o644)
        publish(temporary, path)
    except OSError as error:
        raise OutputError(path, _reason(error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder of that name elsewhere on the disk; it becomes `path` when the block ends well.

    What is made in it lies one level too deep for who lists the parent folder. With `replace` the folder that is there
    goes as a whole, and comes back when the new one cannot take its place.

    Raises:
        OutputError: something else is there, the parent cannot be made or written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True) as staging:
            made, old = Path(staging) / path.name, Path(staging) / "replaced" / path.name
            made.mkdir()
            yield made
            if replace and path.exists():
                old.parent.mkdir()
                path.rename(old)
            try:
                publish(made, path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
    except OSError as error:
        raise OutputError(path, _reason(error)) from error


def _reason(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def migrated(values: Any, older: int, names: Mapping[str, str]) -> Any:
    """A record of format `older` in the words of the next: fields renamed in all its parts, its format one higher.

    Args:
        values: what a file held; anything but a mapping is left to its model to refuse. Without a `format` it is 1.
        older: the format whose fields are renamed; a record of another is left as it is.
        names: a field's name then -> its name since.
    """
    if not isinstance(values, dict) or values.get("format", 1) != older:
        return values
    return _renamed(values, names) | {"format": older + 1}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(name, name): _renamed(inner, names) for name, inner in value.items()}
    return [_renamed(inner, names) for inner in value] if isinstance(value, list | tuple) else value
