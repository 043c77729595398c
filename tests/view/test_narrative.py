"""Sentences: made from figures, and never kinder than the interval."""

import re

import pytest

from core.evaluation.measures import MEASURES
from core.evaluation.metrics.position_bias import GRIDS, LIES
from core.evaluation.schema import Figure, PositionBias, Replacement, Row
from core.task import PCAM
from core.view.narrative import LEAST, answer_of, beats_chance, figure_text, position_bias_finding, replacement_text
from core.view.words import interval_words, percent_words


def row(measure, value, low, high, chance, method="gradcam/last", patches=1234):
    return Row(measure=measure, method=method, value=value, low=low, high=high, chance=chance, patches=patches)


GOOD = [
    row("mosaic2", 0.57, 0.54, 0.60, 0.25),
    row("centre_share", 0.15, 0.13, 0.17, 0.11),
    row("gap_inpainted", 1.5, 1.2, 1.8, 0.0),
    row("after_randomising", 0.05, -0.02, 0.12, 0.04),
    row("turns_drift", 0.6, 0.55, 0.65, 1.0),
]
BAD = [
    row("mosaic2", 0.26, 0.24, 0.28, 0.25),
    row("centre_share", 0.092, 0.088, 0.096, 0.111),
    row("gap_inpainted", 0.1, -0.1, 0.3, 0.0),
    row("after_randomising", 0.8, 0.7, 0.9, 0.04),
    row("turns_drift", 0.99, 0.96, 1.02, 1.0),
]


def test_five_lines_hold_or_do_not():
    good, bad = answer_of(GOOD, "gradcam/last"), answer_of(BAD, "gradcam/last")
    assert [line.holds for line in good] == [True] * 5
    assert [line.holds for line in bad] == [False] * 5
    assert good[0].text.startswith("Use the map")
    assert bad[0].text.startswith("Do not use the map")
    assert all(a.text != b.text for a, b in zip(good, bad, strict=True))


@pytest.mark.parametrize("rows", [GOOD, BAD])
def test_every_figure_in_the_text_comes_from_its_row(rows):
    for line, found in zip(answer_of(rows, "gradcam/last"), rows, strict=True):
        told = re.search(r"\(.* (\S+) \[(\S+), (\S+)\], chance (\S+), n = (\S+)\)\.$", line.text).groups()
        assert told == (*(f"{one:.2f}" for one in (found.value, found.low, found.high, found.chance)), "1,234")


@pytest.mark.parametrize("rows", [GOOD, BAD])
def test_nothing_is_found_of_a_few(rows):
    two = [found.model_copy(update={"patches": 2, "units": 2}) for found in rows]
    lines = answer_of(two, "gradcam/last")
    assert [line.holds for line in lines] == [None] * 5
    assert all(line.text.endswith(": n = 2, and 20 patches are needed.") for line in lines)
    assert all(line.text.startswith("Too few to tell whether ") for line in lines)
    enough = [found.model_copy(update={"patches": LEAST}) for found in rows]
    assert None not in [line.holds for line in answer_of(enough, "gradcam/last")]
    assert [line.holds for line in answer_of([rows[0].model_copy(update={"patches": LEAST - 1})], "gradcam/last")] == [
        None
    ]


def test_where_slides_are_resampled_they_are_counted():
    (line,) = answer_of([GOOD[0].model_copy(update={"units": 3, "resampled_by": "slide"})], "gradcam/last")
    assert line.holds is None
    assert line.text.endswith(": n = 3, and 20 slides are needed.")


def test_another_measure_of_a_few_contradicts_nothing():
    few = row("centre_context", 0.10, 0.08, 0.13, 0.11, patches=3)
    (line,) = answer_of([GOOD[1], few], "gradcam/last")
    assert line.holds
    assert "yet" not in line.text


def test_the_best_baseline_stands_beside_the_figure():
    known = [
        row("centre_share", 0.11, 0.10, 0.12, 0.11, method="random"),
        row("centre_share", 0.30, 0.30, 0.30, 0.11, method="centre prior"),
        row("mosaic2", 0.27, 0.24, 0.30, 0.25, method="random"),
    ]
    mosaic, centre, gap = answer_of([*GOOD[:3], *known], "gradcam/last")
    assert mosaic.text.endswith("n = 1,234; random, which knows nothing of the network, 0.27).")
    assert centre.text.endswith("n = 1,234; centre prior, which knows nothing of the network, 0.30).")
    assert centre.holds
    assert gap.text.endswith("n = 1,234).")


