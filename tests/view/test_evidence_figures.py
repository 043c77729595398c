"""Charts of an evidence report: what is drawn is what the report holds, chance always beside it."""

import numpy as np
import pytest

from core.evaluation.measures import FAITHFULNESS, LOCALISATION, RANDOMISATION, STABILITY
from core.evaluation.metrics.position_bias import GRIDS
from core.evaluation.ood_kinds import SAME_TISSUE
from core.evaluation.schema import Curves, EvidenceReport, OODFigures, PositionBias, Row
from core.view.charts import explanations, prediction
from core.view.charts.evidence import PREDICTION, Chart, charts, laid_over
from core.view.charts.explanations import Mosaics
from core.view.narrative import method_title


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def report_of(**curves):
    return EvidenceReport(
        model={"name": "tiny", "identity": "tiny 1.0"},
        engine="torch",
        data={"split": "valid", "patches": 40, "fingerprint": "0" * 64},
        plan={"methods": ("gradcam/last",)},
        finished="2026-01-01T00:00:00+00:00",
        rows=[],
        curves=curves,
    )


@pytest.fixture
def curves():
    curve = {"share": [0, 0.5, 1], "deletion": [2.0, 1.0, -1.0], "insertion": [-1.0, 1.5, 2.0]}
    cascade = {"spearman": [interval(0.5), interval(0.1)], "ssim": [interval(0.6), interval(0.2)], "unrelated": 0.05}
    drift = {"title": "Blur", "unit": "px", "levels": [0.5, 1], "drift": [0.1, 0.3], "shift": [0.01, 0.02]}
    values = {
        "deletion": {"gradcam/last": curve, "eigencam/last": curve, "random": curve},
        "cascade": {"gradcam/last": cascade},
        "cascade_layers": ["classifier", "stem"],
        "drift": {"blur": drift},
        "robustness": {"blur": {"1": {"auc": interval(0.8)}, "0": {"auc": interval(0.9)}}},
        "figures": {"sensitivity": interval(0.8), "specificity": interval(0.7)},
        "point": {"threshold": 0.45},
        "roc": {
            "false_positive_rate": [0, 0.3, 1],
            "sensitivity": [0, 0.8, 1],
            "thresholds": [1, 0.5, 0],
            "auc": interval(0.85),
        },
        "reliability": {
            "probability": [0.1, 0.9],
            "tumour": [0.2, 0.8],
            "count": [4, 1],
            "intervals": [{"value": 0.2, "low": 0.1, "high": 0.4}, {"value": 0.8, "low": 0.5, "high": 0.9}],
        },
        "risk_coverage": {"coverage": [0.5, 1], "risk": [0.0, 0.1], "area": 0.05, "chance": 0.1, "best": 0.01},
        "referral": {"referred": 0.25, "error_read": 0.04},
    }
    return Curves.model_validate(values)


@pytest.fixture
def leaning():
    """A position curve whose centre cells hold 5, 10 and 15 %."""

    def grid(centre):
        cells = [[{"value": 0.12, "low": 0.11, "high": 0.13} for _ in range(3)] for _ in range(3)]
        cells[1][1] = {"value": centre, "low": centre - 0.01, "high": centre + 0.01}
        return cells

    return {
        "patches": 321,
        "grids": {"served": grid(0.05), "context": grid(0.10), "same": grid(0.15)},
        "moved": {"centre": interval(0.31), "surround": interval(0.62)},
        "fall": {"centre": interval(1.25), "surround": interval(2.5)},
        "windows": {
            "groups": {
                "centre": {
                    "patches": 63, "silent": 2, "tumour": 0.24, "share": interval(0.2), "probability": interval(0.7),
                },
                "everywhere": {
                    "patches": 99, "silent": 0, "tumour": 0.11, "share": interval(0.3), "probability": interval(0.8),
                },
            },
        },
    }  # fmt: skip


def names(figure):
    return [trace.name for trace in figure.data]


