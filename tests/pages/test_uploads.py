"""Uploads: each file is the one it is, can be set right and removed, and what was done to it goes wherever it goes."""

import base64
import json
import re
from io import BytesIO, StringIO

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image

from core.errors import FullError
from core.task import PCAM, Task
from core.view.case import Case
from core.view.figure import figure_png
from core.view.words import on_screen
from pages.parts.budget import Budget
from pages.parts.read import paste_zone, uploads, window_picker
from pages.parts.read.uploads import MAX_NAME, plain, shown

GIVEN = "The file gives no usable pixel size; 0.97 um is assumed."


def tiff(pixels, um_per_px=None):
    """A TIFF whose resolution tags say what they are told."""
    buffer = BytesIO()
    tags = {} if um_per_px is None else {"dpi": (25_400 / um_per_px,) * 2}
    Image.fromarray(pixels).save(buffer, "TIFF", **tags)
    return buffer.getvalue()


@pytest.fixture
def downloads(monkeypatch):
    """What the download buttons of the last run hold, by label."""
    held = {}

    def button(label, data, *args, **more):
        held[label] = data() if callable(data) else data

    monkeypatch.setattr(st, "download_button", button)
    return held


def probability(reader, patch):
    return f"{reader.read(patch, views=8).probability[0]:.2f}"


def panel_values(page):
    return [np.array(panel["values"]) for panel in page.component("compare_table")["panels"]]


def test_two_files_of_one_name_are_two_files(screen, shipped_reader, demo, png):
    """A select box answers with the label, so equal labels would make every choice the last of them."""
    patches = demo.patches([3, 1])
    page = screen("read").drop(*(("tile.png", png(patch)) for patch in patches)).calm()
    assert page.files["file"].tolist() == ["tile.png", "tile.png (2)"]
    page.go("compare").calm()
    for number in (1, 2):
        page.choose(f"split{number}", "your files")
    box = page.at.selectbox(key="file1")
    assert box.options == ["tile.png", "tile.png (2)"]
    page.at.selectbox(key="file2").select_index(1).run()
    expected = [shipped_reader.explain(patch, target=PCAM.margin, views=8).attribution[0] for patch in patches]
    np.testing.assert_allclose(panel_values(page.calm()), expected, atol=1e-4)
    page.press("Swap with panel 2").calm()
    np.testing.assert_allclose(panel_values(page), expected[::-1], atol=1e-4)


def test_a_swap_of_a_file_and_a_patch_keeps_both(screen, shipped_reader, demo, png):
    mine = demo.patches([5])[0]
    page = screen("read").drop(("other.png", png(demo.patches([9])[0])), ("mine.png", png(mine))).calm()
    page.go("compare")
    page.choose("split1", "your files")
    page.at.selectbox(key="file1").select_index(1).run()
    page.at.number_input(key="patch2").set_value(7).run()
    page.press("Swap with panel 2").calm()
    titles = [panel["title"] for panel in page.component("compare_table")["panels"]]
    assert titles == ["1: demo 7", "2: mine.png"]


def test_the_same_bytes_under_two_names_are_two_rows(screen, demo, png):
    data = png(demo.patches([3])[0])
    page = screen("read").drop(("caseA.png", data), ("caseB.png", data)).calm()
    assert page.files["file"].tolist() == ["caseA.png", "caseB.png"]
    assert page.files["notes"].tolist() == [GIVEN, f"The same picture as caseA.png. {GIVEN}"]


def test_panels_of_one_name_and_other_pixels_are_said_to_differ(screen, demo, png):
    data = png(demo.patches([3])[0])
    page = screen("read").drop(("a.png", data), ("b.png", data), ("c.png", png(demo.patches([4])[0]))).calm()
    page.go("compare")
    for number in (1, 2):
        page.choose(f"split{number}", "your files")
    page.at.toggle(key="difference").set_value(True).run()
    for index, differ in ((1, False), (2, True)):
        page.at.selectbox(key="file2").select_index(index).run()
        assert ("they are of two patches" in page.calm().markdown) == differ


