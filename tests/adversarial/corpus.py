"""Untrusted files, made by code: each case writes itself into a folder of its own.

`CANARY` stands for a file that nobody offered; links, archives and tables in here point at it.
"""

from __future__ import annotations

import bz2
import csv
import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from PIL import Image

READ, EITHER = "read", ""
PREFIX = "camelyonpatch_level_2_split_valid_"
Make = Callable[[Path, Path], Path]


@dataclass(frozen=True)
class Case:
    """One hostile offer.

    Attributes:
        id: short name; family: the test it belongs to; entry: the door it knocks at (see warden.py).
        make: writes it into an empty folder, given the canary's path, and returns what is offered.
        expected: pattern of the refusal; READ when it is harmless and must be read; EITHER when both will do.
    """

    id: str
    family: str
    entry: str
    make: Make
    expected: str


CASES: list[Case] = []


def add(family: str, name: str, entry: str, make: Make, expected: str) -> None:
    CASES.append(Case(name, family, entry, make, expected))


def picture(family: str, name: str, data: bytes | Callable[[], bytes], expected: str) -> None:
    def make(folder: Path, canary: Path) -> Path:
        path = folder / "offered.png"
        path.write_bytes(data() if callable(data) else data)
        return path

    add(family, name, "picture", make, expected)


# Honest files and their parts -------------------------------------------------------------------------------------


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def tissue() -> Image.Image:
    coarse = np.random.default_rng(5).integers(60, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1))


def patch_png() -> bytes:
    return encode(tissue(), "PNG")


def by_tifffile(**options: Any) -> bytes:
    with io.BytesIO() as file:
        tifffile.imwrite(file, np.asarray(tissue()), photometric="rgb", metadata=None, **options)
        return file.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


