"""The free-response curve by hand: lesions, false areas, and the levels between them."""

import numpy as np
import pytest

from core.evaluation.metrics.froc import (
    Sweep,
    lesions_of,
    poisson,
    rate_interval,
    rates_on,
    sensitivities,
    share_of_lesions,
    sweep,
)
from core.models.schema import Interval


def picture(alarms, found, count, mm2):
    nothing = np.zeros(len(alarms), np.intp)
    return Sweep(np.array(alarms), nothing, np.array(found), nothing, count, 100, 0, mm2)


def test_sensitivity_at_false_areas_by_hand():
    """Two pictures of 1 mm2 without tumour with three lesions, at four levels."""
    pictures = [picture([3, 1, 1, 0], [2, 2, 1, 0], 2, 1.0), picture([1, 1, 0, 0], [1, 1, 0, 0], 1, 1.0)]
    # together 4, 2, 1 and 0 false areas, and 3, 3, 1 and 0 lesions
    assert sensitivities(pictures, [0.25, 0.5, 1.0, 2.0]) == pytest.approx([0, 1 / 3, 1, 1])
    assert sensitivities(pictures[:1], [0.5, 1.0]) == pytest.approx([0, 1])
    assert np.isnan(sensitivities([picture([1, 0], [0, 0], 0, 1.0)])).all()


def test_one_more_at_a_single_level_decides_nothing():
    assert picture([6, 4, 2, 3, 1, 0], [0] * 6, 0, 1.0).level(2.5) == 2
    assert picture([1, 1, 4, 0], [0] * 4, 0, 1.0).level(1.9) == 3  # areas that merged are not fewer


def test_a_sweep_by_hand():
    """A lesion on the left, two false areas on the right, one of which hangs together with what covers the lesion."""
    values = np.array(
        [
            [5.0, 5, 2, 2, 0, 0, 0, 0],
            [5.0, 5, 2, 2, 0, 0, 0, 0],
            [0.0, 0, 0, 0, 0, 0, 0, 0],
            [0.0, 0, 0, 0, 0, 3, 3, np.nan],
        ]
    )
    lesions = np.zeros(values.shape, np.intp)
    lesions[:2, :2] = 1
    found = sweep(values, lesions, np.array([1.0, 2.5, 4.0, np.inf]), 0.5)
    assert (found.count, found.cells, found.lesion_cells, found.mm2) == (1, 27, 4, 13.5)
    assert found.alarms.tolist() == [2, 1, 0, 0]
    assert found.called.tolist() == [6, 2, 0, 0]
    assert found.found.tolist() == [1, 1, 1, 0]
    assert found.covered.tolist() == [4, 4, 4, 0]


def test_parts_of_a_mask_within_75_um_are_one_lesion_and_tumour_cells_none():
    mask = np.zeros((60, 160), bool)
    mask[10:20, 10:50] = True  # at 10 um/px: 0.4 mm, and 0.3 mm on, 60 um away
    mask[10:20, 56:86] = True
    mask[40:44, 10:14] = True  # 40 um across
    mask[10:20, 110:150] = True  # 240 um away
    numbers, count = lesions_of(mask, 10.0)
    assert count == 2
    assert numbers[15, 20] == numbers[15, 53] == numbers[15, 70] != numbers[15, 120]
    assert numbers[42, 12] == -1
    assert numbers[30, 100] == 0
    assert lesions_of(np.zeros((4, 4), bool), 10.0)[1] == 0


def test_rates_are_no_surer_than_their_events():
    """Garwood's limits of 0 and of 10 events."""
    assert poisson(0, 2.0) == pytest.approx((0, 3.689 / 2), abs=1e-3)
    assert poisson(10, 1.0) == pytest.approx((4.795, 18.390), abs=1e-3)
    none = rate_interval(Interval(value=0, low=0, high=0), 0, 1.0)
    assert (none.value, none.high) == (0, pytest.approx(3.689, abs=1e-3))
    assert rate_interval(Interval(value=10, low=2, high=30), 10, 1.0).model_dump() == {
        "value": 10,
        "low": 2,
        "high": 30,
    }


def test_shares_of_lesions_are_no_surer_than_their_number():
    """Clopper and Pearson's limits of all of n, 0.025^(1/n), and of 5 of 10 from their tables."""
    every = share_of_lesions(Interval(value=1, low=1, high=1), 19)
    assert (every.value, every.low, every.high) == (1, pytest.approx(0.025 ** (1 / 19)), 1)
    none = share_of_lesions(Interval(value=0, low=0, high=0), 19)
    assert (none.low, none.high) == (0, pytest.approx(1 - 0.025 ** (1 / 19)))
    half = share_of_lesions(Interval(value=0.5, low=0.4, high=0.9), 10)
    assert (half.low, half.high) == (pytest.approx(0.187, abs=1e-3), 0.9)  # 0.187 to 0.813


def test_rates_that_less_than_one_false_area_makes_are_not_told():
    assert rates_on(2.03) == (0.5, 1, 2, 4, 8)
    assert rates_on(1.85) == (1, 2, 4, 8)
    assert rates_on(4.0) == (0.25, 0.5, 1, 2, 4, 8)
    assert rates_on(0.0) == ()
