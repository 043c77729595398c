"""Train in a real browser: a smoke run from its start to a patch read with the model it became."""

import re

import pytest
from playwright.sync_api import expect

from core import jobs
from core.settings import settings
from tests.browser.hands import follow

PATIENT = 900_000
"""Milliseconds: training and calibration share the processor with the browser."""


def points(page):
    """How many points the training loss has on the screen."""
    return page.evaluate(
        """() => {
            const [plot] = document.querySelectorAll(".js-plotly-plot");
            return plot ? plot.data[0].x.length ?? 0 : 0;
        }"""
    )


def more_points(page, than):
    for _ in range(PATIENT // 500):  # the page's policy forbids playwright's own waiting for a function
        if points(page) > than:
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"no more than {than} points")


@pytest.mark.timeout(3600)
def test_a_smoke_run_from_start_to_a_patch_read_with_it(own_server, visit, tmp_path):
    page = visit("train", own_server)
    page.get_by_role("button", name="Start a smoke run").click()
    more_points(page, 1)  # the page draws what comes without being asked
    more_points(page, points(page))

    page.get_by_role("button", name="Stop").click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text(re.compile("smoke-1 stopped"))).to_be_visible()
    before = points(page)
    assert "run=smoke-1" in page.url or page.url.endswith("/train")
    page.reload()  # nothing is lost with the page
    expect(page.get_by_text(re.compile("smoke-1 stopped"))).to_be_visible(timeout=PATIENT)
    resume.click()
    more_points(page, before)

    promote = page.get_by_role("button", name="Promote")
    expect(promote).to_be_visible(timeout=PATIENT)
    page.get_by_label("Make a model of it, named").fill("tried")
    promote.click()
    page.get_by_role("button", name="Make it a model").click()
    read = page.get_by_role("button", name="Read with it")
    expect(read).to_be_visible(timeout=PATIENT)
    assert (tmp_path / "models" / "tried" / "CARD.md").is_file()
    read.click()
    expect(page.get_by_test_id("probability")).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text(re.compile(r"model tried 1\.0\.0")).first).to_be_visible()
    about = re.compile(r"/about\?(.*&)?model=tried")
    follow(page, "About")
    expect(page).to_have_url(about)
    follow(page, "Read")
    expect(page.get_by_test_id("probability")).to_be_visible()
    page.evaluate("() => history.back()")  # Streamlit would take the model off the address: Read has a menu for it too
    expect(page).to_have_title("About \u00b7 NodeLens")
    expect(page).to_have_url(about)


@pytest.fixture
def colleague(own_server, monkeypatch, tmp_path):
    """A job of another session of the server that works; it does nothing but last."""
    monkeypatch.setenv("NODELENS_CACHE", str(own_server.cache))
    settings.cache_clear()
    monkeypatch.setattr(jobs, "COMMAND", ("/bin/sh", "-c", "exec sleep 600"))
    job = jobs.Job(tmp_path / "elsewhere", "training 'of a colleague'")
    job.start([])
    yield job
    for one in reversed(jobs.jobs_in_line()):
        one.stop()
    settings.cache_clear()


def test_a_run_waits_in_line_and_can_be_taken_out(own_server, colleague, visit):
    page = visit("train", own_server)
    page.get_by_role("button", name="Start a smoke run").click()
    expect(page.get_by_text("smoke-1 waits: 1 job before it")).to_be_visible()
    page.get_by_text("In line: 1 works, 1 waits").click()
    expect(page.get_by_text(re.compile("Works: training 'of a colleague'"))).to_be_visible()
    page.reload()  # another tab, as far as anybody can tell
    page.get_by_test_id("stPopover").get_by_role("button", name="Take out of the line").click()
    expect(page.get_by_text(re.compile("^This run was started elsewhere, on "))).to_be_visible()
    page.get_by_role("button", name="Take out of the line all the same").click()
    expect(page.get_by_text("smoke-1 not started")).to_be_visible()
    assert colleague.running