def test_no_zero_is_negative():
    text = figure_text(row("gap_blurred", -0.004, -0.2, 0.1, -0.001))
    assert text.endswith("0.00 [-0.20, 0.10], chance 0.00, n = 1,234")
    assert "-0.00" not in text


def test_a_lean_that_the_padding_makes_does_not_hold():
    gone, kept = (row("centre_context", *figures, chance=0.11) for figures in ((0.10, 0.08, 0.13), (0.2, 0.18, 0.22)))
    (line,) = answer_of([GOOD[1], gone], "gradcam/last")
    assert not line.holds
    assert "by place, not by what lies there" in line.text
    assert line.text.endswith(f"; yet {figure_text(gone)}).")
    (line,) = answer_of([GOOD[1], kept], "gradcam/last")
    assert line.holds
    assert "unpadded" not in line.text
    (line,) = answer_of([BAD[1], kept], "gradcam/last")
    assert not line.holds
    assert "does not find the centre" in line.text


@pytest.mark.parametrize("rows", [GOOD, BAD])
def test_what_matters_goes_by_tissue_filled_in_and_names_a_blur_that_disagrees(rows):
    inpainted = rows[2]
    agrees = row("gap_blurred", *(9, 8, 10) if inpainted is GOOD[2] else (0.0, -0.2, 0.2), chance=0.0)
    differs = row("gap_blurred", *(0.08, -0.10, 0.26) if inpainted is GOOD[2] else (0.8, 0.6, 1.0), chance=0.0)
    found = [answer_of([inpainted, *other], "gradcam/last") for other in ([], [agrees], [differs])]
    alone, beside, against = found
    assert alone == beside
    ((line,), (plain,)) = against, alone
    assert line.holds is plain.holds is (inpainted is GOOD[2])
    assert line.text == plain.text.replace(").", f"; yet {figure_text(differs)}).")
    assert answer_of([agrees], "gradcam/last") == []


def test_a_replacement_that_reads_as_one_class_is_warned_of():
    def kinds(tumour, normal):
        means = (("all", -0.5, (tumour + normal) / 2), ("tumour", 3.0, tumour), ("no tumour", -4.0, normal))
        return {
            name: Replacement(
                patches=40,
                as_is=Figure(value=own, low=own - 1, high=own + 1),
                replaced=Figure(value=value, low=value - 0.5, high=value + 0.5),
            )
            for name, own, value in means
        }

    said = replacement_text("blurred", kinds(2.0, 0.0), decision=0.3, task=PCAM)
    assert said.startswith(
        "Wholly blurred, patches get a mean logit of +2.00 [+1.50, +2.50] where the label is tumour (+3.00 as they "
        "are) and +0.00 [-0.50, +0.50] where the label is no tumour (-4.00 as they are); tumour is called from +0.30"
    )
    assert "a patch blurred reads as tumour in itself" in said
    assert "inpainted reads as no tumour in itself" in replacement_text("inpainted", kinds(-1.0, -2.0), 0.3, PCAM)
    few = replacement_text(
        "blurred", kinds(2.0, 0.0) | {"all": kinds(2.0, 0.0)["all"].model_copy(update={"patches": 2})}, 0.3, PCAM
    )
    assert "Beware" not in few
    assert few.endswith("20 patches are needed to tell what blurred patches read as; here are 2.")
    for neutral in (kinds(2.0, -2.0), kinds(2.0, -0.5), kinds(0.2, -0.5)):
        assert "Beware" not in replacement_text("blurred", neutral, 0.3, PCAM)


def test_only_the_asked_method_and_what_was_measured():
    rows = [*BAD[:1], row("mosaic2", 0.9, 0.8, 1.0, 0.25, method="layercam/last")]
    assert [line.holds for line in answer_of(rows, "gradcam/last")] == [False]
    assert [line.holds for line in answer_of(rows, "layercam/last")] == [True]
    assert answer_of(rows, "nobody") == []


@pytest.mark.parametrize(
    ("measure", "low", "high", "chance", "holds"),
    [
        ("mosaic2", 0.251, 0.3, 0.25, True),
        ("mosaic2", 0.25, 0.9, 0.25, False),  # touching is not beating
        ("mosaic2", 0.1, 0.2, 0.25, False),
        ("turns_drift", 0.5, 0.999, 1.0, True),
        ("turns_drift", 0.5, 1.0, 1.0, False),
        ("after_randomising", 0.1, 0.3, 0.2, True),
        ("after_randomising", 0.21, 0.3, 0.2, False),
        ("moved_alone", 0.0, 0.0, None, False),
    ],
)
def test_the_whole_interval_must_be_better_than_chance(measure, low, high, chance, holds):
    assert beats_chance(row(measure, (low + high) / 2, low, high, chance)) is holds


