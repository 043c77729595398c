"""What reports are made of: one page of HTML that stands alone, and the same on paper as a PDF."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from io import BytesIO
from typing import Any

from core import __version__
from core.errors import printable
from core.view.case import NOTICE, Facts
from core.view.drawing import BOLD, REGULAR, Drawing, draw_on, face_file, lettered

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #202020; background: #fff; margin: 0 auto; padding: 24px;
  max-width: 920px; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 18px; margin: 0; overflow-wrap: anywhere; }
article { border-top: 1px solid #999; margin-top: 32px; padding-top: 16px; }
.notice, .quiet { color: #595959; } .notice { font-weight: 600; }
.verdict { font-size: 24px; font-weight: 650; margin: 8px 0 0; }
.badge { display: inline-block; border: 1px solid; padding: 0 8px; margin-right: 8px; font-weight: 600; }
svg { display: block; width: 100%; height: auto; margin: 12px 0; }
dl { display: grid; grid-template-columns: 150px minmax(0, 1fr); gap: 4px 16px; margin: 12px 0; }
dt { color: #595959; } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
.origin { font-size: 13px; }
.unusable dd:first-of-type { color: #595959; font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 16px 0; width: 100%; font-size: 14px; }
th, td { border-bottom: 1px solid #ccc; padding: 4px 8px; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
@media (width < 560px) { dl { grid-template-columns: minmax(0, 1fr); } dd { margin-bottom: 8px; } }
@media print { body { padding: 0; } article { break-before: page; border: 0; margin: 0; } }
"""


def moment(when: datetime) -> str:
    """'2026-05-04 03:02 UTC'."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


# HTML


def html_page(title: str, body: str) -> str:
    """A page that asks nothing of the network.

    Args:
        title: in words, not markup.
        body: markup.
    """
    safe = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{safe}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(printable(title))}</title>"
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def html_facts(facts: Facts, kind: str) -> str:
    """A list of facts; `kind` is its class: 'reading', 'reading unusable', 'origin', 'refused'."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_lines(words))}</dd>" for name, words in facts)
    return f'<dl class="{kind}">{rows}</dl>'


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are markup, its head is words."""
    named = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{named}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def _lines(words: str) -> str:
    """Words in their lines, with nothing among them that moves a cursor."""
    return "\n".join(map(printable, words.splitlines()))


# PDF

_EDGE, _PADDING = 45.0, 6.0
"""Points of white around a page, and how much of them ReportLab adds by itself."""
_PAGE = (595.2756, 841.8898)
"""A4 in points."""
WIDTH = _PAGE[0] - 2 * _EDGE
"""Points between the edges."""


def prepare_letters() -> None:
    """Before anything else is made for paper."""
    from reportlab import rl_config
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    rl_config.useA85 = 0  # bytes as they are: a fifth less
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(face_file(name))))


def pdf_file(kind: str, title: str, story: Sequence[Any], when: datetime) -> bytes:
    """ReportLab's flowables as a file.

    Args:
        kind: of report, at the foot of each page.
        title: of the document.
        story: after `prepare_letters`.
        when: the report is made.
    """
    from reportlab.platypus import SimpleDocTemplate

    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=_PAGE,
        leftMargin=_EDGE - _PADDING,
        rightMargin=_EDGE - _PADDING,
        topMargin=_EDGE - _PADDING,
        bottomMargin=_EDGE,
        title=printable(title),
        author="",
        creator=f"NodeLens {__version__}",
        lang="en-GB",
    )

    def foot(canvas: Any, _: Any) -> None:
        canvas.setFont(REGULAR, 7)
        canvas.setFillColor("#595959")
        canvas.drawString(_EDGE, _EDGE - 8, f"{kind}, {moment(when)}. {NOTICE}")
        canvas.drawRightString(_PAGE[0] - _EDGE, _EDGE - 8, f"page {canvas.getPageNumber()}")

    document.build(list(story), onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def paragraph(text: str, size: float, *, bold: bool = False, quiet: bool = False, after: float = 2) -> Any:
    """Words of `size` points, `after` points before what follows."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        f"{size} {bold} {quiet} {after}",
        fontName=BOLD if bold else REGULAR,
        fontSize=size,
        leading=size * 1.35,
        textColor="#595959" if quiet else "#202020",
        spaceAfter=after,
        splitLongWords=True,
    )
    lines = (escape(lettered(printable(line)), quote=False) for line in text.splitlines())
    return Paragraph("<br/>".join(lines), style)


def pdf_drawing(drawing: Drawing, width: float) -> Any:
    """A drawing `width` points wide."""
    from reportlab.platypus import Flowable

    class Drawn(Flowable):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.width, self.height = width, width * drawing.height / drawing.width
            self.spaceAfter = 6

        def draw(self) -> None:
            draw_on(self.canv, drawing, width)

    return Drawn()


def pdf_facts(facts: Facts, width: float, size: float, quiet: bool = False) -> Any:
    """A list of facts, names on the left."""
    rows = [(paragraph(name, size, quiet=True), paragraph(words, size, quiet=quiet)) for name, words in facts]
    return pdf_table(rows, [0.19 * width, 0.81 * width])


def pdf_table(rows: Sequence[Sequence[Any]], widths: Sequence[float], lines: bool = False) -> Any:
    """Rows of flowables; with `lines` the first is a head that is repeated on each page."""
    from reportlab.platypus import Table, TableStyle

    style: list[Any] = [("VALIGN", (0, 0), (-1, -1), "TOP")]
    style += [(f"{side}PADDING", (0, 0), (-1, -1), 1.5) for side in ("TOP", "BOTTOM", "RIGHT")]
    style += [("LEFTPADDING", (0, 0), (-1, -1), 0)]
    if lines:
        style.append(("LINEBELOW", (0, 0), (-1, -1), 0.4, "#bbbbbb"))
    return Table(rows, colWidths=list(widths), style=TableStyle(style), repeatRows=1 if lines else 0, hAlign="LEFT")
