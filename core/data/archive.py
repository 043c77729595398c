"""Zips from a stranger: damage of any kind is one clear refusal, and no member is read beyond its limit."""

from __future__ import annotations

import lzma
import zlib
from os import SEEK_END
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from core.errors import ImportSourceError

# Python's zip reader trusts the file, so damage surfaces as whatever a parser stumbles over. RuntimeError: encrypted,
# or (NotImplementedError) a feature of zip that Python lacks.
_DAMAGE = (OSError, BadZipFile, RuntimeError, EOFError, ValueError, LookupError, zlib.error, lzma.LZMAError)

MAX_DIRECTORY_BYTES = 32 * 2**20
"""Some 400,000 files; Python holds an object of half a kilobyte for each."""


def open_zip(path: Path) -> ZipFile:
    """Open a zip; raises ImportSourceError."""
    try:
        if _directory_bytes(path) > MAX_DIRECTORY_BYTES:
            raise ImportSourceError(path, f"its list of files is larger than {MAX_DIRECTORY_BYTES:,} bytes")
        return ZipFile(path)
    except _DAMAGE as error:
        raise ImportSourceError(path, "it is not a readable zip") from error


def read_member(archive: ZipFile, path: Path, name: str, limit: int) -> bytes:
    """At most `limit` + 1 bytes of a member: one more than allowed tells that it is too large.

    Raises:
        ImportSourceError: it is missing or damaged; `path` is the zip's, for the message.
    """
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
