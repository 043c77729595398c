"""Charts of an evidence report: what is drawn is what the report holds, chance always beside it."""

import numpy as np
import pytest

from core.evaluation.measures import HOLDING, LEARNED, MATTERING, POINTING
from core.view import evidence_figures as figures
from core.view.evidence_figures import PREDICTION, Mosaics, charts, method_title


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


@pytest.fixture
def curves():
    curve = {"share": [0, 0.5, 1], "deletion": [2.0, 1.0, -1.0], "insertion": [-1.0, 1.5, 2.0]}
    cascade = {"spearman": [interval(0.5), interval(0.1)], "ssim": [interval(0.6), interval(0.2)], "unrelated": 0.05}
    drift = {"title": "Blur", "unit": "px", "levels": [0.5, 1], "drift": [0.1, 0.3], "shift": [0.01, 0.02]}
    return {
        "deletion": {"gradcam/last": curve, "eigencam/last": curve, "random": curve},
        "cascade": {"gradcam/last": cascade},
        "cascade_layers": ["classifier", "stem"],
        "drift": {"blur": drift},
        "robustness": {"blur": {"1": {"auc": interval(0.8)}, "0": {"auc": interval(0.9)}}},
        "figures": {"sensitivity": interval(0.8), "specificity": interval(0.7)},
        "point": {"threshold": 0.45},
        "roc": {"false_positive_rate": [0, 0.3, 1], "sensitivity": [0, 0.8, 1], "auc": interval(0.85)},
        "reliability": {
            "probability": [0.1, 0.9],
            "tumour": [0.2, 0.8],
            "count": [4, 1],
            "intervals": [{"value": 0.2, "low": 0.1, "high": 0.4}, {"value": 0.8, "low": 0.5, "high": 0.9}],
        },
        "risk_coverage": {"coverage": [0.5, 1], "risk": [0.0, 0.1], "area": 0.05, "chance": 0.1, "best": 0.01},
        "referral": {"referred": 0.25, "error_read": 0.04},
    }


def names(figure):
    return [trace.name for trace in figure.data]


def test_each_question_has_its_charts(curves):
    report = {"curves": curves}
    found = {group: [chart.title for chart in charts(report, group)] for group in (MATTERING, LEARNED, HOLDING)}
    assert found == {
        MATTERING: ["Deletion", "Insertion"],
        LEARNED: ["Cascade, rank correlation", "Cascade, SSIM"],
        HOLDING: ["How far the map moves", "How far the probability moves"],
    }
    assert len(charts(report, PREDICTION)) == 6
    assert charts({"curves": {}}, PREDICTION) == []
    assert charts({"curves": {}}, POINTING) == []


def test_removal_draws_the_curves_and_hides_the_minor_ones(curves):
    figure = figures.removal(curves["deletion"], "deletion")
    assert names(figure) == ["Grad-CAM, last layer", "Eigen-CAM, last layer", "random (baseline)"]
    assert list(figure.data[0].y) == [2.0, 1.0, -1.0]
    assert [trace.visible for trace in figure.data] == [True, "legendonly", True]
    assert figure.data[2].line.dash != figure.data[0].line.dash  # told apart without colour


def test_cascade_has_intervals_and_chance(curves):
    figure = figures.cascade(curves, "spearman")
    assert list(figure.data[0].x) == ["classifier", "stem"]
    np.testing.assert_allclose(figure.data[0].error_y.array, [0.1, 0.1])
    assert figure.layout.shapes[0].y0 == 0.05
    assert not figures.cascade(curves, "ssim").layout.shapes


def test_robustness_is_in_order_of_strength(curves):
    trace = figures.robustness(curves, "auc").data[0]
    assert (list(trace.x), list(trace.y)) == ([0, 1], [0.9, 0.8])


def test_the_operating_point_lies_on_the_roc(curves):
    figure = figures.roc(curves, (0.3, 0.8))
    own, chosen = figure.data[2:]
    assert own.name == "threshold 0.45"
    assert (own.x[0], own.y[0]) == (pytest.approx(0.3), 0.8)
    assert (chosen.x[0], chosen.y[0]) == (0.3, 0.8)
    assert len(figures.roc(curves).data) == 3


def test_referral_lies_at_what_is_left(curves):
    trace = figures.risk(curves).data[1]
    assert (trace.x[0], trace.y[0]) == (0.75, 0.04)


def test_forest_puts_the_best_on_top():
    rows = [
        {"measure": "mosaic2", "method": m, "chance": 0.25, "patches": 9, "baseline": m == "random", **interval(v)}
        for m, v in (("gradcam/last", 0.6), ("random", 0.25), ("layercam/last", 0.7))
    ]
    figure = figures.forest(rows, "mosaic2")
    assert list(figure.layout.yaxis.categoryarray)[-1] == "LayerCAM, last layer"
    chance, methods, baselines = figure.data
    assert set(chance.x) == {0.25}
    assert sorted(methods.x) == [0.6, 0.7]
    assert list(baselines.y) == ["random (baseline)"]


def test_the_frame_lies_on_the_tumour_patch():
    images = np.zeros((2, 192, 192, 3), np.uint8)
    drawn = Mosaics(images, np.zeros((2, 6, 6), np.float32), np.array([1, 2]), 2)
    figure = figures.mosaics(drawn)
    assert len(figure.layout.images) == 4  # colour above map, for both
    first = figure.layout.shapes[0]
    picture = figure.layout.images[0]
    # Cell 1 of 2 x 2 is the upper right one.
    assert (first.x0 - picture.x, first.x1 - picture.x) == (0.5, 1.0)
    assert (picture.y - first.y1, picture.y - first.y0) == (0.0, 0.5)


def test_method_titles():
    assert method_title("gradcam/6x6") == "Grad-CAM, 6 x 6"
    assert method_title("hematoxylin") == "hematoxylin (baseline)"
