"""Masks of every usual kind give the same tumour, or a refusal that says what is unclear."""

import numpy as np
import pytest
from PIL import Image

from core.data.masks import read_mask
from core.errors import ImportSourceError

TUMOUR = np.zeros((100, 120), bool)
TUMOUR[20:60, 30:90] = True
INSIDE = TUMOUR.astype(np.uint8)


def palette(*colours, indices=INSIDE):
    image = Image.fromarray(indices)
    image.putpalette([value for colour in colours for value in colour])
    return image


def soft():
    """Edges that fall off over two pixels, as a resized 0/255 mask has them."""
    mask = np.where(TUMOUR, 255, 0).astype(np.uint8)
    for step in range(1, 4):
        mask[20 - step, 30:90] = 120 - 30 * step
        mask[20:60, 30 - step] = 110 - 30 * step
        mask[20:60, 89 + step] = 125 - 30 * step
    return mask


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(TUMOUR),
        Image.fromarray(INSIDE),
        Image.fromarray(INSIDE * 255),
        Image.fromarray(INSIDE * 128),
        Image.fromarray(INSIDE.astype(np.uint16)),
        Image.fromarray(INSIDE.astype(np.uint16) * 65535),
        Image.fromarray(np.dstack([INSIDE * 255] * 3)),
        Image.fromarray(np.dstack([INSIDE] * 3)),
        Image.fromarray(np.dstack([INSIDE * 255] * 3 + [INSIDE * 0 + 255])),
        Image.fromarray(soft()),
        palette((255, 255, 255), (200, 0, 0)),
        palette((0, 0, 0), (255, 255, 255)),
        palette((0, 0, 0), (200, 0, 0)),
        palette((0, 0, 0), (0, 255, 0), (1, 1, 1), (255, 0, 0), indices=INSIDE * 3),
    ],
    ids=[
        *("bilevel", "0/1", "0/255", "0/128", "16 bit 0/1", "16 bit", "rgb", "rgb 0/1", "rgba", "soft"),
        *("white background", "black and white", "black background", "third index"),
    ],
)
def test_masks_of_the_usual_kinds_are_understood(image, tmp_path):
    image.save(tmp_path / "a_mask.png")
    mask = read_mask(tmp_path / "a_mask.png")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, TUMOUR)


@pytest.mark.parametrize(
    ("image", "right"),
    [
        (Image.fromarray(INSIDE * 0), False),
        (Image.fromarray(INSIDE * 0 + 1), True),
        (Image.fromarray(INSIDE * 0 + 255), True),
        (palette((255, 255, 255), (200, 0, 0), indices=INSIDE * 0), False),
    ],
)
def test_empty_and_full_masks(image, right, tmp_path):
    image.save(tmp_path / "a_mask.png")
    assert (read_mask(tmp_path / "a_mask.png") == right).all()


RAMP = (np.arange(12_000) % 256).astype(np.uint8).reshape(100, 120)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.fromarray(INSIDE + (RAMP > 127)), "values 0, 1, 2, which are more than two"),
        (Image.fromarray(INSIDE + 1), "values 1, 2"),
        (Image.fromarray(RAMP), r"values 0, 1, 2, 3, \.\.\."),
        (Image.fromarray(np.dstack([INSIDE * 255, INSIDE * 0, INSIDE * 0])), "coloured"),
        (Image.fromarray(np.dstack([INSIDE * 255] * 3 + [INSIDE * 255])), "transparent in parts"),
        (palette((255, 255, 255), (0, 0, 0)), "white for 0"),
        (palette((255, 255, 255), indices=INSIDE * 0), "white for 0"),
        (palette((255, 255, 255), (200, 0, 0), (0, 0, 200), indices=INSIDE + (RAMP > 127)), "more than one class"),
    ],
)
def test_masks_that_could_mean_several_things_are_refused(image, said, tmp_path):
    image.save(tmp_path / "a_mask.png")
    with pytest.raises(ImportSourceError, match=said):
        read_mask(tmp_path / "a_mask.png")


@pytest.mark.parametrize(("data", "said"), [(b"", "empty"), (b"no picture", "cannot be read"), (None, "No such file")])
def test_what_is_no_mask_is_refused(data, said, tmp_path):
    if data is not None:
        (tmp_path / "a_mask.png").write_bytes(data)
    with pytest.raises(ImportSourceError, match=said):
        read_mask(tmp_path / "a_mask.png")
