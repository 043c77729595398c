"""Files that are no slides, or damaged ones: one sentence each, whatever reads them, and little memory."""

import os
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from openslide import OpenSlideError

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
    for name, tag, value in (("wide.tif", "ImageWidth", 2**20), ("types.tif", "SamplesPerPixel", 9)):
        (tmp_path / name).write_bytes(data)
        with tifffile.TiffFile(tmp_path / name, mode="r+b") as file:
            file.pages[0].tags[tag].overwrite(value)
    header = bytes.fromhex("89504e470d0a1a0a0000000d49484452000186a0000186a00802000000")
    (tmp_path / "bomb.png").write_bytes(header + zlib.crc32(header[12:]).to_bytes(4, "big"))
    (tmp_path / "folder.mrxs").mkdir()
    (tmp_path / "inside.mrxs").write_bytes(b"")
    (tmp_path / "inside" / "Slidedat.ini").mkdir(parents=True)
    (tmp_path / "round.svs").symlink_to("round.svs")
    (tmp_path / "link.svs").symlink_to("/etc/hostname")
    (tmp_path / "dangling.svs").symlink_to("/nowhere/at/all.svs")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        *("cut.tif", "cut.svs", "cut.ome.tif", "empty.ndpi", "noise.mrxs", "float.tif", "deep.tif", "strip.tif"),
        *("folder.mrxs", "link.svs", "dangling.svs", "wide.tif", "types.tif", "bomb.png", "inside.mrxs", "round.svs"),
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


