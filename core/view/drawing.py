"""A drawing made of pictures, areas and words, put on paper in one way as pixels, as SVG and in a PDF.

Its unit is the dot, 1/300 inch: a pixel of a picture at 300 dpi.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.errors import printable

DPI = 300
INK, QUIET, PAPER = "#202020", "#595959", "#ffffff"
FAMILY = "'Bitstream Vera Sans', 'DejaVu Sans', Verdana, sans-serif"
"""What an SVG asks for: these three are equally wide, so that words fit wherever it is opened."""
REGULAR, BOLD = "Vera", "VeraBd"
INSTEAD = {"\u03bc": "\u00b5", "\u2192": "->"}
"""What stands for characters that the face lacks."""


@dataclass(frozen=True)
class Raster:
    """A picture in a box; its own pixels may be fewer or more than the dots of the box."""

    x: float
    y: float
    width: float
    height: float
    image: Image.Image


@dataclass(frozen=True)
class Area:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str = INK


@dataclass(frozen=True)
class Words:
    """One line of text; y is its baseline, x its start, middle or end."""

    x: float
    y: float
    text: str
    size: float
    colour: str = INK
    bold: bool = False
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass(frozen=True)
class Drawing:
    """Parts from the back to the front, on white paper of (width, height) dots; `about` says what it shows."""

    width: int
    height: int
    parts: tuple[Raster | Area | Words, ...]
    about: str


def frame(x: float, y: float, side: float, thick: float, colour: str, dash: float = 0) -> Iterator[Area]:
    """A square's outline, `thick` dots outside of it; in dashes of that length where one is given."""
    long = side + 2 * thick
    starts = np.arange(0, long - 1, 2 * dash).tolist() if dash else [0.0]
    for at in starts:
        length = min(dash or long, long - at)
        for edge in (-thick, side):
            yield Area(x - thick + at, y + edge, length, thick, colour)
            yield Area(x + edge, y - thick + at, thick, length, colour)


# Letters


def face_file(name: str = REGULAR) -> Path:
    """The file of Bitstream Vera Sans, a free face that comes with ReportLab."""
    found = find_spec("reportlab")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "fonts" / f"{name}.ttf"


@cache
def _font(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face_file(BOLD if bold else REGULAR), size)


@cache
def _glyphs() -> frozenset[int]:
    from reportlab.pdfbase.ttfonts import TTFontFile

    return frozenset(TTFontFile(str(face_file())).charToGlyph)


def lettered(text: str) -> str:
    """Text as the face can write it: '?' stands for each character that it lacks."""
    plain = (INSTEAD.get(character, character) for character in unicodedata.normalize("NFC", text))
    return "".join(word if all(ord(one) in _glyphs() for one in word) else "?" for word in plain)


def wide(text: str, size: float, bold: bool = False) -> float:
    """Dots that a line takes."""
    return _font(size, bold).getlength(lettered(text))


def wrapped(text: str, size: float, width: float, bold: bool = False) -> list[str]:
    """Text in lines of at most `width` dots; a word that is longer is broken."""

    def fits(line: str) -> bool:
        return wide(line, size, bold) <= width

    lines: list[str] = []
    line = ""
    for word in text.split():
        if fits(longer := f"{line} {word}".strip()):
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while not fits(line):
            most = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or fits(line[:n]))
            lines.append(line[:most])
            line = line[most:]
    return [*lines, line] if line else lines


# On paper


def as_pixels(drawing: Drawing) -> Image.Image:
    """RGB picture, a pixel a dot."""
    page = Image.new("RGB", (drawing.width, drawing.height), PAPER)
    draw = ImageDraw.Draw(page)
    for part in drawing.parts:
        if isinstance(part, Words):
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[part.anchor]
            font = _font(part.size, part.bold)
            draw.text((part.x, part.y), lettered(part.text), fill=part.colour, font=font, anchor=anchor)
            continue
        left, top, right, bottom = _box(part)
        if isinstance(part, Area):
            draw.rectangle((left, top, right - 1, bottom - 1), fill=part.colour)
        else:
            fits = part.image.size == (right - left, bottom - top)
            page.paste(part.image if fits else part.image.resize((right - left, bottom - top)), (left, top))
    return page


def _box(part: Raster | Area) -> tuple[int, int, int, int]:
    return round(part.x), round(part.y), round(part.x + part.width), round(part.y + part.height)


def as_svg(drawing: Drawing, *, inline: bool = False, jpeg: bool = False) -> str:
    """An SVG picture that holds all it needs.

    Args:
        drawing: what is drawn.
        inline: for within an HTML page, as wide as there is room; a file of its own size otherwise.
        jpeg: pictures as JPEG, a fifth of the bytes; without loss otherwise.
    """
    width, height = drawing.width, drawing.height
    inches = f' width="{width / DPI:.4f}in" height="{height / DPI:.4f}in"'
    head = "" if inline else f' xmlns="http://www.w3.org/2000/svg"{inches}'
    parts = "\n".join(_element(part, jpeg) for part in drawing.parts)
    about = escape(printable(drawing.about))
    paper = f'<rect width="{width}" height="{height}" fill="{PAPER}"/>'
    return (
        f'<svg{head} viewBox="0 0 {width} {height}" role="img" aria-label="{about}" font-family="{FAMILY}">\n'
        f"<title>{about}</title>\n{paper}\n{parts}\n</svg>\n"
    )


def _element(part: Raster | Area | Words, jpeg: bool) -> str:
    if isinstance(part, Words):
        weight = ' font-weight="bold"' if part.bold else ""
        return (
            f'<text x="{part.x:g}" y="{part.y:g}" font-size="{part.size:g}" fill="{part.colour}" '
            f'text-anchor="{part.anchor}"{weight}>{escape(printable(part.text))}</text>'
        )
    box = f'x="{part.x:g}" y="{part.y:g}" width="{part.width:g}" height="{part.height:g}"'
    if isinstance(part, Area):
        return f'<rect {box} fill="{part.colour}"/>'
    kind = "jpeg" if jpeg else "png"
    data = base64.b64encode(encoded(part.image, jpeg)).decode("ascii")
    return f'<image {box} preserveAspectRatio="none" href="data:image/{kind};base64,{data}"/>'


def encoded(image: Image.Image, jpeg: bool) -> bytes:
    """A picture as a file's bytes."""
    buffer = BytesIO()
    if jpeg:
        image.save(buffer, "JPEG", quality=88, subsampling=0)
    else:
        image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


@cache
def _ink(colour: str) -> Any:
    from reportlab.lib.colors import HexColor

    return HexColor(colour)


def draw_on(canvas: Any, drawing: Drawing, width: float) -> None:
    """Draw on a ReportLab canvas with its lower left corner at the origin, `width` points wide."""
    from reportlab.lib.utils import ImageReader

    canvas.saveState()
    canvas.scale(width / drawing.width, width / drawing.width)
    for part in drawing.parts:
        if isinstance(part, Words):
            canvas.setFillColor(_ink(part.colour))
            canvas.setFont(BOLD if part.bold else REGULAR, part.size)
            put = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
            put[part.anchor](part.x, drawing.height - part.y, lettered(part.text))
            continue
        box = (part.x, drawing.height - part.y - part.height, part.width, part.height)
        if isinstance(part, Area):
            canvas.setFillColor(_ink(part.colour))
            canvas.rect(*box, stroke=0, fill=1)
        else:
            canvas.drawImage(ImageReader(BytesIO(encoded(part.image, jpeg=True))), *box)
    canvas.restoreState()
