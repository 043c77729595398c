"""The browser's Back: what a person would call the page before, as it was left."""

import re

from playwright.sync_api import expect

from tests.browser.hands import READY, follow, open_tile, pick


def back(page):
    page.evaluate("() => history.back()")


def test_from_a_tile_to_the_filtered_page_and_to_the_patch_before(visit):
    page = visit("?patch=27")
    title = page.get_by_test_id("panel").first.locator("h3")
    expect(title).to_have_text("demo 27")
    follow(page, "Browse")
    count = page.get_by_test_id("stMarkdown").filter(has_text="of 400 patches").last
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    pick(page, "label", "tumour")
    expect(count).to_contain_text("200 of 400 patches, 1 to 48 shown")
    page.locator(".st-key-page").get_by_role("button", name=re.compile(r"\b2$")).first.click()
    expect(count).to_contain_text("49 to 96 shown; page 2")
    open_tile(page, 3)
    expect(page).to_have_title("Read \u00b7 NodeLens")
    expect(title).not_to_have_text("demo 27")

    back(page)
    expect(page).to_have_title("Browse \u00b7 NodeLens")
    expect(count).to_contain_text("200 of 400 patches, 49 to 96 shown; page 2")
    back(page)
    expect(page).to_have_url(re.compile(r"/\?patch=27$"))
    expect(title).to_have_text("demo 27")


def test_panels_of_a_comparison_are_there_again(visit):
    page = visit("browse")
    for number in (1, 4):
        page.get_by_test_id("tile-compare").nth(number).click()
    page.get_by_role("button", name="Compare", exact=True).click()
    titles = page.get_by_test_id("panel").locator("h3")
    expect(titles).to_have_text(["1: demo 1", "2: demo 4"])
    page.wait_for_selector(READY)
    follow(page, "Evidence")
    back(page)
    expect(titles).to_have_text(["1: demo 1", "2: demo 4"])
    back(page)
    expect(page.get_by_test_id("stMarkdown").filter(has_text="To compare: demo 1, demo 4")).to_be_visible()
    page.reload()  # a link holds what was ticked
    expect(page.get_by_test_id("stMarkdown").filter(has_text="To compare: demo 1, demo 4")).to_be_visible()


def test_choices_of_one_page_are_one_step(visit):
    page = visit("about")
    follow(page, "Browse")
    expect(page.get_by_test_id("stProgress")).to_have_count(0)
    for preset, outcome in (("most wrong", "most wrong"), ("unsure", "most uncertain")):
        page.locator(".st-key-preset").get_by_text(preset, exact=True).click()
        expect(page).to_have_url(re.compile(f"order={outcome.replace(' ', '.')}"))
    page.wait_for_selector(READY)
    back(page)
    expect(page).to_have_title("About \u00b7 NodeLens")
