"""The worklist in a browser: its keys, what they leave alone, and the way from Browse and back."""

import re

import pytest
from playwright.sync_api import expect

from core.inference.scores import ScoreStore
from core.view.selection import Filter, select
from tests.browser.hands import READY, drop, open_tile, pick, query


@pytest.fixture
def going_through(visit, demo, png):
    """Read with three files."""
    page = visit("?views=1")
    expect(page.get_by_test_id("file-keeper")).to_have_attribute("data-holds", "0")
    drop(page, *(part for i in (3, 4, 5) for part in (f"{i}.png", png(demo.patches([i])[0]))))
    shows(page, "3.png", "1 of 3")
    return page


def place(page):
    return page.get_by_test_id("worklist-place")


def shows(page, name, number):
    expect(place(page)).to_have_text(number)
    expect(page.get_by_test_id("panel").first.locator("h3")).to_have_text(name)
    page.wait_for_selector(READY)
    expect(page.get_by_test_id("worklist")).to_have_attribute("aria-busy", "false")


def test_by_keys_through_files(going_through):
    page = going_through
    shows(page, "3.png", "1 of 3")
    page.keyboard.press("j")
    shows(page, "4.png", "2 of 3")
    page.keyboard.press("ArrowRight")
    shows(page, "5.png", "3 of 3")
    page.keyboard.press("j")  # there is none after the last
    page.keyboard.press("k")
    shows(page, "4.png", "2 of 3")
    page.keyboard.press("1")
    expect(page.get_by_test_id("agree")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("n")
    page.keyboard.type("j, 3 and ? are letters here")
    expect(page.get_by_test_id("key-sheet")).not_to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_selector(READY)
    expect(page.get_by_test_id("thumb").nth(1)).to_contain_text("agree, note")
    page.keyboard.press("j")
    shows(page, "5.png", "3 of 3")
    expect(page.get_by_test_id("note")).to_have_value("")
    page.get_by_test_id("thumb").nth(1).click()
    shows(page, "4.png", "2 of 3")
    expect(page.get_by_test_id("note")).to_have_value("j, 3 and ? are letters here")
    page.keyboard.press("1")  # once more takes it back
    expect(page.get_by_test_id("agree")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("?")
    expect(page.get_by_test_id("key-sheet")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("key-sheet")).not_to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Worklist (CSV)").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 4
    assert '"j, 3 and ? are letters here"' in lines[2]


def test_arrows_that_pan_a_picture_open_none_and_h_hides(going_through):
    page = going_through
    page.get_by_test_id("zoom-in").click()
    page.get_by_test_id("stage").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_test_id("opacity").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("opacity-value")).to_have_text("51 %")
    shows(page, "3.png", "1 of 3")
    page.keyboard.down("h")
    expect(page.get_by_test_id("hold")).to_have_attribute("aria-pressed", "true")
    page.keyboard.up("h")
    expect(page.get_by_test_id("hold")).to_have_attribute("aria-pressed", "false")


def test_files_survive_a_reload_and_what_was_removed_does_not_come_back(going_through):
    page = going_through
    expect(page.get_by_test_id("file-keeper")).to_have_attribute("data-holds", "3")
    page.reload()
    shows(page, "3.png", "1 of 3")
    page.keyboard.press("j")
    shows(page, "4.png", "2 of 3")
    page.get_by_role("button", name="Remove this file").click()
    shows(page, "5.png", "2 of 2")
    page.get_by_role("button", name="Undo: put 4.png back").click()
    shows(page, "4.png", "2 of 3")
    page.get_by_role("button", name="Remove this file").click()
    shows(page, "5.png", "2 of 2")
    page.get_by_role("button", name="Remove this file").click()  # 4.png is now gone for good
    shows(page, "3.png", "1 of 1")
    page.reload()
    expect(place(page)).to_have_text(re.compile("of [12]$"))
    names = page.get_by_test_id("thumb").evaluate_all("all => all.map((one) => one.title)")
    assert "4.png" not in names
    page.get_by_text("All files as a table").click()
    page.get_by_role("button", name="Remove all files").click()
    expect(page.get_by_test_id("thumb")).to_have_count(0)
    page.wait_for_timeout(1000)
    page.reload()
    page.wait_for_selector(READY)
    expect(page.get_by_text("None of your files is here.")).to_be_visible()


def test_next_in_read_is_next_in_browse_and_back_leads_there(visit, server, shipped_reader, demo):
    page = visit("browse")
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    pick(page, "label", "tumour")
    pick(page, "order", "most wrong")
    expect(page).to_have_url(re.compile("order="))
    expect(page.get_by_test_id("stMarkdown").filter(has_text="200 of 400 patches").last).to_be_visible()
    page.wait_for_selector(READY)
    found = select(ScoreStore(server.cache, shipped_reader, demo).scores(), demo.labels, Filter(label=1), "most wrong")
    open_tile(page, 2)
    shows(page, f"demo {found[2]}", "3 of 200")
    expect(page.get_by_test_id("worklist-title")).to_have_text("Browse: most wrong, labelled tumour")
    page.keyboard.press("j")
    shows(page, f"demo {found[3]}", "4 of 200")
    page.reload()
    shows(page, f"demo {found[3]}", "4 of 200")
    for _ in range(4):  # what was opened in between may each be a page of the history
        if "/browse?label=" in page.url:
            break
        page.go_back()
        page.wait_for_timeout(1000)
    expect(page).to_have_url(re.compile(r"/browse\?"))
    assert (query(page)["label"], query(page)["order"]) == (["tumour"], ["most wrong"])


def test_strip_pictures_and_verdict_are_on_one_screen_and_the_bar_is_first(visit):
    page = visit()
    for part in ("verdict", "probability", "agree", "note", "keys", "next"):
        expect(page.get_by_test_id(part)).to_be_in_viewport(ratio=1)
    expect(page.get_by_test_id("stFileUploaderDropzone")).to_be_in_viewport(ratio=1)
    expect(page.get_by_test_id("thumb").first).to_be_in_viewport(ratio=1)
    first = page.evaluate(
        """() => {
          const order = [...document.querySelectorAll('[data-testid="stMain"] :is(button, input, a[href])')];
          return order[0].closest('[data-testid="stFileUploader"]') !== null;
        }"""
    )
    assert first
