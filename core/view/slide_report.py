"""The report of a slide: the slide from afar, its areas, how it was read, and the Why of the hottest patches.

It is a PDF, or one HTML page that stands alone; both say the same in the same order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core import __version__
from core.errors import SlideError, printable
from core.inference.reader import Readings
from core.slides.areas import NO_STAGE, Area, Cut
from core.slides.scan import Scan
from core.view.case import NOTICE, Case, Facts
from core.view.case_report import html_case, pdf_case
from core.view.drawing import BOLD, face_file
from core.view.overlay import data_url
from core.view.paper import (
    WIDTH,
    html_facts,
    html_page,
    html_table,
    moment,
    paragraph,
    pdf_facts,
    pdf_file,
    pdf_table,
    prepare_letters,
)
from core.view.slide_map import overview_picture
from core.view.words import on_screen, unlike_words

TITLE = "NodeLens slide report"
HOTTEST = 6
"""Areas whose hottest patch is shown with its Why."""
LISTED = 100
"""Areas of the table at most."""
SIDE = 1024
"""Pixels of the slide's picture, its longer side."""
TALLEST = 400.0
"""Points of it on paper."""
INK, HALO = (20, 20, 20), "white"
"""Of outlines and numbers: seen on tissue and on every colour of the map."""
COLUMNS = ("Area", "Highest", "Mean", "Longest diameter", "Size", "Unlike training tissue", "Place of its hottest cell")
SHARES = (0.07, 0.09, 0.08, 0.13, 0.13, 0.15, 0.35)
"""Of a page's width, for each of them."""
SYNTHETIC = "synthetic, not tissue"


