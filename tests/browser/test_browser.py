"""What only a browser can show: pixels, keys, the mouse, the address, and what is not sent to the server."""

import base64
import re
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect

from core.inference.scores import ScoreStore
from core.view.case import Case, Look
from core.view.drawing import as_pixels
from core.view.figure import figure as draw_figure
from tests.browser.hands import READY, drop, open_tile, pick, query

NO_PICTURE = b"no picture at all\n" * 40
FOCUSED = """() => {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  return [element.dataset.testid ?? "", outlineStyle !== "none" && parseFloat(outlineWidth) >= 1];
}"""


def brush(page, low, high):
    """Draw a box over the histogram, from one share of its width to another, until it is there: a redraw drops it."""
    area = page.locator(".nsewdrag").first
    for _ in range(6):
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        height = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * low, height)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * high, height, steps=8)
        page.mouse.up()
        with suppress(PlaywrightTimeout):
            return page.wait_for_url(lambda address: "p=" in address, timeout=10_000, wait_until="commit")
    return None


def says(page, probability):
    expect(page.get_by_test_id("probability")).to_contain_text(re.compile(rf"^{probability:.2f} "))


def unlike(reader, patches, *others):
    """The first of some patches whose probability cannot be taken for one of the others when printed."""
    probability = reader.read(patches, views=8).probability
    return next((i, p) for i, p in enumerate(probability) if all(abs(p - other) > 0.1 for other in others))


@pytest.fixture
def shown_first(shipped_reader, demo, visit):
    """The Read page as it opens, and the probability it shows."""
    page = visit()
    title = page.get_by_test_id("panel").first.locator("h3").inner_text()
    probability = shipped_reader.read(demo.patches([int(title.removeprefix("demo "))]), views=8).probability[0]
    says(page, probability)
    return page, probability


def test_an_uploaded_patch_is_read(shown_first, shipped_reader, demo, png):
    page, before = shown_first
    patches = demo.patches(range(30))
    index, probability = unlike(shipped_reader, patches, before)
    drop(page, "mine.png", png(patches[index]))
    says(page, probability)
    expect(page.get_by_test_id("panel").first.locator("h3")).to_have_text("mine.png")


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(shown_first):
    page, before = shown_first
    drop(page, "notes.png", NO_PICTURE)
    alert = page.get_by_test_id("stAlert").filter(has_text="notes.png")
    expect(alert).to_have_count(1)
    expect(page.get_by_test_id("probability")).to_have_count(0)
    page.get_by_role("radio", name="examples").click()
    says(page, before)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_two_files_of_one_name_are_each_compared(visit, shipped_reader, demo, png):
    readings = shipped_reader.read(demo.patches(range(40)), views=8).probability
    low, high = int(readings.argmin()), int(readings.argmax())
    page = visit()
    drop(page, "tile.png", png(demo.patches([low])[0]), "tile.png", png(demo.patches([high])[0]))
    says(page, readings[low])
    page.get_by_role("link", name="Compare", exact=True).click()
    for number in (1, 2):
        page.get_by_role("button", name=f"Panel {number}: ").click()
        pick(page, f"split{number}", "your files")
        page.keyboard.press("Escape")
    captions = page.get_by_test_id("caption")
    expect(captions.nth(1)).to_contain_text(f"robability of tumour {readings[low]:.2f}")
    page.get_by_role("button", name="Panel 2: ").click()
    pick(page, "file2", "tile.png (2)")
    page.keyboard.press("Escape")
    expect(captions.nth(1)).to_contain_text(f"robability of tumour {readings[high]:.2f}")
    expect(captions.nth(0)).to_contain_text(f"robability of tumour {readings[low]:.2f}")
    titles = page.get_by_test_id("panel").locator("h3")
    expect(titles).to_have_text(["1: tile.png", "2: tile.png (2)"])


