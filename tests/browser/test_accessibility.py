"""Who listens instead of looking, who has no mouse, and whose eyes are tired."""

from importlib import resources

import pytest
from playwright.sync_api import expect

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
TITLES = ("Read", "Slide", "Browse", "Compare", "Train", "Evidence", "About")
PAGES = {"" if title == "Read" else title.lower(): title for title in TITLES}
HEAVY = ("serious", "critical")
FOUND = """async (heavy) => {
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  return violations.filter(({ impact }) => heavy.includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ target, html, any }) => [id, `${target}`, html, any[0]?.message ?? ""]));
}"""
HEIGHT = "() => document.querySelector('[data-testid=\"stMain\"]').scrollHeight"
FITS = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  const foot = document.querySelector(".nl-foot").getBoundingClientRect();
  return main.scrollHeight <= main.clientHeight && foot.bottom <= window.innerHeight;
}"""
SIDEBARS = """
  window.sidebars = 0;
  new MutationObserver(() => { window.sidebars += document.querySelectorAll('[data-testid="stSidebar"]').length; })
    .observe(document, { childList: true, subtree: true });
"""
OUTLINE = "() => [document.activeElement.innerText, getComputedStyle(document.activeElement).outlineStyle]"


def full(page, name):
    """Wait until a page's light table or gallery, if it has one, is filled: what is in it comes from a script."""
    if name in ("", "compare"):
        expect(page.get_by_test_id("panel").first.locator("h3")).not_to_be_empty()
    elif name == "slide":
        expect(page.get_by_test_id("slide-scale")).not_to_be_empty()
    elif name == "browse":
        expect(page.get_by_test_id("tile").nth(47)).to_be_visible()


def whole(page, width):
    """Make the window as high as the page, to its last line: what must be scrolled to is not judged."""
    page.set_viewport_size({"width": width, "height": 900})
    for _ in range(10):  # in a higher window a page may find more to show
        page.set_viewport_size({"width": width, "height": page.evaluate(HEIGHT)})
        expect(page.locator(".nl-foot")).to_be_visible()
        if page.evaluate(FITS):
            return
    raise AssertionError("the page grew with every window")


@pytest.mark.parametrize("name", list(PAGES))
def test_axe_finds_nothing_serious_and_the_page_says_which_it_is(page, visit, name):
    visit(name)
    full(page, name)
    page.evaluate(AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1440, 820):
            whole(page, width)
            assert (scheme, width, page.evaluate(FOUND, HEAVY)) == (scheme, width, [])
    expect(page.locator("h1")).to_have_text([PAGES[name]])
    expect(page).to_have_title(f"{PAGES[name]} \u00b7 NodeLens")


def test_axe_would_find_words_that_cannot_be_read(page, visit):
    visit("about")
    page.add_style_tag(content=".nl-foot { color: #999999 !important; }")
    page.evaluate(AXE)
    whole(page, 1440)
    assert {rule for rule, *_ in page.evaluate(FOUND, HEAVY)} == {"color-contrast"}


def test_another_verdict_is_said_in_the_place_that_is_listened_to(visit):
    page = visit("?patch=5")
    said = page.get_by_test_id("said")
    expect(said).to_contain_text(page.get_by_test_id("verdict").inner_text())
    before = said.inner_text()
    said.evaluate("element => { window.listened = element; }")
    field = page.locator(".st-key-patch").get_by_role("spinbutton")
    field.fill("6")
    field.press("Enter")
    expect(page.get_by_test_id("panel").first.locator("h3")).to_have_text("demo 6")
    expect(said).not_to_have_text(before)
    assert page.evaluate("() => window.listened.isConnected")


def test_the_keyboard_sees_where_it_is_in_the_row_of_pages(visit):
    page = visit("about")
    for _ in range(12):
        page.keyboard.press("Tab")
        words, outline = page.evaluate(OUTLINE)
        if words == "Browse":
            break
    assert (words, outline) == ("Browse", "solid")


def test_the_first_visitor_sees_no_list_of_files(page, fresh_server, visit):
    page.add_init_script(SIDEBARS)
    visit("browse", on=fresh_server)
    assert page.evaluate("() => window.sidebars") == 0
