"""The report of a slide says what was read, from what threshold on, shows the hottest patches, and loads nothing."""

import re
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pypdf
import pytest

from core.models.schema import Interval
from core.slides.areas import Cut, areas_of
from core.slides.export import cell_of
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.view.slide_report import LISTED, SlideReport, cases_of, html, pdf

WHEN = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


@pytest.fixture
def report(write_slide, darkness, tiny_reader, tmp_path):
    """Of a slide whose middle is dark, under a name that is markup; its tissue was corrected."""
    pixels = (
        np.full((640, 640, 3), (225, 120, 190), np.uint8)
        - np.indices((640, 640)).sum(0)[..., None].astype(np.uint8) % 23
    )
    pixels[224:416, 224:416] //= 4
    with Slide.open(write_slide(pixels, 0.97)) as slide:
        scan = Scan(slide, darkness, tmp_path / "scans", tissue=np.ones((20, 20), np.float32))
        scan.run()
        cut = Cut(0.6, "chosen < by hand", Interval(value=4, low=2, high=8))
        areas = areas_of(scan.probability(), cut.threshold, cell_of(scan), slide.um_per_px)
        name = "<b>a\u202e</b>.svs"
        cases = cases_of(
            *(scan, areas, name, lambda patch, around: tiny_reader.explain(patch, views=8, surroundings=around)),
            trust=lambda patch, readings: f"Lean on {readings.views}.",
            drawn=True,
        )
        yield SlideReport(scan, areas, cut, name, WHEN, True, cases)


def test_it_tells_the_areas_and_how_they_were_found(report):
    page, areas = html(report), report.areas
    assert len(areas) == 1
    assert "<h2>1 area, hottest first</h2>" in page
    assert "From probability 0.60: chosen &lt; by hand." in page
    assert "no measurement of a metastasis, no stage" in page
    assert f"<td>1</td><td>{areas[0].highest:.2f}</td><td>{areas[0].mean:.2f}</td>" in page
    assert f"{areas[0].diameter_mm:.2f} mm</td><td>{areas[0].mm2:.3f} mm\u00b2</td>" in page
    assert "0.97 \u00b5m/px, said by the file" in page
    assert "its outline was corrected by hand" in page
    assert "2026-05-04 03:02 UTC" in page
    assert "Research use only" in page
    assert "synthetic, not tissue" in page
    mm2 = report.scan.tissue_mm2
    assert f"{4 * mm2:.2g} false areas [{2 * mm2:.2g}, {8 * mm2:.2g}] are to be expected on so much tissue" in page


def test_a_slide_that_is_unlike_training_tissue_is_said_to_be(report, monkeypatch):
    for share, words in (
        (0.03, "3% of patches spread over the tissue are unlike training tissue</dd>"),
        (0.6, "says little here, and what is blue"),
    ):
        monkeypatch.setattr(Scan, "unlike_tissue", lambda scan, share=share: share)
        assert words in html(report)


def test_it_shows_the_hottest_patch_of_each_area_with_its_why(report):
    (case,) = report.cases
    area = report.areas[0]
    x, y = area.column * 32 - 32, area.row * 32 - 32
    np.testing.assert_array_equal(case.patch, report.scan.slide.region(x, y, 96, 96, 0.97))
    page = html(report)
    assert page.count("<article") == 1
    assert case.headline in page
    assert "Lean on 8." in page
    assert "hottest cell of area 1" in page
    assert "here 8 flips and turns are averaged" in page
    assert "beyond the slide" not in page


def test_on_paper_it_says_the_same(report):
    pages = [page.extract_text() for page in pypdf.PdfReader(BytesIO(pdf(report))).pages]
    first, second = (" ".join(words.split()) for words in pages)
    for words in ("1 area, hottest first", "chosen < by hand", "synthetic, not tissue", "corrected by hand", "said by"):
        assert words in first
    assert report.cases[0].headline in second
    assert "NodeLens slide report, 2026-05-04 03:02 UTC. Research use only" in second


def test_a_long_list_of_areas_says_what_it_leaves_out(report):
    many = SlideReport(report.scan, list(report.areas) * (LISTED + 5), report.cut, "a", WHEN)
    assert f"{LISTED + 5} areas, hottest first" in html(many)
    assert f"The first {LISTED} are listed" in html(many)
    assert len(many.rows) == LISTED


def test_it_loads_nothing_and_names_are_text(report):
    page = html(report)
    assert "<b>" not in page
    assert "\u202e" not in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}
    assert "default-src 'none'" in page
    assert str(Path.home()) not in page
