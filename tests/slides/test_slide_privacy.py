"""What a slide says of a patient, and the picture of its label, is in nothing that comes of reading it."""

import logging
from io import BytesIO

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from core.slides.slide import Slide
from core.slides.tiles import Tiles

SECRETS = ("Wintergreen", "Ottilie", "H2026-4711", "19340229", "ward 7", "scan room")
"""A patient, a case, a day of birth, and where it was."""
INK = (0, 255, 0)
"""Of the label and macro pictures, and of no tissue."""


@pytest.fixture
def slide(tmp_path):
    """An Aperio slide with a patient's name, a label and a macro picture; called by a neutral name."""
    generator = np.random.default_rng(3)
    tissue = np.array([190, 110, 170]) + generator.normal(0, 25, (60, 60, 1))
    pixels = tissue.clip(0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    told = "|".join(
        [
            "Aperio Image Library v11.2.1\r\n480x480 [0,0 480x480] (128x128)",
            *("AppMag = 20", "MPP = 0.97", "Patient = Wintergreen^Ottilie", "Case = H2026-4711"),
            *("BirthDate = 19340229", "Title = ward 7", "Location = scan room"),
        ]
    )
    path = tmp_path / "in" / "slide.svs"
    path.parent.mkdir()
    facts = {"photometric": "rgb", "metadata": None}
    ink = np.full((200, 200, 3), INK, np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=(128, 128), description=told, **facts)
        file.write(pixels[::4, ::4], subfiletype=0, rowsperstrip=120, description="Aperio\r\nthumbnail", **facts)
        file.write(ink, description="Aperio\r\nlabel 200x200", subfiletype=1, rowsperstrip=200, **facts)
        file.write(ink, description="Aperio\r\nmacro 200x200", subfiletype=9, rowsperstrip=200, **facts)
    with openslide.OpenSlide(path) as there:
        assert set(there.associated_images) == {"label", "macro", "thumbnail"}
        assert all(secret in str(dict(there.properties)) for secret in SECRETS)
    return path


def inked(picture):
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    return (np.abs(pixels - INK).max(axis=2) < 100).any()


def test_nothing_of_the_patient_comes_out(slide, unpadded_bundle, command, caplog, tmp_path):
    damaged = slide.with_name("damaged.svs")
    damaged.write_bytes(slide.read_bytes()[:200_000])
    coarse = slide.with_name("coarse.svs")
    coarse.write_bytes(slide.read_bytes().replace(b"MPP = 0.97", b"MPP = 9.97"))
    with caplog.at_level(logging.DEBUG):
        code, said, erred = command(
            "slide", "read", slide.parent, "--out", tmp_path / "out", "--model", unpadded_bundle
        )
    assert code == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"slides.csv", "heatmap.npz", "areas.csv", "areas.geojson", "scan.json", "overview.png"} <= {
        path.name for path in files
    }
    contents = {path.name: path.read_bytes() for path in files}
    with np.load(tmp_path / "out" / "slide" / "heatmap.npz") as kept:
        contents["heatmap.npz"] += str(dict(kept)).encode()
    with Image.open(tmp_path / "out" / "slide" / "overview.png") as overview:
        contents["overview.png"] += str(overview.info).encode()
        assert not inked(overview)
    written = {"printed": said, "errors": erred, "log": caplog.text, "names": str(files)}
    for name, text in (written | {name: data.decode("latin-1") for name, data in contents.items()}).items():
        assert not [secret for secret in SECRETS if secret.lower() in text.lower()], name
    assert [line.split(",")[1] for line in contents["slides.csv"].decode().splitlines()[1:]] == [
        *("refused", "refused", "read")
    ]


def test_no_tile_shows_the_label(slide):
    with Slide.open(slide) as found:
        assert not [secret for secret in SECRETS if secret in f"{found.hints}{found.format}"]
        tiles = Tiles(found)
        for level in range(tiles.levels):
            width, height = tiles.size(level)
            for place in ((column, row) for column in range(-(-width // 256)) for row in range(-(-height // 256))):
                assert not inked(Image.open(BytesIO(tiles.tile(level, *place))))
