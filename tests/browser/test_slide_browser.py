"""The viewer of slides in a browser: tiles, keys, opacity without the server, and a patch read by a key alone."""

import re

import pytest
from playwright.sync_api import expect

from pages.parts.slide.routes import LIBRARY, SCRIPT


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
