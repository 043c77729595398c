"""A slide on its page: listed, asked for its pixel size, read, its areas and patches."""

import re
import time
import weakref

import numpy as np
import pytest
import tifffile
from PIL import Image

from core import service
from core.settings import settings
from core.slides import job, shelf
from core.slides.scan import Scan
from core.slides.tissue import Stroke
from pages.parts.slide import painting

NAME = "cells"


@pytest.fixture
def slides(tmp_path, demo):
    """A folder with one slide that says its pixel size, one that does not, and a text."""
    folder = tmp_path / "slides"
    folder.mkdir()
    pixels = np.concatenate(np.concatenate(demo.patches(np.arange(16)).reshape(4, 4, 96, 96, 3), axis=1), axis=1)
    density = (1e4 / 0.97, 1e4 / 0.97)
    tifffile.imwrite(
        folder / "node.tif", pixels, tile=(128, 128), photometric="rgb", resolution=density, resolutionunit="CENTIMETER"
    )
    Image.fromarray(pixels).save(folder / "unknown.png")
    (folder / "bad.svs").write_text("no slide")
    return folder


@pytest.fixture(autouse=True)
def _its_machine(unpadded_reader, monkeypatch, tmp_path, slides, _machine):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / NAME).symlink_to(unpadded_reader.stored.folder)
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NODELENS_MODEL", NAME)
    monkeypatch.setenv("NODELENS_SLIDES", str(slides))
    monkeypatch.setattr(service, "load_reader", lambda name: unpadded_reader)
    settings.cache_clear()
    yield
    job.forget()
    shelf.forget()


def viewer(page):
    return page.component("slide_viewer")


def until(done):
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert done()


def captions(page):
    return "\n".join(caption.value for caption in page.at.caption)


def test_a_slide_is_read_and_shown(screen, monkeypatch):
    monkeypatch.setattr(Scan, "unlike", lambda self, rows, columns: 0.66)
    page = screen("slide", slide="node.tif").calm()
    told = viewer(page)
    assert (told["width"], told["height"], told["map"]) == (384, 384, None)
    assert told["outline"]
    page.press("Read the slide").calm()
    until(lambda: "all read" in page.markdown or page.at.run() is None)
    assert "mm² of tissue, all read." in page.calm().markdown
    assert viewer(page)["map"].startswith("data:image/png;base64,")
    areas = [button.label for button in page.at.button if re.match(r"\d+: ", button.label)]
    assert len(areas) == len({area.split(":")[0] for area in areas})
    assert len(areas) == len(viewer(page)["areas"]) > 0
    assert [area for area in areas if not area.endswith(", 66% unlike")] == []
    assert viewer(page)["areas"][0]["words"].endswith(", 66% unlike")
    assert [button.label for button in page.at.get("download_button")] == [
        "Report (PDF)", "Report (HTML)", "Areas (CSV)", "Areas for QuPath (GeoJSON)", "Map (OME-TIFF)"
    ]  # fmt: skip


def test_the_token_opens_its_tiles_and_no_other_does(screen):
    token = viewer(screen("slide", slide="node.tif").calm())["token"]
    assert len(token) > 20
    assert shelf.tile(token, 0, 0, 0)[:2] == b"\xff\xd8"
    with pytest.raises(KeyError):
        shelf.tile("guessed", 0, 0, 0)
    other = viewer(screen("slide", slide="node.tif").calm())["token"]
    assert other != token


def test_a_pixel_size_is_asked_for_and_stated(screen):
    page = screen("slide", slide="unknown.png")
    assert "does not say how large its pixels are" in page.at.warning[0].value
    (field,) = (one for one in page.at.number_input if one.label.startswith("Pixel size"))
    field.set_value(0.97)
    page.press("Use it")
    assert viewer(page.calm())["um"] == 0.97
    assert "0.97 \u00b5m/px, said by you" in captions(page)
    page.choose("slide", "node.tif")
    assert "0.97 \u00b5m/px, said by the file" in captions(page)
    assert viewer(page.choose("slide", "unknown.png").calm())["um"] == 0.97


def test_a_slide_that_is_sent_is_read_like_any_other_and_gone_with_its_removal(screen, slides, tmp_path):
    page = screen("slide", slide="node.tif").drop(("my node.tif", (slides / "node.tif").read_bytes())).calm()
    assert page.at.selectbox(key="slide").value == "my node.tif (yours)"
    assert viewer(page)["width"] == 384
    (held,) = (one.slide for one in page.at.session_state["slides_sent"].values())
    folder, gone = held.path.parent.parent, weakref.ref(held)
    page.press("Read the slide").calm()
    assert not list(settings().cache.rglob("*.npy"))
    del held
    page.press("Remove")
    until(lambda: gone() is None and not folder.exists())
    assert "my node.tif (yours)" not in page.at.selectbox(key="slide").options


def test_an_outline_is_corrected_by_what_is_painted(screen):
    page = screen("slide", slide="node.tif").calm()
    token, outline = viewer(page)["token"], viewer(page)["outline"]
    told = [{"adds": False, "radius": 900, "places": [[0, 0], [384, 384.5]]}]
    page.at.session_state["slide_strokes"] = {token: painting.understood(told)}
    page.at.run()
    assert viewer(page.calm())["outline"] == []
    assert viewer(page)["strokes"] == told
    assert "No tissue" in page.markdown
    page.at.session_state["slide_strokes"] = {}
    page.at.run()
    assert viewer(page)["outline"] == outline


@pytest.mark.parametrize(
    "change",
    [{"adds": 1}, {"radius": float("nan")}, {"radius": 10**400}, {"places": []}, {"places": [[0, 10**400]]}],
)
def test_what_a_browser_calls_a_stroke_may_be_none(change):
    told = {"adds": True, "radius": 5, "places": [[1, 2]]}
    assert painting.understood([told]) == (Stroke(True, 5.0, ((1.0, 2.0),)),)
    assert painting.understood([told, told | change]) is None
    assert painting.understood("strokes") is None


def test_a_region_on_read_is_read_whole_here(screen, slides):
    page = screen("read").drop(("region.png", (slides / "unknown.png").read_bytes())).calm()
    page.pixel_size.set_value(0.9).run()
    page.press("Read the whole region").go("slide").calm()
    assert page.at.selectbox(key="slide").value == "region.png (yours)"
    assert "0.9 \u00b5m/px, said by you; 384 x 384 px" in captions(page)


def test_a_bad_file_that_is_sent_is_one_sentence(screen):
    page = screen("slide", slide="node.tif").drop(("no.svs", b"no slide"))
    (error,) = page.at.error
    assert error.value.startswith("The slide no.svs cannot be read\\: what is in it is none of the kinds")
    assert not page.at.session_state["slides_sent"]
    assert viewer(page)["width"] == 384


def test_a_file_that_is_no_slide_says_so(screen):
    page = screen("slide", slide="bad.svs")
    assert "bad.svs cannot be read" in page.at.error[0].value
    assert str(settings().slides) not in page.at.error[0].value


def test_the_drawn_slide_is_always_there_and_says_what_it_is(screen, monkeypatch):
    monkeypatch.delenv("NODELENS_SLIDES")
    settings.cache_clear()
    page = screen("slide").calm()
    assert "synthetic, not tissue" in page.html
    assert viewer(page)["width"] == 2048
