"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

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
