"""The official PCam files: Zenodo -> checked HDF5 files, whatever happens on the way.

A file grows as `NAME.part` beside its place, is continued there after a cut or in a later run, and takes its name only
when its checksum is right and it is unpacked. The MD5 sums are those that Zenodo publishes for record 2546921, the same
as in torchvision's `PCAM` (which has no meta files). The README of PCam's own repository lists the sums of valid and
test under each other's names (basveeling/pcam#1); torchvision corrected that in pytorch/vision#6644. The sizes are
those in the checksum table of TensorFlow Datasets' `patch_camelyon`.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2

from core.data.pcam import PREFIX, Split, file_of, open_patches
from core.errors import DownloadError, OutputError
from core.files import publish
from core.locks import grasp
from core.settings import PCAM_URL
from core.task import PCAM, require_pcam

BLOCK = 2**20
TIMEOUT = 60.0
"""Seconds without a single byte, while connecting or later, after which a connection counts as cut."""
DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before another try, by the number of tries in a row that brought less than one block."""
PATCHES = {"train": 262_144, "valid": 32_768, "test": 32_768}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Published:
    """One file of the record; size and MD5 are those of the bytes served, size None where nobody published it."""

    split: str
    kind: str
    size: int | None
    md5: str

    @property
    def served(self) -> str:
        """Name under which it is published: HDF5 files are compressed."""
        return f"{PREFIX}{self.split}_{self.kind}" + (".gz" if self.kind.endswith(".h5") else "")

    @property
    def unpacked(self) -> int:
        """The most bytes it can become. HDF5 adds an index of chunks to the values: less than 5 % and 16 MiB."""
        values = {"x.h5": PCAM.side**2 * 3, "y.h5": 1, "meta.csv": 200}[self.kind]
        return int(1.05 * PATCHES[self.split] * values) + 16 * 2**20


RECORD = (
    Published("train", "x.h5", 6_421_353_462, "1571f514728f59376b705fc836ff4b63"),
    Published("train", "y.h5", 21_378, "35c2d7259d906cfc8143347bb8e05be7"),
    Published("train", "meta.csv", None, "5a3dd671e465cfd74b5b822125e65b0a"),
    Published("valid", "x.h5", 805_965_320, "d5b63470df7cfa627aeec8b9dc0c066e"),
    Published("valid", "y.h5", 3_038, "2b85f58b927af9964a4c15b8f7e8f179"),
    Published("valid", "meta.csv", None, "67589e00a4a37ec317f2d1932c7502ca"),
    Published("test", "x.h5", 800_875_929, "d8c2d60d490dbd479f8199bdfa0cf6ec"),
    Published("test", "y.h5", 3_040, "60a7035772fbdb7f34eb86d4420cf66a"),
    Published("test", "meta.csv", None, "3455fd69135b66734e1008f3af684566"),
)


class _CutError(Exception):
    """The connection failed in a way that another try may mend."""


def fetch_split(
    split: str, out: Path, progress: Progress = lambda _name, _done, _total: None, base_url: str = PCAM_URL
) -> list[Path]:
    """Bring the official files of one split into `out`; those that are there already are kept.

    Args:
        split: train, valid or test.
        out: folder for `..._x.h5`, `..._y.h5` and `..._meta.csv`.
        progress: called with the name of a file, bytes done and bytes in all; a `.gz` is then unpacked under its
            final name, which is counted in compressed bytes too.
        base_url: http or https address under which the files lie.

    Returns:
        The three files. Together they open as a `Split`.

    Raises:
        DownloadError: a file cannot be had, or is not what was published. What came of it is kept for the next call,
            unless its checksum is wrong.
        OutputError: `out` cannot be written, or holds data of another task, or the disk is too small.
        SplitFormatError: a file that was there before is damaged.
    """
    if split not in PATCHES:
        raise DownloadError(base_url, f"PCam has no split '{split}'; it has {', '.join(PATCHES)}")
    if not base_url.startswith(("http://", "https://")):
        raise DownloadError(base_url, "only http and https addresses are fetched")
    require_pcam(out)
    files = {file_of(out, split, file.kind): file for file in RECORD if file.split == split}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _alone(split, out, base_url):
            _check_present(split, out, base_url)
            _check_room([file for path, file in files.items() if not path.is_file()], out)
            for path, file in files.items():
                part = out / f"{file.served}.part"
                if not path.is_file():
                    _fetch(f"{base_url}/{file.served}?download=1", file, part, path, progress)
                part.unlink(missing_ok=True)
    except OSError as error:  # of the disk: those of the network are ours by now
        raise OutputError(out, _said(error)) from error
    Split.open(out, split)
    return list(files)


@contextmanager
def _alone(split: str, out: Path, url: str) -> Iterator[None]:
    """Hold the lock of one split in one folder; the system lets go of it when the process ends, however it ends."""
    with (out / f".{PREFIX}{split}.lock").open("a", encoding="utf-8") as lock:
        if not grasp(lock, 0):
            raise DownloadError(url, f"another process is fetching '{split}' into {out}")
        yield


