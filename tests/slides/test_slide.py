"""Geometry of slides: a marked square lies where it was put, whatever level and pixel size it is read from."""

import numpy as np
import pytest

from core.errors import CoarseImageError, PixelSizeError, SlideError
from core.slides.slide import Slide

UM = 0.97
PLACES = [(0.0, 0.0), (171.5, 93.25), (304.0, 204.0)]
"""Upper left corners, in pixels of UM, of squares of 96 px: the first and the last touch the slide's corners."""


def marked(um_per_px, x, y, width=400.0, height=300.0):
    """White glass of `width` x `height` px of UM, with a dark square of 96 such px."""
    scale = UM / um_per_px
    pixels = np.full((round(height * scale), round(width * scale), 3), 255, np.uint8)
    left, top, right, bottom = (round(place * scale) for place in (x, y, x + 96, y + 96))
    pixels[top:bottom, left:right] = 20
    return pixels


def centre_of(region):
    """Of what is dark, in pixels of the region from its corner."""
    dark = 255.0 - region.mean(axis=2)
    rows, columns = np.indices(dark.shape)
    return ((columns + 0.5) * dark).sum() / dark.sum(), ((rows + 0.5) * dark).sum() / dark.sum()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("um_per_px", "levels"),
    [(0.2425, (2, 4)), (0.2425, ()), (0.485, (2,)), (0.97, (2.0005,)), (0.3711, (2.0005, 4.003)), (1.1, ())],
)
@pytest.mark.parametrize("ome", [False, True])
def test_a_marked_square_lies_where_it_was_put(write_slide, um_per_px, levels, place, ome):
    name = "slide.ome.tif" if ome else "slide.tif"
    path = write_slide(marked(um_per_px, *place), um_per_px, name, levels, ome)
    with Slide.open(path) as slide:
        assert slide.um_per_px == pytest.approx((um_per_px, um_per_px), rel=1e-4)
        assert slide.told_by == "the file"
        assert len(slide.levels) == 1 + len(levels)
        width, height = slide.size_at(UM)
        x, y = centre_of(slide.region(0, 0, width, height, UM))
        assert (x, y) == pytest.approx((place[0] + 48, place[1] + 48), abs=0.5)
        left, top = max(0, int(place[0]) - 4), max(0, int(place[1]) - 4)  # the square whole, within the slide
        x, y = centre_of(slide.region(left, top, min(120, width - left), min(120, height - top), UM))
        assert (left + x, top + y) == pytest.approx((place[0] + 48, place[1] + 48), abs=0.5)


def test_parts_of_a_region_are_the_region(write_slide, monkeypatch):
    """Whatever is cut out of it; beyond the border it is the slide reflected."""
    pixels = np.random.default_rng(0).integers(0, 256, (310, 420, 3), dtype=np.uint8)
    with Slide.open(write_slide(pixels, UM)) as slide:
        whole = slide.region(0, 0, 420, 310, UM)
        np.testing.assert_array_equal(whole, pixels)
        np.testing.assert_array_equal(slide.region(37, 251, 96, 59, UM), pixels[251:310, 37:133])
        around = np.pad(pixels, ((40, 40), (40, 40), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(slide.region(-40, -40, 500, 390, UM), around)
        np.testing.assert_array_equal(slide.region(400, 290, 50, 50, UM), around[330:380, 440:490])
    with Slide.open(write_slide(pixels, 0.4, "fine.tif")) as slide:
        whole = slide.region(0, 0, *slide.size_at(UM), UM).astype(int)
        part = slide.region(31, 17, 60, 50, UM).astype(int)
        np.testing.assert_array_equal(part, whole[17:67, 31:91])
        exact = pixels[:200, :200].reshape(100, 2, 100, 2, 3).mean(axis=(1, 3))
        found = slide.region(0, 0, 100, 100, 0.8)
        np.testing.assert_array_equal(found, np.floor(exact + 0.4999))
        monkeypatch.setattr("core.slides.slide.AT_ONCE", 999)  # in parts, so that memory is bounded
        np.testing.assert_array_equal(slide.region(0, 0, *slide.size_at(UM), UM), whole)
        assert slide.overview(100).shape == (74, 100, 3)


def test_an_unknown_pixel_size_is_asked_for(write_slide):
    path = write_slide(marked(UM, 100, 100), None)
    with Slide.open(path) as slide:
        assert slide.um_per_px is None
        assert slide.told_by == ""
        with pytest.raises(SlideError, match="state it in um/px"):
            slide.region(0, 0, 96, 96, UM)
        assert slide.overview(100).shape == (75, 100, 3)
    with Slide.open(path, 0.5) as slide:
        assert slide.told_by == "a person"
        assert slide.size_at(1.0) == (200, 150)
    with pytest.raises(PixelSizeError):
        Slide.open(path, 400.0)


def test_too_coarse_and_dark_slides_are_refused(write_slide, tmp_path):
    with Slide.open(write_slide(marked(UM, 100, 100), 2.0)) as slide, pytest.raises(CoarseImageError):
        slide.step(UM)
    with pytest.raises(SlideError, match="ground is dark"):
        Slide.open(write_slide(255 - marked(UM, 100, 100), UM, "dark.tif"))
    (tmp_path / "words.svs").write_text("no slide")
    with pytest.raises(SlideError, match="damaged"):
        Slide.open(tmp_path / "words.svs")
