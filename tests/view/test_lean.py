"""Can a reading be leaned on: each rule of the one sentence, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from core.data.flags import UNLIKE
from core.task import NOT_READ, PCAM, REFER
from core.view.lean import lean, seen_figures

SPREAD = {name: list(np.linspace(0, 1, 101)) for name in ("probability_turns", "map_turns", "donor_drop", "methods")}


@pytest.fixture(scope="module")
def reading(tiny_reader, patches):
    return replace(tiny_reader.read(patches[3], views=8), verdict=np.array(["tumour"]), flags=((),))


@pytest.mark.parametrize(
    ("figures", "said", "against"),
    [
        ({"probability_turns": 0.2, "map_turns": 0.8}, "Nothing found against leaning on it, by 2 figures.", 0),
        (
            {"probability_turns": 0.97, "map_turns": 0.8},
            "Lean on it with care: the probability swings more under flips and turns than in 97 % of patches.",
            1,
        ),
        (
            {"probability_turns": 0.91, "map_turns": 0.04},
            "Lean on it with care: the map changes more under flips and turns than in 96 % of patches (1 more below).",
            2,
        ),
        ({"donor_drop": 1.0, "map_turns": float("nan")}, "Nothing found against leaning on it, by 1 figure.", 0),
        ({"methods": 0.0}, "Lean on it with care: other methods agree less with its map than in 99 % of patches.", 1),
        ({}, "Not known whether it can be leaned on: one view is compared with nothing. Read eight views.", None),
    ],
)
def test_figures_are_held_against_other_patches(reading, figures, said, against):
    assert lean(reading, 0, figures, SPREAD, 500) == (said, against)


@pytest.mark.parametrize(
    ("figures", "against"),
    [
        ({"donor_drop": -0.1}, 1),
        ({"donor_drop": 0.1}, 0),
        ({"map_turns": 0.5}, 1),
        ({"map_turns": 0.6}, 0),
        ({"probability_turns": 0.6}, 1),
        ({"probability_turns": 0.4}, 0),
        ({"methods": 0.0}, 0),
    ],
)
def test_where_nobody_knows_other_patches_bounds_decide(reading, figures, against):
    assert lean(reading, 0, figures, {}, 0).against == against


def test_of_few_patches_the_share_comes_with_its_interval(reading):
    said = lean(reading, 0, {"methods": 0.05}, SPREAD, 40).text
    wilson = binomtest(38, 40).proportion_ci(method="wilson")
    assert said.endswith(f"than in 95 [{100 * wilson.low:.0f}, {100 * wilson.high:.0f}] % of patches.")


def test_a_map_of_something_else_is_not_held_against_usual_ones(reading):
    figures = {"map_turns": 0.51, "probability_turns": 0.95}
    spread = SPREAD | {"map_turns": [2.0] * 101}
    assert lean(reading, 0, figures, spread, 500).against == 2
    assert lean(replace(reading, target=PCAM.positive), 0, figures, spread, 500).against == 1


@pytest.mark.parametrize(
    ("verdict", "flags", "said"),
    [
        (REFER, (), "Not to be leaned on: too close to call."),
        (REFER, (UNLIKE,), "Not to be leaned on: unlike training tissue."),
        (NOT_READ, ("nearly blank",), "Not to be leaned on: nearly blank."),
    ],
)
def test_what_has_no_class_is_not_to_be_leaned_on(reading, verdict, flags, said):
    referred = replace(reading, verdict=np.array([verdict]), flags=(flags,))
    assert lean(referred, 0, {"probability_turns": 0.0}, SPREAD, 500).text == said


def test_a_reading_of_eight_views_knows_how_it_changed(tiny_reader, patches, reading):
    found = seen_figures(reading, 0)
    assert found["probability_turns"] == pytest.approx(reading.spread[0])
    assert -1 <= found["map_turns"] <= 1
    assert seen_figures(tiny_reader.read(patches[3]), 0) == {}
