"""Train in a real browser: a smoke run from its start to a patch read with the model it became."""

import re

import pytest
from playwright.sync_api import expect

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
    page.wait_for_function(
        "than => (document.querySelector('.js-plotly-plot')?.data[0].x.length ?? 0) > than", arg=than, timeout=PATIENT
    )


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