HONEST = {
    "png": patch_png(),
    "png with exif": encode(tissue(), "PNG", exif=_exif(), dpi=(26_000, 26_000)),
    "jpeg": encode(tissue(), "JPEG", exif=_exif()),
    "progressive jpeg": encode(tissue(), "JPEG", progressive=True),
    "tiff": encode(tissue(), "TIFF"),
    "lzw tiff": encode(tissue(), "TIFF", compression="tiff_lzw"),
    "deflate tiff": encode(tissue(), "TIFF", compression="tiff_deflate"),
    "jpeg tiff": encode(tissue(), "TIFF", compression="jpeg"),
    "packbits tiff": encode(tissue(), "TIFF", compression="packbits"),
    "zstd tiff": encode(tissue(), "TIFF", compression="zstd"),
    "lzma tiff": encode(tissue(), "TIFF", compression="lzma"),
    "webp tiff": by_tifffile(compression="webp"),
    "jpeg 2000 tiff": by_tifffile(compression="jpeg2000", tile=(48, 48)),
    "predicted tiff": by_tifffile(compression="deflate", predictor=2, byteorder=">"),
    "palette tiff": encode(tissue().convert("P"), "TIFF"),
    "webp": encode(tissue(), "WEBP"),
    "lossless webp": encode(tissue(), "WEBP", lossless=True),
    "bmp": encode(tissue(), "BMP"),
}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, packed: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def zeros(count: int, raw: bool = False) -> bytes:
    """Deflated zeros, a thousandth of their number: one packed MiB, again and again (RFC 1950, 1951)."""
    squeeze = zlib.compressobj(9, wbits=-15)
    block = squeeze.compress(bytes(2**20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    body = block * (count // 2**20) + zlib.compress(bytes(count % 2**20), 9, wbits=-15)
    return body if raw else b"\x78\xda" + body + struct.pack(">HH", count % 65_521, 1)


PATCH_ROWS = zlib.compress(bytes(289 * 96))


def tiff(changes: dict[int, tuple[int, int, int]] | None = None, tail: bytes = bytes(27_648)) -> bytes:
    """A raw 96 x 96 TIFF by hand; `changes` replaces tags as tag -> (type, count, value). Pixels begin at 512."""
    tags = {
        256: (4, 1, 96), 257: (4, 1, 96), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 512),
        277: (3, 1, 1), 278: (4, 1, 96), 279: (4, 1, 9216),
    }  # fmt: skip
    tags |= changes or {}
    entries = b"".join(struct.pack("<HHII", tag, *rest) for tag, rest in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(512, b"\0") + tail


def bmp(width: int = 96, height: int = 96, bits: int = 24, compression: int = 0, colours: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 27_648, 0, 0, 54) + info + bytes(27_648)


def webp(width: int, height: int) -> bytes:
    data = encode(Image.new("RGB", (96, 96)), "WEBP", lossless=True)
    bits = int.from_bytes(data[21:25], "little") >> 28 << 28 | (height - 1) << 14 | (width - 1)
    return data[:21] + bits.to_bytes(4, "little") + data[25:]


# Pictures: cut, flipped, foreign ----------------------------------------------------------------------------------

for _name, _data in HONEST.items():
    for _share in (0.02, 0.3, 0.6, 0.95):
        _cut = _data[: max(1, int(len(_data) * _share))]
        picture("cut", f"{_name} at {_share:.0%}", _cut, "cannot be read")
    picture("cut", f"{_name} without its last byte", _data[:-1], EITHER)
    for _first in range(10):
        _flipped = bytearray(_data)
        for _place in range(_first, len(_data), 10):
            _flipped[_place] ^= 1 << _first % 8
        picture("flipped", f"{_name}, every tenth byte from {_first}", bytes(_flipped), EITHER)

    def _write(folder: Path, canary: Path, data: bytes = _data) -> Path:
        (folder / "offered.png").write_bytes(data)
        return folder / "offered.png"

    add("flipped", f"{_name}, one byte at a time", "sweep", _write, EITHER)

GIF = encode(Image.new("P", (96, 96)), "GIF")
SVG = b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg width="96" height="96">&x;</svg>'
for _name, _data in {
    "one zero byte": b"\0",
    "zeros": bytes(10_000),
    "ff": b"\xff" * 10_000,
    "text": b"a picture of a cell\n",
    "svg with an entity": SVG,
    "html": b"<!doctype html><script>alert(1)</script>",
    "gif": GIF,
    "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction 2 0 R>>endobj\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\n(/etc/passwd) run\n",
    "script": b"#!/bin/sh\ntouch /tmp/owned\n",
    "elf": b"\x7fELF\2\1\1" + bytes(100),
    "pickle": pickle.dumps({"a": 1}),
    "icns": b"icns" + bytes(100),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "avif": b"\0\0\0\x1cftypavif" + bytes(100),
    "psd": b"8BPS\0\1" + bytes(100),
    "ppm": b"P6 96 96 255\n" + bytes(27_648),
    "fits": b"SIMPLE  =                    T" + bytes(3000),
    "windows metafile": b"\xd7\xcd\xc6\x9a" + bytes(100),
    "deflated zeros": zeros(2**24),
}.items():
    picture("foreign", _name, _data, "not a PNG, JPEG, TIFF, BMP or WebP")
picture("foreign", "zero bytes", b"", "is empty")
picture("foreign", "more than 64 MiB", lambda: HONEST["png"] + bytes(2**26), "more than 67,108,864 bytes")
picture("foreign", "png and zip", patch_png() + b"PK\x05\x06" + bytes(18), READ)
picture("foreign", "png and script", patch_png() + b"<script>alert(1)</script>", READ)
picture("foreign", "gif and javascript", GIF + b"=1;alert(1)", "not a PNG")
picture("foreign", "pdf before a jpeg", b"%PDF-1.4\n" + HONEST["jpeg"], "not a PNG")
picture("foreign", "jpeg named png", HONEST["jpeg"], READ)

# Pictures: honest but strange -------------------------------------------------------------------------------------

_FRAMES = [Image.new("RGB", (96, 96), (shade, 0, 0)) for shade in (10, 200)]
for _name, _data in {
    "animated png": encode(_FRAMES[0], "PNG", save_all=True, append_images=_FRAMES[1:]),
    "animated webp": encode(_FRAMES[0], "WEBP", save_all=True, append_images=_FRAMES[1:]),
    "tiff of two pages": encode(_FRAMES[0], "TIFF", save_all=True, append_images=_FRAMES[1:]),
    "16-bit gray": encode(Image.fromarray(np.full((96, 96), 40_000, np.uint16)), "PNG"),
    "16-bit colour": png(96, 96, 16, 2, zlib.compress(bytes(577 * 96))),
    "palette": encode(tissue().convert("P"), "PNG"),
    "palette with transparency": encode(tissue().convert("P"), "PNG", transparency=3),
    "cmyk": encode(tissue().convert("CMYK"), "JPEG"),
    "gray with alpha": encode(tissue().convert("LA"), "PNG"),
    "untrusted text": png(96, 96, 8, 2, PATCH_ROWS, chunk(b"tEXt", b"Comment\0\x1b]0;owned\x07")),
}.items():
    picture("strange", _name, _data, READ)
for _name, _data, _expected in (
    ("1 x 1", encode(Image.new("RGB", (1, 1)), "PNG"), "got 1 x 1"),
    ("0 x 0", png(0, 0, 8, 2, b""), "cannot be read"),
    ("95 x 96", encode(Image.new("RGB", (95, 96)), "BMP"), "got 95 x 96"),
    ("40,000 x 1", encode(Image.new("RGB", (40_000, 1)), "PNG"), "got 40000 x 1"),
    ("NaN", encode(Image.fromarray(np.full((96, 96), np.nan, np.float32)), "TIFF"), "floating point"),
    ("infinite", encode(Image.fromarray(np.full((96, 96), np.inf, np.float32)), "TIFF"), "floating point"),
    ("32-bit whole", encode(Image.fromarray(np.full((96, 96), -1, np.int32)), "TIFF"), "32-bit signed"),
    ("one bit", encode(Image.new("1", (96, 96)), "PNG"), "black or white"),
    ("lab", encode(Image.new("LAB", (96, 96)), "TIFF"), "CIELAB"),
    ("palette of no colour", png(96, 96, 8, 3, zlib.compress(bytes(97 * 96))), EITHER),
    ("pixel size of nothing", tiff({282: (5, 1, 200), 283: (5, 1, 200)}), READ),
    ("orientation 99", tiff({274: (3, 1, 99)}), READ),
):
    picture("strange", _name, _data, _expected)

# Pictures: bombs --------------------------------------------------------------------------------------------------

SIDE = 6320  # just below the limit of 40 million pixels
for _name, _bomb, _expected in (
    ("png of 60,000 px", lambda: png(60_000, 60_000, 8, 2, zeros(10**7)), "40,000,000 pixels"),
    ("png of 2^31 px", lambda: png(2**31 - 1, 2**31 - 1, 8, 6, b""), "40,000,000 pixels"),
    ("png of the largest size", lambda: png(SIDE, SIDE, 8, 6, zeros((4 * SIDE + 1) * SIDE)), READ),
    ("16-bit png of the largest size", lambda: png(SIDE, SIDE, 16, 0, zeros((2 * SIDE + 1) * SIDE)), READ),
    ("png of 96 px and 2 GB", lambda: png(96, 96, 8, 2, zeros(2**31)), EITHER),
    ("png profile of 1 GB", lambda: png(96, 96, 8, 2, PATCH_ROWS, chunk(b"iCCP", b"a\0\0" + zeros(2**30))), EITHER),
    ("png text of 1 GB", lambda: png(96, 96, 8, 2, PATCH_ROWS, chunk(b"zTXt", b"a\0\0" + zeros(2**30)) * 4), EITHER),
    ("png of 2,000,000 chunks", lambda: patch_png()[:33] + chunk(b"abCd", b"") * 2_000_000, "too many parts"),
    ("png exif of 20 MB", lambda: png(96, 96, 8, 2, PATCH_ROWS, chunk(b"eXIf", tiff(tail=bytes(20 * 2**20)))), "EXIF"),
    ("apng of 2^31 frames", lambda: png(96, 96, 8, 2, PATCH_ROWS, chunk(b"acTL", b"\x7f\xff\xff\xff\0\0\0\0")), EITHER),
    ("jpeg of 65,500 px", lambda: _changed(HONEST["jpeg"], b"\0\x60\0\x60", b"\xff\xdc" * 2), "pixels"),
    ("jpeg of 1,000,000 passes", lambda: _passes(1_000_000), "too many parts"),
    ("jpeg of 10,000,000 segments", lambda: b"\xff\xd8" + b"\xff\xe5\0\2" * 10_000_000, "too many parts"),
    ("jpeg of stray bytes", lambda: b"\xff\xd8\xff\xe0\0\2" + bytes(60 * 2**20), "too many parts"),
    ("jpeg of fill bytes", lambda: b"\xff\xd8" + b"\xff" * (60 * 2**20), "cannot be read"),
    ("jpeg of many exif segments", lambda: b"\xff\xd8" + _app1() * 40 + HONEST["jpeg"][2:], "too many parts"),
    ("webp of 16,383 px", lambda: webp(16_383, 16_383), "pixels"),
    ("webp of 36 million pixels", lambda: webp(6000, 6000), "pixels in a WebP"),
    ("tiff of 60,000 px", lambda: tiff({256: (4, 1, 60_000), 257: (4, 1, 60_000)}), "40,000,000 pixels"),
    ("tiff of the largest size", lambda: _large_tiff(), READ),
    ("tiff of 15,000,000 strips", lambda: tiff({273: (4, 15_000_000, 512)}, bytes(60_000_000)), "too many parts"),
    ("tiff of 7,000,000 resolutions", lambda: tiff({282: (5, 7_000_000, 512)}, bytes(56_000_000)), "too many parts"),
    ("tiff with numbers in its exif", lambda: _nested(), "too many parts"),
    ("tiff with one tile of 4 GB", lambda: tiff({322: (4, 1, 65_536), 323: (4, 1, 65_536), 324: (4, 1, 512)}), EITHER),
    ("tiff of 65,535 tags on one place", lambda: _tags(), EITHER),
    ("tiff whose pages go in a circle", lambda: tiff()[:118] + struct.pack("<I", 8) + tiff()[122:], READ),
    ("tiff of one strip of 320 MB", lambda: _one_strip(), READ),
    ("big-endian tiff of one strip of 320 MB", lambda: _one_strip(">"), "bytes in one strip"),
    ("tiff of texts on one place", lambda: _texts(), "too many parts"),
    ("tiff of strips on one place", lambda: _strips(), "too many parts"),
    ("tiff with a larger jpeg inside", lambda: _inner("jpeg tiff", b"\0\x60\0\x60", b"\xff\xdc" * 2), "pixels"),
    ("tiff with a larger jp2 inside", lambda: _inner("jpeg 2000 tiff", b"\0\0\0\x30" * 2, b"\x7f\xff" * 4), EITHER),
    ("tiff of jpeg passes", lambda: tiff({259: (3, 1, 7), 279: (4, 1, 9 * 10**6)}, _passes(10**6)), "many parts"),
    ("tiff whose deflate goes on", lambda: tiff({259: (3, 1, 8), 279: (4, 1, 10**6)}, zeros(2**30)), "cannot be read"),
    ("tiff without its strips", lambda: tiff({273: (4, 1, 0), 279: (4, 1, 0)}), "parts of it are missing"),
    ("metamorph tables", lambda: tiff({33628: (4, 9000, 512), 33629: (5, 9000, 512)}, bytes(90_000)), "too many parts"),
    ("bigtiff beyond 2^63", lambda: b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(100), "cannot be read"),
    ("tiff far away", lambda: b"II*\0\xff\xff\xff\xff" + bytes(100), "cannot be read"),
    ("bmp of 2^31 px", lambda: bmp(2**31 - 1, 2**31 - 1), "pixels"),
    ("bmp of less than nothing", lambda: bmp(-96, -96), EITHER),
    ("bmp of 2^32 colours", lambda: bmp(bits=8, colours=2**32 - 1), EITHER),
    ("bmp in runs", lambda: bmp(bits=8, compression=1) + bytes(2**20), "run-length"),
):  # fmt: skip
    picture("bombs", _name, _bomb, _expected)


def _passes(count: int) -> bytes:
    data = HONEST["progressive jpeg"]
    last = data.rfind(b"\xff\xda")
    return (
        data[:-2] + data[last:-2] * count + data[-2:] if len(data) - last < 60 else data[:-2] + _DC * count + data[-2:]
    )


_DC = b"\xff\xda\0\x08\1\1\0\0\0\x20\0"


def _large_tiff() -> bytes:
    return encode(Image.new("RGBA", (SIDE, SIDE)), "TIFF", compression="tiff_deflate")


def _one_strip(order: str = "<") -> bytes:
    """16-bit colour with alpha, which is unpacked at one go."""
    packed = zeros(SIDE * SIDE * 8)
    if order == ">":
        with io.BytesIO() as file:
            pixels = np.zeros((97, 97, 4), np.uint16)
            tifffile.imwrite(file, pixels, photometric="rgb", compression="deflate", byteorder=">", rowsperstrip=97)
            small = file.getvalue()
        head, tail = small[:400], small[400:]
        return head.replace(struct.pack(">I", 97), struct.pack(">I", SIDE)) + tail
    changes = {256: (4, 1, SIDE), 257: (4, 1, SIDE), 258: (3, 4, 512), 259: (3, 1, 8), 262: (3, 1, 2)}
    changes |= {273: (4, 1, 520), 277: (3, 1, 4), 278: (4, 1, SIDE), 279: (4, 1, len(packed)), 338: (3, 1, 2)}
    return tiff(changes, struct.pack("<4H", 16, 16, 16, 16) + packed)


def _app1() -> bytes:
    return b"\xff\xe1\xff\xff" + b"Exif\0\0" + tiff(tail=b"")[:512].ljust(65_527, b"\0")


def _nested() -> bytes:
    inner = struct.pack("<H", 1) + struct.pack("<HHII", 37_386, 5, 7_000_000, 600) + bytes(4)
    return tiff({34_665: (4, 1, 512)}, inner + bytes(56_000_200))


def _texts() -> bytes:
    entries = b"".join(struct.pack("<HHII", 270, 2, 700_000, 8) for _ in range(4000))
    return (b"II*\0" + struct.pack("<IH", 8, 4000) + entries + bytes(4)).ljust(2_000_000, b" ")


def _strips() -> bytes:
    """Each row of pixels packed in all 10 MB of the file."""
    places = struct.pack("<96I", *[4096] * 96) + struct.pack("<96I", *[10_000_000] * 96)
    return tiff({259: (3, 1, 8), 273: (4, 96, 512), 278: (4, 1, 1), 279: (4, 96, 896)}, places + bytes(10_010_000))


def _inner(name: str, size: bytes, larger: bytes) -> bytes:
    assert size in HONEST[name]
    return HONEST[name].replace(size, larger)


def _tags() -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 7, 700_000, 8) for tag in range(65_535))
    return b"II*\0" + struct.pack("<IH", 8, 65_535) + entries + bytes(4)


# Splits -----------------------------------------------------------------------------------------------------------


def split(family: str, name: str, expected: str, x: Callable[..., object] | None = None, **others: Any) -> None:
    """A folder with x and y files: `x(file, canary)` and `y=` fill them, `files={name: bytes}` lie beside them."""

    def make(folder: Path, canary: Path) -> Path:
        fill_y = others.get("y", lambda file, canary: file.create_dataset("y", data=LABELS))
        for key, fill in (("x", x or (lambda file, canary: file.create_dataset("x", data=PATCHES))), ("y", fill_y)):
            with h5py.File(folder / f"{PREFIX}{key}.h5", "w", **others.get("how", {})) as file:
                fill(file, canary)
        for path, data in others.get("files", {}).items():
            (folder / path).write_bytes(data)
        return folder

    add(family, name, "split", make, expected)


PATCHES, LABELS = np.zeros((4, 96, 96, 3), np.uint8), np.zeros((4, 1, 1, 1), np.uint8)


def _chunked(file: h5py.File, packed: bytes, rows: int = 1, count: int = 4, filters: int = 1) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((rows, 96, 96, 3))
    for _ in range(filters):
        layout.set_deflate(9)
    space = h5py.h5s.create_simple((count, 96, 96, 3))
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, layout).write_direct_chunk((0, 0, 0, 0), packed)


