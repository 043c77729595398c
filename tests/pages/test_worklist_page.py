"""The worklist on Read: what is gone through, what is thought of it, and what a browser may claim."""

import csv
import io
import zipfile

import numpy as np
import pytest
import streamlit as st
from pypdf import PdfReader

from core.task import PCAM
from core.view.selection import Filter, as_address, select
from core.view.worklist import Opinion
from pages.parts.components import worklist as component
from pages.parts.read import file_keeper, opinions, uploads


@pytest.fixture
def downloads(monkeypatch):
    """What the download buttons of the last run would make, by label."""
    held = {}
    monkeypatch.setattr(st, "download_button", lambda label, data, *args, **more: held.update({label: data}))
    return held


def strip(page):
    return page.calm().component("worklist")


def marked(page):
    shown = strip(page)
    return None if shown["at"] is None else shown["thumbs"][shown["at"] - shown["first"]]


def files(demo, png, *indices):
    return [(f"{i}.png", png(demo.patches([i])[0])) for i in indices]


def test_the_first_visit_shows_three_examples_that_teach(screen, scores, demo):
    page = screen("read")
    shown = strip(page)
    assert shown["title"] == "Examples that teach"
    assert (shown["at"], shown["total"]) == (0, 3)
    clear, refer, wrong = (int(thumb["id"].rpartition("/")[2]) for thumb in shown["thumbs"])
    assert demo.labels[clear] == 1
    assert page.fact["Label"].startswith("tumour")
    assert [thumb["words"].partition(":")[0] for thumb in shown["thumbs"]] == ["clear", "refer", "wrong"]
    assert (scores.probability[wrong] >= scores.point.threshold) != (demo.labels[wrong] == 1)
    assert scores.point.refer_low <= scores.probability[refer] < scores.point.refer_high


def test_a_split_that_nobody_has_scored_shows_patches_of_either_label(screen, demo):
    shown = strip(screen("read", views=1))
    assert shown["title"] == "Examples of either label"
    labels = [demo.labels[int(thumb["id"].rpartition("/")[2])] for thumb in shown["thumbs"]]
    assert labels == [1, 0] * 3


def test_next_in_read_means_next_in_the_filtered_list(screen, scores, demo):
    found = select(scores, demo.labels, Filter(label=1), "most wrong")
    link = f"{as_address(Filter(label=1), 'most wrong')}&split=demo&model=densenet169"
    page = screen("read", source="from Browse", patch=found[40], views=1, list=link)
    shown = strip(page)
    assert shown["title"] == "Browse: most wrong, labelled tumour"
    assert (shown["at"], shown["total"]) == (40, 200)
    assert len(shown["thumbs"]) == component.WINDOW
    ids = [int(thumb["id"].rpartition("/")[2]) for thumb in shown["thumbs"]]
    assert ids == found[shown["first"] : shown["first"] + component.WINDOW].tolist()
    assert page.at.number_input(key="patch").value == found[40]


@pytest.mark.parametrize("address", ["x", "split=demo&model=../..", "split=nope&model=densenet169", "=&" * 900])
def test_a_silly_list_is_said_to_be_none(screen, address):
    page = screen("read", source="from Browse", list=address, patch=3, views=1).calm()
    assert "The list in this link is of a model or of data that is not here" in page.at.caption[0].value
    assert page.at.number_input(key="patch").value == 3


def test_going_through_files_reads_each_once(screen, inferences, demo, png):
    page = screen("read", views=1).drop(*files(demo, png, 3, 4, 5)).calm()
    before = len(inferences)
    assert [thumb["words"] for thumb in strip(page)["thumbs"]].count("") == 0  # all are read, and say as what
    keys = list(page.at.session_state["uploads"])
    for key, name in zip((keys[0], keys[1], keys[0]), ("3.png", "4.png", "3.png"), strict=True):
        page.at.session_state["opened_upload"] = key
        page.at.run()
        assert marked(page)["name"] == name
    assert len(inferences) == before


def test_a_bad_file_is_a_tile_with_its_sentence(screen, demo, png):
    page = screen("read", views=1).drop(*files(demo, png, 3), ("notes.png", b"no picture" * 40))
    assert not page.at.exception
    shown = page.component("worklist")
    assert [thumb["name"] for thumb in shown["thumbs"]] == ["3.png", "notes.png"]
    assert shown["thumbs"][1]["refusal"].startswith("The file cannot be read")
    assert (shown["at"], shown["readable"]) == (0, True)
    page.at.session_state["opened_upload"] = list(page.at.session_state["uploads"])[1]
    page.at.run()
    shown = page.component("worklist")
    assert (shown["at"], shown["readable"]) == (1, False)
    assert [error.value for error in page.at.error] == [f"notes.png: {shown['thumbs'][1]['refusal']}"]