@dataclass(frozen=True)
class SlideReport:
    """What a report says of one slide.

    Attributes:
        scan: as far as it has come; what is not read of it is said.
        areas: all, hottest first.
        cut: from which probability on they are made.
        name: of the slide, as its reader knows it.
        when: the report is made.
        drawn: whether the slide is synthetic.
        cases: see `cases_of`.
    """

    scan: Scan
    areas: Sequence[Area]
    cut: Cut
    name: str
    when: datetime
    drawn: bool = False
    cases: Sequence[Case] = ()

    @property
    def title(self) -> str:
        """Of the document."""
        return f"{TITLE}: {printable(self.name)}"

    @property
    def opening(self) -> str:
        """What stands above everything."""
        return f"{moment(self.when)}, NodeLens {__version__}"

    @property
    def legend(self) -> str:
        """What the colours of the picture are."""
        positive = self.scan.reader.task.positive
        return f"Probability of {positive} over the tissue: brown from one half on, blue below."

    @property
    def heading(self) -> str:
        """'2 areas, hottest first'."""
        return f"{len(self.areas)} {'area' if len(self.areas) == 1 else 'areas'}, hottest first"

    @property
    def about(self) -> str:
        """What an area is, and how many of them the table leaves out."""
        expected = self.cut.expected(self.scan.tissue_mm2)
        without = f" {expected}, were it all without {self.scan.reader.task.positive}." if expected else ""
        less = f" The first {LISTED} are listed; the table of areas (CSV) has all." if len(self.areas) > LISTED else ""
        return f"From probability {self.cut.threshold:.2f}: {_shown(self.cut.rule)}.{without} {NO_STAGE}{less}"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table, under COLUMNS."""
        return [_row(number, area, self.scan) for number, area in enumerate(self.areas[:LISTED], start=1)]

    def picture(self) -> Image.Image:
        """The slide from afar with its areas numbered."""
        return numbered(overview_picture(self.scan, SIDE), self.scan, self.areas[:LISTED])

    def facts(self) -> Facts:
        """What it takes to read the slide again, in words."""
        slide, model, grid = self.scan.slide, self.scan.reader.model, self.scan.grid
        wanted, read = int(self.scan.wanted.sum()), int(np.isfinite(self.scan.logits()).sum())
        holes = len(self.scan.holes())
        size = " x ".join(f"{side:.4g}" for side in dict.fromkeys(slide.um_per_px or ()))
        how_much = "all" if read == wanted else f"{read / max(wanted, 1):.0%} of it"
        missing = f"; {holes} places could not be read" if holes else ""
        corrected = "; its outline was corrected by hand" if self.scan.corrected else ""
        told = [
            ("Slide", f"{self.name}, {slide.format}, {slide.width:,} x {slide.height:,} px"),
            ("Pixel size", f"{size} um/px, said by {slide.told_by}"),
            ("Read at", f"{grid.um_per_px:g} um/px, a cell every {grid.stride} px"),
            ("Tissue", f"{self.scan.tissue_mm2:.2f} mm2, {how_much} read{missing}{corrected}"),
            ("Familiar?", unlike_words(self.scan.unlike_tissue(), self.scan.reader.task.positive)),
            ("Model", f"{model.identity}, engine {self.scan.reader.engine.name}"),
            ("Threshold", f"{self.cut.threshold:.4f}"),
            ("SHA-256", slide.sha256()),
        ]
        return [(words, _shown(printable(said))) for words, said in told if said]


def cases_of(
    scan: Scan,
    areas: Sequence[Area],
    name: str,
    explain: Callable[[NDArray[np.uint8], NDArray[np.uint8]], Readings],
    *,
    trust: Callable[[NDArray[np.uint8], Readings], str] = lambda patch, readings: "",  # noqa: ARG005
    drawn: bool = False,
) -> list[Case]:
    """The patches about the hottest cells of the first areas; one that cannot be read is left out.

    Args:
        scan, areas, name, drawn: see `SlideReport`.
        explain: reads a patch (side, side, 3) uint8, told the same amid its surroundings; see `Reader.explain`.
        trust: says whether a reading can be leaned on.
    """
    cases = []
    um, margin = scan.slide.um_per_px, scan.reader.surroundings_margin
    for number, area in enumerate(areas[:HOTTEST], start=1):
        try:
            surroundings = scan.patch(area.row, area.column, margin)
        except SlideError:
            continue
        inside = slice(margin, margin + scan.grid.side)
        patch = np.ascontiguousarray(surroundings[inside, inside])
        readings = explain(patch, surroundings)
        notes = [f"Cut out of the slide about the hottest cell of area {number}, {_place(area, scan)}."]
        if readings.views > 1:
            notes.append(f"The map's cell is one look at it; here {readings.views} flips and turns are averaged.")
        if not scan.is_inside(area.row, area.column):
            notes.append("It reaches beyond the slide's border: there the slide is mirrored.")
        cases.append(
            Case(
                f"{name}, area {number}",
                patch,
                readings,
                notes=tuple(notes),
                trust=trust(patch, readings),
                synthetic=drawn,
                um_per_px=um[0] if um else None,
                sha256=hashlib.sha256(patch.tobytes()).hexdigest(),
            )
        )
    return cases


def html(report: SlideReport) -> str:
    """The report as one page that asks nothing of the network."""
    listed = html_table(COLUMNS, [[escape(cell) for cell in row] for row in report.rows]) if report.areas else ""
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="quiet">{report.opening}</p><p class="notice">{NOTICE}</p>',
        f'<p><span class="badge">{SYNTHETIC}</span></p>' if report.drawn else "",
        '<img style="width: 100%; height: auto" alt="The slide from afar, with the map over it and its areas numbered" '
        f'src="{data_url(np.asarray(report.picture()))}">',
        f'<p class="quiet">{escape(report.legend)}</p>',
        f"<h2>{report.heading}</h2><p>{escape(report.about)}</p>",
        listed,
        f"<h2>How it was read</h2>{html_facts(report.facts(), 'origin')}",
        *(html_case(number, case) for number, case in enumerate(report.cases, start=1)),
    ]
    return html_page(report.title, "\n".join(filter(None, body)))


def pdf(report: SlideReport) -> bytes:
    """The report as a PDF file: the slide first, then a page for each patch."""
    from reportlab.platypus import PageBreak

    prepare_letters()
    story = [
        paragraph(report.title, 15, bold=True),
        paragraph(report.opening, 8, quiet=True),
        paragraph(NOTICE, 8, bold=True, after=8),
        *([paragraph(SYNTHETIC, 9, bold=True, after=6)] if report.drawn else []),
        _pdf_picture(report.picture()),
        paragraph(report.legend, 8, quiet=True, after=8),
        paragraph(report.heading, 11, bold=True),
        paragraph(report.about, 8.5, after=6),
    ]
    if report.areas:
        head = [paragraph(words, 7.5, bold=True) for words in COLUMNS]
        rows = [[paragraph(cell, 7.5) for cell in row] for row in report.rows]
        story.append(pdf_table([head, *rows], [share * WIDTH for share in SHARES], lines=True))
    story += [paragraph(" ", 6), paragraph("How it was read", 11, bold=True), pdf_facts(report.facts(), WIDTH, 8)]
    for case in report.cases:
        story += [PageBreak(), *pdf_case(case)]
    return pdf_file(TITLE, report.title, story, report.when)


def _pdf_picture(picture: Image.Image) -> Any:
    from reportlab.platypus import Image as Picture

    held = BytesIO()
    picture.save(held, "JPEG", quality=90)
    scale = min(WIDTH / picture.width, TALLEST / picture.height)
    return Picture(held, picture.width * scale, picture.height * scale, hAlign="LEFT")


def numbered(picture: Image.Image, scan: Scan, areas: Sequence[Area]) -> Image.Image:
    """The slide from afar with every area outlined, and its number beside it."""
    found, scale = picture.copy(), picture.width / scan.slide.width
    pen, letters = ImageDraw.Draw(found), ImageFont.truetype(face_file(BOLD), max(14, picture.width // 50))
    parts = [part for area in areas for part in shapely.get_parts(area.outline)]
    rings = [ring.coords for part in parts for ring in (part.exterior, *part.interiors)]
    for ink, width in ((HALO, 5), (INK, 2)):
        for ring in rings:
            pen.line([(x * scale, y * scale) for x, y in ring], fill=ink, width=width)
    for number, area in enumerate(areas, start=1):
        _, top, right, _ = area.outline.bounds
        place = right * scale + 4, top * scale - 4
        pen.text(place, str(number), fill=INK, font=letters, stroke_width=3, stroke_fill=HALO)
    return found


def _row(number: int, area: Area, scan: Scan) -> tuple[str, ...]:
    unlike = "not asked" if math.isnan(area.unlike) else f"{area.unlike:.0%}"
    figures = f"{area.highest:.2f}", f"{area.mean:.2f}", f"{area.diameter_mm:.2f} mm", f"{area.mm2:.3f} mm\u00b2"
    return str(number), *figures, unlike, _place(area, scan)


def _place(area: Area, scan: Scan) -> str:
    mm = scan.grid.stride * scan.grid.um_per_px / 1000
    return f"{(area.column + 0.5) * mm:.2f} mm from the left, {(area.row + 0.5) * mm:.2f} mm from the top"


def _shown(words: str) -> str:
    return on_screen(words).replace(" mm2", " mm\u00b2")
