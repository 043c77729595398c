"""The evidence as a table and as a page: marks follow the intervals, and the page needs nothing but itself."""

import re

import numpy as np
import pytest

from core.evaluation.measures import LOCALISATION, RANDOMISATION
from core.evaluation.schema import ClaimResult, EvidenceReport, Row
from core.view.charts.evidence import PREDICTION
from core.view.charts.explanations import Mosaics
from core.view.narrative import UNCLAIMED, answer, provenance
from core.view.report import BEST, NO_BETTER, as_page, groups, table


def row(method, value, low, high, measure="mosaic2", chance=0.25):
    return Row(
        measure=measure, method=method, value=value, low=low, high=high, chance=chance, patches=50,
        resampled_by="slide", baseline=method == "random",
    )  # fmt: skip


ROWS = [
    row("random", 0.26, 0.22, 0.30),
    row("layercam/last", 0.70, 0.20, 0.90),  # the highest, but not better than chance
    row("gradcam/last", 0.57, 0.54, 0.60),
    row("gradcam/6x6", 0.40, 0.35, 0.45),
    row("gradcam/last", 0.1, 0.0, 0.2, "after_randomising", 0.3),
    row("gradcam/6x6", 0.5, 0.4, 0.6, "after_randomising", 0.1),
]


def claim(name, sentence, verdict):
    figures = {"value": 0.5, "low": 0.4, "high": 0.6, "null": 0.1, "least": 0.2, "n": 50}
    return ClaimResult(name=name, sentence=sentence, verdict=verdict, unit_of_resampling="patch", **figures)


CLAIMED = [claim("planted", "It does.", "holds"), claim("still", "Who knows.", "undecided")]


def report_of(**curves):
    return EvidenceReport(
        model={"name": "<tiny>", "identity": "tiny 1.0"},
        engine="torch",
        data={"split": "valid", "patches": 40, "fingerprint": "abcdef01" * 8},
        plan={"sample": 100, "methods": ("gradcam/last",)},
        finished="2026-01-01T00:00:00+00:00",
        rows=ROWS,
        curves=curves,
        claims=CLAIMED,
    )


@pytest.fixture
def report():
    return report_of()


def test_the_best_beats_chance_and_is_marked():
    found = table(ROWS, LOCALISATION)
    assert found.methods == ["gradcam/last", "layercam/last", "gradcam/6x6", "random"]
    texts = {method: found.cells[method, "mosaic2"].text for method in found.methods}
    assert texts == {
        "gradcam/last": f"0.57 [0.54, 0.60] {BEST}",
        "layercam/last": f"0.70 [0.20, 0.90] {NO_BETTER}",
        "gradcam/6x6": "0.40 [0.35, 0.45]",
        "random": f"0.26 [0.22, 0.30] {NO_BETTER}",
    }
    assert found.chance["mosaic2"] == (0.25, "0.25")


def test_chance_of_each_method_its_own():
    found = table(ROWS, RANDOMISATION)
    assert found.chance["after_randomising"] == (pytest.approx(0.2), "0.10 to 0.30")
    assert found.cells["gradcam/last", "after_randomising"].text == "0.10 [0.00, 0.20]"  # nothing is best at this
    assert found.cells["gradcam/6x6", "after_randomising"].text.endswith(NO_BETTER)


def test_questions(report):
    assert groups(report) == [LOCALISATION, RANDOMISATION]
    roc = {"false_positive_rate": [0], "sensitivity": [0], "thresholds": [1], "auc": {}}
    assert groups(report_of(roc=roc)) == [LOCALISATION, RANDOMISATION, PREDICTION]


def test_provenance_names_model_data_and_resampling(report):
    words = provenance(report)
    assert "tiny 1.0 on 40 of 40 patches in 'valid' (fingerprint abcdef01)" in words
    assert "resampled by slide" in words


def test_provenance_counts_what_was_examined_and_not_what_was_asked_for():
    """Of a split with few patches of one label the sample is smaller than the plan's."""
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    bins = {"probability": [0.2, 0.8], "positive": [0.1, 0.9], "count": [20, 7], "intervals": [figure, figure]}
    assert "tiny 1.0 on 27 of 40 patches" in provenance(report_of(reliability=bins))


def test_what_figures_say_stands_with_them_in_the_page():
    figure = {"value": 0.1, "low": 0.05, "high": 0.15}
    position_bias = {
        "patches": 40,
        "grids": {name: [[figure] * 3] * 3 for name in ("served", "context", "same")},
        "moved": {"centre": figure, "surround": figure},
        "fall": {"centre": figure, "surround": figure},
        "own": figure,
        "context_change": figure,
    }
    page = as_page(report_of(position_bias=position_bias))
    assert "<h3>Why the map leans where it leans</h3>" in page
    assert "<li><b>Receptive field: supported.</b> The centre cell&#x27;s evidence moves by 0.10 [0.05, 0.15]" in page
    assert "<td>the surround</td><td>0.10 [0.05, 0.15] logits</td>" in page


def test_the_page_stands_alone(report):
    images = np.zeros((1, 192, 192, 3), np.uint8)
    page = as_page(report, Mosaics(images, np.ones((1, 6, 6), np.float32), np.array([0]), 2))
    assert "&lt;tiny&gt;" in page
    assert "<tiny>" not in page
    assert [line.verdict for line in answer(report)] == ["holds", "undecided"]
    assert "<b>Holds: the map finds tissue that was put there.</b> It does." in page
    assert "<b>Undecided: the map holds still under flips and turns.</b> Who knows." in page
    assert "not confirmed yet" in page
    assert UNCLAIMED not in page
    assert f"0.57 [0.54, 0.60] {BEST}" in page
    assert "data:image/png;base64" in page
    assert page.count("plotly.js v") == 1  # the script, once
    assert re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="http', page) == []


def test_a_figure_of_a_few_is_neither_best_nor_no_better():
    few = [figure.model_copy(update={"units": 5}) for figure in ROWS]
    for group in (LOCALISATION, RANDOMISATION):
        cells = [cell.text for cell in table(few, group).cells.values()]
        assert cells
        assert not any(mark in words for words in cells for mark in (BEST, NO_BETTER))


def test_a_report_without_claims_says_so(report):
    assert UNCLAIMED in as_page(report.model_copy(update={"claims": []}))