def test_a_wrong_pixel_size_is_set_right_where_it_was_entered(visit, shipped_reader, demo, png):
    patch = demo.patches([int(shipped_reader.read(demo.patches(range(40)), views=8).probability.argmax())])[0]
    probability = shipped_reader.read(patch, views=8).probability[0]
    page = visit()
    drop(page, "region.png", png(np.tile(patch, (3, 3, 1))))
    says(page, probability)
    field = page.get_by_role("spinbutton", name="Pixel size (\u00b5m per pixel)")
    field.fill("0.25")
    field.press("Enter")
    alert = page.get_by_test_id("stAlert").filter(has_text="once brought from 0.25 to 0.97 \u00b5m/px")
    expect(alert).to_be_visible()
    expect(field).to_have_value("0.250")
    expect(page.get_by_test_id("probability")).to_have_count(0)
    field.fill("0.97")
    field.press("Enter")
    says(page, probability)
    expect(alert).to_have_count(0)


def test_a_selected_row_and_a_removed_file_are_the_ones_meant(visit, shipped_reader, demo, png):
    readings = shipped_reader.read(demo.patches(range(40)), views=8).probability
    low, high = int(readings.argmin()), int(readings.argmax())
    page = visit()
    drop(page, "high.png", png(demo.patches([high])[0]), "low.png", png(demo.patches([low])[0]))
    says(page, readings[high])
    page.get_by_text("All files as a table").click()
    table = page.locator(".st-key-upload_table").get_by_test_id("stDataFrameResizable")
    expect(table).to_be_visible()
    page.wait_for_selector(READY)
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 89)  # the box of the second row
    says(page, readings[low])
    expect(page.get_by_role("button", name="Search").first).to_be_visible()
    expect(page.get_by_role("button", name="Download as CSV")).to_have_count(0)
    page.get_by_role("button", name="Remove this file").click()
    says(page, readings[high])


def test_of_pictures_pasted_in_quick_succession_each_is_read(shown_first, shipped_reader, demo, png):
    page, before = shown_first
    patches = demo.patches(range(30, 60))
    index, probability = unlike(shipped_reader, patches, before)
    page.evaluate(
        """(pictures) => pictures.forEach((data, i) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([bytes], `pasted ${i}.png`, { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        })""",
        [base64.b64encode(png(patches[i])).decode() for i in (index - 1, index - 2, index)],
    )
    says(page, probability)
    expect(page.get_by_test_id("panel").first.locator("h3")).to_have_text("pasted 2.png")
    expect(page.get_by_test_id("thumb")).to_have_count(3)


def test_the_window_on_a_larger_picture_is_what_is_read(visit, shipped_reader, demo, png):
    readings = shipped_reader.read(demo.patches(range(40)), views=8).probability
    corner, rest = demo.patches([int(readings.argmax()), int(readings.argmin())])
    large = np.tile(rest, (3, 3, 1))
    large[:96, :96] = corner
    middle = shipped_reader.read(large[96:192, 96:192], views=8).probability[0]
    page = visit()
    drop(page, "large.png", png(large))
    says(page, middle)
    stage = page.get_by_test_id("window-picker").locator(".stage")
    box = stage.bounding_box()
    stage.click(position={"x": 8, "y": 8})
    expect(page.get_by_test_id("window-position")).to_contain_text("left 0, top 0")
    says(page, readings.max())
    # by mouse: from the corner to the middle
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 6, box["y"] + box["height"] / 6)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    expect(page.get_by_test_id("window-position")).to_contain_text("left 96, top 96")
    says(page, middle)


def test_opacity_and_hold_change_pixels_and_tell_the_server_nothing(page, visit, shipped_reader, demo):
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    visit(f"?patch={shipped_reader.read(demo.patches(range(40))).probability.argmax()}")
    stage, opacity, hold = (page.get_by_test_id(name) for name in ("stage", "opacity", "hold"))
    stage = stage.nth(1)
    expect(page.get_by_test_id("opacity-value")).to_have_text("50 %")
    page.wait_for_load_state("networkidle")
    assert sent  # or the silence below would say nothing
    sent.clear()
    half = stage.screenshot()
    opacity.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("opacity-value")).to_have_text("60 %")
    assert stage.screenshot() != half
    page.keyboard.press("Home")
    expect(page.get_by_test_id("opacity-value")).to_have_text("0 %")
    bare = stage.screenshot()
    page.keyboard.press("End")
    expect(page.get_by_test_id("opacity-value")).to_have_text("100 %")
    full = stage.screenshot()
    assert len({half, bare, full}) == 3
    hold.hover()
    page.mouse.down()
    expect(hold).to_have_attribute("aria-pressed", "true")
    assert stage.screenshot() == bare
    page.mouse.up()
    expect(hold).to_have_attribute("aria-pressed", "false")
    assert stage.screenshot() == full
    hold.focus()
    page.keyboard.down(" ")
    assert stage.screenshot() == bare
    page.keyboard.up(" ")
    assert stage.screenshot() == full
    assert sent == []