def large(path, width, height, *more):
    """An Aperio slide of tiles that are all the same, with levels reduced by `more`."""
    tile = zlib.compress(np.full((256, 256, 3), 200, np.uint8).tobytes())
    with tifffile.TiffWriter(path) as file:
        for down in (1, *more):
            sides = height // down, width // down
            file.write(
                (tile for _ in range((-(-sides[0] // 256)) * (-(-sides[1] // 256)))),
                shape=(*sides, 3),
                dtype=np.uint8,
                tile=(256, 256),
                photometric="rgb",
                compression="deflate",
                description="Aperio Image Library v1\n|AppMag = 20|MPP = 0.485" if down == 1 else "Aperio level",
                metadata=None,
            )
    return path


def test_a_slide_without_a_level_from_afar_is_refused(tmp_path):
    """It has no smaller level, so that an overview would have to read it all."""
    with pytest.raises(SlideError, match="no level from afar"), Slide.open(large(tmp_path / "bomb.svs", 2**14, 2**14)):
        pass


def test_a_thousand_million_pixels_are_read_where_they_are_asked_for(tmp_path):
    with Slide.open(large(tmp_path / "large.svs", 2**16, 2**14, 64)) as slide:
        assert slide.width * slide.height > 10**9
        assert slide.overview(512).shape == (128, 512, 3)
        assert (slide.region(32_000, 8_000, 96, 96, 0.97) == 200).all()


@pytest.mark.parametrize(("told", "refused"), [("YBR_ICT", True), ("YBR_RCT", False), ("RGB", False)])
def test_colours_that_would_be_wrong_are_refused(tmp_path, monkeypatch, told, refused):
    """OpenSlide leaves the colours of such a JPEG 2000 in DICOM as they are stored."""
    white = SimpleNamespace(
        properties={"dicom.PhotometricInterpretation": told},
        dimensions=(64, 64),
        level_count=1,
        level_dimensions=((64, 64),),
        level_downsamples=(1.0,),
        read_region=lambda place, level, size: np.full((*size[::-1], 4), 255, np.uint8),
        color_profile=None,
        close=lambda: None,
    )
    fake = type("OpenSlide", (), {"__new__": lambda kind, path: white, "detect_format": lambda path: "dicom"})
    monkeypatch.setattr("core.slides.formats.openslide.OpenSlide", fake)
    (tmp_path / "slide.dcm").touch()
    if refused:
        with pytest.raises(SlideError, match="coded as YBR_ICT, whose colours would be wrong"):
            Slide.open(tmp_path / "slide.dcm")
    else:
        Slide.open(tmp_path / "slide.dcm")


def test_colours_that_cannot_be_read_are_said_to_be(tmp_path, monkeypatch):
    def refuse(kind, path):
        raise OpenSlideError("Unsupported photometric interpretation YBR_ICT for 1.2.840.10008.1.2.4.90")

    fake = type("OpenSlide", (), {"__new__": refuse, "detect_format": lambda path: "dicom"})
    monkeypatch.setattr("core.slides.formats.openslide.OpenSlide", fake)
    (tmp_path / "slide.dcm").touch()
    with pytest.raises(SlideError, match="colours are coded in a way that cannot be read"):
        Slide.open(tmp_path / "slide.dcm")


def test_colours_of_tiffs_are_what_they_mean(tmp_path):
    """Of what tifffile alone opens: a fourth channel is alpha where it says so, and other colours are refused."""
    pixels = np.full((300, 300, 3), (190, 110, 170), np.uint8)
    more = np.concatenate([pixels, np.zeros((300, 300, 1), np.uint8)], axis=2)
    for name, extra, seen in (("plain", 0, (190, 110, 170)), ("alpha", 2, (255, 255, 255))):
        path = tmp_path / f"{name}.ome.tif"
        tifffile.imwrite(path, more, photometric="rgb", extrasamples=(extra,), tile=(64, 64), metadata={"axes": "YXS"})
        with Slide.open(path, 0.97) as slide:
            assert slide.format == "OME-TIFF"
            assert slide.region(10, 10, 1, 1, 0.97).ravel().tolist() == list(seen)
    for photometric in ("cielab", "icclab"):
        path = tmp_path / f"{photometric}.ome.tif"
        tifffile.imwrite(path, pixels, photometric=photometric, tile=(64, 64))
        with pytest.raises(SlideError, match="colours are stored as"):
            Slide.open(path, 0.97)


@pytest.mark.parametrize("told", ["MPP = 0.00025", "MPP = 0"])
def test_a_pixel_size_of_no_microscope_is_asked_for(tmp_path, told):
    pixels = np.full((300, 300, 3), 220, np.uint8)
    about = f"Aperio Image Library v1\r\n300x300|{told}|AppMag = 20"
    path = tiff(tmp_path / "slide.svs", pixels, description=about, metadata=None)
    with Slide.open(path) as slide:
        assert (slide.format, slide.um_per_px) == ("aperio", None)
        assert any("which no microscope has" in hint for hint in slide.hints) == (told == "MPP = 0.00025")
    printed = tiff(tmp_path / "printed.tif", pixels, resolution=(72, 72), resolutionunit="INCH")
    with Slide.open(printed) as slide:
        assert (slide.format, slide.um_per_px) == ("generic-tiff", None)


def test_what_looks_like_a_picture_goes_to_no_other_program(tmp_path):
    """Pillow would hand a PostScript file to Ghostscript."""
    (tmp_path / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EndComments\n")
    with pytest.raises(SlideError, match="no slide or picture"):
        Slide.open(tmp_path / "page.png", 0.97)


@pytest.mark.filterwarnings("ignore")
def test_a_file_with_a_wrong_byte_is_refused_or_read(write_slide):
    """And raises nothing else: a batch goes on, and a page says a sentence."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    path = write_slide(pixels, 0.5, "whole.ome.tif", (2,), True)
    data, generator = path.read_bytes(), np.random.default_rng(1)
    first = int.from_bytes(data[4:8], "little")
    refusals = 0
    for _ in range(250):
        odd = bytearray(data)
        odd[first + int(generator.integers(2 + 12 * 16))] = int(generator.integers(256))
        path.write_bytes(odd)
        try:
            with Slide.open(path, 0.5) as slide:
                slide.region(100, 100, 50, 50, 0.97)
        except SlideError:
            refusals += 1
    assert 20 < refusals < 250
