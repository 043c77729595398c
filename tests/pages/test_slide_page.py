"""A slide on its page: listed, asked for its pixel size, read, its areas and patches."""

import re
import time
import weakref
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core import service
from core.data.flags import DRAWN_MARK
from core.settings import settings
from core.slides import job, shelf
from core.slides.scan import Scan
from core.slides.tissue import Stroke
from pages.parts.slide import painting, told

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
    first = viewer(page)
    assert (first["width"], first["height"], first["map"]) == (384, 384, None)
    assert first["outline"]
    page.press("Read the slide").calm()
    until(lambda: page.at.get("download_button") or page.at.run() is None)
    assert "mm² of tissue, all read." in page.calm().markdown
    assert viewer(page)["map"].startswith("data:image/png;base64,")
    areas = [button.label for button in page.at.button if re.match(r"\d+: ", button.label)]
    assert len(areas) == len({area.split(":")[0] for area in areas})
    assert len(areas) == len(viewer(page)["areas"]) == viewer(page)["total"] > 0
    assert [area for area in areas if not area.endswith(", 66% unlike")] == []
    assert viewer(page)["areas"][0]["words"].endswith(", 66% unlike")
    assert any("66% of patches spread over the tissue" in one.value for one in page.at.warning)
    assert [button.label for button in page.at.get("download_button")] == [
        "Report (PDF)", "Report (HTML)", "Areas (CSV)", "Areas for QuPath (GeoJSON)", "Map (OME-TIFF)"
    ]  # fmt: skip


def test_a_patch_cut_out_of_drawn_tissue_stays_marked(screen, png, patches):
    page = screen("read").drop(("a.png", png(patches[0]))).calm()
    assert 'data-testid="synthetic"' not in page.html
    about = PngInfo()
    about.add_text("Comment", DRAWN_MARK)
    held = BytesIO()
    Image.fromarray(patches[1]).save(held, "PNG", pnginfo=about)
    page.drop(("b.png", held.getvalue())).calm()
    assert 'data-testid="synthetic"' in page.html


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
    page.choose("slide_list", "node.tif")
    assert "0.97 \u00b5m/px, said by the file" in captions(page)
    assert viewer(page.choose("slide_list", "unknown.png").calm())["um"] == 0.97


def test_a_slide_that_is_sent_is_read_like_any_other_and_gone_with_its_removal(screen, slides, tmp_path):
    page = screen("slide", slide="node.tif").drop(("my node.tif", (slides / "node.tif").read_bytes())).calm()
    assert "my node.tif (yours)" in page.at.selectbox(key="slide_list").options
    assert page.at.query_params["slide"] == "yours-1"  # proxies log addresses
    assert viewer(page)["width"] == 384
    (held,) = (one.slide for one in page.at.session_state["slides_sent"].values())
    folder, gone = held.path.parent.parent, weakref.ref(held)
    page.press("Read the slide").calm()
    assert not list(settings().cache.rglob("*.npy"))
    del held
    page.press("Remove")
    until(lambda: gone() is None and not folder.exists())
    assert "my node.tif (yours)" not in page.at.selectbox(key="slide_list").options
    assert not page.at.info
    assert "sent is gone after a reload" in screen("slide", slide="yours-1").at.info[0].value


def test_an_outline_is_corrected_by_what_is_painted_and_stays_so_when_the_slide_is_opened_anew(screen, slides):
    page = screen("slide", slide="node.tif").calm()
    token, outline = viewer(page)["token"], viewer(page)["outline"]
    strokes = [{"adds": False, "radius": 900, "places": [[0, 0], [384, 384.5]]}]
    page.at.session_state["slides_remembered"][slides / "node.tif"].strokes = painting.understood(strokes)
    page.at.run()
    assert viewer(page.calm())["outline"] == []
    assert "No tissue" in page.markdown
    shelf.forget()  # as when others open many slides
    page.at.run()
    assert viewer(page.calm())["token"] != token
    assert viewer(page)["outline"] == []
    assert viewer(page)["strokes"] == strokes
    page.at.session_state["slides_remembered"].clear()
    page.at.run()
    assert viewer(page)["outline"] == outline


class Working:
    """A job that takes a moment to end."""

    seconds_left, waiting, done, total, error = None, True, 0, 1, None

    def __init__(self):
        self.ends = float("inf")

    @property
    def running(self):
        return time.monotonic() < self.ends

    @property
    def stopping(self):
        return self.running and self.ends < float("inf")

    def stop(self):
        self.ends = time.monotonic() + 0.1


def test_what_was_painted_over_stops_for_who_started_it_and_a_stopped_scan_can_be_resumed(screen, monkeypatch):
    working, jobs = Working(), {}
    monkeypatch.setattr(job, "job_of", lambda scan: jobs.get(scan.folder))
    monkeypatch.setattr(job, "start", lambda scan: jobs.setdefault(scan.folder, working))
    page, other = (screen("slide", slide="node.tif").calm() for _ in range(2))
    page.press("Read the slide").calm()
    other.at.run()

    def paint(page):
        (slide,) = page.at.session_state["slides_remembered"].values()
        ((_, scan, _),) = page.at.session_state["kept_scans"]._values.values()
        slide.strokes = (Stroke(False, 900.0, ((0.0, 0.0), (9.0, 9.0))),)
        page.at.session_state["slide_painted"] = scan
        page.at.run()
        slide.strokes = ()
        page.calm().at.run()

    paint(other)
    assert working.ends == float("inf")
    paint(page)
    assert working.ends < float("inf")
    working.ends = float("inf")
    page.at.run()
    page.press("Stop")
    assert "Read the slide" in [button.label for button in page.calm().at.button]


def test_areas_and_outlines_are_made_once_for_a_map(screen, monkeypatch):
    made = []
    for name in ("areas_of", "_outlines"):
        monkeypatch.setattr(told, name, lambda *_, name=name: made.append(name) or [])
    page = screen("slide", slide="node.tif").calm()
    page.at.run()
    assert made == ["areas_of", "_outlines"]


@pytest.mark.parametrize(
    "change",
    [{"adds": 1}, {"radius": float("nan")}, {"radius": 10**400}, {"places": []}, {"places": [[0, 10**400]]}],
)
def test_what_a_browser_calls_a_stroke_may_be_none(change):
    stroke = {"adds": True, "radius": 5, "places": [[1, 2]]}
    assert painting.understood([stroke]) == (Stroke(True, 5.0, ((1.0, 2.0),)),)
    assert painting.understood([stroke, stroke | change]) is None
    assert painting.understood("strokes") is None


def test_no_stroke_is_cut():
    """A viewer that tells more than is taken is not believed in part."""
    stroke = {"adds": True, "radius": 5, "places": [[1, 2]] * painting.MOST_PLACES}
    assert len(painting.understood([stroke] * painting.MOST_STROKES)) == painting.MOST_STROKES
    assert painting.understood([stroke] * (painting.MOST_STROKES + 1)) is None
    assert painting.understood([stroke | {"places": [*stroke["places"], [3, 4]]}]) is None


def test_a_region_on_read_is_read_whole_here(screen, slides):
    page = screen("read").drop(("region.png", (slides / "unknown.png").read_bytes())).calm()
    page.pixel_size.set_value(0.9).run()
    page.press("Read the whole region").go("slide").calm()
    assert page.at.selectbox(key="slide_list").value == "yours-1"
    assert page.at.selectbox(key="slide_list").options[0] == "region.png (yours)"
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