def test_a_figure_without_chance_claims_none():
    assert "chance" not in figure_text(row("moved_alone", 0.2, 0.1, 0.3, None))
    assert figure_text(row("road", 0.2, 0.1, 0.3, 0.0)) == "ROAD 0.20 [0.10, 0.30], chance 0.00, n = 1,234"


def test_measures_are_told_apart_and_explained():
    assert len({measure.title for measure in MEASURES.values()}) == len(MEASURES)
    assert all(measure.meaning.endswith(".") and measure.source for measure in MEASURES.values())


def test_figures_in_words():
    figure = Figure(value=0.527, low=-0.004, high=0.5584)
    assert interval_words(figure) == "0.53 [0.00, 0.56]"
    assert percent_words(figure.model_copy(update={"low": 0.491})) == "52.7% [49.1, 55.8]"
    assert interval_words(Figure()) == percent_words(Figure()) == "undefined"


# Why the map leans -------------------------------------------------------------------------------------------------


def figure(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.fixture
def curve():
    even = [[figure(1 / 9, 0.1, 0.12)] * 3 for _ in range(3)]
    return {
        "patches": 1241,
        "silent": 7,
        "grids": {name: [list(row) for row in even] for name in GRIDS},
        "context_change": figure(0.01, -0.01, 0.03),
        "moved": {"centre": figure(0.61, 0.5, 0.7), "surround": figure(0.32, 0.2, 0.4)},
        "own": figure(0.655, 0.601, 0.702),
        "fall": {"centre": figure(1.23, 1.0, 1.5), "surround": figure(0.04, -0.1, 0.2)},
        "windows": {
            "groups": {
                name: {"patches": 9, "silent": 0, "tumour": 0.2, "share": figure(0.2, 0.19, 0.21)}
                | {"probability": figure(0.7, 0.6, 0.8)}
                for name in LIES
            },
            "difference": figure(0.05, -0.01, 0.1),
        },
    }


def finding(curve):
    return position_bias_finding(PositionBias.model_validate(curve), PCAM)


def verdicts(curve):
    return [line.verdict for line in finding(curve)]


def test_every_figure_of_the_finding_is_the_curves(curve):
    curve["grids"]["same"][2][0], curve["grids"]["same"][0][1] = figure(0.4, 0.3, 0.5), figure(0.09, 0.08, 0.1)
    lean, padding, field, label = (line.text for line in finding(curve))
    assert "holds 11.1% [10.0, 12.0]" in lean
    assert lean.endswith("1,234 true positives, not told from chance (11.1%). 7 more have no positive evidence.")
    one = finding(curve | {"silent": 1})[0].text
    assert one.endswith("1 more has no positive evidence.")
    assert "holds 11.1% [10.0, 12.0], not told from as served" in padding
    assert "with most lower left (40.0%) and least at the top (9.0%)" in padding
    assert "by 0.61 [0.50, 0.70] logits" in field
    assert "by 0.32 [0.20, 0.40] when the surround is: 65.5% [60.1, 70.2] of it is its own, of the area 11.1%" in field
    assert "falls by 1.23 [1.00, 1.50]" in label
    assert "by 0.04 [-0.10, 0.20] when the surround is" in label
    assert "does not follow (20.0% [19.0, 21.0], all over 20.0%" in label
    assert verdicts(curve) == ["", "not supported", "not supported", "not supported"]


def test_intervals_decide(curve):
    curve["context_change"] = figure(0.03, 0.01, 0.05)
    curve["own"] = figure(0.3, 0.2, 0.499)
    curve["windows"]["difference"] = figure(0.05, 0.001, 0.1)
    assert verdicts(curve) == ["", "supported in part", "supported", "supported in part"]
    curve["grids"]["same"][1][1] = figure(0.09, 0.08, 0.11)
    curve["fall"]["surround"] = figure(0.4, 0.1, 0.7)
    assert verdicts(curve) == ["", "supported", "supported", "supported"]
    # A map that seeks the centre is not explained by padding that draws evidence from it.
    curve["grids"]["served"][1][1] = figure(0.2, 0.18, 0.22)
    assert verdicts(curve)[1] == "not supported"
    curve["own"] = figure(0.45, 0.4, 0.5)
    assert verdicts(curve)[2] == "not supported"
    del curve["windows"]
    assert verdicts(curve)[3] == "supported"
    assert "follow" not in finding(curve)[3].text
