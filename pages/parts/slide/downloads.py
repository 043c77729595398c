"""What can be taken away of a slide: its report, its areas, and the map."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import streamlit as st

from core.explain.registry import LAST
from core.slides.areas import ASKED_AREAS, Area, Cut
from core.slides.export import as_geojson, cell_of, table, write_picture
from core.slides.scan import Scan
from core.view.worklist import file_stem
from pages.parts import choices, library
from pages.parts.read.reliability import lean_later

if TYPE_CHECKING:
    from core.view.slide_report import SlideReport


def show_downloads(scan: Scan, areas: Sequence[Area], cut: Cut, name: str, *, drawn: bool) -> None:
    """A button for each file, made when it is pressed.

    Args:
        scan: of the slide.
        areas: of all that is read, hottest first; those not asked yet how familiar they are will be.
        cut: from which probability on they are made.
        name: the slide's as its reader knows it.
        drawn: whether the slide is synthetic.
    """
    model, margin = choices.model(), scan.reader.task.margin
    explain, leans = library.explain_later(model), lean_later(model)

    @cache
    def asked() -> list[Area]:
        return [
            replace(area, unlike=scan.unlike(*area.members))
            if place < ASKED_AREAS and math.isnan(area.unlike)
            else area
            for place, area in enumerate(areas)
        ]

    def report() -> SlideReport:
        from core.view import slide_report

        cases = slide_report.cases_of(
            *(scan, areas, name, lambda patch, around: explain(patch, "gradcam", LAST, margin, 8, drawn, around)),
            trust=lambda patch, readings: leans(patch, readings, drawn),
            drawn=drawn,
        )
        return slide_report.SlideReport(scan, asked(), cut, name, datetime.now(UTC), drawn, cases)

    stem = file_stem(name)
    with st.container(horizontal=True, key="slide_downloads"):
        for words, make, end, kind in (
            ("Report (PDF)", lambda: _pdf(report()), "-report.pdf", "application/pdf"),
            ("Report (HTML)", lambda: _html(report()), "-report.html", "text/html"),
            ("Areas (CSV)", lambda: table(asked()).to_csv(index=False), "-areas.csv", "text/csv"),
            ("Areas for QuPath (GeoJSON)", lambda: json.dumps(as_geojson(asked(), scan, cut.threshold)), ".geojson",
             "application/geo+json"),
            ("Map (OME-TIFF)", lambda: _map(scan), "-heatmap.ome.tif", "image/tiff"),
        ):  # fmt: skip
            st.download_button(words, make, f"{stem}{end}", kind, on_click="ignore")


def _pdf(report: SlideReport) -> bytes:
    from core.view.slide_report import pdf

    return pdf(report)


def _html(report: SlideReport) -> bytes:
    from core.view.slide_report import html

    return html(report).encode()


def _map(scan: Scan) -> bytes:
    cell_um = [side * um for side, um in zip(cell_of(scan), scan.slide.um_per_px or (), strict=True)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "map.ome.tif"
        write_picture(path, scan.probability(), cell_um)
        return path.read_bytes()
