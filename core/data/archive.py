"""Folders and zips from a stranger, read alike: the files in them by their path inside, and never beyond a limit.

Damage of any kind is one clear refusal. What computers leave behind is not there: see `is_junk`.
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from core.errors import ImportSourceError

# Python's zip reader trusts the file, so damage surfaces as whatever a parser stumbles over. RuntimeError: encrypted,
# or (NotImplementedError) a feature of zip that Python lacks.
_DAMAGE = (OSError, BadZipFile, RuntimeError, EOFError, ValueError, LookupError, zlib.error, lzma.LZMAError)
_LEFT_BEHIND = {"__macosx", "thumbs.db", "desktop.ini"}

MAX_DIRECTORY_BYTES = 32 * 2**20
"""Some 400,000 files; Python holds an object of half a kilobyte for each."""


@dataclass(frozen=True)
class Files:
    """The files of a folder or zip.

    Attributes:
        path: the folder or zip.
        names: of its files at any depth, by their path inside with forward slashes; sorted, without junk.
        read: at most `limit` + 1 bytes of a file by name and limit, one more than allowed telling that it is too large;
            raises ImportSourceError when it is missing, damaged, or a link to what lies outside.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str, int], bytes]


def is_junk(name: str) -> bool:
    """Whether a file is one that nobody made: hidden, macOS's `._x.jpg` and `__MACOSX/`, Windows' `Thumbs.db`."""
    return any(part.startswith(".") or part.lower() in _LEFT_BEHIND for part in PurePosixPath(name).parts)


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """The files of a folder or zip; raises ImportSourceError when it cannot be opened."""
    if path.is_dir():
        yield Files(path, tuple(sorted(_names_in(path))), lambda name, limit: _read_inside(path, name, limit))
        return
    with _open_zip(path) as archive:
        # Some programs on Windows write paths with backslashes.
        members = {name.replace("\\", "/"): name for name in archive.namelist()}
        names = tuple(sorted(name for name in members if not name.endswith("/") and not is_junk(name)))
        yield Files(path, names, lambda name, limit: _read_member(archive, path, members.get(name, name), limit))


def _names_in(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):  # links to folders are not entered
        folders[:] = [name for name in folders if not is_junk(name)]
        for name in files:
            path = Path(place, name)
            if not is_junk(name) and _is_file(path):
                yield path.relative_to(folder).as_posix()


def _is_file(path: Path) -> bool:
    """Whether it is a file: neither a pipe nor a link that leads nowhere."""
    try:
        return path.is_file()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return False


def _read_inside(folder: Path, name: str, limit: int) -> bytes:
    try:
        root = folder.resolve()
        file = (root / name).resolve()
        if root not in file.parents:
            what = "is a link to a file outside of it" if (root / name).is_symlink() else "lies outside of it"
            raise ImportSourceError(folder, f"'{name}' {what}")
        if not file.is_file():  # a pipe would be waited for
            raise ImportSourceError(folder, f"'{name}' is missing or not a file")
        with file.open("rb") as handle:
            return handle.read(limit + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise ImportSourceError(folder, f"'{name}' is missing or cannot be read") from error


def _open_zip(path: Path) -> ZipFile:
    try:
        if _directory_bytes(path) > MAX_DIRECTORY_BYTES:
            raise ImportSourceError(path, f"its list of files is larger than {MAX_DIRECTORY_BYTES:,} bytes")
        return ZipFile(path)
    except _DAMAGE as error:
        raise ImportSourceError(path, "it is not a readable zip") from error


def _read_member(archive: ZipFile, path: Path, name: str, limit: int) -> bytes:
    try:
        if archive.getinfo(name).compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            # Python unpacks the others at one go, whatever they grow to.
            raise ImportSourceError(path, f"'{name}' is neither stored nor deflated; zip it the usual way")
        with archive.open(name) as member:
            return member.read(limit + 1)
    except _DAMAGE as error:
        raise ImportSourceError(path, f"'{name}' is missing or damaged") from error


def _directory_bytes(path: Path) -> int:
    """Size of a zip's list of files as its last record states it; 0 where there is none (PKWARE APPNOTE 4.3.14-16)."""
    with path.open("rb") as handle:
        size = handle.seek(0, SEEK_END)
        handle.seek(max(0, size - (2**16 + 22 + 20 + 56)))  # the longest comment and the three records before it
        tail = handle.read()
    end = tail.rfind(b"PK\5\6")
    wide = tail.rfind(b"PK\6\6", 0, end) if end >= 0 else -1
    stated = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if wide < 0:
        return stated
    wider = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    return wider if stated == 2**32 - 1 else max(stated, wider)