def test_what_was_removed_can_be_put_back_once(screen, demo, png):
    page = screen("read", views=1).drop(*files(demo, png, 3, 4, 5)).calm()
    page.at.session_state["opened_upload"] = list(page.at.session_state["uploads"])[1]
    page.at.run()
    page.press("Remove this file").calm()
    assert [thumb["name"] for thumb in strip(page)["thumbs"]] == ["3.png", "5.png"]
    assert marked(page)["name"] == "5.png"  # the next
    page.press(r"Undo: put 4.png back").calm()
    assert [thumb["name"] for thumb in strip(page)["thumbs"]] == ["3.png", "4.png", "5.png"]
    assert marked(page)["name"] == "4.png"
    assert not [button for button in page.at.button if button.label.startswith("Undo")]
    page.press("Remove this file").calm()
    page.drop(*files(demo, png, 6)).calm()
    assert not [button for button in page.at.button if button.label.startswith("Undo")]


def test_opinions_are_exported_with_what_they_are_of(screen, downloads, shipped_reader, demo, png):
    page = screen("read", views=1).drop(*files(demo, png, 3, 4), ("notes.png", b"no picture" * 40))
    entry, identity = page.component("worklist")["thumbs"][0]["id"], shipped_reader.model.identity
    page.at.session_state["opinions"] = {(entry, identity): Opinion("unsure", "=1+1", "2026-01-31T11:00:00Z")}
    page.at.run()
    assert page.component("worklist")["thumbs"][0]["agreement"] == "unsure"
    rows = list(csv.DictReader(io.StringIO(downloads["Worklist (CSV)"]().decode())))
    assert [row["file"] for row in rows] == ["3.png", "4.png", "notes.png"]
    assert [row["agreement"] for row in rows] == ["unsure", "", ""]
    assert rows[0]["note"] == "'=1+1"
    assert rows[2]["verdict"] == "refused"
    expected = shipped_reader.read(demo.patches([3, 4])).probability
    np.testing.assert_allclose([float(row["probability"]) for row in rows[:2]], expected, atol=1e-5)
    with zipfile.ZipFile(io.BytesIO(downloads["With pictures (ZIP)"]())) as archive:
        assert archive.namelist() == ["worklist.csv", "01-3-png.png", "02-4-png.png"]


def test_of_a_list_what_was_judged_is_exported_and_what_is_open(screen, downloads, scores, shipped_reader, demo):
    page = screen("read", views=1).calm()
    first, second, _ = (thumb["id"] for thumb in strip(page)["thumbs"])
    page.at.session_state["opinions"] = {
        (second, shipped_reader.model.identity): Opinion("agree", "", "2026-01-31T11:00:00Z"),
        (second, "another model"): Opinion("disagree", "", "2026-01-31T11:00:00Z"),
    }
    page.at.run()
    rows = list(csv.DictReader(io.StringIO(downloads["Worklist (CSV)"]().decode())))
    assert [(row["id"], row["agreement"]) for row in rows] == [(second, "agree"), (first, "")]
    assert all(row["label"] for row in rows)


def test_a_report_holds_the_worklist_with_opinions_and_what_was_refused(screen, downloads, shipped_reader, demo, png):
    page = screen("read", views=1).drop(*files(demo, png, 3, 4), ("notes.png", b"no picture" * 40))
    entry, identity = page.component("worklist")["thumbs"][0]["id"], shipped_reader.model.identity
    page.at.session_state["opinions"] = {(entry, identity): Opinion("unsure", "Crushed.", "2026-01-31T11:00:00Z")}
    page.at.run()
    page.at.session_state["look"]["opacity"] = 15
    pages = [
        " ".join(one.extract_text().split())
        for one in PdfReader(io.BytesIO(downloads["Worklist report (PDF)"]())).pages
    ]
    assert len(pages) == 3  # the list, and a page for each that was read
    html = downloads["Worklist report (HTML)"]().decode()
    for text in (" ".join(pages), html):
        for words in ("3.png", "4.png", "notes.png", "unsure", "Crushed.", "at 15% opacity", "taken at 0.97 µm/px"):
            assert words in text
    assert html.count("<article") == 2
    page.at.session_state["opened_upload"] = list(page.at.session_state["uploads"])[1]
    page.at.run()
    (shown,) = PdfReader(io.BytesIO(downloads["Report (PDF)"]())).pages  # of the one on the table
    assert "Crushed." not in shown.extract_text()
    page.at.session_state["opened_upload"] = entry.removeprefix("file/")
    page.at.run()
    (shown,) = PdfReader(io.BytesIO(downloads["Report (PDF)"]())).pages
    assert "Crushed." in shown.extract_text()


def heard(monkeypatch, state):
    """What the callbacks of a strip tell of a state that a browser claims."""
    told, given = [], {}
    monkeypatch.setattr(component, "_component", lambda **what: given.update(what))
    component.worklist(
        [],
        first=0,
        total=0,
        at=None,
        title="",
        readable=True,
        scope="m",
        key="w",
        on_open=told.append,
        on_opinion=lambda *what: told.append(what),
    )
    monkeypatch.setattr(st, "session_state", {"w": state})
    given["on_opened_change"]()
    given["on_opinions_change"]()
    return told


