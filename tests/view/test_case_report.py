"""A report says of a case what the screen says, in both its forms, and needs nothing but itself."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from pypdf import PdfReader

from core.data.flags import FLAGS
from core.models.schema import OperatingPoint
from core.task import NOT_READ, PCAM, REFER
from core.view.case import NOTICE
from core.view.case_report import Case, Look, html, pdf
from core.view.verdict import evidence_words, explanation

WHEN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
HASH = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def readings(tiny_reader, patches):
    found = tiny_reader.explain(patches[3], target=PCAM.margin, views=8)
    return replace(found, verdict=np.array([PCAM.positive]), flags=((),))


@pytest.fixture
def case(readings, patches):
    return Case(
        "node 7, block B.png",
        patches[3],
        readings,
        label="tumour in the centre 32 x 32 px",
        notes=("Transparent parts were laid on white.",),
        agreement="disagree",
        note="Sinus histiocytes, I think.",
        trust="Lean on it with care: the map changes more than in 97 % of patches.",
        provenance="The model was calibrated on this split.",
        um_per_px=0.5,
        sha256=HASH,
    )


def in_pdf(cases, **more) -> list[str]:
    """The text of each page, its lines run together."""
    return [" ".join(page.extract_text().split()) for page in PdfReader(BytesIO(pdf(cases, WHEN, **more))).pages]


def in_html(cases, **more) -> str:
    page = re.sub(r"<(style|title|svg).*?</\1>", "", html(cases, WHEN, **more), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def both(cases, **more) -> list[str]:
    return [" ".join(in_pdf(cases, **more)), in_html(cases, **more)]


def test_all_that_is_known_of_a_case_is_said(case):
    readings, model = case.readings, case.readings.model
    views = readings.view_probability[0]
    said = [
        *("node 7, block B.png", "Tumour likely", explanation(readings, 0), NOTICE, "2026-03-01 09:30 UTC"),
        f"probability of tumour {readings.probability[0]:.2f}, calibrated; eight flips and turns, "
        f"{views.min():.2f} to {views.max():.2f}",
        *(evidence_words(readings, 0), case.trust, case.label, case.notes[0], case.agreement, case.note),
        *(case.provenance, readings.explained, "taken at 0.5 µm/px, read as 96 x 96 px at 0.97 µm/px"),
        *(f"{model.name} {model.version}", readings.engine, "heatmap as cells at 50% opacity, tissue smooth"),
    ]
    for page in both([case]):
        for words in said:
            assert words in page
        assert HASH in page.replace(" ", "")
        assert model.weights_sha256 in page.replace(" ", "")


def test_a_time_is_told_in_utc(case):
    assert "2026-03-01 09:30 UTC" in html([case], WHEN.astimezone(timezone(timedelta(hours=5))))


def test_what_a_gate_keeps_from_being_read_says_so(case):
    gated = replace(case.readings, verdict=np.array([NOT_READ]), flags=(("nearly blank",),))
    for page in both([replace(case, readings=gated)]):
        assert "Not read: nearly blank" in page
        assert FLAGS["nearly blank"] in page
        assert f"{gated.probability[0]:.2f}, not to be used" in page
        assert "calibrated; " not in page
        assert evidence_words(gated, 0) not in page
    assert "Why (not to be used)" in in_pdf([replace(case, readings=gated)])[0]
    referred = replace(case.readings, verdict=np.array([REFER]), flags=(("blurred",),))
    assert all("Refer: blurred" in page for page in both([replace(case, readings=referred)]))


def test_calibrated_is_said_of_what_is(case):
    bare = replace(case, readings=replace(case.readings, point=OperatingPoint()))
    for page in both([bare]):
        assert ", not calibrated; " in page
        assert "referred from" not in page


def test_drawn_tissue_is_called_so(case):
    assert all("Synthetic, not tissue" in page for page in both([replace(case, synthetic=True)]))
    assert not any("Synthetic" in page for page in both([case]))


def test_a_case_a_page_after_a_list_of_all(case):
    assert len(in_pdf([case])) == 1
    cases = [replace(case, name=f"patch {number}", agreement="agree") for number in range(1, 12)]
    pages = in_pdf(cases)
    assert len(pages) == 12
    assert all(f"patch {number} Tumour likely" in pages[0] for number in range(1, 12))
    assert all(f" patch {number} Tumour likely The" in page for number, page in enumerate(pages[1:], 1))
    page = html(cases, WHEN)
    assert re.findall(r'href="#(case-\d+)"', page) == re.findall(r'<article id="(case-\d+)"', page)


def test_what_was_refused_is_named_with_its_reason(case):
    for page in both([case], refused={"torn.png": "It is damaged or incomplete."}):
        assert "torn.png It is damaged or incomplete." in page
    assert "Refused" not in html([case], WHEN)


class Addresses(HTMLParser):
    """Everything in a page that could be fetched, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert tag not in ("script", "iframe", "object", "embed", "link", "base")
        assert not [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize(
    "name", ["plain.png", "<img src=x onerror=alert(1)>.png", '"><script>alert(1)</script>', "a\nb"]
)
def test_the_page_stands_alone_whatever_a_file_is_called(case, name):
    page = html([replace(case, name=name, note=name)] * 2, WHEN)
    seen = Addresses()
    seen.feed(page)
    assert seen.found
    assert all(address.startswith(("data:image/", "#case-")) for address in seen.found)
    assert "://" not in page
    assert "url(" not in page


def test_a_note_keeps_its_lines_and_names_keep_theirs_from_leaving(case):
    page = html([replace(case, note="one\ntwo")], WHEN)
    assert "<dd>one\ntwo</dd>" in page
    assert "one two" in in_pdf([replace(case, note="one\ntwo")])[0]
    assert "a\\nb.png" in html([replace(case, name="a\nb.png")], WHEN)


def test_letters_that_the_pdf_lacks_are_owned_up_to(case):
    named = replace(case, name="узел 5 µm.png")
    (page,) = in_pdf([named])
    assert "???? 5 µm.png" in page
    assert "the HTML report has them" in page
    assert "узел 5 µm.png" in in_html([named])
    assert "the HTML report" not in in_pdf([case])[0]


def test_markup_in_a_note_is_text(case):
    (page,) = in_pdf([replace(case, note="<b>3</b> & <font color=red>4")])
    assert "<b>3</b> & <font color=red>4" in page


def test_long_words_stay_on_the_page(case):
    pages = in_pdf([replace(case, name="x" * 255, note="y" * 1000)])
    assert "".join(pages).replace(" ", "").count("x") >= 255
    assert "".join(pages).replace(" ", "").count("y") >= 1000


def test_a_worklist_has_a_few_megabytes(case):
    cases = [replace(case, patch=np.rot90(case.patch, number).copy()) for number in range(8)]
    assert len(pdf(cases, WHEN)) < 8 * 150_000
    assert len(html(cases, WHEN)) < 8 * 200_000


@pytest.mark.parametrize(
    ("told", "look"),
    [
        ({}, Look()),
        (
            {"opacity": 80, "grid": "smooth", "tissue": "pixels", "box": False},
            Look(opacity=0.8, smooth=True, smooth_tissue=False, label_box=False),
        ),
        ({"opacity": 0}, Look(opacity=0.0)),
        ({"opacity": 1000, "grid": [], "tissue": None, "box": "no"}, Look()),
        ({"opacity": -3}, Look()),
        ({"opacity": 400}, Look(opacity=1.0)),
        ({"opacity": "nan"}, Look()),
    ],
)
def test_a_look_is_what_the_light_table_tells_as_far_as_it_can_be(told, look):
    assert Look.told(told) == look
