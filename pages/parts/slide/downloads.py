"""What can be taken away of a slide: its report, its areas, and the map."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from core.slides.areas import Area, Cut, areas_of
from core.slides.export import as_geojson, cell_of, table, write_picture
from core.slides.scan import Scan
from core.view.worklist import file_stem


def show_downloads(scan: Scan, cut: Cut, name: str, *, drawn: bool) -> None:
    """A button for each file, made when it is pressed; `name` is the slide's as its reader knows it."""
    stem = file_stem(name)
    um = scan.slide.um_per_px
    assert um is not None

    def areas() -> list[Area]:
        found = areas_of(scan.probability(), cut.threshold, cell_of(scan), um)
        return [replace(area, unlike=scan.unlike(*area.members)) for area in found]

    def report() -> bytes:
        from core.view.slide_report import html

        return html(scan, areas(), cut, name, datetime.now(UTC), drawn=drawn).encode()

    with st.container(horizontal=True, key="slide_downloads"):
        for words, make, end, kind in (
            ("Report (HTML)", report, "-report.html", "text/html"),
            ("Areas (CSV)", lambda: table(areas()).to_csv(index=False), "-areas.csv", "text/csv"),
            ("Areas for QuPath (GeoJSON)", lambda: json.dumps(as_geojson(areas(), scan, cut.threshold)), ".geojson",
             "application/geo+json"),
            ("Map (OME-TIFF)", lambda: _map(scan), "-heatmap.ome.tif", "image/tiff"),
        ):  # fmt: skip
            st.download_button(words, make, f"{stem}{end}", kind, on_click="ignore")


def _map(scan: Scan) -> bytes:
    cell_um = [side * um for side, um in zip(cell_of(scan), scan.slide.um_per_px or (), strict=True)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "map.ome.tif"
        write_picture(path, scan.probability(), cell_um)
        return path.read_bytes()
