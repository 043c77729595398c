"""Flags on patches whose look is computed by hand, and on real ones where they are at hand."""

import csv
import io
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from core.data.flags import FLAGS, flags, look
from core.errors import PatchShapeError
from core.task import PCAM

HEMATOXYLIN = np.array([0.65, 0.70, 0.29])  # OD of red, green, blue (Ruifrok & Johnston 2001)
EOSIN = np.array([0.07, 0.99, 0.11])
DAB = np.array([0.27, 0.57, 0.78])


@pytest.fixture(scope="module")
def valid(shared):
    """PCam validation patches, uint8 (3000, 96, 96, 3)."""
    with zipfile.ZipFile(shared / "pcam" / "valid.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        return np.stack([np.asarray(Image.open(archive.open(row["file"])).convert("RGB")) for row in rows])


def flags_of(patches, strange=None):
    return flags(patches, PCAM, strange)


def rate(name, patches):
    return np.mean([name in found for found in flags_of(patches)])


def stained(nuclei, counterstain):
    """Dots of one stain on a ground of the other, uint8 (96, 96, 3)."""
    rows, columns = np.indices((96, 96))
    dots = ((rows % 12 - 6) ** 2 + (columns % 12 - 6) ** 2 < 16)[..., None]
    density = dots * 0.9 * nuclei + 0.25 * counterstain
    return np.round(255 * 10**-density).astype(np.uint8)


def even(*rgb):
    return np.full((96, 96, 3), rgb, np.uint8)


def test_look_of_an_even_patch():
    seen = look(even(128, 64, 128))
    # OD 0.299, 0.600, 0.299: green exceeds by 0.301 of 1.199 in all
    assert seen.stained_share == 1
    assert seen.green_excess == pytest.approx(0.2511, abs=1e-4)
    assert seen.sharpness == pytest.approx(0, abs=1e-3)


def test_look_of_a_half_empty_patch():
    patch = even(255, 255, 255)
    patch[:24] = 128, 64, 128
    seen = look(patch)
    assert seen.stained_share == pytest.approx(0.25)
    assert seen.green_excess == pytest.approx(0.2511, abs=1e-4)


def test_sharpness_of_a_chessboard_is_eight():
    # alternate OD values a and b: the Laplacian is +-4 (a - b), the spread (a - b) / 2
    patch = np.where((np.indices((96, 96)).sum(0) % 2)[..., None], even(200, 60, 200), even(220, 200, 220))
    assert look(patch).sharpness == pytest.approx(8, rel=0.01)


def test_no_stain_gives_zeros():
    assert look(even(255, 255, 255)) == (0, 0, 0)


def test_hematoxylin_and_eosin_pass():
    assert flags_of(np.stack([stained(HEMATOXYLIN, EOSIN)])) == [()]


@pytest.mark.parametrize(
    "patch",
    [stained(HEMATOXYLIN, DAB), stained(DAB, HEMATOXYLIN), stained(HEMATOXYLIN, EOSIN)[..., [1, 0, 2]]],
    ids=["DAB ground", "DAB dots", "red and green swapped"],
)
def test_other_stains_are_flagged(patch):
    assert flags_of(patch) == [("not H&E-like",)]


def test_gray_is_flagged():
    gray = stained(HEMATOXYLIN, EOSIN)[..., [1, 1, 1]]
    assert flags_of(gray) == [("not H&E-like",)]


@pytest.mark.parametrize("rgb", [(40, 160, 60), (40, 60, 200), (140, 90, 50), (0, 0, 0)])
def test_an_even_strange_colour_is_flagged_twice(rgb):
    assert flags_of(even(*rgb)) == [("not H&E-like", "blurred")]


def test_a_blank_patch_is_only_blank():
    noise = np.random.default_rng(1).integers(236, 256, (96, 96, 3), dtype=np.uint8)
    assert flags_of(np.stack([even(255, 255, 255), even(240, 238, 241), noise])) == [("nearly blank",)] * 3


def test_blur_is_flagged():
    sharp = stained(HEMATOXYLIN, EOSIN)
    soft = gaussian_filter(sharp, (2, 2, 0))
    assert flags_of(np.stack([sharp, soft])) == [(), ("blurred",)]


def test_every_flag_has_a_sentence_and_no_patch_no_flags():
    # Stored scores keep them as bits in this order.
    assert list(FLAGS) == [
        "not H&E-like",
        "nearly blank",
        "blurred",
        "unlike training tissue",
        "trained on synthetic pictures",
    ]
    assert all(sentence.endswith(".") for sentence in FLAGS.values())
    assert flags_of(np.zeros((0, 96, 96, 3), np.uint8)) == []


def test_what_a_model_does_not_know_is_flagged_last_and_never_on_a_blank_patch():
    patches = np.stack(
        [stained(HEMATOXYLIN, EOSIN), stained(HEMATOXYLIN, EOSIN), even(90, 90, 90), even(255, 255, 255)]
    )
    found = flags_of(patches, np.array([True, False, True, True]))
    assert found == [
        ("unlike training tissue",), (), ("not H&E-like", "blurred", "unlike training tissue"), ("nearly blank",),
    ]  # fmt: skip


def test_other_shapes_are_refused():
    with pytest.raises(PatchShapeError):
        flags_of(np.zeros((2, 64, 64, 3), np.uint8))


def test_real_patches_are_seldom_flagged(valid):
    found = Counter(name for names in flags_of(valid) for name in names)
    share = {name: found[name] / len(valid) for name in FLAGS}
    assert share["not H&E-like"] <= 0.005
    assert share["nearly blank"] <= 0.01
    assert share["blurred"] <= 0.005


def test_real_patches_turned_strange_are_flagged(valid):
    some = valid[[not names for names in flags_of(valid)]][::20]
    for sigma in (2, 3):
        assert rate("blurred", gaussian_filter(some, (0, sigma, sigma, 0))) >= 0.95
    assert rate("not H&E-like", some[..., [1, 1, 1]]) >= 0.97
    assert rate("not H&E-like", some[..., [1, 0, 2]]) >= 0.97
    assert rate("not H&E-like", 255 - some) >= 0.97


def test_lossless_patches_pass(shared):
    files = sorted((shared / "pcam_lossless").glob("*.tif"))
    if not files:
        pytest.skip("no lossless patches here")
    patches = np.stack([np.asarray(Image.open(file)) for file in files])
    assert flags_of(patches) == [()] * len(files)