def _unknown_filter(file: h5py.File, canary: Path) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((1, 96, 96, 3))
    layout.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, (3,))
    space = h5py.h5s.create_simple((4, 96, 96, 3))
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, layout).write_direct_chunk((0, 0, 0, 0), b"abc")


def _virtual(file: h5py.File, canary: Path) -> None:
    layout = h5py.VirtualLayout((4, 96, 96, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(canary), "x", (4, 96, 96, 3))
    file.create_virtual_dataset("x", layout)


def _external(file: h5py.File, canary: Path) -> None:
    file.create_dataset("x", (4, 96, 96, 3), np.uint8, external=[(str(canary), 0, h5py.h5f.UNLIMITED)])


def _link(key: str, value: Callable[[Path], object]) -> Callable[..., None]:
    return lambda file, canary: file.__setitem__(key, value(canary))


def _dataset(key: str, shape: object, dtype: object, **options: object) -> Callable[..., object]:
    return lambda file, canary: file.create_dataset(key, shape, dtype, **options)


for _name, _fill, _expected in (
    ("external link", _link("x", lambda canary: h5py.ExternalLink(str(canary), "x")), "is a link"),
    ("external storage", _external, "in other files"),
    ("virtual dataset", _virtual, "in other files"),
    ("soft link in a circle", _link("x", lambda canary: h5py.SoftLink("/x")), "is a link"),
    ("soft link to the outside", _link("x", lambda canary: h5py.SoftLink("/../y")), "is a link"),
):
    split("links", f"x: {_name}", _expected, _fill)
split("links", "y: external link", "is a link", y=_link("y", lambda canary: h5py.ExternalLink(str(canary), "y")))
split("links", "y: soft link in a circle", "is a link", y=_link("y", lambda canary: h5py.SoftLink("y")))

for _name, _fill, _expected in (
    ("the file itself", lambda file, canary: file.__setitem__("x", file["/"]), "not a dataset"),
    ("a type", lambda file, canary: file.__setitem__("x", np.dtype("u1")), "not a dataset"),
    ("nothing", lambda file, canary: None, "missing"),
    ("objects", _dataset("x", (4, 96, 96, 3), h5py.vlen_dtype(np.uint8)), "expected uint8"),
    ("references", _dataset("x", (4, 96, 96, 3), h5py.ref_dtype), "expected uint8"),
    ("strings", _dataset("x", (4, 96, 96, 3), h5py.string_dtype()), "expected uint8"),
    ("compound", _dataset("x", (4, 96, 96, 3), np.dtype([("a", "u1"), ("b", "u1")])), "expected uint8"),
    ("floats", _dataset("x", (4, 96, 96, 3), np.float32, fillvalue=np.nan), "float32"),
    ("truth values", _dataset("x", (4, 96, 96, 3), bool), "bool"),
    ("channels first", _dataset("x", (4, 3, 96, 96), np.uint8), "expected uint8"),
    ("no patch", _dataset("x", (0, 96, 96, 3), np.uint8), "expected uint8"),
    ("32 axes", _dataset("x", (1,) * 32, np.uint8), "expected uint8"),
    ("5 patches for 4 labels", _dataset("x", (5, 96, 96, 3), np.uint8), "5 patches but 4 labels"),
    ("compact storage", lambda file, canary: _compact(file), "expected uint8"),
    ("10^12 patches without data", _dataset("x", (10**12, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3)), "1,000,000 is"),
    ("one chunk of 1 GB", lambda file, canary: _chunked(file, zeros(27_648 * 40_000), 40_000, 40_000), "has chunks"),
    ("a small chunk that swells", lambda file, canary: _chunked(file, zeros(2**30)), "packed chunks"),
    ("packed twice", lambda file, canary: _chunked(file, zlib.compress(zeros(2**30)), filters=2), "packed in a way"),
    ("an unknown filter", _unknown_filter, "packed in a way"),
    ("a chunk that is not packed", lambda file, canary: _chunked(file, b"abc"), "data are damaged"),
):
    split("datasets", f"x: {_name}", _expected, _fill)
for _name, _fill, _expected in (
    ("2", lambda file, canary: file.create_dataset("y", data=LABELS + 2), "0 or 1"),
    ("255", lambda file, canary: file.create_dataset("y", data=LABELS + 255), "0 or 1"),
    ("-1", lambda file, canary: file.create_dataset("y", data=LABELS.astype("i1") - 1), "int8"),
    ("NaN", lambda file, canary: file.create_dataset("y", data=LABELS * np.nan), "float64"),
    ("objects", _dataset("y", (4, 1, 1, 1), h5py.string_dtype()), "expected uint8"),
    ("flat", _dataset("y", (4,), np.uint8), "expected uint8"),
    ("none", lambda file, canary: None, "missing"),
    ("10^12", _dataset("y", (10**12, 1, 1, 1), np.uint8, chunks=(1000, 1, 1, 1)), "1,000,000 is"),
):
    split("datasets", f"labels: {_name}", _expected, y=_fill)
split("datasets", "a block of the user's before it", READ, how={"userblock_size": 512})
for _name, _value in {
    "an array": np.array([1, 0]), "empty": h5py.Empty("f"), "strings": ["a", "b"], "NaN": np.nan,
    "raw bytes": np.void(b"abc"), "a long array": np.zeros(8000),
}.items():  # fmt: skip

    def _with_attribute(file: h5py.File, canary: Path, value: object = _value) -> None:
        file.create_dataset("x", data=PATCHES).attrs["synthetic"] = value

    split("datasets", f"synthetic: {_name}", READ, _with_attribute)

for _name, _table, _expected in (
    ("with a number too large", b"split,index,row\n" + b"valid,0,99999999999999999999\n" * 4, "increasing whole"),
    ("with infinity", b"split,index,row\n" + b"valid,0,inf\n" * 4, "increasing whole"),
    ("of one endless line", b"split,row" + b",a" * 5_000_000, "line 1 has"),
    ("with a quote left open", b'split,index,row\n"valid,0,1\n', "not a CSV table"),
    ("that is binary", bytes(range(256)), "not a CSV table"),
    ("that is empty", b"", "not a CSV table"),
    ("that is packed", b"\x1f\x8b" + bytes(100), "not a CSV table"),
    ("with a line cut short", b"split,index,row\nvalid\n", "line 2 is too short"),
    ("of 2,000,000 lines", b"split,row\n" + b"a,1\n" * 2_000_000, "1,000,000 rows"),
    ("of 80 MB", b"split,row\n" + bytes(80_000_000), "larger than"),
):
    split("tables", f"rows {_name}", _expected, files={"rows.csv": _table})
_META = f"{PREFIX}meta.csv"
split("tables", "a slide of 1,000 letters", "256 characters", files={_META: b"wsi\n" + b"a\n" * 3 + b"b" * 1000})
split("tables", "slides with escapes", READ, files={_META: b"wsi\n" + b"\x1b[2J\n" * 4})


def _compact(file: h5py.File) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((2, 96, 96, 3 // 3)), layout)


def _damaged_hdf5(name: str, damage: Callable[[bytes], bytes], expected: str) -> None:
    def make(folder: Path, canary: Path) -> Path:
        for key, data in (("x", PATCHES), ("y", LABELS)):
            with h5py.File(folder / f"{PREFIX}{key}.h5", "w") as file:
                file.create_dataset(key, data=data)
        path = folder / f"{PREFIX}x.h5"
        path.write_bytes(damage(path.read_bytes()))
        return folder

    add("datasets", f"hdf5 {name}", "split", make, expected)


def _flip_header(data: bytes, first: int) -> bytes:
    changed = bytearray(data)
    for place in range(first, min(2048, len(data)), 10):
        changed[place] ^= 1 << first % 8
    return bytes(changed)


_damaged_hdf5("of zero bytes", lambda data: b"", "not an HDF5 file")
_damaged_hdf5("cut in half", lambda data: data[: len(data) // 2], "not an HDF5 file")
_damaged_hdf5("that is a zip", lambda data: b"PK\x03\x04" + data[4:], "not an HDF5 file")
_damaged_hdf5("that is only a signature", lambda data: data[:8], "not an HDF5 file")
for _first in range(10):
    _damaged_hdf5(f"with every tenth byte from {_first}", lambda data, k=_first: _flip_header(data, k), "cannot|not|is")

# Zips and folders to import ---------------------------------------------------------------------------------------


def _zip(members: dict[str, bytes], **options: Any) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", **options) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return file.getvalue()


def _index(*files: str) -> bytes:
    with io.StringIO() as file:
        csv.writer(file).writerows([("row", "label", "file"), *((i, i % 2, name) for i, name in enumerate(files))])
        return file.getvalue().encode("utf-8", "surrogateescape")


def zipped(
    name: str, data: bytes | Callable[[Path], bytes], expected: str, entry: str = "import", file: str = "valid.zip"
) -> None:
    def make(folder: Path, canary: Path) -> Path:
        (folder / file).write_bytes(data(canary) if callable(data) else data)
        return folder / file

    add("zips", f"{entry}: {name}", entry, make, expected)


def _changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


_SLIP = "../../../../../../../../../tmp/../../../../etc/passwd"
LONG = {"labels.csv": b"row,label,file\n" + b"1,1,a\n" * 2_000_000}
TWO = {"labels.csv": _index("a.png", "b.png"), "a.png": patch_png(), "b.png": patch_png()}
ONE = {"labels.csv": _index("a.png"), "a.png": patch_png()}
for _name, _offer, _expected in (
    ("two honest patches", _zip(TWO), READ),
    ("slip with dots", _zip({"labels.csv": _index(_SLIP), _SLIP: patch_png()}), "outside of it"),
    ("slip from the root", lambda canary: _zip({"labels.csv": _index(str(canary)), str(canary): b""}), "outside"),
    ("slip backwards", _zip({"labels.csv": _index("..\\..\\a.png")}), "outside of it"),
    ("empty", b"", "not a readable zip"),
    ("html", b"<!doctype html>", "not a readable zip"),
    ("cut short", _zip(ONE)[:-30], "not a readable zip"),
    ("tar", lambda canary: _tar(canary), "not a readable zip"),
    ("no table", _zip({"a.png": patch_png()}), "no labelled pictures; expected is a table"),
    ("table without a file", _zip({"labels.csv": _index("gone.png")}), "missing"),
    ("empty table", _zip({"labels.csv": b"row,label,file\n"}), "names no patch"),
    ("label 7", _zip(ONE | {"labels.csv": b"row,label,file\n1,7,a.png\n"}), "0 or 1"),
    ("label NaN", _zip(ONE | {"labels.csv": b"row,label,file\n1,nan,a.png\n"}), "label 'nan'; labels must be 0 or 1"),
    ("row of 4,000 digits", _zip(ONE | {"labels.csv": b"row,label,file\n" + b"9" * 4000 + b",1,a.png\n"}), "2\\^63"),
    ("row -1", _zip(ONE | {"labels.csv": b"row,label,file\n-1,1,a.png\n"}), "2\\^63"),
    ("a row twice", _zip(ONE | {"labels.csv": b"row,label,file\n1,1,a.png\n1,0,a.png\n"}), "a row twice"),
    ("table of 2,000,000 lines", lambda canary: _zip(LONG, compression=8), "'a' is missing"),
    ("table of 100 MB", lambda canary: _zip({"labels.csv": bytes(10**8)}, compression=8), "larger than"),
    ("table of one line", _zip({"labels.csv": b"row,label,file" + b",a" * 2**20}, compression=8), "line 1 has 4,096"),
    ("table in bits", _zip({"labels.csv": bytes(range(256))}), "neither UTF-8"),
    ("image of 1 GB", lambda canary: _packed(8), "larger than"),
    ("image in lzma", _zip(ONE, compression=14), "neither stored nor deflated"),
    ("image of 1 GB in bzip2", lambda canary: _packed(12),  "neither stored nor deflated"),
    ("a zip in the zip", _zip(ONE | {"a.png": _zip(ONE)}), "not a PNG"),
    ("second image bad", _zip({"labels.csv": _index("a.png", "b.png"), "a.png": patch_png(), "b.png": b"no"}), "b.png"),
    ("password", _changed(_zip(ONE), b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"), "damaged"),
    ("wrong checksum", lambda canary: _changed(_zip(ONE), patch_png()[-40:], b"x" * 40), "damaged"),
    ("a list of 600,000 files", lambda canary: _long_list(), "list of files"),
    ("a name with a newline", _zip(ONE | {"labels.csv": b'row,label,file\n1,1,"a\nb.png"\n'}), "not a CSV table"),
    ("a name with escapes", _zip({"labels.csv": _index("\x1b[31m\u202ea.png")}), r"\\x1b\[31m\\u202ea"),
    ("a name with zero", _zip({"labels.csv": _index("a\0b.png")}), "missing"),
    ("a name of 3,000 letters", _zip({"labels.csv": _index("n" * 3000)}), "missing"),
):  # fmt: skip
    zipped(_name, _offer, _expected)
zipped("name of the zip climbs", _zip(ONE), "cannot name a split", file="..zip.zip")
zipped("name of the zip with a newline", _zip(ONE), "cannot name a split", file="va\nlid.zip")
zipped("name of the zip turns around", _zip(ONE), "cannot name a split", file="\u202egnp.zip")
zipped("emoji", _zip({"🧬.png": patch_png()}), READ, "score", "emoji.zip")
zipped("image of 1 GB", lambda canary: _packed(8), "67,108,864 bytes", "score")
zipped("image of 1 GB in bzip2", lambda canary: _packed(12), "neither stored", "score")
zipped("a newline in a name", _zip({"a\nb.png": b"no"}), r"^(?!.*\n)", "score")
zipped("slip", lambda canary: _zip({_SLIP + ".png": b"no", str(canary) + ".png": b"no"}), "not a PNG", "score")
zipped("not a zip", b"no", "not a readable zip", "score")
zipped("no image", _zip({"a.txt": b"no"}), EITHER, "score")


def _packed(method: int) -> bytes:
    """A zip whose image is 1 GB of zeros, by deflate (8) or bzip2 (12)."""
    body = zeros(2**30, raw=True) if method == 8 else bz2.compress(bytes(2**26)) * 16
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.png", body)  # stored, and then said to be packed
            archive.writestr("labels.csv", ONE["labels.csv"])
        data = bytearray(file.getvalue())
    local, listed = data.find(b"a.png") - 30, data.rfind(b"a.png") - 46
    for head in (local + 8, listed + 10):
        struct.pack_into("<H", data, head, method)
        struct.pack_into("<I", data, head + 14, 2**30)
    return bytes(data)


def _tar(canary: Path) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(canary.parent, arcname="../up", recursive=False)
        return file.getvalue()


def _long_list() -> bytes:
    size = 600_000 * 60
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, 0, 0)
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0) + b"a" * 14
    return entry * 600_000 + end


def folder(name: str, fill: Callable[[Path, Path], object], expected: str, entry: str = "import") -> None:
    def make(place: Path, canary: Path) -> Path:
        offered = place / "valid"
        offered.mkdir()
        fill(offered, canary)
        return offered

    add("folders", f"{entry}: {name}", entry, make, expected)


def _files(files: dict[str, bytes]) -> Callable[[Path, Path], object]:
    return lambda offered, canary: [(offered / name).write_bytes(data) for name, data in files.items()]


def _linked(target: Callable[[Path], Path | str], name: str = "a.png") -> Callable[[Path, Path], object]:
    def fill(offered: Path, canary: Path) -> None:
        for file, data in ONE.items():
            if file != name:
                (offered / file).write_bytes(data)
        (offered / name).symlink_to(target(canary))

    return fill


def _piped(name: str) -> Callable[[Path, Path], object]:
    def fill(offered: Path, canary: Path) -> None:
        _files({file: data for file, data in ONE.items() if file != name})(offered, canary)
        os.mkfifo(offered / name)

    return fill


folder("two honest patches", _files(TWO), READ)
folder("image linked to the outside", _linked(lambda canary: canary), "outside of it")
folder("table linked to the outside", _linked(lambda canary: canary, "labels.csv"), "outside of it")
folder("image linked to itself", _linked(lambda canary: "a.png"), "missing")
folder("image linked to endless zeros", _linked(lambda canary: "/dev/zero"), "not a file")
folder("image that is a pipe", _piped("a.png"), "not a file")
folder("table that is a pipe", _piped("labels.csv"), "no labelled pictures")
folder("zip that is a pipe", lambda offered, canary: os.mkfifo(offered / "valid.zip"), "no zip and no labelled")
folder(
    "image that is a folder",
    lambda offered, canary: [_files({"labels.csv": ONE["labels.csv"]})(offered, canary), (offered / "a.png").mkdir()],
    "not a file",
)
folder(
    "table that climbs",
    lambda offered, canary: _files({"labels.csv": _index(f"../{canary.name}")})(offered, canary),
    "outside of it",
)
folder(
    "table that names the canary",
    lambda offered, canary: _files({"labels.csv": _index(str(canary))})(offered, canary),
    "outside of it",
)
folder("table with zero in a name", _files({"labels.csv": _index("a\0b")}), "missing")
folder("image linked to the outside", _linked(lambda canary: canary), "link to a file outside", "score")
folder("image linked to itself", _linked(lambda canary: "a.png"), "no images", "score")
folder("image that is a pipe", _piped("a.png"), "no images", "score")
folder(
    "name that is not text",
    lambda offered, canary: _files({os.fsdecode(b"\xff\xfe.png"): b"no"})(offered, canary),
    "not a PNG",
    "score",
)
folder(
    "name that turns around", _files({"\u202egnp.a.png": patch_png(), "a\nb\x1b[2J.png": patch_png()}), READ, "score"
)

# Bundles ----------------------------------------------------------------------------------------------------------

DESCRIPTION = {
    "name": "tiny", "version": "1", "architecture": "densenet169", "mean": [1, 1, 1], "std": [1, 1, 1],
    "training": {"recipe": "none"},
}  # fmt: skip


def safetensors(header: object = None, body: bytes = bytes(8 * 6 + 4), length: int | None = None) -> bytes:
    """A safetensors file by hand: a head of two rows over six features in fp16, all zero."""
    if header is None:
        header = {"classifier.weight": _tensor((2, 6), 0, 24), "classifier.bias": _tensor((2,), 24, 28)}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _tensor(shape: tuple[int, ...], start: int, end: int, dtype: str = "F16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def bundle(
    title: str, expected: str, weights: bytes = b"", fields: dict[str, object] | None = None, text: bytes | None = None
) -> None:
    def make(folder: Path, canary: Path) -> Path:
        vouched = {"weights_sha256": hashlib.sha256(weights).hexdigest()}
        (folder / "bundle.json").write_bytes(
            json.dumps(DESCRIPTION | vouched | (fields or {})).encode() if text is None else text
        )
        (folder / "weights.safetensors").write_bytes(weights)
        return folder

    add("bundles", title, "bundle", make, expected)


HEAD = {"classifier.weight": _tensor((2, 6), 0, 24), "classifier.bias": _tensor((2,), 24, 28)}
HEAD1 = HEAD | {"classifier.weight": _tensor((1, 12), 0, 24)}
HEAD8 = {"classifier.weight": _tensor((2, 6), 0, 12, "F8_E4M3"), "classifier.bias": _tensor((2,), 12, 14, "F8_E4M3")}
WHOLE = safetensors(HEAD, bytes(28))
_NAN = np.full(14, np.nan, np.float16).tobytes()


class Canary:
    """Unpickled, it ends the process."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


bundle("honest head", READ, WHOLE)
bundle("changed hash", "wrong SHA-256", WHOLE, {"weights_sha256": "0" * 64})
for _name, _weights, _expected in (
    ("nothing", b"", "not a safetensors"),
    ("a pickle", pickle.dumps(Canary()), "not a safetensors"),
    ("a zip of a pickle", _zip({"archive/data.pkl": pickle.dumps(Canary())}), "not a safetensors"),
    ("a header of 2^63 bytes", safetensors(length=2**63), "not a safetensors"),
    ("a header longer than the file", safetensors(length=10**6), "not a safetensors"),
    ("a header shorter than its text", safetensors(length=5), "not a safetensors"),
    ("a header that is not JSON", safetensors(b"{]"), "not a safetensors"),
    ("a header of 10,000 levels", safetensors(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "not a safetensors"),
    ("a list", safetensors([1]), "not a safetensors"),
    ("offsets that overlap", safetensors(HEAD | {"b": _tensor((2,), 20, 24)}, bytes(28)), "not a safetensors"),
    ("offsets that turn back", safetensors(HEAD | {"b": _tensor((2,), 28, 24)}, bytes(28)), "not a safetensors"),
    ("offsets beyond the end", safetensors({"classifier.weight": _tensor((2, 6), 0, 24)}, bytes(10)), "not a safe"),
    ("negative offsets", safetensors({"classifier.weight": _tensor((2, 6), -24, 0)}), "not a safetensors"),
    ("a hole between tensors", safetensors({"a": _tensor((1,), 4, 6)}, bytes(6)), "not a safetensors"),
    ("a shape that overflows", safetensors({"a": _tensor((2**62, 2**62), 0, 2)}, bytes(2)), "not a safetensors"),
    ("an unknown type", safetensors({"a": _tensor((1,), 0, 2, "X9")}, bytes(2)), "not a safetensors"),
    ("bf16", safetensors({n: t | {"dtype": "BF16"} for n, t in HEAD.items()}, bytes(28)), "bf16"),
    ("whole numbers", safetensors({n: t | {"dtype": "I16"} for n, t in HEAD.items()}, bytes(28)), "floating point"),
    ("eight-bit floats", safetensors(HEAD8, bytes(14)), "type NumPy lacks"),
    ("no head", safetensors({"a": _tensor((1,), 0, 2)}, bytes(2)), "no linear layer"),
    ("a head of one row", safetensors(HEAD1, bytes(28)), "expected \\(2, k\\)"),
    ("a head of NaN", safetensors(HEAD, _NAN), "not finite"),
    ("a head of infinities", safetensors(HEAD, np.full(14, np.inf, np.float16).tobytes()), "not finite"),
    ("NaN elsewhere", safetensors(HEAD | {"a": _tensor((14,), 28, 56)}, bytes(28) + _NAN), "'a' hold"),
):  # fmt: skip
    bundle(f"weights: {_name}", _expected, _weights)
for _name, _fields, _expected in (
    ("name with a climb", {"name": "../../etc"}, "not valid at name"),
    ("name with a newline", {"name": "tiny\n"}, "not valid at name"),
    ("architecture that climbs", {"architecture": "densenet169/../../etc"}, "Unknown architecture"),
    ("architecture with escapes", {"architecture": "\x1b[2J"}, r"\\x1b\[2J"),
    ("architecture of 100,000 letters", {"architecture": "a" * 100_000}, "Unknown architecture"),
    ("a field nobody knows", {"\x1b[2J\n": 1}, r"not valid at \\x1b\[2J\\n"),
    ("infinite mean", {"mean": [1e400, 1, 1]}, "not valid at mean"),
    ("no std", {"std": [0, 0, 0]}, "not valid at std"),
    ("hash with a newline", {"weights_sha256": "0" * 64 + "\n"}, "not valid at weights_sha256"),
):
    bundle(f"description: {_name}", _expected, WHOLE, _fields)
for _name, _text in (
    ("nothing", b""), ("10,000 levels", b"[" * 10_000 + b"]" * 10_000), ("open levels", b'{"a":' * 10_000),
    ("not text", b"\xff\xfe"), ("a number of 10^6 digits", b"9" * 10**6), ("a pickle", pickle.dumps(Canary())),
    ("2 MB", b" " * 2**21), ("a byte order mark", b"\xef\xbb\xbf{}"),
):  # fmt: skip
    bundle(f"description: {_name}", "not valid|larger than", WHOLE, text=_text)


def _pipe_bundle(folder: Path, canary: Path) -> Path:
    os.mkfifo(folder / "bundle.json")
    return folder


add("bundles", "description: a pipe", "bundle", _pipe_bundle, "missing")


def family(name: str) -> Iterator[Case]:
    """The cases of one family."""
    return (case for case in CASES if case.family == name)
