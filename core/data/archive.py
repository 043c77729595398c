"""Zips from a stranger: damage of any kind is one clear refusal, and no member is read beyond its limit."""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from core.errors import ImportSourceError

# Python's zip reader trusts the file, so damage surfaces as whatever a parser stumbles over. RuntimeError: encrypted,
# or (NotImplementedError) a feature of zip that Python lacks.
_DAMAGE = (OSError, BadZipFile, RuntimeError, EOFError, ValueError, LookupError, zlib.error, lzma.LZMAError)


def open_zip(path: Path) -> ZipFile:
    """Open a zip; raises ImportSourceError."""
    try:
        return ZipFile(path)
    except _DAMAGE as error:
        raise ImportSourceError(path, "it is not a readable zip") from error


def read_member(archive: ZipFile, path: Path, name: str, limit: int) -> bytes:
    """At most `limit` + 1 bytes of a member: one more than allowed tells that it is too large.

    Raises:
        ImportSourceError: it is missing or damaged; `path` is the zip's, for the message.
    """
    try:
        with archive.open(name) as member:
            return member.read(limit + 1)
    except _DAMAGE as error:
        raise ImportSourceError(path, f"'{name}' is missing or damaged") from error
