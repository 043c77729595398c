"""Verdicts: above the bar, below it, across it; corrected for how many there are."""

import numpy as np
import pytest

from core.evaluation.claims import ALPHA, CLAIMS, FEWEST, holm, judged, measured
from core.models.schema import Interval

LEAST = CLAIMS["shapley"].least
SPREAD = np.tile([-0.05, 0.05], 50)  # mean 0, standard deviation 0.05


def told(*arguments, **options):
    found = measured(*arguments, **options)
    assert found is not None
    return found


def verdict(*found, tau=None):
    return {one.name: one.verdict for one in judged(found, tau or {})}


def test_there_are_at_most_eight_and_each_is_whole():
    assert len(CLAIMS) <= 8
    for claim in CLAIMS.values():
        assert claim.least > 0
        assert claim.planned >= FEWEST
        assert all((claim.asked, claim.holds, claim.fails, claim.figure, claim.null, claim.unit, claim.why))


@pytest.mark.parametrize(
    ("mean", "said"), [(LEAST + 0.1, "holds"), (LEAST - 0.1, "fails"), (LEAST + 0.001, "undecided"), (-0.5, "fails")]
)
def test_a_claim_is_held_against_its_least_effect(mean, said):
    found = told("shapley", SPREAD + mean, null=0.1)
    assert found.value == pytest.approx(mean + 0.1)
    assert found.high - found.value == pytest.approx(1.98422 * SPREAD.std(ddof=1) / 10, rel=1e-4)  # t, 99 degrees
    assert verdict(found) == {"shapley": said}


def test_an_effect_that_is_surely_there_and_too_small_fails():
    found = told("shapley", SPREAD + LEAST / 2)
    assert found.low > found.null
    (one,) = judged([found], {})
    assert (one.verdict, one.sentence) == ("fails", CLAIMS["shapley"].fails + ".")


def test_a_group_counts_once_and_undefined_units_not_at_all():
    values = np.array([0.0, 0.0, 0.0, 1.0, np.nan, *np.arange(8.0)])
    groups = np.array(["a", "a", "a", "b", "b", *"cdefghij"])
    found = told("beyond_density", values, groups=groups, unit="slide")
    assert (found.n, found.unit_of_resampling) == (10, "slide")
    assert found.value == pytest.approx((0 + 1 + 28) / 10)


def test_of_the_intervals_over_clusters_of_colour_the_widest_is_told_and_decides_nothing():
    values, wide = np.linspace(0.5, 0.7, 20), [Interval(value=0.6, low=low, high=0.9) for low in (0.4, -0.3)]
    found, alone = (told("shapley", values, 0.1, by_colour=given) for given in (wide, ()))
    assert found.by_colour == pytest.approx((-0.2, 1.0))
    assert alone.by_colour is None
    assert judged([found], {})[0].verdict == judged([alone], {})[0].verdict == "holds"


def test_too_few_units_make_no_claim():
    assert measured("weights", np.full(FEWEST - 1, 0.9)) is None
    assert told("weights", np.full(FEWEST, 0.9)).p == 0.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_would_hold_alone_may_be_undecided_among_others():
    effects = SPREAD + LEAST + 0.012
    alone = told("shapley", effects)
    assert ALPHA / 5 < alone.p < ALPHA / 2
    assert verdict(alone) == {"shapley": "holds"}
    others = [told(name, SPREAD + CLAIMS[name].least) for name in ("matters", "planted", "still", "weights")]
    assert set(verdict(alone, *others).values()) == {"undecided"}


def test_a_metric_that_ranks_known_maps_wrongly_decides_nothing():
    found = told("planted", SPREAD + 0.9)
    assert verdict(found, tau={"planted_hit": 0.8}) == {"planted": "holds"}
    (one,) = judged([found], {"planted_hit": 0.5})
    assert one.verdict == "undecided"
    assert "0.50 only" in one.sentence
