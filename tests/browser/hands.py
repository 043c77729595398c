"""What a reader's hands do: follow a link, choose from a menu, drop files, and wait until the page stands still."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, TimeoutError, expect

READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def drop(page: Page, *files: str | bytes) -> None:
    """Drop files at once: name and bytes by turns."""
    page.set_input_files(
        '[data-testid="stFileUploaderDropzoneInput"]',
        [{"name": n, "mimeType": "image/png", "buffer": d} for n, d in zip(files[::2], files[1::2], strict=True)],
    )


def pick(page: Page, key: str, option: str) -> None:
    """Choose from a menu, which closes when the page scrolls or is drawn anew under it: then it is opened again."""
    menu = page.locator(f".st-key-{key}").get_by_role("combobox")
    entry = page.get_by_role("option", name=option, exact=True)
    menu.scroll_into_view_if_needed()
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    menu.click()
    try:
        entry.click(timeout=10_000)
    except TimeoutError:
        menu.click()
        entry.click()


def open_tile(page: Page, number: int) -> None:
    """Press a tile of the gallery, once the page is drawn: a press on a tile that is replaced is lost."""
    page.wait_for_selector(READY)
    page.wait_for_timeout(200)
    page.get_by_test_id("tile-open").nth(number).click()


def follow(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()
    expect(page).to_have_title(re.compile(f"^{name} "))
    page.wait_for_selector(READY)
