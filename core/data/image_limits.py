"""Counts the parts of an image file before a decoder walks through them one by one.

A file of a few megabytes may hold millions of them: chunks, segments, passes or numbers in tags. Decoders take them in
good faith and come back after minutes, or not at all. Honest files stay below these limits by a factor of ten and more.
"""

from __future__ import annotations

import re
import struct

MAX_PARTS = 100_000
"""Chunks of a PNG; segments of a JPEG and bytes lost between them. libpng writes 8,000 chunks for 64 MB of pixels."""
MAX_PASSES = 100
"""Scans of a JPEG, each of which paints the whole picture anew; a progressive JPEG has about ten (libtiff: 100)."""
MAX_NUMBERS = 200_000
"""Numbers in the tags of a TIFF, most of them the places of its strips or tiles."""
MAX_EXIF_BYTES = 2**20

_MARKER = re.compile(rb"\xff([^\x00\xff])")
_MARKER_AMONG_PIXELS = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # without restarts, which carry no segment
_ALONE = frozenset([0x01, *range(0xD0, 0xDA)])  # JPEG markers without a segment
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READ_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, Huffman coded
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
_TEXT_TYPES = (1, 2, 7)  # bytes, ASCII and undefined: taken as a whole, not number by number
_STACK, _STACK_COST = range(33628, 33632), 100  # MetaMorph's tables, each of whose entries points at further ones
_DIRECTORIES = (34665, 34853, 40965)  # tags that point at further tags: EXIF, GPS, interoperability


def exceeds_structure_limits(data: bytes) -> bool:
    """Whether a PNG, JPEG or TIFF is built of so many parts that walking through it would take minutes."""
    if data.startswith(b"\x89PNG"):
        return _png_exceeds_structure_limits(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_exceeds_structure_limits(data)
    if data.startswith((b"II", b"MM")):
        return _tiff_exceeds_structure_limits(data)
    return False


def odd_jpeg(data: bytes) -> str:
    """Why an ordinary decoder cannot read a JPEG, in words that follow 'cannot be read:'; empty when it can."""
    place = 2
    while data.startswith(b"\xff\xd8") and (found := _MARKER.search(data, place)):
        marker, place = found[1][0], found.end()
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAMES:
            bits = data[place + 2 : place + 3]
            if marker not in _READ_FRAMES:
                return "it is a JPEG of a rare kind (lossless, hierarchical or arithmetic); save it as PNG"
            return "" if bits in (b"\x08", b"") else f"its JPEG holds {bits[0]}-bit values; save it as 8-bit RGB"
        if marker not in _ALONE:
            place += int.from_bytes(data[place : place + 2], "big")
    return ""


def _png_exceeds_structure_limits(data: bytes) -> bool:
    place = 8
    for _ in range(MAX_PARTS):
        head = data[place : place + 8]
        if len(head) < 8 or head[4:] == b"IEND":
            return False
        place += 12 + int.from_bytes(head[:4], "big")
    return True


def _jpeg_exceeds_structure_limits(data: bytes) -> bool:
    place = 2
    parts = passes = exif = 0
    while found := (_MARKER_AMONG_PIXELS if passes else _MARKER).search(data, place):
        marker = found[1][0]
        if passes and marker == _END_OF_IMAGE:
            return False
        parts += 1 if passes else 1 + found.start() - place
        place = found.end()
        if marker not in _ALONE:
            if marker == _APP1 and data.startswith(b"Exif", place + 2):
                exif += int.from_bytes(data[place : place + 2], "big")
            passes += marker == _START_OF_SCAN
            place += int.from_bytes(data[place : place + 2], "big")
        if parts > MAX_PARTS or passes > MAX_PASSES or exif > MAX_EXIF_BYTES:
            return True
    return not passes and len(data) - place > MAX_PARTS


def _tiff_exceeds_structure_limits(data: bytes) -> bool:
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, entry, first = ("Q", "HHQQ", 8) if big else ("H", "HHII", 4)
    width = struct.calcsize(order + entry)
    numbers = text = 0
    try:
        waiting = list(struct.unpack_from(order + ("Q" if big else "I"), data, first))
        for _ in range(1 + len(_DIRECTORIES)):
            if not waiting:
                break
            place = waiting.pop()
            (entries,) = struct.unpack_from(order + count, data, place)
            if entries > MAX_NUMBERS:
                return True
            place += struct.calcsize(order + count)
            for at in range(place, min(place + entries * width, len(data) - width + 1), width):
                tag, kind, held, value = struct.unpack_from(order + entry, data, at)
                if held <= len(data):  # more than the file holds is skipped by every reader
                    numbers += held * (_STACK_COST if tag in _STACK else kind not in _TEXT_TYPES)
                    text += held * (kind in _TEXT_TYPES)
                if tag in _DIRECTORIES and held == 1:
                    waiting.append(value)
                if numbers > MAX_NUMBERS or text > 2 * len(data):
                    return True
    except (struct.error, OverflowError):  # damaged: the decoder will say so
        pass
    return False
