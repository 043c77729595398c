"""Regions with masks: read one at a time at the scale of PCam, and refused in one sentence."""

import numpy as np
import pytest
from PIL import Image

from core.data.regions import read_regions, region_files
from core.errors import ImportSourceError
from core.task import PCAM


@pytest.fixture
def folder(tmp_path):
    """Two regions, one of them 130 x 100 px, and a picture without a mask."""
    generator = np.random.default_rng(0)
    for name, height, width in (("b", 100, 130), ("a", 96, 128)):
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        mask[10:20, 30:50] = 255
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    Image.fromarray(image).save(tmp_path / "c.png")
    return tmp_path


def test_regions_come_by_name_with_their_masks(folder):
    assert [path.name for path, _ in region_files(folder)] == ["a.png", "b.png"]
    first, second = read_regions(folder, PCAM)
    assert (first.name, second.name) == ("a", "b")
    assert first.image.shape == (96, 128, 3)
    assert second.image.shape == (96, 128, 3)  # cut to multiples of 32
    np.testing.assert_array_equal(second.image, np.asarray(Image.open(folder / "b.png"))[:96, :128])
    for region in (first, second):
        assert region.mask.dtype == bool
        assert region.mask.shape == region.image.shape[:2]
        assert region.mask.sum() == 200
        assert region.mask[10:20, 30:50].all()


def test_a_folder_without_regions_is_refused(tmp_path):
    with pytest.raises(ImportSourceError, match=r"holds no picture with a mask NAME_mask\.png"):
        next(read_regions(tmp_path, PCAM))
    with pytest.raises(ImportSourceError, match="holds no picture"):
        next(read_regions(tmp_path / "nowhere", PCAM))


def test_a_mask_of_another_size_is_refused(folder):
    Image.new("L", (96, 96)).save(folder / "a_mask.png")
    with pytest.raises(ImportSourceError, match="not of the picture's size"):
        next(read_regions(folder, PCAM))


def test_a_broken_picture_is_refused(folder):
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImportSourceError, match=r"a\.png"):
        next(read_regions(folder, PCAM))


def test_what_a_mac_leaves_behind_is_no_region(tmp_path):
    for name in ("a.png", "a_mask.png"):
        Image.new("RGB", (96, 96)).save(tmp_path / name)
        (tmp_path / f"._{name}").write_bytes(b"left behind")
    assert region_files(tmp_path) == [(tmp_path / "a.png", tmp_path / "a_mask.png")]


@pytest.mark.parametrize(("value", "said"), [(0, "every mask is empty"), (255, "every mask is full")])
def test_a_set_of_masks_that_are_all_alike_is_named(folder, value, said):
    for name, size in (("a", (128, 96)), ("b", (130, 100))):
        Image.new("L", size, value).save(folder / f"{name}_mask.png")
    with pytest.raises(ImportSourceError, match=said):
        next(read_regions(folder, PCAM))
    Image.new("L", (130, 100), 255 - value).save(folder / "b_mask.png")
    assert [region.mask.any() for region in read_regions(folder, PCAM)] == [value == 255, value == 0]


@pytest.mark.parametrize("case", ["reg01", "regpal"])
def test_masks_of_0_and_1_and_of_palettes_are_those_of_the_originals(shared, case):
    folder = shared / "cases" / "region_masks" / case
    if not folder.is_dir():
        pytest.skip(f"the files are not here: {folder}")
    for region in read_regions(folder, PCAM):
        original = np.asarray(Image.open(shared / "camelyon_regions" / f"{region.name}_mask.png")) > 127
        height, width = region.mask.shape
        np.testing.assert_array_equal(region.mask, original[:height, :width])
        assert region.mask.any()