def test_each_question_has_its_charts(curves):
    report = report_of(**curves.model_dump(exclude_unset=True))
    found = {
        group: [chart.title for chart in charts(report, group)] for group in (FAITHFULNESS, RANDOMISATION, STABILITY)
    }
    assert found == {
        FAITHFULNESS: ["Deletion", "Insertion"],
        RANDOMISATION: ["Cascade, rank correlation", "Cascade, SSIM"],
        STABILITY: ["How far the map moves", "How far the probability moves"],
    }
    assert len(charts(report, PREDICTION)) == 6
    assert charts(report_of(), PREDICTION) == []
    assert charts(report_of(), LOCALISATION) == []


def test_the_grids_have_one_scale_and_a_frame_for_any_theme(leaning):
    figures = explanations.cells(PositionBias.model_validate(leaning).grids, 1 / 9)
    assert [figure.data[0].z[1][1] for figure in figures] == pytest.approx([5, 10, 15])
    assert figures[0].data[0].customdata[1][1] == pytest.approx([4, 6])
    assert [figure.layout.title.text for figure in figures] == list(GRIDS.values())
    for figure in figures:
        (drawn,) = figure.data
        assert (drawn.zmin, drawn.zmax) == (0, pytest.approx(200 / 9))
        assert drawn.colorbar.ticktext[1] == "chance 11%"
        assert [shape.line.color for shape in figure.layout.shapes] == ["white", "black"]


def test_an_undefined_cell_is_drawn_empty(leaning):
    leaning["grids"]["same"][0][2] = {"value": None, "low": None, "high": None}
    *_, same = explanations.cells(PositionBias.model_validate(leaning).grids, 1 / 9)
    assert same.data[0].z[0][2] is None


def test_why_the_map_leans_is_told_with_its_tables(leaning):
    (chart,) = charts(report_of(position_bias=leaning), LOCALISATION)
    assert chart.title == "Why the map leans where it leans"
    assert "in 321 true positives" in chart.meaning
    assert "chance 11%" in chart.meaning
    assert len(chart.beside) == 2
    assert [first for first, _ in chart.finding] == [
        "The lean.", "Zero padding: not supported.", "Receptive field: not supported.",
        "Tumour all over: supported.",
    ]  # fmt: skip
    exchanged, lies = chart.tables
    assert exchanged.rows == [
        ("the label's box", "0.31 [0.21, 0.41] logits", "1.25 [1.15, 1.35] logits"),
        ("the surround", "0.62 [0.52, 0.72] logits", "2.50 [2.40, 2.60] logits"),
    ]
    assert lies.rows == [
        ("mostly in the centre", "63 (2 without evidence)", "24.0%", "20.0% [10.0, 30.0]", "0.70 [0.60, 0.80]"),
        ("all over", "99", "11.0%", "30.0% [20.0, 40.0]", "0.80 [0.70, 0.90]"),
    ]
    leaning["windows"]["groups"] = {}
    (chart,) = charts(report_of(position_bias=leaning), LOCALISATION)
    assert len(chart.tables) == 1


def test_what_a_replacement_reads_as_stands_with_the_deletion(curves):
    kinds = {name: {"patches": 90, "as_is": interval(3.0), "replaced": interval(2.0)} for name in ("all", "tumour")}
    replaced = {"decision": 0.5, "ways": {"blurred": kinds, "inpainted": kinds}}
    report = report_of(**curves.model_dump(exclude_unset=True) | {"replaced": replaced})
    deletion, insertion = charts(report, FAITHFULNESS)
    assert [first for first, _ in deletion.finding] == ["Blurred.", "Inpainted."]
    assert "+2.00 [+1.90, +2.10] where the label is tumour (+3.00 as they are)" in deletion.finding[0][1]
    assert "reads as tumour in itself" in deletion.finding[0][1]
    assert not insertion.finding


def test_removal_draws_the_curves_and_hides_the_minor_ones(curves):
    figure = explanations.removal(curves.deletion, "deletion")
    assert names(figure) == ["Grad-CAM, last layer", "Eigen-CAM, last layer", "random (baseline)"]
    assert list(figure.data[0].y) == [2.0, 1.0, -1.0]
    assert [trace.visible for trace in figure.data] == [True, "legendonly", True]
    assert figure.data[2].line.dash != figure.data[0].line.dash  # told apart without colour
    where_there_is_no_stain = {"darkness": curves.deletion["random"]}
    assert explanations.removal(where_there_is_no_stain, "deletion").data[0].visible is True


