"""The viewer of slides in a browser: tiles, keys, opacity without the server, and a patch read by a key alone."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from pages.parts.slide.routes import LIBRARY, SCRIPT
from tests.browser.conftest import ROOT


@pytest.mark.skipif(not (LIBRARY / SCRIPT).is_file(), reason="OpenSeadragon comes with `make env`")
def test_a_slide_by_keys_alone(visit):
    page = visit("slide?slide=demo (synthetic, not tissue)&views=1")
    stage, scale = page.get_by_test_id("slide-stage"), page.get_by_test_id("slide-scale")
    expect(scale).to_have_text(re.compile("µm|mm"))
    expect(stage.locator("canvas").first).to_be_visible()
    whole = scale.inner_text(), scale.bounding_box()["width"]
    stage.focus()
    for _ in range(4):
        page.keyboard.press("+")
    expect(scale).not_to_have_text(whole[0])
    page.keyboard.press("0")
    expect(scale).to_have_text(whole[0])
    page.keyboard.press("n")
    expect(page.get_by_test_id("viewer-status")).to_have_text("There are no areas.")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("probability")).to_be_visible()
    expect(page.get_by_text("framed on the slide.")).to_be_visible()
    expect(page.locator("#nl-mark")).to_be_visible()


@pytest.mark.skipif(not (LIBRARY / SCRIPT).is_file(), reason="OpenSeadragon comes with `make env`")
def test_what_is_painted_is_thinned_and_limited_in_words(page, png):
    """The viewer alone, with limits that a hand reaches."""
    html = re.search(r'html="""(.*?)"""', (ROOT / "pages/parts/slide/viewer.py").read_text(), re.DOTALL)[1]
    tile = png(np.zeros((8, 8, 3), np.uint8))
    page.route("**/slide-tiles/**", lambda route: route.fulfill(body=tile, content_type="image/png"))
    page.route("**/*.js", lambda route: route.fulfill(path=LIBRARY / SCRIPT))
    page.route("**/viewer.js", lambda route: route.fulfill(path=ROOT / "assets" / "slide_viewer.js"))
    css = (ROOT / "assets" / "slide_viewer.css").read_text()
    page.route("**/page", lambda route: route.fulfill(body=f"<style>{css}</style>{html}", content_type="text/html"))
    page.goto("http://viewer.test/page")
    area = {"rings": [], "box": [0, 0, 8, 8], "hot": [4, 4], "words": "highest probability 0.90, 1.00 mm"}
    data = {
        "token": "t", "width": 1024, "height": 512, "tile": 1024, "levels": 1, "um": 1.0, "map": None, "outline": [],
        "legend": {"gradient": "none", "ticks": ["", "", ""], "words": ""}, "areas": [area], "total": 1812,
        "goTo": None, "strokes": [], "mostStrokes": 3, "mostPlaces": 5, "least": 1,
    }  # fmt: skip
    page.evaluate(
        """async (data) => {
            window.told = [];
            const setStateValue = (name, value) => window.told.push(structuredClone(value));
            window.component = { data, parentElement: document.body, setStateValue };
            window.leave = (await import("/viewer.js")).default(window.component);
        }""",
        data,
    )
    stage, status = page.get_by_test_id("slide-stage"), page.get_by_test_id("viewer-status")
    expect(page.get_by_test_id("slide-scale")).not_to_be_empty()
    page.get_by_text("Correct the tissue outline").click()
    page.get_by_test_id("paint-add").click()
    page.evaluate("() => window.leave()")  # as Streamlit does of a rerun that another came before
    box = stage.bounding_box()
    x, y = box["x"] + 100, box["y"] + 100

    def drag(far):
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + far, y, steps=far)
        page.mouse.up()
        return [len(stroke["places"]) for stroke in page.evaluate("() => window.told.at(-1).strokes")]

    first = drag(50)  # of a brush of 24 px one place in 6 or 7; where a stroke is full, another goes on
    assert first in ([5, 4], [5, 5])
    assert drag(80) == [*first, 5]
    words = "No more strokes are taken: a slide has 3 at most. Undo one to paint another."
    expect(status).to_have_text(words)
    stage.focus()
    page.keyboard.press("Space")
    assert len(page.evaluate("() => window.told")) == 2
    page.get_by_test_id("paint-undo").click()
    expect(status).to_be_empty()
    stage.focus()
    page.keyboard.press("n")
    expect(status).to_have_text("Area 1 of 1,812: highest probability 0.90, 1.00 mm.")