def test_a_figure_is_as_on_screen_however_soon_it_is_asked_for(visit, shipped_reader, demo):
    page = visit("?patch=3&views=1")
    page.get_by_test_id("grid-smooth").check(force=True)
    page.get_by_test_id("tissue-pixels").check(force=True)
    page.get_by_test_id("label-box").uncheck(force=True)
    page.get_by_test_id("opacity").fill("85")

    def figure():
        with page.expect_download() as download:
            page.get_by_role("button", name="Figure (PNG)", exact=True).click()
        assert download.value.suggested_filename == "demo-3.png"
        return np.asarray(Image.open(download.value.path())).astype(int)

    look = Look(opacity=0.85, smooth=True, smooth_tissue=False, label_box=False)
    case = Case("demo 3", demo.patches([3])[0], shipped_reader.read(demo.patches([3]), synthetic=True), look=look)
    expected = np.asarray(as_pixels(draw_figure(case))).astype(int)
    assert np.abs(figure() - expected).max() <= 2  # another process computed the map
    page.reload()
    page.wait_for_selector(READY)
    expect(page.get_by_test_id("opacity-value")).to_have_text("85 %")
    assert np.abs(figure() - expected).max() <= 2


def test_filters_and_brush_stand_in_the_address(visit, server, shipped_reader, demo):
    page = visit("browse")
    count = page.get_by_test_id("stMarkdown").filter(has_text="of 400 patches")
    expect(count.last).to_contain_text("400 of 400 patches, 1 to 48 shown")
    pick(page, "label", "tumour")
    expect(count.last).to_contain_text("200 of 400 patches")
    assert query(page)["label"] == ["tumour"]

    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    page.wait_for_selector(READY)
    brush(page, 0.5, 0.75)
    expect(page).to_have_url(re.compile(r"[?&]p="))
    low, high = map(float, query(page)["p"])
    assert (low, high) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.75, abs=0.03))
    scores = ScoreStore(server.cache, shipped_reader, demo).scores()
    expected = ((demo.labels == 1) & (scores.probability >= low) & (scores.probability <= high)).sum()
    assert 0 < expected < 200
    expect(count.last).to_contain_text(f"{expected} of 400 patches")
    page.reload()
    expect(count.last).to_contain_text(f"{expected} of 400 patches")


def test_clearing_the_filters_clears_the_brush(visit):
    page = visit("browse")
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    page.wait_for_selector(READY)
    brush(page, 0.5, 0.75)
    drawn = page.locator(".selectionlayer path")
    expect(drawn.first).to_be_attached()
    page.get_by_role("button", name="Clear filters").click()
    expect(drawn).to_have_count(0)
    expect(page).not_to_have_url(re.compile(r"[?&]p="))


def test_two_clicks_from_browse_to_a_comparison_under_one_control(visit):
    page = visit("browse")
    tile = page.get_by_test_id("tile").nth(2)
    heatmap, button = tile.locator(".heatmap"), tile.get_by_test_id("tile-open")
    expect(heatmap).to_have_css("opacity", "0")
    button.hover()
    expect(heatmap).to_have_css("opacity", "0.5")

    tile.get_by_test_id("tile-compare").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    panels = page.get_by_test_id("panel")
    expect(panels).to_have_count(2)
    expect(panels.nth(1).locator("h3")).to_have_text("2: demo 2")
    expect(page.get_by_test_id("opacity")).to_have_count(1)
    page.get_by_test_id("opacity").focus()
    page.keyboard.press("Home")
    for heatmap in page.get_by_test_id("heatmap").all():
        expect(heatmap).to_have_css("opacity", "0")
    page.get_by_test_id("zoom-in").click()
    transforms = [layers.evaluate("e => getComputedStyle(e).transform") for layers in page.locator(".layers").all()]
    assert len(set(transforms)) == 1
    assert transforms[0].startswith("matrix(1.4")


