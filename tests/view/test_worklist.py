"""The worklist as a table and as an archive: rows worked out by hand, no formula, no picture in a cell."""

import csv
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.data.flags import UNLIKE, flag_bits
from core.inference.scores import Scores
from core.models.schema import OperatingPoint
from core.task import NOT_READ, PCAM, REFER
from core.view import worklist
from core.view.worklist import Entry, Example, Opinion, as_archive, as_row, as_table, one_line, teaching, thumbnail_url

TIME = "2026-01-31T12:00:00Z"
POINT = OperatingPoint(threshold=0.5, refer_low=0.25, refer_high=0.75)


@pytest.fixture(scope="module")
def readings(tiny_reader, patches):
    """Of two views, whose logits of 0 and ln 3 are probabilities of 0.5 and 0.75."""
    read = tiny_reader.explain(patches[3])
    logits = np.array([[0.0, np.log(3)]], np.float32)
    said = {"verdict": np.array([REFER]), "flags": ((UNLIKE,),), "probability": np.array([0.6])}
    return replace(read, view_logits=logits, point=OperatingPoint(), **said)


def test_a_row_by_hand(readings, patches):
    opinion = Opinion("disagree", "crush artefact", "2026-01-31T11:00:00Z")
    case = Entry("ab12", "a.png", patches[3], readings, "", ("Made so.", "And so."), "", opinion)
    row = as_row(case, TIME)
    assert row.pop("settings") == f"{readings.explained}; not calibrated"
    assert row == {
        "id": "ab12",
        "file": "a.png",
        "verdict": REFER,
        "reason": UNLIKE,
        "probability": 0.6,
        "low": 0.5,
        "high": 0.75,
        "flags": UNLIKE,
        "label": "",
        "agreement": "disagree",
        "note": "crush artefact",
        "noted": "2026-01-31T11:00:00Z",
        "file notes": "Made so. And so.",
        "model": readings.model.identity,
        "time": TIME,
    }


def test_a_refused_file_is_a_row_with_its_sentence():
    (line,) = csv.DictReader(io.StringIO(as_table([Entry("c", "notes.png", refusal="It is no picture.")], TIME)))
    assert (line["verdict"], line["reason"], line["probability"]) == ("refused", "It is no picture.", "")
    assert tuple(line) == worklist.COLUMNS


@pytest.mark.parametrize("text", ["=1+1", "+2", "-3", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text):
    case = Entry(text, text, refusal=text, label=text, opinion=Opinion("agree", text, TIME))
    (line,) = csv.DictReader(io.StringIO(as_table([case], TIME)))
    assert {line[name] for name in ("id", "file", "reason", "label", "note")} == {f"'{text}"}


def test_an_archive_holds_the_table_and_a_picture_each(readings, patches):
    cases = [
        Entry("a", "../../tile.png", patches[3], readings),
        Entry("b", "notes.png", refusal="no"),
        Entry("c", "../../tile.png", patches[3], readings),
    ]
    with zipfile.ZipFile(io.BytesIO(as_archive(cases, TIME))) as archive:
        names = archive.namelist()
        assert names == ["worklist.csv", "01-------tile-png.png", "03-------tile-png.png"]
        assert archive.read("worklist.csv").decode() == as_table(cases, TIME)
        assert "base64" not in archive.read("worklist.csv").decode()
        assert Image.open(io.BytesIO(archive.read(names[1]))).width > 2 * 96
        assert archive.infolist()[0].date_time == (2026, 1, 31, 12, 0, 0)


def test_a_note_is_one_printable_line():
    assert one_line("  a\n\tb  ") == "a b"
    assert one_line("x" * 5000) == "x" * 1000
    assert one_line("\u202eabc").isprintable()


def scores_of(*patches):
    """Scores of patches given as (probability, verdict, flags)."""
    probability, verdict, flags = (list(column) for column in zip(*patches, strict=True))
    n = len(patches)
    bits = np.array([flag_bits(names) for names in flags], np.uint8)
    empty = np.zeros((n, 3, 3), np.float32)
    return Scores(
        np.zeros((n, 1), np.float32), np.array(probability), np.array(verdict), empty, bits, empty[:, 0], POINT
    )


def test_three_examples_teach():
    scores = scores_of(
        (0.99, REFER, (UNLIKE,)),  # sure, but under a gate
        (0.90, "tumour", ()),
        (0.97, "tumour", ()),  # the clearest
        (0.60, REFER, ()),
        (0.51, REFER, ()),  # the closest call
        (0.80, "tumour", ()),  # wrong
        (0.10, "no tumour", ()),  # wrong, and surer of it
        (0.01, NOT_READ, ("nearly blank",)),
    )
    labels = np.array([1, 1, 1, 0, 1, 0, 1, 1])
    assert teaching(scores, labels, PCAM) == [
        Example(2, "clear: tumour"),
        Example(4, "refer: too close to call"),
        Example(6, "wrong: labelled tumour"),
    ]


def test_what_a_split_does_not_have_is_no_example():
    assert teaching(scores_of((0.1, "no tumour", ())), np.array([0]), PCAM) == []


def test_a_thumbnail_is_small_and_like_the_patch(patches):
    import base64

    address = thumbnail_url(patches[3])
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    small = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)
    assert small.shape == (64, 64, 3)
    assert len(data) < 6000
    np.testing.assert_allclose(small.mean(axis=(0, 1)), patches[3].mean(axis=(0, 1)), atol=4)