def test_cascade_has_intervals_and_chance(curves):
    figure = explanations.cascade(curves, "spearman")
    assert list(figure.data[0].x) == ["head", "first layer"]
    assert list(figure.data[0].customdata) == ["classifier", "stem"]
    np.testing.assert_allclose(figure.data[0].error_y.array, [0.1, 0.1])
    assert figure.layout.shapes[0].y0 == 0.05
    assert not explanations.cascade(curves, "ssim").layout.shapes


def test_robustness_is_in_order_of_strength(curves):
    trace = prediction.robustness(curves, "auc").data[0]
    assert (list(trace.x), list(trace.y)) == ([0, 1], [0.9, 0.8])


def test_the_operating_point_lies_on_the_roc(curves):
    figure = prediction.roc(curves, (0.3, 0.8))
    own, chosen = figure.data[2:]
    assert own.name == "threshold 0.45"
    assert (own.x[0], own.y[0]) == (pytest.approx(0.3), 0.8)
    assert (chosen.x[0], chosen.y[0]) == (0.3, 0.8)
    assert len(prediction.roc(curves).data) == 3


def test_referral_lies_at_what_is_left(curves):
    trace = prediction.risk(curves).data[1]
    assert (trace.x[0], trace.y[0]) == (0.75, 0.04)


def test_forest_puts_the_best_on_top():
    rows = [
        Row(measure="mosaic2", method=m, chance=0.25, patches=9, baseline=m == "random", **interval(v))
        for m, v in (("gradcam/last", 0.6), ("random", 0.25), ("layercam/last", 0.7))
    ]
    figure = explanations.forest(rows, "mosaic2")
    assert list(figure.layout.yaxis.categoryarray)[-1] == "LayerCAM, last layer"
    chance, methods, baselines = figure.data
    assert set(chance.x) == {0.25}
    assert sorted(methods.x) == [0.6, 0.7]
    assert list(baselines.y) == ["random (baseline)"]


@pytest.fixture
def odd():
    def kind(name, value, low):
        auroc = {"value": value, "low": low, "high": value + 0.05}
        return {"name": name, "auroc": auroc, "found": 0.25, "patches": 40, "sources": 10}

    alarms = {"value": 0.04, "low": 0.02, "high": 0.07}
    kinds = [kind("blur", 0.8, 0.7), kind("scale 0.5x", 0.52, 0.45), kind("liver", 0.6, 0.5)]
    return {"patches": 200, "false_alarms": alarms, "kinds": kinds}


def test_ood_patches_stand_beside_chance(odd):
    figure = prediction.ood(OODFigures.model_validate(odd))
    assert list(figure.data[0].y) == ["blur", "liver", "scale 0.5x"]
    assert list(figure.data[0].x) == [0.8, 0.6, 0.52]
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, [0.1, 0.1, 0.07])
    assert figure.layout.shapes[0].x0 == 0.5


def test_ood_patches_that_cannot_be_told_are_named(odd):
    (chart,) = charts(report_of(ood=odd), PREDICTION)
    assert "Of 200 patches of the split itself, 4.0% [2.0, 7.0] are flagged" in chart.meaning
    ((first, text),) = chart.finding
    assert first == "Cannot be told:"
    assert text.startswith("scale 0.5x, liver: ")
    odd["kinds"] = odd["kinds"][:1]
    (chart,) = charts(report_of(ood=odd), PREDICTION)
    assert chart.finding[0][1].startswith("No kind")


def test_what_is_told_of_the_way_a_picture_was_made_is_said(odd):
    odd["kinds"] += [
        odd["kinds"][1] | {"name": name, "found": found} for name, found in zip(SAME_TISSUE, (0.04, 0.9), strict=True)
    ]
    (chart,) = charts(report_of(ood=odd), PREDICTION)
    missed, means = chart.finding
    assert missed[1].startswith("scale 0.5x, liver: ")  # that the same tissue cannot be told is no fault
    assert means[1].startswith(f"flagged 4% of {SAME_TISSUE[0]}, 90% of {SAME_TISSUE[1]}; ")


