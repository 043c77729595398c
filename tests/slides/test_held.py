"""Slides that somebody sent: of one file, of a known kind, and gone when nobody holds them."""

import time

import numpy as np
import pytest
import tifffile

from core.errors import SlideError
from core.slides import shelf
from core.slides.held import HeldSlide, leave_all
from core.slides.slide import Slide


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("no.svs", b"no slide", "none of the kinds"),
        ("empty.tif", b"", "it is empty"),
        ("cut.tif", b"II*\0" + bytes(40), "no slide or picture"),
        ("specimen.svs", b"[Virtual Microscope Specimen]\nImageFile=../../secret.jpg", "none of the kinds"),
        ("../../place.mrxs", b"\xff\xd8\xff", "none of the kinds"),
    ],
)
def test_what_is_no_slide_of_one_file_is_refused(name, data, words):
    with pytest.raises(SlideError, match=f"{name.strip('./')}.*{words}" if "/" not in name else words):
        HeldSlide(name, data)


def test_an_ome_tiff_does_not_open_the_files_that_it_names(tmp_path):
    secret, sent = tmp_path / "secret.ome.tif", tmp_path / "sent.ome.tif"
    for path, side in ((secret, 96), (sent, 64)):
        tifffile.imwrite(path, np.full((side, side, 3), 240, np.uint8), photometric="rgb")
    with tifffile.TiffFile(sent) as file:
        text = file.ome_metadata.replace('SizeX="64"', 'SizeX="96"').replace('SizeY="64"', 'SizeY="96"')
    names = '<TiffData IFD="0" PlaneCount="1"><UUID FileName="secret.ome.tif">urn:uuid:1</UUID></TiffData>'
    tifffile.tiffcomment(sent, text.replace('<TiffData IFD="0" PlaneCount="1"/>', names).encode())
    with Slide.open(sent) as slide:
        assert slide.width == 64


def test_a_held_slide_is_read_by_its_path_and_gone_with_its_holder(tmp_path):
    path = tmp_path / "node.tif"
    tifffile.imwrite(path, np.full((300, 300, 3), 220, np.uint8), photometric="rgb", tile=(128, 128))
    held = HeldSlide("../a node.tif", path.read_bytes())
    assert held.name == "_a node.tif"
    assert not [one for one in held.path.parents[1].rglob("*") if "node" in one.name]
    token, slide = shelf.opened("somebody", held.path)
    assert slide.sha256() == Slide.open(path).sha256()
    assert shelf.tile(token, 0, 0, 0)[:2] == b"\xff\xd8"
    folder = held.path.parents[1]
    del held
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()
    with pytest.raises(KeyError):
        shelf.tile(token, 0, 0, 0)
    assert slide.picture(0, 0, 8, 8, 1.0).size == (8, 8)  # a scan that still reads it is not broken off


def test_a_server_that_ends_leaves_nothing(tmp_path):
    path = tmp_path / "node.tif"
    tifffile.imwrite(path, np.full((64, 64, 3), 220, np.uint8), photometric="rgb")
    held = HeldSlide("node.tif", path.read_bytes())
    leave_all()
    assert not held.path.parents[1].exists()
