"""Referral, thresholds and predictive values by hand."""

import numpy as np
import pytest

from core.evaluation.metrics.decisions import certainty, predictive_values, referral, risk_coverage, threshold_for
from core.models.schema import OperatingPoint

PROBABILITY = np.array([0.05, 0.95, 0.85, 0.2, 0.6, 0.45])
LABELS = np.array([0, 1, 1, 0, 0, 1])  # the two least certain calls are wrong


def test_errors_that_are_least_certain_give_the_best_area():
    found = risk_coverage(PROBABILITY, LABELS, 0.5)
    assert found.coverage == pytest.approx(np.arange(1, 7) / 6)
    assert found.risk == pytest.approx([0, 0, 0, 0, 1 / 5, 2 / 6])
    assert found.area == found.best == pytest.approx((1 / 5 + 1 / 3) / 6)
    assert found.chance == pytest.approx(1 / 3)


def test_errors_that_are_most_certain_are_worse_than_chance():
    found = risk_coverage(np.array([0.99, 0.98, 0.3, 0.4]), np.array([0, 0, 0, 0]), 0.5)
    assert found.risk == pytest.approx([1, 1, 2 / 3, 1 / 2])
    assert found.area > found.chance > found.best


def test_certainty_that_says_nothing_has_the_area_of_chance():
    found = risk_coverage(np.full(7, 0.8), np.array([1, 0, 1, 1, 0, 1, 1]), 0.5)
    assert found.area == pytest.approx(found.chance)
    assert found.chance == pytest.approx(2 / 7)


def test_certainty_by_hand():
    found = certainty(np.array([0.0, 0.1, 0.2, 0.6, 1.0]), 0.2)
    assert found == pytest.approx([1, 0.5, 0, 0.5, 1])
    assert certainty(np.array([0.0, 1.0]), 0.0) == pytest.approx([0, 1])
    assert certainty(np.array([0.3, 1.0]), 1.0) == pytest.approx([0.7, 1])


def test_what_the_band_buys():
    found = referral(PROBABILITY, LABELS, OperatingPoint(threshold=0.5, refer_low=0.4, refer_high=0.85))
    assert found == pytest.approx(
        {"referred": 2 / 6, "error_all": 2 / 6, "error_read": 0, "error_referred": 1, "errors_caught": 1}
    )
    none = referral(PROBABILITY, LABELS, OperatingPoint())
    assert none["referred"] == 0
    assert none["error_read"] == none["error_all"]
    assert np.isnan(none["error_referred"])


@pytest.mark.parametrize(("sensitivity", "threshold"), [(1.0, 0.45), (0.67, 0.45), (2 / 3, 0.85), (0.1, 0.95)])
def test_the_threshold_reaches_the_sensitivity_and_is_the_highest(sensitivity, threshold):
    found = threshold_for(PROBABILITY, LABELS, sensitivity)
    assert found == threshold
    reached = (PROBABILITY[LABELS == 1] >= found).mean()
    assert reached >= sensitivity - 1e-9


def test_predictive_values_by_counting():
    # of 1,000 patients 10 have it: 9 found, 99 alarmed for nothing, 1 missed, 891 cleared
    assert predictive_values(0.9, 0.9, 0.01) == pytest.approx((9 / 108, 891 / 892))
    assert predictive_values(0.8, 0.8, 0.5) == pytest.approx((0.8, 0.8))
    assert predictive_values(1.0, 1.0, 0.3) == (1, 1)
    assert np.isnan(predictive_values(0.0, 1.0, 0.3)[0])
