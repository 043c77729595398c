"""Sentences: made from figures, and never kinder than the interval."""

import re

import pytest

from core.evaluation.claims import CLAIMS
from core.evaluation.measures import MEASURES
from core.evaluation.metrics.position_bias import GRIDS, LIES
from core.evaluation.schema import (
    ClaimResult,
    Confirmation,
    EvidenceReport,
    ExaminedModel,
    Figure,
    Plan,
    PositionBias,
    Replacement,
    Row,
)
from core.models.schema import DataRecord
from core.models.store import read_description
from core.settings import settings
from core.task import PCAM
from core.view.narrative import (
    answer,
    beats_chance,
    claim_text,
    claimed_on,
    position_bias_finding,
    price,
    replacement_text,
)
from core.view.words import interval_words, percent_words


def row(measure, value, low, high, chance, method="gradcam/last", patches=1234):
    return Row(measure=measure, method=method, value=value, low=low, high=high, chance=chance, patches=patches)


DATA = DataRecord(split="test", patches=40, fingerprint="abcdef01" * 8)


def evidence(claims):
    return EvidenceReport(
        model=ExaminedModel(name="tiny", identity="tiny 1.0"),
        engine="torch",
        data=DATA,
        plan=Plan(methods=("gradcam/last",)),
        finished="2026-01-01",
        rows=[],
        claims=claims,
    )


def claim(name="shapley", verdict="holds", unit="patch", **figures):
    known = {"value": 0.61, "low": 0.55, "high": 0.67, "null": 0.1, "least": 0.2, "n": 1234}
    return ClaimResult(name=name, sentence="It is so.", unit_of_resampling=unit, verdict=verdict, **(known | figures))


def test_a_claim_is_told_with_all_that_decides_it():
    assert claim_text(claim()) == (
        "Rank correlation with exact Shapley values: 0.61 [0.55, 0.67]; null (the map of another patch with the same "
        "label) 0.10; least difference that matters 0.2; n = 1,234 patches (64 by design)."
    )
    assert "0.61 [0.55, 0.67], over clusters of like colour [0.41, 0.80]; null" in claim_text(
        claim(by_colour=(0.41, 0.8))
    )
    assert claim_text(claim("weights", unit="seed", n=20, null=-0.0)).endswith(
        "null (a map that ignores the network) 0.00; least difference that matters 0.2; n = 20 seeds."
    )


def test_the_answer_is_the_claims_and_says_whether_they_are_confirmed():
    found = [claim(), claim("weights", "fails"), claim("of another version")]
    report = evidence(found)
    assert [(line.verdict, line.what) for line in answer(report)] == [
        ("holds", CLAIMS["shapley"].asked),
        ("fails", CLAIMS["weights"].asked),
    ]
    assert answer(report)[0].text.startswith("It is so. Rank correlation")
    assert claimed_on(report).endswith("not confirmed yet.")
    once = Confirmation(identity="tiny 1.0", data=DATA, finished="2026-01-01", claims=found)
    said = claimed_on(report.model_copy(update={"confirmation": once}))
    assert said.startswith("Confirmed once, on 40 patches of 'test' (fingerprint abcdef01), finished 2026-01-01")
    assert (answer(evidence([])), claimed_on(evidence([]))) == ([], "")


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


@pytest.mark.parametrize(
    ("measure", "low", "high", "chance", "holds"),
    [
        ("mosaic2", 0.251, 0.3, 0.25, True),
        ("mosaic2", 0.25, 0.9, 0.25, False),  # touching is not beating
        ("mosaic2", 0.1, 0.2, 0.25, False),
        ("turns_drift", 0.5, 0.999, 1.0, True),
        ("turns_drift", 0.5, 1.0, 1.0, False),
        ("after_randomising", 0.1, 0.3, 0.28, True),
        ("after_randomising", 0.31, 0.63, 0.28, True),
        ("after_randomising", 0.4, 0.64, 0.28, False),  # nearer to being the same than to chance
        ("after_randomising", 1.0, 1.0, 0.28, False),
        ("moved_alone", 0.0, 0.0, None, False),
    ],
)
def test_the_whole_interval_must_be_better_than_chance(measure, low, high, chance, holds):
    assert beats_chance(row(measure, (low + high) / 2, low, high, chance)) is holds


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


def test_what_a_map_costs_is_told_by_the_last_evaluation():
    shipped = read_description(settings().models / "densenet169")
    assert re.fullmatch(
        r"Tells patches apart: area under the ROC curve 0\.9\d \[0\.9\d, 0\.9\d\] \(test, 8 views\)\.", price(shipped)
    )
    assert price(shipped.model_copy(update={"evaluations": ()})) == ""