def test_shares_without_a_class_are_said_where_they_are_known(odd):
    (chart,) = charts(report_of(ood=odd), PREDICTION)
    assert "for any reason" not in chart.meaning
    assert prediction.ood(OODFigures.model_validate(odd)).data[0].customdata[0][-1] == ""
    share = {"value": 0.3, "low": 0.2, "high": 0.4}
    odd["undecided"] = odd["kinds"][0]["undecided"] = share
    (chart,) = charts(report_of(ood=odd), PREDICTION)
    assert "tissue, and 30.0% [20.0, 40.0] are referred or not read for any reason." in chart.meaning
    told = prediction.ood(OODFigures.model_validate(odd)).data[0].customdata[0][-1]
    assert told == "<br>referred or not read 30.0% [20.0, 40.0]"


def test_the_frame_lies_on_the_tumour_patch():
    images = np.zeros((2, 192, 192, 3), np.uint8)
    drawn = Mosaics(images, np.zeros((2, 6, 6), np.float32), np.array([1, 2]), 2)
    figure = explanations.mosaics(drawn)
    assert len(figure.layout.images) == 4  # colour above map, for both
    first = figure.layout.shapes[0]
    picture = figure.layout.images[0]
    # Cell 1 of 2 x 2 is the upper right one.
    assert (first.x0 - picture.x, first.x1 - picture.x) == (0.5, 1.0)
    assert (picture.y - first.y1, picture.y - first.y0) == (0.0, 0.5)


def test_method_titles():
    assert method_title("gradcam/6x6") == "Grad-CAM, layer 6x6"  # its name: of a larger patch the map has more cells
    assert method_title("hematoxylin") == "hematoxylin (baseline)"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["classifier", "features.norm5", "features.denseblock4.denselayer1.norm1", "features.conv0"],
         ["head", "last norm", "block 4", "first layer"]),
        (["classifier", "blocks.6.0.conv_pw", "blocks.0.0.conv_dw", "conv_stem"],
         ["head", "block 7", "block 1", "first layer"]),
        (["blocks.1.0.a", "blocks.1.1.a"], ["blocks.1.0.a", "blocks.1.1.a"]),  # no two of one name
    ],
)  # fmt: skip
def test_layers_have_names_a_person_knows(layers, words):
    assert explanations.depth_words(layers) == words


def test_another_models_curves_are_dashed_over_ours(curves):
    ours = Chart("Deletion", "Sooner down.", explanations.removal(curves.deletion, "deletion"), curves=True)
    both = laid_over(ours, ours, ("one", "two"))
    drawn = [trace.name for trace in ours.figure.data if trace.visible is True]
    method = method_title("gradcam/last")
    assert [trace.name for trace in both.figure.data] == [*(f"{name}, one" for name in drawn), f"{method}, two"]
    mine, theirs = (next(t for t in both.figure.data if t.name == f"{method}, {name}") for name in ("one", "two"))
    assert mine.line.color == theirs.line.color
    assert (mine.line.dash, theirs.line.dash) == ("solid", "dash")
    assert both.meaning == "Sooner down. Solid: one. Dashed: two."
    assert not any(trace.name.endswith(", one") for trace in ours.figure.data)  # which stays as it was


def test_curves_over_other_layers_are_not_laid_over(curves):
    ours = Chart("Cascade", "", explanations.cascade(curves, "ssim"), curves=True)
    other = curves.model_copy(update={"cascade_layers": ["classifier", "blocks.0.0.conv_dw"]})
    theirs = ours._replace(figure=explanations.cascade(other, "ssim"))
    assert laid_over(ours, ours, ("one", "two")) is not None
    assert laid_over(ours, theirs, ("one", "two")) is None
    assert laid_over(ours, ours._replace(curves=False), ("one", "two")) is None
