"""The case report: one patch or a whole worklist as a PDF, or as one HTML page that stands alone.

Both say the same of a case, in the same order: its pictures, the verdict with its reason, what speaks for and against
leaning on it, and what it takes to read the patch again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from core import __version__
from core.errors import printable
from core.view.case import NOTICE, Case, Look
from core.view.drawing import Drawing, as_svg, lettered
from core.view.figure import figure
from core.view.paper import (
    WIDTH,
    html_facts,
    html_page,
    html_table,
    moment,
    paragraph,
    pdf_drawing,
    pdf_facts,
    pdf_file,
    pdf_table,
    prepare_letters,
)

__all__ = ["Case", "Look", "html", "pdf"]

TITLE = "NodeLens case report"
DETAIL = 4
"""Pixels of a report's pictures per pixel of the patch."""
COLUMNS = ("", "Patch", "Verdict", "Probability", "Views", "Flags", "Reader")
MISSING = "Characters that these letters lack stand as '?'; the HTML report has them."


def _row(number: int, case: Case) -> tuple[str, ...]:
    """One line of the list of cases, under COLUMNS."""
    probability = f"{case.readings.probability[0]:.2f}" + ("" if case.usable else " (not to be used)")
    return str(number), case.name, case.headline, probability, case.interval, case.flags, case.agreement


def _opening(cases: Sequence[Case], when: datetime) -> str:
    """What stands above everything."""
    patches = "1 patch" if len(cases) == 1 else f"{len(cases)} patches"
    models = ", ".join(dict.fromkeys(case.readings.model.identity for case in cases))
    return f"{patches}, {moment(when)}, NodeLens {__version__}{f', model {models}' if models else ''}"


# HTML


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
        *(html_case(number, case) for number, case in enumerate(cases, start=1)),
    ]
    return html_page(TITLE if many or not cases else f"{TITLE}: {cases[0].name}", "\n".join(filter(None, body)))


def _html_list(cases: Sequence[Case]) -> str:
    rows = []
    for number, case in enumerate(cases, start=1):
        place, name, *rest = map(escape, map(printable, _row(number, case)))
        rows.append([place, f'<a href="#case-{number}">{name}</a>', *rest])
    return html_table(COLUMNS, rows)


def _html_refused(refused: Mapping[str, str]) -> str:
    named = html_facts([(printable(name), why) for name, why in refused.items()], "refused")
    return f"<section><h2>Refused</h2>{named}</section>" if refused else ""


def html_case(number: int, case: Case) -> str:
    """One case; `number` makes the anchor that lists lead to, 'case-1'."""
    badges = "".join(f'<span class="badge">{escape(badge)}</span>' for badge in case.badges)
    return (
        f'<article id="case-{number}"><h2>{escape(printable(case.name))}</h2>'
        f"{f'<p>{badges}</p>' if badges else ''}"
        f'<p class="verdict">{escape(case.headline)}</p><p>{escape(case.why)}</p>\n'
        f"{as_svg(_figure(case), inline=True, jpeg=True)}"
        f"{html_facts(case.reading(), 'reading' if case.usable else 'reading unusable')}\n"
        f"{html_facts(case.origin(), 'origin')}"
        "</article>"
    )


def _figure(case: Case) -> Drawing:
    return figure(case, detail=DETAIL, bare=True)


# PDF


def pdf(cases: Sequence[Case], when: datetime, refused: Mapping[str, str] | None = None) -> bytes:
    """The report as a PDF file: a page for each case, after a list of them where there are several; see `html`."""
    from reportlab.platypus import PageBreak

    prepare_letters()
    story: list[Any] = [
        paragraph(TITLE, 15, bold=True),
        paragraph(_opening(cases, when), 8, quiet=True),
        paragraph(NOTICE, 8, bold=True, after=10),
    ]
    if len(cases) > 1:
        story.append(_pdf_list(cases))
    if refused:
        story += [paragraph(" ", 6), paragraph("Refused", 11, bold=True), pdf_facts(list(refused.items()), WIDTH, 8)]
    for number, case in enumerate(cases):
        if number or len(cases) > 1:
            story.append(PageBreak())
        story += pdf_case(case)
    return pdf_file(TITLE, TITLE if len(cases) != 1 else f"{TITLE}: {cases[0].name}", story, when)


def pdf_case(case: Case) -> list[Any]:
    """One case as flowables, after `prepare_letters`."""
    said = [case.name, case.note, case.label, *case.notes]
    lacking = any(lettered(printable(line)) != printable(line) for words in said for line in words.splitlines())
    story = [paragraph(case.name, 11, bold=True, after=1)]
    story += [paragraph(badge, 9, bold=True, after=1) for badge in case.badges]
    story += [paragraph(case.headline, 14, bold=True, after=1), paragraph(case.why, 9, after=6)]
    story += [pdf_drawing(_figure(case), WIDTH)]
    reading = case.reading()
    if not case.usable:  # the probability comes first, small and grey
        story.append(pdf_facts(reading[:1], WIDTH, 7, quiet=True))
    story.append(pdf_facts(reading if case.usable else reading[1:], WIDTH, 8.5))
    story += [pdf_facts(case.origin(), WIDTH, 7, quiet=True)]
    return [*story, paragraph(MISSING, 7, quiet=True)] if lacking else story


def _pdf_list(cases: Sequence[Case]) -> Any:
    head = [paragraph(name, 7.5, bold=True) for name in COLUMNS]
    rows = [[paragraph(cell, 7.5) for cell in _row(number, case)] for number, case in enumerate(cases, start=1)]
    shares = (0.05, 0.29, 0.2, 0.13, 0.12, 0.12, 0.09)
    return pdf_table([head, *rows], [share * WIDTH for share in shares], lines=True)
