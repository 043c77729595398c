"""Packed HDF5 chunks from a stranger: read only when unpacking them cannot fill the memory.

HDF5 unpacks a chunk whole, and to whatever size it grows, not to the size that the file claims. So a chunk may be no
larger than `MAX_CHUNK_BYTES`, and one that could swell beyond `MAX_SWOLLEN_BYTES` is measured before HDF5 unpacks it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from core.errors import SplitFormatError

MAX_CHUNK_BYTES = 64 * 2**20
MAX_SWOLLEN_BYTES = 384 * 2**20
_GZIP, _SZIP, _LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SZIP, h5py.h5z.FILTER_LZF
_SWELLING = {_GZIP: 1032, _SZIP: 1032, _LZF: 88}
"""How many bytes come of one at the most; of szip that is a guess, so its chunks are always measured."""
_PLAIN = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def check_chunks(path: Path, key: str, dataset: h5py.Dataset) -> None:
    """Refuse a dataset whose chunks are too large, or packed in another way than gzip, szip or lzf.

    Raises:
        SplitFormatError: saying which, and what to do.
    """
    if dataset.chunks is None:
        return
    if math.prod(dataset.chunks) > MAX_CHUNK_BYTES:
        raise SplitFormatError(path, f"'{key}' has chunks of more than {MAX_CHUNK_BYTES:,} bytes")
    filters = _filters(dataset)
    packers = [place for place, (code, _) in enumerate(filters) if code not in _PLAIN]
    unknown = [name for code, name in filters if code not in _PLAIN and code not in _SWELLING]
    if unknown or len(packers) > 1 or any(code != h5py.h5z.FILTER_FLETCHER32 for code, _ in _after(filters, packers)):
        by = f" ({', '.join(unknown)})" if unknown else ""
        raise SplitFormatError(
            path,
            f"'{key}' is packed in a way that NodeLens does not read{by}; "
            "pack it with gzip, as `h5repack -f GZIP=4 OLD NEW` does",
        )
    if not packers:
        return
    (place,) = packers
    room = _room(dataset)
    harmless = MAX_SWOLLEN_BYTES // _SWELLING[filters[place][0]]
    most = harmless if filters[place][0] == _LZF else max(room, harmless)
    if dataset.id.chunk_iter(lambda chunk: chunk.size > (room if chunk.filter_mask >> place & 1 else most) or None):
        raise SplitFormatError(path, f"'{key}' has packed chunks of more than {most:,} bytes")


def read_rows(path: Path, dataset: h5py.Dataset, first: int, last: int) -> NDArray[np.uint8]:
    """Rows `first` to `last` (not included) of a dataset that passed `check_chunks`; `path` is for the message.

    Raises:
        SplitFormatError: they are damaged, or swell beyond the size of their chunk.
    """
    try:
        for size, room in _measured(dataset, first, last):
            if size > room:
                raise SplitFormatError(path, "a packed chunk is larger inside than it says")
        return np.asarray(dataset[first:last])
    except (OSError, zlib.error) as error:
        raise SplitFormatError(path, "its data are damaged") from error


def _measured(dataset: h5py.Dataset, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Unpacked size, and the size allowed, of every chunk under some rows that could fill the memory."""
    packers = [(place, code) for place, (code, _) in enumerate(_filters(dataset)) if code in (_GZIP, _SZIP)]
    if not packers:
        return
    (place, code), room = packers[0], _room(dataset)
    harmless = MAX_SWOLLEN_BYTES // _SWELLING[_GZIP] if code == _GZIP else 0
    if room <= harmless:
        return
    across = (range(0, size, step) for size, step in zip(dataset.shape[1:], dataset.chunks[1:], strict=True))
    for offset in product(range(first - first % dataset.chunks[0], last, dataset.chunks[0]), *across):
        chunk = dataset.id.get_chunk_info_by_coord(offset)
        if chunk.size > harmless and not chunk.filter_mask >> place & 1:
            packed = dataset.id.read_direct_chunk(offset)[1]
            # szip writes the size before the data, and HDF5 takes its word.
            size = len(zlib.decompressobj().decompress(packed, room + 1)) if code == _GZIP else _stated(packed)
            yield size, room


def _stated(packed: bytes) -> int:
    return int.from_bytes(packed[:4], "little")


def _room(dataset: h5py.Dataset) -> int:
    """Bytes of a chunk, with what a packer that gains nothing and a checksum add."""
    size = math.prod(dataset.chunks)
    return int(size + size // 1000 + 64)


def _filters(dataset: h5py.Dataset) -> list[tuple[int, str]]:
    """Code and name of each filter, in the order of writing."""
    layout = dataset.id.get_create_plist()
    found = [layout.get_filter(place) for place in range(layout.get_nfilters())]
    return [(code, name.decode(errors="replace") or f"filter {code}") for code, _, _, name in found]


def _after(filters: list[tuple[int, str]], packers: list[int]) -> list[tuple[int, str]]:
    """What is done to a chunk when it is packed already."""
    return filters[packers[0] + 1 :] if packers else []
