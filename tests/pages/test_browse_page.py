"""Browse: what passes a filter is what NumPy says passes; nothing waits, nothing is lost."""

import re
import time

import numpy as np
import pytest

from core import service
from core.data.flags import UNLIKE, flag_bits
from core.task import PCAM, REFER

PAGE = 48


def count(page):
    found, total = re.search(r"\*\*([\d,]+) of ([\d,]+) patches\*\*", page.markdown).groups()
    assert total == "400"
    return int(found)


def tiles(page):
    return [tile["index"] for tile in page.component("gallery")["tiles"]]


def test_the_first_visit_shows_progress_and_then_everything(screen, demo):
    page = screen("browse").calm()
    (progress,) = page.at.get("progress")
    assert "Reading demo with densenet169" in progress.proto.text
    assert "of 400 patches" in progress.proto.text
    for _ in range(600):
        if not page.at.get("progress"):
            break
        time.sleep(0.1)
        page.at.run()
    assert not page.calm().at.get("progress")
    assert count(page) == 400
    assert tiles(page) == list(range(PAGE))
    assert "synthetic, not tissue" in page.html


def test_a_long_job_starts_on_a_persons_word_with_an_estimate_and_can_be_stopped(screen, demo, monkeypatch):
    monkeypatch.setattr(service, "UNASKED", 399)
    page = screen("browse").calm()
    store = service.store("densenet169", "demo")
    assert not page.at.get("progress")
    assert not service.is_scoring(store)
    assert store.scores().done == 0
    assert re.search(r"takes about [\d]+ (s|min)", page.at.info[0].value)
    assert page.at.info[1].value == "No patch has been read yet."
    read = page.at.button(key="read_split")
    assert re.fullmatch(r"Read 400 patches \(about \d+ (s|min)\)", read.label)
    read.click().run()
    assert service.is_scoring(store)
    page.calm().at.button(key="stop_scoring").click().run()
    service.scoring_job(store).end()
    page.at.run()
    assert not service.is_scoring(store)


NOT_READ, DOUBTED = flag_bits(("not H&E-like", "nearly blank")), flag_bits(("blurred", UNLIKE))


def in_band(scores):
    return (scores.probability >= scores.point.refer_low) & (scores.probability < scores.point.refer_high)


def plain(scores):
    """Of what no gate says anything."""
    return scores.flag_bits == 0


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ({}, lambda s, y: s.probability >= 0),
        ({"label": "tumour"}, lambda s, y: y == 1),
        ({"label": "no tumour"}, lambda s, y: y == 0),
        ({"verdict": "refer"}, lambda s, y: (in_band(s) | (s.flag_bits & DOUBTED > 0)) & (s.flag_bits & NOT_READ == 0)),
        ({"outcome": "false positive"}, lambda s, y: (y == 0) & plain(s) & (s.probability >= s.point.refer_high)),
        ({"outcome": "true negative"}, lambda s, y: (y == 0) & plain(s) & (s.probability < s.point.refer_low)),
        ({"flag": "none"}, lambda s, y: s.flag_bits == 0),
        (
            {"label": "no tumour", "verdict": "tumour"},
            lambda s, y: (y == 0) & plain(s) & (s.probability >= s.point.refer_high),
        ),
    ],
)
def test_filters(screen, scores, demo, query, passes):
    expected = np.flatnonzero(passes(scores, demo.labels))
    page = screen("browse", **query).calm()
    assert not page.at.get("progress")
    assert 0 < len(expected) == count(page)
    assert tiles(page) == expected[:PAGE].tolist()


def test_probability_filter_and_an_empty_result(screen, scores, demo):
    page = screen("browse").calm()
    page.at.slider(key="p").set_value((0.2, 0.4)).run()
    assert count(page.calm()) == ((scores.probability >= 0.2) & (scores.probability <= 0.4)).sum()
    gap = 0.0, float(np.floor(scores.probability.min() * 100) / 100)
    assert gap[1] < scores.probability.min()
    page.at.slider(key="p").set_value(gap).run()
    assert count(page.calm()) == 0
    assert page.at.info[0].value == "No patch passes these filters. Clear one."
    page.press("Clear filters").calm()
    assert count(page) == 400


