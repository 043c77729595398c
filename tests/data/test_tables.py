"""What is written for a spreadsheet is never run by it."""

import csv
import io

import pytest

from core.data.tables import csv_cell, csv_text


@pytest.mark.parametrize("start", list("=+-@＝＋－＠\t\r\n"))
def test_a_formula_becomes_text(start):
    assert csv_cell(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("text", ["", "0029616", "a=1", "tumour/patch_0", "'quoted"])
def test_other_text_stays_as_it_is(text):
    assert csv_cell(text) == text


def test_rows_of_different_names_share_one_table():
    rows = [{"fact": "step", "loss": -0.5}, {"fact": "failed", "reason": '=cmd|"calc"!A0,\n2'}, {"@name": None}]
    assert list(csv.reader(io.StringIO(csv_text(rows)))) == [
        ["fact", "loss", "reason", "'@name"],
        ["step", "-0.5", "", ""],
        ["failed", "", '\'=cmd|"calc"!A0,\n2', ""],
        ["", "", "", ""],
    ]