@pytest.mark.parametrize("side", [96, 256])
def test_a_wrong_pixel_size_can_be_set_right(screen, shipped_reader, demo, png, side):
    large = np.tile(demo.patches([3])[0], (3, 3, 1))[:side, :side]
    middle = slice((side - 96) // 2, (side + 96) // 2)
    page = screen("read").upload(region_png=png(large)).calm()
    assert page.pixel_size.value == 0.97
    page.pixel_size.set_value(0.25).run()
    (error,) = page.at.error
    assert "once brought from 0.25 to 0.97 \u00b5m/px" in error.value
    assert page.pixel_size.value == 0.25
    assert page.files["reading"].tolist() == ["refused"]
    page.pixel_size.set_value(0.97).run()
    assert page.calm().probability == probability(shipped_reader, large[middle, middle])
    assert page.files["reading"].tolist() != ["refused"]
    assert "The reader gave a pixel size of 0.97 um." in page.files["notes"][0]


@pytest.mark.parametrize(("stated", "says"), [(2.525, "or correct the pixel size"), (0.243, "correct the pixel size")])
def test_a_file_whose_tag_is_wrong_can_be_set_right(screen, shipped_reader, demo, stated, says):
    patch = demo.patches([3])[0]
    page = screen("read").upload(res_tif=tiff(patch, stated))
    (error,) = page.at.error
    assert says in error.value
    assert page.pixel_size.value == pytest.approx(stated, rel=1e-3)
    page.pixel_size.set_value(0.97).run()
    assert page.calm().probability == probability(shipped_reader, patch)


def test_where_no_pixel_size_helps_none_is_asked_for(screen):
    page = screen("read").upload(notes_png=b"no picture at all" * 40)
    assert not [field for field in page.at.number_input if field.label.startswith("Pixel size")]
    assert page.press("Remove this file").calm().at.info[0].value.startswith("Drop a patch above")


def test_the_cases_that_were_handed_in(screen, shared):
    """A file of two levels of a slide, one of x10, and a region without a tag: refused or made so, then read."""
    folder = shared / "cases" / "pixel_size_deadend"
    if not folder.is_dir():
        pytest.skip(f"the cases are not here: {folder}")
    for name in ("res_x10_2.525_256.tif", "res_cm_0.243_lvl0.tif", "region256.png"):
        page = screen("read", views=1).drop((name, (folder / name).read_bytes()))
        page.pixel_size.set_value(0.25).run()
        assert len(page.at.error) == 1
        page.pixel_size.set_value(0.97).run()
        page.calm()


def test_what_was_done_to_a_picture_goes_along(screen, downloads, shipped_reader, demo):
    large = np.tile(demo.patches([3])[0], (3, 3, 1))[:192]
    page = screen("read", views=1).upload(large_tif=tiff(large, 0.97)).calm()
    notes = ["The file gives a pixel size of 0.97 um.", "Read through a window at left 96, top 48 of 288 x 192 pixels."]
    assert page.component("light_table")["panels"][0]["caption"] == on_screen(" ".join(notes))
    assert json.loads(downloads["Reading (JSON)"])["notes"] == notes
    patch = large[48:144, 96:192]
    readings = shipped_reader.explain(patch, target=PCAM.margin)
    assert downloads["Figure (PNG)"] == figure_png(Case("large.tif", patch, readings, notes=tuple(notes)))
    assert page.files["notes"].tolist() == [" ".join(notes)]
    assert pd.read_csv(StringIO(downloads["Table (CSV)"]))["notes"].tolist() == [" ".join(notes)]
    page.go("compare").choose("split1", "your files").calm()
    assert page.component("compare_table")["panels"][0]["caption"].endswith(on_screen(" ".join(notes)))


def test_the_table_that_is_kept_holds_no_formula_and_no_picture(screen, downloads, shipped_reader, demo, png):
    names = ["=1+1.png", "+2.png", "-3.png", "@sum.png", "plain.png"]
    patches = demo.patches(range(len(names)))
    page = screen("read", views=1).drop(*((name, png(p)) for name, p in zip(names, patches, strict=True))).calm()
    safe = ["'=1+1.png", "'+2.png", "'-3.png", "'@sum.png", "plain.png"]
    assert page.files["file"].tolist() == safe  # the table has a download and a clipboard of its own
    kept = pd.read_csv(StringIO(downloads["Table (CSV)"]))
    assert kept["file"].tolist() == safe
    assert kept.columns.tolist() == ["file", "probability", "reading", "flags", "notes", "model", "views"]
    np.testing.assert_allclose(kept["probability"], shipped_reader.read(patches).probability, atol=1e-6)
    assert set(kept["model"]) == {shipped_reader.model.identity}
    assert "base64" not in downloads["Table (CSV)"]


def test_the_table_does_not_wait_for_a_dear_method(screen, inferences, demo, png):
    files = [(f"{i}.png", png(patch)) for i, patch in enumerate(demo.patches([3, 4]))]
    page = screen("read", views=1).drop(*files).calm()
    before = len(inferences)
    page.choose("method", "hirescam").calm()
    assert len(inferences) == before + 1  # the patch on the table, and none of the others


def test_a_bad_file_clears_nothing_and_files_go_one_by_one(screen, shipped_reader, demo, png):
    good, other = demo.patches([3, 4])
    page = screen("read").upload(good_png=png(good)).calm()
    page.upload(bad_png=b"no picture" * 40)
    assert page.files["file"].tolist() == ["good.png", "bad.png"]
    assert page.files["reading"][1] == "refused"
    page.press("Remove this file").calm()
    assert page.files["file"].tolist() == ["good.png"]
    assert page.probability == probability(shipped_reader, good)
    page.upload(good_png=png(other)).calm()
    page.press("Remove this file").calm()
    assert page.probability == probability(shipped_reader, good)


def test_a_selected_row_means_the_file_it_showed(monkeypatch):
    from pages.parts.read.upload_table import _open_selected

    state = {}
    monkeypatch.setattr(st, "session_state", state)
    for rows in ([5], [-1], ["a"], [None], [], "x", [1.5]):
        state["table"] = {"selection": {"rows": rows}}
        _open_selected("table", ("one", "two"))
    assert "opened_upload" not in state
    state["table"] = {"selection": {"rows": [1]}}
    _open_selected("table", ("one", "two"))
    assert state["opened_upload"] == "two"


def test_what_does_not_fit_is_left_out_and_said(screen, monkeypatch, demo, png):
    monkeypatch.setattr(uploads, "MAX_FILES", 2)
    files = [(f"{i}.png", png(patch)) for i, patch in enumerate(demo.patches([3, 4, 5]))]
    page = screen("read", views=1).drop(*files).calm()
    assert page.files["file"].tolist() == ["0.png", "1.png"]
    assert [warning.value for warning in page.at.warning] == [f"2.png: {uploads.FULL}"]
    page.press("Remove all files").calm()
    assert not page.at.warning
    monkeypatch.setattr(uploads, "MAX_BYTES", len(files[0][1]) + 96 * 96 * 3 + 1)
    page.drop(*files).calm()
    assert page.files["file"].tolist() == ["0.png"]


def test_all_sessions_share_one_budget(screen, monkeypatch, demo, png):
    files = [(f"{i}.png", png(patch)) for i, patch in enumerate(demo.patches([3, 4]))]
    budget = Budget(len(files[0][1]) + len(files[1][1]) + 96 * 96 * 3)  # both as they come, not both with a patch
    monkeypatch.setattr(uploads, "HELD", budget)
    page = screen("read", views=1).drop(*files).calm()
    assert page.files["file"].tolist() == ["0.png"]
    assert budget.held == len(files[0][1]) + 96 * 96 * 3
    assert [warning.value for warning in page.at.warning] == [f"1.png: {FullError()}"]
    page.press("Remove this file").calm()
    assert budget.held == len(files[0][1]) + 96 * 96 * 3  # it can be put back
    page.drop(("bad.png", b"no picture" * 40))
    assert budget.held == 0  # nothing of it is kept but its name
    page.drop(files[1])
    assert page.files["file"].tolist() == ["bad.png", "1.png"]


def test_what_is_decoded_again_is_counted_again(monkeypatch, demo, png):
    """A larger patch or view takes more of the budget; where there is no room for it, the file alone is held."""
    small = Task(name="small", side=64, classes=("a", "b"), um_per_px=PCAM.um_per_px)
    data = png(np.tile(demo.patches([3])[0], (3, 3, 1)))
    monkeypatch.setattr(st, "session_state", {})
    budget = Budget(10**6)
    monkeypatch.setattr(uploads, "HELD", budget)
    uploads._keep("a", "a.png", data, small)
    first = uploads.opened().held
    for again in (
        lambda: uploads.decode_for(PCAM),
        lambda: uploads.state_pixel_size("a", 0.5),
        lambda: uploads.move_window("a", 1, 2),
    ):
        again()
        upload = uploads.opened()
        assert upload.refusal == ""
        assert budget.held == upload.held
    assert upload.corner == (1, 2)
    assert upload.held != first
    full = Budget(first)
    monkeypatch.setattr(uploads, "HELD", full)
    uploads.remove("a")
    uploads._keep("b", "b.png", data, small)
    uploads.decode_for(PCAM)
    upload = uploads.opened()
    assert (upload.patch, upload.refusal, upload.data) == (None, str(FullError()), data)
    assert full.held == len(data)
    uploads.decode_for(small)
    assert uploads.opened().refusal == ""
    assert full.held == first


def test_no_pixels_are_held_but_those_that_are_read(demo, png):
    picture = np.tile(demo.patches([3])[0], (20, 20, 1))
    upload = uploads._read(uploads.Upload("k", "n", "d", PCAM, png(picture)))
    assert upload.size == (1920, 1920)
    assert upload.held - len(upload.data) < picture.nbytes / 8
    moved = uploads._read(upload, (0, 5))
    np.testing.assert_array_equal(moved.patch, picture[5:101, :96])
    assert moved.preview is upload.preview


@pytest.mark.parametrize("name", ["", "x" * 5000 + ".tif", "a\nb" * 200, "\u202ereversed.png"])
def test_a_name_is_one_line_of_at_most_255_characters(name):
    assert 0 < len(shown(name)) <= MAX_NAME - len(" (64)")
    assert shown(name).isprintable()


def test_names_that_look_alike_are_told_apart(screen, demo, png):
    names = ["e\u0301.png", "\u00e9.png", "a  b.png", "a b.png", "a b.png (2)"]
    files = [(name, png(patch)) for name, patch in zip(names, demo.patches(range(5)), strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(uploads, "INTAKE_TYPES", ("png", "png (2)"))
        page = screen("read", views=1).drop(*files[:4]).calm()
    assert page.files["file"].tolist() == ["\u00e9.png", "\u00e9.png (2)", "a b.png", "a b.png (2)"]
    assert uploads._unlike("a", ["a", "a (2)"]) == "a (3)"


def test_a_file_name_is_shown_letter_by_letter_and_never_as_markdown():
    assert plain("![x](http://127.0.0.1/y).png") == r"\!\[x\]\(http\://127.0.0.1/y\).png"
    assert plain("lossless-00.tif") == "lossless-00.tif"
    assert "\n" not in plain("a\nb.png")


def test_drawn_tissue_is_no_donor_to_a_file(screen, demo, png):
    page = screen("read", trust_card="true").upload(mine_png=png(demo.patches([3])[0])).calm()
    assert "undefined" in re.search(r'<tr data-figure="donor_drop">(.*?)</tr>', page.html)[1]
    assert "'demo' holds no patches for it" in "\n".join(caption.value for caption in page.at.caption)
    page.at.segmented_control(key="source").set_value("examples").run()
    assert "logits" in re.search(r'<tr data-figure="donor_drop">(.*?)</tr>', page.calm().html)[1]


def test_a_damaged_split_does_not_stand_in_the_way_of_a_file(screen, shipped_reader, demo, png, tmp_path):
    (tmp_path / "data" / "camelyonpatch_level_2_split_valid_x.h5").write_bytes(b"no HDF5")
    (tmp_path / "data" / "camelyonpatch_level_2_split_valid_y.h5").write_bytes(b"no HDF5")
    patch = demo.patches([3])[0]
    page = screen("read", split="valid", trust_card="true").upload(mine_png=png(patch))
    assert page.calm().probability == probability(shipped_reader, patch)
    assert "undefined" in re.search(r'<tr data-figure="donor_drop">(.*?)</tr>', page.html)[1]


@pytest.mark.parametrize("forged", [-1.0, 400.0, 1e300])
def test_a_forged_number_opens_the_usual_patch(screen, forged):
    page = screen("read", views=1).calm()
    page.at.number_input(key="patch").set_value(forged).run()
    assert 0 <= page.calm().at.number_input(key="patch").value < 400


@pytest.mark.parametrize(
    ("forged", "told"),
    [
        ({"left": 10, "top": 20}, (10, 20)),
        ({"left": -(10**30), "top": 10**400}, (0, 104)),
        ({"left": "1", "top": 2}, None),
        ({"left": True, "top": 2}, None),
        ({"left": float("nan"), "top": 2}, None),
        ({"left": 1}, None),
        ([1, 2], None),
        ("x", None),
        (None, None),
    ],
)
def test_a_forged_window_stays_inside_the_picture(monkeypatch, forged, told):
    heard, callbacks = [], {}
    monkeypatch.setattr(window_picker, "_component", lambda **given: callbacks.update(given))
    window_picker.pick_window(
        "data:,", (300, 200), side=96, at=(0, 0), key="w", on_move=lambda *corner: heard.append(corner)
    )
    monkeypatch.setattr(st, "session_state", {callbacks["key"]: {"window": forged}})
    callbacks["on_window_change"]()
    assert heard == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("forged", "kept"),
    [
        ({"number": 1, "name": "a.png", "data": base64.b64encode(b"abc").decode()}, [("a.png", b"abc")]),
        ({"number": 1, "name": "a.png", "data": ""}, [("a.png", b"")]),
        ({"number": 1, "name": "a.png", "data": "no base64!"}, []),
        ({"number": 1, "name": "a.png", "data": "\u00e9\u00e9\u00e9\u00e9"}, []),
        ({"number": 1, "name": "a.png", "data": "A" * 2_800_000}, []),
        ({"number": 1, "name": 1, "data": "YWJj"}, []),
        ({"number": 1, "name": "a.png", "data": ["YWJj"]}, []),
        ("YWJj", []),
        (None, []),
    ],
)
def test_a_forged_paste_keeps_nothing(monkeypatch, forged, kept):
    heard, callbacks = [], {}
    monkeypatch.setattr(st, "get_option", {"server.maxUploadSize": 2}.get)
    monkeypatch.setattr(paste_zone, "_component", lambda **given: callbacks.update(given))
    paste_zone.paste_zone(key="p", on_paste=lambda *file: heard.append(file))
    assert callbacks["data"] == {"limit": 2 * 2**20, "heard": 0}
    monkeypatch.setattr(st, "session_state", {"p": {"pasted": [forged]}})
    callbacks["on_pasted_change"]()
    assert heard == kept