@pytest.mark.parametrize(
    ("preset", "key"),
    [
        ("most correct", lambda p, y: -np.where(y == 1, p, 1 - p)),
        ("most wrong", lambda p, y: np.where(y == 1, p, 1 - p)),
        ("unsure", lambda p, y: np.abs(p - 0.5)),
    ],
)
def test_presets(screen, scores, demo, preset, key):
    page = screen("browse", label="tumour").calm()
    page.at.pills(key="preset").set_value(preset).run()
    page.calm()
    assert count(page) == 400  # a preset starts from all patches
    assert tiles(page) == np.argsort(key(scores.probability, demo.labels), kind="stable")[:PAGE].tolist()


def test_order_and_pages(screen, scores, demo):
    page = screen("browse").choose("order", "most positive").calm()
    expected = np.argsort(-scores.probability, kind="stable")
    assert tiles(page) == expected[:PAGE].tolist()
    page.at.pagination(key="page").set_value(9).run()
    assert tiles(page.calm()) == expected[8 * PAGE :].tolist()
    assert "385 to 400 shown; page 9 of 9" in page.markdown
    page.at.pagination(key="page_end").set_value(2).run()
    assert tiles(page.calm()) == expected[PAGE : 2 * PAGE].tolist()
    assert page.at.pagination(key="page").value == 2
    page.choose("label", "tumour").calm()  # another filter starts at its first page
    assert tiles(page) == [i for i in expected if demo.labels[i] == 1][:PAGE]


def test_tiles_say_what_was_read(screen, scores, demo):
    (index,) = np.flatnonzero(scores.verdict == REFER)[:1]
    page = screen("browse", verdict=REFER).calm()
    tile = page.component("gallery")["tiles"][0]
    label = PCAM.positive if demo.labels[index] else "no tumour"
    assert tile["plate"][0].startswith(f"read {REFER}: ")
    assert tile["plate"][1] == f"labelled {label}"
    assert tile["outcome"] == REFER
    assert tile["words"][1].endswith(f"probability {scores.probability[index]:.2f}")


def test_ticks_lead_to_compare(screen, scores):
    page = screen("browse").calm()
    assert "Compare" not in [button.label for button in page.at.button]
    page.at.session_state["ticks"] = [("demo", 3, "densenet169"), ("demo", 11, "densenet169")]
    page.at.run()
    assert [i for i, tile in enumerate(page.component("gallery")["tiles"]) if tile["ticked"]] == [3, 11]
    assert "To compare: demo 3, demo 11" in page.markdown
    page.press("Compare").calm()
    panels = page.component("compare_table")["panels"]
    assert [panel["title"] for panel in panels] == ["1: demo 3", "2: demo 11"]


def test_one_tick_compares_two_layers_of_it(screen, scores):
    page = screen("browse")
    page.at.session_state["ticks"] = [("demo", 3, "densenet169")]
    page.at.run()
    page.press("Compare").calm()
    panels = page.component("compare_table")["panels"]
    assert [panel["title"] for panel in panels] == ["1: demo 3", "2: demo 3"]
    assert [np.shape(panel["values"]) for panel in panels] == [(3, 3), (6, 6)]


@pytest.mark.parametrize("query", [{"p": "abc"}, {"page": "99"}, {"page": "-4"}, {"order": "zz"}, {"label": "x"}])
def test_a_silly_address_shows_the_split(screen, scores, query):
    page = screen("browse", **query).calm()
    assert count(page) == 400
    assert len(tiles(page)) in (PAGE, 400 % PAGE)


def test_a_full_disk_is_said_once_and_the_next_visit_tries_again(screen, monkeypatch):
    from core import service
    from core.errors import OutputError
    from core.inference.scores import ScoreStore

    def full(store, reader, stop=None):
        raise OutputError(store.path, "no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(ScoreStore, "compute", full)
        page = screen("browse")
        for job in service._jobs.values():
            job._thread.join()
        if not page.at.error:  # the job had not failed yet when the page was drawn
            del page.at.session_state["in_frame"]  # AppTest runs the page by itself: start over
            page.at.run()
    assert "no space left on device" in page.at.error[0].value
    assert not page.at.exception
    del page.at.session_state["in_frame"]
    page.at.run().run()
    assert not page.at.error
