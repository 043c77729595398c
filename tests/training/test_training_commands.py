"""Range test, weight-decay comparison and promotion as a person types them."""

import json

import pytest

from core.training.config import make_config
from core.training.runs import Run


def test_a_range_test_writes_its_curve(command, tmp_path):
    out = tmp_path / "range.json"
    code, said, _ = command(
        "lr-range", "--preset", "smoke", "--set", "batch=2", "--set", "weight_decay=0.5", "--out", out
    )
    assert code == 0
    record = json.loads(out.read_text())
    assert record["finished"]
    assert record["decays"] == [0.5]
    (curve,) = record["curves"]
    assert curve["weight_decay"] == 0.5
    assert curve["rates"][0] == pytest.approx(1e-7)
    assert len(curve["rates"]) == len(curve["losses"]) == len(curve["smoothed"]) > 50
    assert [line.split()[0] for line in said.splitlines()] == ["steepest", "valley"]


def test_decays_are_compared_in_one_file(command, tmp_path):
    out = tmp_path / "decay.json"
    options = ("--preset", "smoke", "--set", "batch=2", "--decay", "0.1", "--decay", "1e-6")
    code, said, _ = command("compare-decay", *options, "--out", out)
    assert code == 0
    assert [curve["weight_decay"] for curve in json.loads(out.read_text())["curves"]] == [0.1, 1e-6]
    assert said.count("weight decay") == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lr-range", "--preset", "none", "--out", "x.json"), "unknown preset 'none'"),
        (("lr-range", "--preset", "smoke", "--set", "batch=0", "--out", "x.json"), "batch"),
        (("compare-decay", "--preset", "smoke", "--set", "data=nowhere", "--out", "x.json"), "No split 'demo'"),
        (("model", "promote", "nowhere", "--name", "x"), "There is no training run 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(command, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("nodelens: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_a_random_holdout_must_be_told_where_to_calibrate(command, tmp_path):
    run = Run.create(tmp_path / "first", make_config("smoke"))
    code, _, err = command("model", "promote", run.folder, "--name", "mine")
    assert code == 2
    assert "name a --split" in err
    code, _, err = command("model", "promote", run.folder, "--name", "mine", "--split", "demo")
    assert code == 2
    assert "is not finished" in err
