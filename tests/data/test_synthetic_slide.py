"""A drawn slide: what it holds, that it says what it is, and that the one that comes along is what is drawn."""

from pathlib import Path

import numpy as np
import pytest

from core.data import synthetic_slide
from core.data.masks import read_mask
from core.data.synthetic import SIDE, TUMOUR, traits_of
from core.data.synthetic_slide import COARSE, FADE, MASK, SLIDE, draw, write_slide
from core.slides.slide import Slide

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo"


@pytest.fixture(scope="module")
def drawn():
    return draw(512, 3)


def test_tissue_on_glass_with_tumour_in_it(drawn):
    assert drawn.pixels.shape == (512, 512, 3)
    assert drawn.mask[drawn.pixels.mean(axis=2) > 238].mean() < 0.02
    assert 0.01 < drawn.mask.mean() < 0.1
    corners = drawn.pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 230
    assert drawn.pixels[200:300, 150:300].mean() < 200


def test_a_side_without_a_plan_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        draw(511, 3)


def test_it_opens_as_a_slide_that_says_it_is_drawn(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(synthetic_slide, "draw", lambda *_: drawn)
    slide_path, mask_path = write_slide(tmp_path, 512, 3)
    np.testing.assert_array_equal(read_mask(mask_path), drawn.mask)
    with Slide.open(slide_path) as slide:
        assert slide.um_per_px == pytest.approx((0.97, 0.97), rel=1e-4)
        assert (slide.width, slide.height) == (512, 512)
    assert b"synthetic, not tissue" in slide_path.read_bytes()


def test_the_slide_that_comes_along_is_what_the_command_draws():
    """Its plan as a whole, and the middle of one patch of tumour."""
    side, seed = 2048, 7
    plan = synthetic_slide._plan(side // COARSE, np.random.default_rng(seed))
    np.testing.assert_array_equal(
        read_mask(DEMO / MASK), (plan == TUMOUR).repeat(COARSE, axis=0).repeat(COARSE, axis=1)
    )
    top = left = 8 * (SIDE - FADE)
    drawn = synthetic_slide._patch(plan, traits_of(np.random.default_rng((seed, 1))), seed, top, left)
    with Slide.open(DEMO / SLIDE) as slide:
        assert (slide.width, slide.height) == (side, side)
        shown = slide.region(left, top, SIDE, SIDE, slide.um_per_px[0])
    inside = slice(FADE, SIDE - FADE)
    grey = [one[inside, inside].clip(0, 255).mean(axis=2).ravel() for one in (shown, drawn)]
    assert np.corrcoef(grey)[0, 1] > 0.97
