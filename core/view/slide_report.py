"""The report of a slide: one page of HTML that stands alone: the slide from afar, its areas, how it was read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

from core import __version__
from core.errors import printable
from core.slides.areas import NO_STAGE, Area, Cut
from core.slides.scan import Scan
from core.view.case import NOTICE, Facts
from core.view.case_report import STYLE
from core.view.drawing import REGULAR, face_file
from core.view.overlay import data_url
from core.view.slide_map import overview_picture
from core.view.words import on_screen

TITLE = "NodeLens slide report"
SIDE = 1024
"""Pixels of the slide's picture, its longer side."""
INK = (200, 90, 30)
COLUMNS = ("Area", "Highest", "Mean", "Longest diameter", "Size", "Unlike training tissue", "Place of its hottest cell")


def html(scan: Scan, areas: Sequence[Area], cut: Cut, name: str, when: datetime, *, drawn: bool = False) -> str:
    """The report as one page that asks nothing of the network.

    Args:
        scan: as far as it has come; what is not read of it is said.
        areas: hottest first.
        cut: from which probability on they are made.
        name: of the slide, as its reader knows it.
        when: the report is made.
        drawn: whether the slide is synthetic.
    """
    picture = data_url(np.asarray(numbered(overview_picture(scan, SIDE), scan, areas)))
    head = "".join(f"<th>{words}</th>" for words in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(cell))}</td>" for cell in _row(number, area, scan)) + "</tr>"
        for number, area in enumerate(areas, start=1)
    )
    listed = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    facts = "".join(
        f"<dt>{words}</dt><dd>{escape(_shown(printable(said)))}</dd>" for words, said in facts_of(scan, cut, name)
    )
    title = f"{TITLE}: {escape(printable(name))}"
    badge = '<p><span class="badge">synthetic, not tissue</span></p>' if drawn else ""
    opening = f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC, NodeLens {__version__}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE} img {{ width: 100%; height: auto; }}</style></head>\n<body>"
        f'<h1>{title}</h1><p class="quiet">{opening}</p><p class="notice">{NOTICE}</p>{badge}\n'
        f'<img alt="The slide from afar, with the map over it and its areas numbered" src="{picture}">\n'
        f'<p class="quiet">Probability of {escape(scan.reader.task.positive)} over the tissue: brown from one half on, '
        "blue below.</p>"
        f"<h2>{len(areas)} {'area' if len(areas) == 1 else 'areas'}, hottest first</h2>"
        f"<p>From probability {cut.threshold:.2f}: {escape(_shown(cut.rule))}. {NO_STAGE}</p>\n"
        f"{listed if areas else ''}\n"
        f'<h2>How it was read</h2><dl class="origin">{facts}</dl></body></html>\n'
    )


def numbered(picture: Image.Image, scan: Scan, areas: Sequence[Area]) -> Image.Image:
    """The slide from afar with every area outlined, and its number beside it."""
    found, scale = picture.copy(), picture.width / scan.slide.width
    pen, letters = ImageDraw.Draw(found), ImageFont.truetype(face_file(REGULAR), max(12, picture.width // 60))
    for number, area in enumerate(areas, start=1):
        for part in shapely.get_parts(area.outline):
            for ring in (part.exterior, *part.interiors):
                pen.line([(x * scale, y * scale) for x, y in ring.coords], fill=INK, width=2)
        _, top, right, _ = area.outline.bounds
        place = right * scale + 4, top * scale - 4
        pen.text(place, str(number), fill=INK, font=letters, stroke_width=2, stroke_fill="white")
    return found


def facts_of(scan: Scan, cut: Cut, name: str) -> Facts:
    """What it takes to read the slide again, in words."""
    slide, model, grid = scan.slide, scan.reader.model, scan.grid
    wanted, read, holes = int(scan.wanted.sum()), int(np.isfinite(scan.logits()).sum()), scan.holes()
    mm2 = (grid.stride * grid.um_per_px / 1000) ** 2
    size = " x ".join(f"{side:.4g}" for side in dict.fromkeys(slide.um_per_px or ()))
    missing = f"; {len(holes)} places could not be read" if holes else ""
    return [
        ("Slide", f"{name}, {slide.format}, {slide.width:,} x {slide.height:,} px"),
        ("Pixel size", f"{size} um/px, said by {slide.told_by}"),
        ("Read at", f"{grid.um_per_px:g} um/px, a cell every {grid.stride} px"),
        (
            "Tissue",
            f"{wanted * mm2:.2f} mm2, {'all' if read == wanted else f'{read * mm2:.2f} mm2 of it'} read{missing}",
        ),
        ("Model", f"{model.identity}, engine {scan.reader.engine.name}"),
        ("Threshold", f"{cut.threshold:.4f}"),
        ("SHA-256", slide.sha256()),
    ]


def _row(number: int, area: Area, scan: Scan) -> tuple[str, ...]:
    """One line of the table, under COLUMNS."""
    mm = scan.grid.stride * scan.grid.um_per_px / 1000
    unlike = "not asked" if math.isnan(area.unlike) else f"{area.unlike:.0%}"
    place = f"{(area.column + 0.5) * mm:.2f} mm from the left, {(area.row + 0.5) * mm:.2f} mm from the top"
    return (
        str(number), f"{area.highest:.2f}", f"{area.mean:.2f}", f"{area.diameter_mm:.2f} mm", f"{area.mm2:.3f} mm2",
        unlike, place,
    )  # fmt: skip


def _shown(words: str) -> str:
    return on_screen(words).replace(" mm2", " mm\u00b2")