@pytest.mark.parametrize(
    ("forged", "told"),
    [
        ({"opened": "a"}, ["a"]),
        ({"opinions": {"scope": "m", "of": {"a": {"agreement": "agree", "note": "n"}}}}, [("a", "agree", "n")]),
        ({"opinions": {"scope": "other", "of": {"a": {"agreement": "agree", "note": "n"}}}}, []),
        ({"opinions": {"scope": "m", "of": {"a": {"agreement": "very", "note": "n"}}}}, []),
        ({"opinions": {"scope": "m", "of": {"a": {"agreement": ["agree"], "note": "n"}}}}, []),
        ({"opinions": {"scope": "m", "of": {"a": {"agreement": "agree", "note": 1}, "b": None}}}, []),
        ({"opinions": {"scope": "m", "of": ["a"]}, "opened": 3}, []),
        ({"opinions": 5, "opened": None}, []),
        ("x", []),
        (None, []),
    ],
)
def test_a_forged_event_is_not_heard(monkeypatch, forged, told):
    assert heard(monkeypatch, forged) == told


@pytest.mark.parametrize("entry", ["", "/", "demo", "400", "-1", "²", "1e9", "9" * 400, "file/x", "nope-00000000/3"])
def test_what_is_not_of_the_list_is_not_opened(monkeypatch, demo, entry):
    from pages.parts.read.lists import Files, Patches, entry_of

    monkeypatch.setattr(st, "session_state", {})
    found = Patches("Examples", demo, np.array([3, 5]))
    for name in (entry, entry_of(demo, 4), f"{entry_of(demo, 3)}/{entry}"):
        assert not found.has(name)
        found.open(name)
        Files().open(name)
    assert set(st.session_state) == {"uploads"}
    found.open(entry_of(demo, 5))
    assert st.session_state["patch"] == 5


def test_an_opinion_taken_back_leaves_nothing_and_an_equal_one_keeps_its_time(monkeypatch):
    monkeypatch.setattr(st, "session_state", {})
    times = iter(["1", "2"])
    monkeypatch.setattr(opinions, "now", lambda: next(times))
    opinions.give("a", "m", "agree", " so \n it is ")
    opinions.give("a", "m", "agree", "so it is")
    assert opinions.opinion_of("a", "m") == Opinion("agree", "so it is", "1")
    assert opinions.opinion_of("a", "other") == Opinion()
    opinions.give("a", "m", "", "")
    assert opinions.entries("m") == []


@pytest.mark.parametrize(
    ("at", "total", "sent"),
    [
        (None, 3, range(3)),
        (0, 100, range(31)),
        (50, 100, range(35, 66)),
        (99, 100, range(69, 100)),
        (None, 0, range(0)),
    ],
)
def test_a_window_lies_around_the_open_entry(at, total, sent):
    assert component.window(at, total) == sent


@pytest.mark.parametrize(
    ("fresh", "forged", "told"),
    [
        (True, [{"name": "a.png", "data": "YWJj"}, {"name": "b.png", "data": ""}], [("a.png", b"abc"), ("b.png", b"")]),
        (False, [{"name": "a.png", "data": "YWJj"}], None),
        (True, [{"name": "a.png", "data": "no base64!"}, {"name": 1, "data": "YWJj"}, 5, None, {"data": "YWJj"}], []),
        (True, [{"name": "a.png", "data": "YWJj"}] * 9, [("a.png", b"abc")] * 4),
        (True, [{"name": "a.png", "data": "A" * 1_500_000}] * 2, None),
        (True, {"name": "a.png", "data": "YWJj"}, None),
    ],
)
def test_forged_files_do_not_come_back(monkeypatch, fresh, forged, told):
    heard, given = [], {}
    monkeypatch.setattr(st, "get_option", {"server.maxUploadSize": 2}.get)
    monkeypatch.setattr(file_keeper, "_component", lambda **what: given.update(what))
    file_keeper.keep_in_browser(["d"], fresh=fresh, most=4, key="k", on_return=heard.append)
    assert given["data"] == {"held": ["d"], "fresh": fresh, "limit": 2 * 2**20}
    monkeypatch.setattr(st, "session_state", {"k": {"files": forged}})
    given["on_files_change"]()
    assert heard == ([] if told is None else [told])


def test_files_come_back_to_a_session_that_has_none_alone(monkeypatch, demo, png):
    monkeypatch.setattr(st, "session_state", {})
    data = png(demo.patches([3])[0])
    uploads._return([("notes.png", b"no picture" * 40), ("a.png", data), ("a.png", data)], PCAM)
    assert [upload.name for upload in uploads.kept().values()] == ["notes.png", "a.png", "a.png (2)"]
    assert uploads.opened().name == "a.png"
    assert st.session_state["uploads_came"]
    uploads.remove_all()
