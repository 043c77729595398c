"""A figure shows what the screen shows: the pixels of `overlaid`, at 300 dots per inch, and as SVG the same."""

import base64
from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from core.task import NOT_READ, PCAM, Task
from core.view.case import Case, Look
from core.view.drawing import DPI, Area, Drawing, Raster, Words, as_pixels, as_svg, frame, lettered, wide, wrapped
from core.view.export import scale_of
from core.view.figure import PANEL, figure, figure_png, figure_svg, map_picture
from core.view.overlay import enlarged, overlaid

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def readings(tiny_reader, patches):
    found = tiny_reader.explain(patches[3], target=PCAM.margin)
    return replace(found, verdict=np.array([PCAM.positive]), flags=((),))


@pytest.fixture
def case(readings, patches):
    return Case("node <7> & µ.png", patches[3], readings)


def pictures_of(case):
    """The two pictures of a figure, tissue and map, with where they lie."""
    return [part for part in figure(case).parts if isinstance(part, Raster)][:2]


@pytest.mark.parametrize(
    "look",
    [
        Look(label_box=False),
        Look(label_box=False, opacity=0.83, smooth=True, smooth_tissue=False),
        Look(label_box=False, only_for=True, own=True),
        Look(label_box=False, opacity=0.0),
    ],
)
def test_a_figure_has_the_pixels_that_the_screen_shows(case, look):
    shown = replace(case, look=look)
    expected = overlaid(
        case.patch,
        case.readings.attribution[0],
        scale_of(case.readings, 0, look.own),
        PANEL,
        opacity=look.opacity,
        smooth=look.smooth,
        only_for=look.only_for,
        smooth_tissue=look.smooth_tissue,
    )
    page = np.asarray(Image.open(BytesIO(figure_png(shown))))
    for part, picture in zip(
        pictures_of(shown), (enlarged(case.patch, PANEL, look.smooth_tissue), expected), strict=True
    ):
        assert (part.width, part.height) == (PANEL, PANEL)
        x, y = int(part.x), int(part.y)
        seen = page[y : y + PANEL, x : x + PANEL]
        # all but where the scale bar stands
        np.testing.assert_array_equal(seen[: PANEL - 60], np.asarray(picture)[: PANEL - 60])


def test_smooth_tissue_is_lanczos_and_pixels_are_pixels(patches):
    pixels = np.asarray(enlarged(patches[0], 960))
    np.testing.assert_array_equal(pixels, patches[0].repeat(10, 0).repeat(10, 1))
    smooth = np.asarray(enlarged(patches[0], 960, smooth=True))
    assert not np.array_equal(smooth, pixels)
    assert abs(smooth.mean() - patches[0].mean()) < 1


def test_a_png_is_of_300_dots_per_inch_and_names_the_patch(case):
    image = Image.open(BytesIO(figure_png(case)))
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert image.info["Title"] == case.name
    assert image.mode == "RGB"


def test_an_svg_is_as_large_as_the_png_and_holds_the_same_pixels(case):
    root = ET.fromstring(figure_svg(case))  # noqa: S314
    image = Image.open(BytesIO(figure_png(case)))
    assert root.get("viewBox") == f"0 0 {image.width} {image.height}"
    assert float(root.get("width").removesuffix("in")) == pytest.approx(image.width / DPI, abs=1e-3)
    for element, part in zip(root.iter(f"{SVG}image"), pictures_of(case), strict=False):
        data = base64.b64decode(element.get("href").removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))), np.asarray(part.image))
    said = " ".join(element.text for element in root.iter(f"{SVG}text"))
    for words in (case.name, "Tissue", "Why", "20 µm", "Research use only."):
        assert words in said
    assert case.readings.explained.split(",")[0] in said


def test_the_label_box_comes_and_goes(case):
    with_box, without = (figure(replace(case, look=Look(label_box=box))).parts for box in (True, False))
    assert len(with_box) > len(without)
    side = {part.width for part in with_box if isinstance(part, Area)} - {
        part.width for part in without if isinstance(part, Area)
    }
    assert 256 + 8 in side  # 32 of 96 pixels, and the line around them


def test_a_task_without_label_region_or_pixel_size_has_neither_box_nor_bar(case):
    other = Task(name="Buds", side=128, classes=("none", "budding"))
    model = case.readings.model.model_copy(update={"task": other})
    readings = replace(case.readings, model=model, target=other.margin, verdict=np.array(["budding"]))
    patch = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    drawn = figure(Case("bud.png", patch, readings))
    words = [part.text for part in drawn.parts if isinstance(part, Words)]
    assert not any(text.endswith("µm") for text in words)
    sides = {part.width for part in drawn.parts if isinstance(part, Raster)}
    assert sides == {PANEL}
    assert len([part for part in drawn.parts if isinstance(part, Area)]) == 2 * 4 + 1  # two edges, and the bar's


def test_what_is_not_to_be_used_is_small_and_grey(case):
    gated = replace(case, readings=replace(case.readings, verdict=np.array([NOT_READ]), flags=(("nearly blank",),)))
    tissue, why = pictures_of(gated)
    assert why.width == tissue.width / 2
    pixels = np.asarray(map_picture(gated, 96)).astype(int)
    assert (np.ptp(pixels, axis=2) == 0).all()
    assert np.ptp(pixels) <= 0.7 * 256
    words = [part.text for part in figure(gated).parts if isinstance(part, Words)]
    assert "Why (not to be used)" in words
    assert not any("evidence against" in text for text in words)  # no colour bar


def test_an_empty_map_says_that_nothing_is_there(case):
    even = replace(case, readings=replace(case.readings, attribution=np.zeros((1, 3, 3), np.float32)))
    words = [part.text for part in figure(even).parts if isinstance(part, Words)]
    assert "No evidence for or against this target." in words
    assert not any("evidence against and" in text for text in words)


def test_a_long_name_is_wrapped_within_the_figure(case):
    drawn = figure(replace(case, name="n" * 255))
    names = [part for part in drawn.parts if isinstance(part, Words) and set(part.text) == {"n"}]
    assert "".join(part.text for part in names) == "n" * 255
    assert all(part.x + wide(part.text, part.size, bold=True) <= drawn.width for part in names)


def test_words_are_wrapped_at_their_width():
    lines = wrapped("one two three " * 20, 27, 400)
    assert " ".join(lines).split() == ("one two three " * 20).split()
    assert all(wide(line, 27) <= 400 for line in lines)
    assert wrapped("", 27, 400) == []


def test_letters_that_the_face_lacks_are_question_marks():
    assert lettered("µm \u03bcm ä ≥ −") == "µm µm ä ≥ −"
    assert lettered("узел") == "????"


def test_a_frame_lies_outside_of_its_square():
    page = as_pixels(Drawing(40, 40, (Area(0, 0, 40, 40, "#ffffff"), *frame(10, 10, 20, 2, "#000000")), "a frame"))
    dark = np.asarray(page)[..., 0] == 0
    expected = np.zeros((40, 40), bool)
    expected[8:32, 8:32] = True
    expected[10:30, 10:30] = False
    np.testing.assert_array_equal(dark, expected)


def test_an_svg_says_what_it_shows():
    drawing = Drawing(10, 10, (Words(0, 5, "<&>", 4),), 'a "b" <c>')
    root = ET.fromstring(as_svg(drawing))  # noqa: S314
    assert root.find(f"{SVG}title").text == 'a "b" <c>'
    assert "xmlns" not in as_svg(drawing, inline=True)
