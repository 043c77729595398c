"""The case report: one patch or a whole worklist as a PDF, or as one HTML page that stands alone.

Both say the same of a case, in the same order: its pictures, the verdict with its reason, what speaks for and against
leaning on it, and what it takes to read the patch again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from io import BytesIO
from typing import Any

from core import __version__
from core.errors import printable
from core.view.case import NOTICE, Case, Facts, Look
from core.view.drawing import BOLD, REGULAR, Drawing, as_svg, draw_on, face_file, lettered
from core.view.figure import figure

__all__ = ["Case", "Look", "html", "pdf"]

TITLE = "NodeLens case report"
DETAIL = 4
"""Pixels of a report's pictures per pixel of the patch."""
COLUMNS = ("", "Patch", "Verdict", "Probability", "Views", "Flags", "Reader")
MISSING = "Characters that these letters lack stand as '?'; the HTML report has them."


def _when(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _row(number: int, case: Case) -> tuple[str, ...]:
    """One line of the list of cases, under COLUMNS."""
    probability = f"{case.readings.probability[0]:.2f}" + ("" if case.usable else " (not to be used)")
    return str(number), case.name, case.headline, probability, case.interval, case.flags, case.agreement


def _opening(cases: Sequence[Case], when: datetime) -> str:
    """What stands above everything."""
    patches = "1 patch" if len(cases) == 1 else f"{len(cases)} patches"
    models = ", ".join(dict.fromkeys(case.readings.model.identity for case in cases))
    return f"{patches}, {_when(when)}, NodeLens {__version__}{f', model {models}' if models else ''}"


# HTML

STYLE = """
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


def html(cases: Sequence[Case], when: datetime, refused: Mapping[str, str] | None = None) -> str:
    """The report as one page of HTML that asks nothing of the network.

    Args:
        cases: in their order.
        when: the report is made.
        refused: names of files that could not be read, and why.
    """
    many = len(cases) > 1
    body = [
        f"<h1>{TITLE}</h1>",
        f'<p class="quiet">{escape(_opening(cases, when))}</p>',
        f'<p class="notice">{NOTICE}</p>',
        _html_list(cases) if many else "",
        _html_refused(refused or {}),
        *(_html_case(number, case) for number, case in enumerate(cases, start=1)),
    ]
    page = "\n".join(filter(None, body))
    safe = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{safe}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}{'' if many or not cases else escape(': ' + printable(cases[0].name))}</title>"
        f"<style>{STYLE}</style></head>\n<body>\n{page}\n</body></html>\n"
    )


def _html_list(cases: Sequence[Case]) -> str:
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = []
    for number, case in enumerate(cases, start=1):
        place, name, *rest = map(escape, map(printable, _row(number, case)))
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        rows.append(f'<tr><td>{place}</td><td><a href="#case-{number}">{name}</a></td>{cells}</tr>')
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{"".join(rows)}\n</tbody></table></div>'


def _html_refused(refused: Mapping[str, str]) -> str:
    rows = (f"<dt>{escape(printable(name))}</dt><dd>{escape(why)}</dd>" for name, why in refused.items())
    return f'<section><h2>Refused</h2><dl class="refused">{"".join(rows)}</dl></section>' if refused else ""


def _html_case(number: int, case: Case) -> str:
    badges = "".join(f'<span class="badge">{escape(badge)}</span>' for badge in case.badges)
    return (
        f'<article id="case-{number}"><h2>{escape(printable(case.name))}</h2>'
        f"{f'<p>{badges}</p>' if badges else ''}"
        f'<p class="verdict">{escape(case.headline)}</p><p>{escape(case.why)}</p>\n'
        f"{as_svg(_figure(case), inline=True, jpeg=True)}"
        f"{_html_facts(case.reading(), 'reading' if case.usable else 'reading unusable')}\n"
        f"{_html_facts(case.origin(), 'origin')}"
        "</article>"
    )


def _html_facts(facts: Facts, kind: str) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_lines(words))}</dd>" for name, words in facts)
    return f'<dl class="{kind}">{rows}</dl>'


def _lines(words: str) -> str:
    """Words in their lines, with nothing among them that moves a cursor."""
    return "\n".join(map(printable, words.splitlines()))


def _figure(case: Case) -> Drawing:
    return figure(case, detail=DETAIL, bare=True)


# PDF

_EDGE, _PADDING = 45.0, 6.0
"""Points of white around a page, and how much of them ReportLab adds by itself."""


def pdf(cases: Sequence[Case], when: datetime, refused: Mapping[str, str] | None = None) -> bytes:
    """The report as a PDF file: a page for each case, after a list of them where there are several; see `html`."""
    from reportlab import rl_config
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.platypus import PageBreak, SimpleDocTemplate

    rl_config.useA85 = 0  # bytes as they are: a fifth less
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(face_file(name))))
    width = A4[0] - 2 * _EDGE
    story: list[Any] = [
        _paragraph(TITLE, 15, bold=True),
        _paragraph(_opening(cases, when), 8, quiet=True),
        _paragraph(NOTICE, 8, bold=True, after=10),
    ]
    if len(cases) > 1:
        story.append(_pdf_list(cases, width))
    if refused:
        story += [_paragraph(" ", 6), _paragraph("Refused", 11, bold=True), _pdf_facts(list(refused.items()), width, 8)]
    for number, case in enumerate(cases):
        if number or len(cases) > 1:
            story.append(PageBreak())
        story += _pdf_case(case, width)
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_EDGE - _PADDING,
        rightMargin=_EDGE - _PADDING,
        topMargin=_EDGE - _PADDING,
        bottomMargin=_EDGE,
        title=TITLE if len(cases) != 1 else f"{TITLE}: {printable(cases[0].name)}",
        author="",
        creator=f"NodeLens {__version__}",
        lang="en-GB",
    )

    def foot(canvas: Any, _: Any) -> None:
        canvas.setFont(REGULAR, 7)
        canvas.setFillColor("#595959")
        canvas.drawString(_EDGE, _EDGE - 8, f"{TITLE}, {_when(when)}. {NOTICE}")
        canvas.drawRightString(A4[0] - _EDGE, _EDGE - 8, f"page {canvas.getPageNumber()}")

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def _paragraph(text: str, size: float, *, bold: bool = False, quiet: bool = False, after: float = 2) -> Any:
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


def _pdf_case(case: Case, width: float) -> list[Any]:
    said = [case.name, case.note, case.label, *case.notes]
    lacking = any(lettered(printable(line)) != printable(line) for words in said for line in words.splitlines())
    story = [_paragraph(case.name, 11, bold=True, after=1)]
    story += [_paragraph(badge, 9, bold=True, after=1) for badge in case.badges]
    story += [_paragraph(case.headline, 14, bold=True, after=1), _paragraph(case.why, 9, after=6)]
    story += [_pdf_drawing(_figure(case), width)]
    reading = case.reading()
    if not case.usable:  # the probability comes first, small and grey
        story.append(_pdf_facts(reading[:1], width, 7, quiet=True))
    story.append(_pdf_facts(reading if case.usable else reading[1:], width, 8.5))
    story += [_pdf_facts(case.origin(), width, 7, quiet=True)]
    return [*story, _paragraph(MISSING, 7, quiet=True)] if lacking else story


def _pdf_drawing(drawing: Drawing, width: float) -> Any:
    from reportlab.platypus import Flowable

    class Drawn(Flowable):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.width, self.height = width, width * drawing.height / drawing.width
            self.spaceAfter = 6

        def draw(self) -> None:
            draw_on(self.canv, drawing, width)

    return Drawn()


def _pdf_facts(facts: Facts, width: float, size: float, quiet: bool = False) -> Any:
    rows = [(_paragraph(name, size, quiet=True), _paragraph(words, size, quiet=quiet)) for name, words in facts]
    return _table(rows, [0.19 * width, 0.81 * width])


def _pdf_list(cases: Sequence[Case], width: float) -> Any:
    head = [_paragraph(name, 7.5, bold=True) for name in COLUMNS]
    rows = [[_paragraph(cell, 7.5) for cell in _row(number, case)] for number, case in enumerate(cases, start=1)]
    shares = (0.05, 0.29, 0.2, 0.13, 0.12, 0.12, 0.09)
    return _table([head, *rows], [share * width for share in shares], lines=True)


def _table(rows: Sequence[Sequence[Any]], widths: Sequence[float], lines: bool = False) -> Any:
    from reportlab.platypus import Table, TableStyle

    style: list[Any] = [("VALIGN", (0, 0), (-1, -1), "TOP")]
    style += [(f"{side}PADDING", (0, 0), (-1, -1), 1.5) for side in ("TOP", "BOTTOM", "RIGHT")]
    style += [("LEFTPADDING", (0, 0), (-1, -1), 0)]
    if lines:
        style.append(("LINEBELOW", (0, 0), (-1, -1), 0.4, "#bbbbbb"))
    return Table(rows, colWidths=list(widths), style=TableStyle(style), repeatRows=1 if lines else 0, hAlign="LEFT")
