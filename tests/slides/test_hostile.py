"""Files that are no slides, or damaged ones: one sentence each, whatever reads them, and little memory."""

import os

import numpy as np
import pytest
import tifffile

from core.errors import SlideError
from core.slides.slide import Slide


def tiff(path, pixels, **facts):
    tifffile.imwrite(path, pixels, **{"photometric": "rgb", "tile": (64, 64)} | facts)
    return path


@pytest.fixture
def made(tmp_path, write_slide):
    """Hostile files by name."""
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    whole = write_slide(pixels, 0.5, "whole.tif", (2,))
    data = whole.read_bytes()
    files = {
        "cut.tif": data[: len(data) // 2],
        "cut.svs": data[:200],
        "empty.ndpi": b"",
        "noise.mrxs": os.urandom(4000),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    ome = write_slide(pixels, 0.5, "whole.ome.tif", (2,), True).read_bytes()
    (tmp_path / "cut.ome.tif").write_bytes(ome[: len(ome) // 3])
    tiff(tmp_path / "float.tif", np.zeros((200, 200), np.float32), photometric="minisblack")
    tiff(tmp_path / "deep.tif", np.zeros((200, 200, 3), np.uint16))
    tifffile.imwrite(tmp_path / "strip.tif", np.zeros((5000, 5000, 3), np.uint8), photometric="rgb", rowsperstrip=5000)
    (tmp_path / "folder.mrxs").mkdir()
    (tmp_path / "link.svs").symlink_to("/etc/hostname")
    (tmp_path / "dangling.svs").symlink_to("/nowhere/at/all.svs")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        *("cut.tif", "cut.svs", "cut.ome.tif", "empty.ndpi", "noise.mrxs", "float.tif", "deep.tif", "strip.tif"),
        *("folder.mrxs", "link.svs", "dangling.svs"),
    ],
)
def test_one_sentence(made, name):
    with pytest.raises(SlideError) as caught, Slide.open(made / name, 0.5) as slide:
        slide.region(150, 150, 50, 50, 0.97)
    said = str(caught.value)
    assert said.startswith(f"The slide {name} cannot be read: ")
    assert "\n" not in said
    assert len(said) < 200
    assert str(made) not in said


def test_a_slide_without_a_level_from_afar_is_refused(tmp_path):
    """It has no smaller level, so that an overview would have to read it all."""
    path = tmp_path / "bomb.tif"
    tile = np.full((256, 256, 3), 200, np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(
            (tile for _ in range(64 * 64)),
            shape=(16_384, 16_384, 3),
            dtype=np.uint8,
            tile=(256, 256),
            photometric="rgb",
            compression="deflate",
            resolution=(1e4 / 0.5,) * 2,
            resolutionunit="CENTIMETER",
        )
    with pytest.raises(SlideError, match="no level from afar"), Slide.open(path):
        pass