def test_a_tile_opens_in_read_and_a_reload_keeps_the_view(visit):
    page = visit("browse")
    open_tile(page, 5)
    title, caption = page.get_by_test_id("panel").first.locator("h3"), page.get_by_test_id("caption").nth(1)
    expect(title).to_have_text("demo 5")
    expect(caption).to_contain_text("one view")
    pick(page, "layer", "6x6")
    expect(caption).to_contain_text("layer 6x6 (6 x 6 cells)")
    pick(page, "target", "normal")
    expect(caption).to_contain_text("Grad-CAM for normal")
    number, said = page.get_by_test_id("probability").inner_text(), caption.inner_text()
    address = page.url
    page.reload()
    expect(title).to_have_text("demo 5")
    expect(caption).to_have_text(said)
    expect(page.get_by_test_id("probability")).to_have_text(number)
    assert page.url == address
    page.go_back()
    expect(page.get_by_test_id("gallery")).to_be_visible()


def test_a_choice_is_answered_while_a_costly_map_is_computed(visit):
    """RISE of eight views asks the network 4,096 times; whoever thinks better of it waits for one batch."""
    page = visit("?views=8")
    pick(page, "method", "RISE")
    expect(page.get_by_text("passes through the network")).to_be_visible()
    pick(page, "method", "Occlusion")
    expect(page.get_by_text(re.compile(r"^Occlusion: [\d,]+ of 200 passes"))).to_be_visible()
    pick(page, "method", "Grad-CAM")
    page.wait_for_selector(READY)
    expect(page.get_by_test_id("caption").nth(1)).to_contain_text("Grad-CAM for")
    assert query(page).get("method", ["gradcam"]) == ["gradcam"]


def test_a_deep_link_to_a_server_nobody_has_visited(fresh_server, visit):
    page = visit("compare?panels=3&patch1=9&patch2=8&patch3=7&views=1", on=fresh_server)
    expect(page.get_by_test_id("panel")).to_have_count(3)
    titles = page.get_by_test_id("panel").locator("h3")
    expect(titles).to_have_text(["1: demo 9", "2: demo 8", "3: demo 7"])
    for name in ("Read", "Browse", "Compare", "About"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


def test_picture_reason_and_verdict_at_one_glance(visit):
    page = visit()
    stages = page.get_by_test_id("stage")
    for part in (stages.nth(0), stages.nth(1), page.get_by_test_id("verdict"), page.get_by_test_id("probability")):
        expect(part).to_be_in_viewport(ratio=1)
    assert stages.first.bounding_box()["width"] >= 384  # 4x


@pytest.mark.parametrize("name", ["", "browse", "compare", "evidence", "about"])
def test_a_narrow_screen_scrolls_in_one_direction(page, visit, name):
    page.set_viewport_size({"width": 390, "height": 1100})
    visit(name)
    for width in (390, 820):
        page.set_viewport_size({"width": width, "height": 1100})
        wide = page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll('[data-testid="stMain"]')]
              .map((e) => e.scrollWidth - e.clientWidth)"""
        )
        assert (width, wide) == (width, [0, 0])
    if not name:
        parts = [page.get_by_test_id(part).first for part in ("stage", "verdict")]
        for part in parts:
            expect(part).to_be_in_viewport(ratio=1)


def test_by_keyboard_alone(visit):
    page = visit()
    wanted = {"opacity", "hold", "grid-cells", "zoom-in", "thumb"}
    seen = {}
    for _ in range(70):
        page.keyboard.press("Tab")
        name, visible = page.evaluate(FOCUSED)
        seen.setdefault(name, visible)
        if wanted <= seen.keys():
            break
    assert wanted <= seen.keys()
    # a segment shows its focus on the word that lies under the invisible radio
    assert {name: seen[name] for name in wanted - {"grid-cells"}} == dict.fromkeys(wanted - {"grid-cells"}, True)
    title = page.get_by_test_id("panel").first.locator("h3")
    before = title.inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(title).not_to_have_text(before)
