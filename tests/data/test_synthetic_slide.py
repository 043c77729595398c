"""A drawn slide: what it holds, that it says what it is, and that it is the same each time."""

import numpy as np
import pytest

from core.data.synthetic_slide import draw, write_slide
from core.slides.slide import Slide


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


def test_the_same_seed_gives_the_same_bytes(drawn):
    again = draw(512, 3)
    np.testing.assert_array_equal(again.pixels, drawn.pixels)
    np.testing.assert_array_equal(again.mask, drawn.mask)
    with pytest.raises(ValueError, match="multiple"):
        draw(511, 3)


def test_it_opens_as_a_slide_that_says_it_is_drawn(tmp_path):
    slide_path, mask_path = write_slide(tmp_path, 512, 3)
    assert mask_path.is_file()
    with Slide.open(slide_path) as slide:
        assert slide.um_per_px == pytest.approx((0.97, 0.97), rel=1e-4)
        assert (slide.width, slide.height) == (512, 512)
    assert b"synthetic, not tissue" in slide_path.read_bytes()
