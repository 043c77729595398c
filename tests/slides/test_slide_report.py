"""The report of a slide says what was read, from what threshold on, and loads nothing."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from core.slides.areas import Cut, areas_of
from core.slides.export import cell_of
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.view.slide_report import html

WHEN = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


@pytest.fixture
def report(write_slide, darkness, tmp_path):
    """Of a slide whose middle is dark, read but for its last chunk, under a name that is markup."""
    pixels = (
        np.full((640, 640, 3), (225, 120, 190), np.uint8)
        - np.indices((640, 640)).sum(0)[..., None].astype(np.uint8) % 23
    )
    pixels[224:416, 224:416] //= 4
    with Slide.open(write_slide(pixels, 0.97)) as slide:
        scan = Scan(slide, darkness, tmp_path / "scans")
        scan.run()
        cut = Cut(0.6, "chosen < by hand")
        areas = areas_of(scan.probability(), cut.threshold, cell_of(scan), slide.um_per_px)
        return html(scan, areas, cut, "<b>a\u202e</b>.svs", WHEN, drawn=True), areas


def test_it_tells_the_areas_and_how_they_were_found(report):
    page, areas = report
    assert len(areas) == 1
    assert "<h2>1 area, hottest first</h2>" in page
    assert "From probability 0.60: chosen &lt; by hand." in page
    assert "no measurement of a metastasis, no stage" in page
    assert f"<td>1</td><td>{areas[0].highest:.2f}</td><td>{areas[0].mean:.2f}</td>" in page
    assert f"{areas[0].diameter_mm:.2f} mm</td><td>{areas[0].mm2:.3f} mm\u00b2</td>" in page
    assert "0.97 \u00b5m/px, said by the file" in page
    assert "2026-05-04 03:02 UTC" in page
    assert "Research use only" in page
    assert "synthetic, not tissue" in page


def test_it_loads_nothing_and_names_are_text(report):
    page, _ = report
    assert "<b>" not in page
    assert "\u202e" not in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}
    assert "default-src 'none'" in page
    assert str(Path.home()) not in page