def _check_present(split: str, out: Path, url: str) -> None:
    """Refuse to mix official files with those of an import, which holds some patches of a split of the same name."""
    path = file_of(out, split, "x.h5")
    if path.is_file() and (count := open_patches(path).shape[0]) != PATCHES[split]:
        raise DownloadError(
            url, f"{path} is there already, with {count:,} patches instead of {PATCHES[split]:,}; choose another folder"
        )


def _check_room(missing: Iterable[Published], out: Path) -> None:
    needed = sum(file.unpacked + (file.size or 0) - _held(out / f"{file.served}.part") for file in missing)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OutputError(out, f"{needed / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free")


def _fetch(url: str, file: Published, part: Path, path: Path, progress: Progress) -> None:
    _download(url, file, part, progress)
    with part.open("rb") as handle:
        digest = hashlib.file_digest(handle, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if digest != file.md5:
        part.unlink()
        raise DownloadError(url, "what came does not have the published checksum and was deleted; try again")
    if path.suffix == ".h5":
        _unpack(url, file, part, path, progress)
    else:
        publish(part, path)


def _download(url: str, file: Published, part: Path, progress: Progress) -> None:
    """Fill `part`, going on where it ends; gives up after `len(DELAYS)` tries in a row that brought next to nothing."""
    failures, etag = 0, ""
    while file.size is None or _held(part) < file.size:
        before = _held(part)
        try:
            with _answer(url, part, etag) as response:
                etag = response.headers.get("ETag", "")
                _receive(response, url, file, part, progress)
            return
        except _CutError as cut:
            failures = 0 if _held(part) - before >= BLOCK else failures + 1
            if failures == len(DELAYS):
                raise DownloadError(url, f"{cut}; what has come is kept, so try again later") from cut
            time.sleep(DELAYS[failures])


@contextmanager
def _answer(url: str, part: Path, etag: str) -> Iterator[httpx2.Response]:
    """The answer to a request for what `part` lacks; what breaks the connection until the end is a `_CutError`."""
    headers = {"User-Agent": "NodeLens", "Accept-Encoding": "identity"}
    if held := _held(part):
        headers["Range"] = f"bytes={held}-"
        if etag.startswith('"'):  # a weak one, W/"...", does not vouch for every byte
            headers["If-Range"] = etag
    hooks: dict[str, list[Callable[..., object]]] = {"response": [partial(_check_redirect, url)]}
    web = httpx2.Client(timeout=TIMEOUT, follow_redirects=True, event_hooks=hooks)
    try:
        with web, web.stream("GET", url, headers=headers) as response:
            if not response.is_success:
                said = f"the server answers {response.status_code} {response.reason_phrase}"
                if response.status_code == 416:  # nothing lies behind what we hold: it is of another file
                    part.unlink(missing_ok=True)
                elif response.status_code not in (408, 429) and response.status_code < 500:
                    raise DownloadError(url, said)
                raise _CutError(said)
            yield response
    except (httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
        raise DownloadError(url, "it does not lead to a file") from error
    except httpx2.TransportError as error:
        raise _CutError(_said(error)) from error


def _check_redirect(url: str, response: httpx2.Response) -> None:
    """Redirects lead to https, or to http from http; nowhere else."""
    if response.has_redirect_location:
        target = response.url.join(response.headers["Location"])
        if target.scheme not in ("https", response.url.scheme):
            raise DownloadError(url, "the server points to another address that is not followed")


def _receive(response: httpx2.Response, url: str, file: Published, part: Path, progress: Progress) -> None:
    """Write a body behind what `part` holds, or in its place when the server starts from the beginning."""
    held = _held(part) if response.status_code == 206 else 0
    if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
        part.unlink()
        raise _CutError("the server sends another range than was asked for")
    length = response.headers.get("Content-Length")
    offered = None if length is None else held + int(length)
    expected = file.size or offered
    if offered is not None and offered != expected:
        raise DownloadError(url, f"the server offers {offered:,} bytes instead of the published {expected:,}")
    most = min(expected or file.unpacked, file.unpacked)
    with part.open("ab" if held else "wb") as sink:
        blocks = response.iter_raw()
        while held < most and (block := next(blocks, None)) is not None:
            held += sink.write(block[: most - held])
            progress(file.served, held, most)
    if expected is not None and held < most:
        raise _CutError("the connection was cut")


def _unpack(url: str, file: Published, part: Path, path: Path, progress: Progress) -> None:
    temporary = path.with_name(f"{path.name}.part")
    try:
        with temporary.open("wb") as sink:
            for block, done in _unpacked(url, part):
                if sink.tell() + len(block) > file.unpacked:
                    raise DownloadError(url, f"it unpacks to more than the {file.unpacked:,} bytes it may have")
                sink.write(block)
                progress(path.name, done, _held(part))
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _unpacked(url: str, part: Path) -> Iterator[tuple[bytes, int]]:
    """Blocks of a gzip file, each with the number of compressed bytes read until then."""
    try:
        with part.open("rb") as packed, gzip.open(packed) as stream:
            while block := stream.read(BLOCK):
                yield block, packed.tell()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DownloadError(url, "it is not a gzip file, or it is damaged") from error


def _held(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _said(error: BaseException | None) -> str:
    """What went wrong, in the system's words where it has any."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        error = error.__cause__ or error.__context__
    return "the connection was cut"
