"""Figures of merit against arithmetic by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from core.data.flags import UNLIKE, bits_of
from core.evaluation.metrics.classification import (
    FIGURES,
    Scored,
    area_under_roc,
    calibrated_ece,
    expected_calibration_error,
    figures,
    reliability,
    reliability_intervals,
    with_intervals,
)
from core.models.schema import OperatingPoint

POINT = OperatingPoint(threshold=0.5, refer_low=0.3, refer_high=0.7)
PROBABILITY = np.array([0.1, 0.2, 0.6, 0.9, 0.4, 0.5, 0.7, 0.8])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.uint8)


def test_every_figure_by_hand():
    found = figures(Scored(PROBABILITY, LABELS, POINT))
    assert list(found) == list(FIGURES)[: len(found)]
    p_of_label = [0.9, 0.8, 0.4, 0.1, 0.4, 0.5, 0.7, 0.8]
    expected = {
        "accuracy": 5 / 8,  # called tumour: 0.6, 0.9, 0.5, 0.7, 0.8; wrong: 0.6, 0.9 and the positive at 0.4
        "balanced_accuracy": (3 / 4 + 2 / 4) / 2,
        "auc": (2 + 2 + 3 + 3) / 16,  # how many of the four negatives lie below each positive
        "sensitivity": 3 / 4,
        "specificity": 2 / 4,
        "nll": -np.mean(np.log(p_of_label)),
        "brier": np.mean((1 - np.array(p_of_label)) ** 2),
        # each in a bin of its own but 0.6 and 0.6..: bins of 1/15 hold one reading each here
        "ece": np.mean(1 - np.array(p_of_label)),
        "referred": 3 / 8,  # 0.6, 0.4, 0.5; the band ends before 0.7
        "sensitivity_outside": 2 / 2,
        "specificity_outside": 2 / 3,
    }
    assert found == pytest.approx(expected)


def test_the_calibration_error_that_right_probabilities_would_show():
    """Of two patches at 0.5 either, none or both come true: errors of 0.5, 0 and 0.5, a half of the time each."""
    assert calibrated_ece(np.array([0.5])).value == 0.5
    pair = calibrated_ece(np.array([0.5, 0.5]), draws=4000)
    assert pair.value == pytest.approx(0.25, abs=0.02)
    assert (pair.low, pair.high) == (0.0, 0.5)
    assert calibrated_ece(np.array([0.0, 1.0])).value == 0
    probability = np.random.default_rng(0).random(1000)
    labels = (np.random.default_rng(1).random(1000) < probability).astype(int)
    chance = calibrated_ece(probability, draws=200)
    assert chance.low < expected_calibration_error(probability, labels) < chance.high
    assert expected_calibration_error(probability**2, labels) > chance.high


def test_figures_with_gates_by_hand():
    # 0.1 is not read; 0.9, a false alarm, and 0.8, a hit, are referred for a flag; 0.6, 0.4 and 0.5 by the band
    flags = [("nearly blank",), (), (), ("blurred",), ("blurred",), (), (), (UNLIKE,)]
    found = figures(Scored(PROBABILITY, LABELS, POINT, bits_of(flags)))
    assert list(found) == list(FIGURES)
    assert {name: found[name] for name in list(FIGURES)[-5:]} == pytest.approx(
        {
            "not_read": 1 / 8,
            "referred_gated": 5 / 8,
            "accuracy_gated": 2 / 2,  # what is left: 0.2, a negative, and 0.7, a positive
            "sensitivity_gated": 1 / 1,
            "specificity_gated": 1 / 1,
        }
    )
    without = figures(Scored(PROBABILITY, LABELS, POINT))
    assert {name: found[name] for name in without} == without


def test_what_is_undefined_is_nan_and_left_out_of_the_intervals():
    healthy = Scored(PROBABILITY[:4], LABELS[:4], POINT)
    found = figures(healthy)
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {"balanced_accuracy", "auc", "sensitivity", "sensitivity_outside"}
    assert set(with_intervals(healthy, resamples=20)) == set(found) - undefined


# Two decimals give many ties.
scored = st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=2, max_size=40)


@given(scored)
def test_auc_brier_and_likelihood_equal_scikit_learn(readings):
    probability = np.array([p for p, _ in readings]) / 100
    labels = np.array([y for _, y in readings], np.uint8)
    found = figures(Scored(probability, labels, POINT))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, probability))
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    assert found["nll"] == pytest.approx(log_loss(labels, clipped, labels=[0, 1]), abs=1e-3)
    if 0 < labels.sum() < len(labels):
        assert area_under_roc(probability, labels) == pytest.approx(roc_auc_score(labels, probability))
    else:
        assert np.isnan(area_under_roc(probability, labels))


def test_reliability_and_calibration_error_by_hand():
    probability = np.array([0.05, 0.15, 0.62, 0.70, 0.74, 1.0])
    labels = np.array([0, 1, 1, 0, 1, 1], np.uint8)
    found = reliability(probability, labels, bins=4)  # edges 0, 0.25, 0.5, 0.75, 1
    assert found["count"] == [2, 3, 1]
    assert found["probability"] == pytest.approx([0.1, 2.06 / 3, 1.0])
    assert found["positive"] == pytest.approx([0.5, 2 / 3, 1.0])
    # in 15 bins: 0 | 2 | 9 | 10 | 11 | 14, one reading each
    by_hand = np.mean([0.05, 0.85, 0.38, 0.70, 0.26, 0.0])
    assert expected_calibration_error(probability, labels) == pytest.approx(by_hand)


def test_perfectly_calibrated_readings_have_no_error():
    probability = np.repeat([0.1, 0.5, 0.9], 10)
    labels = np.concatenate([[1] + [0] * 9, [1] * 5 + [0] * 5, [1] * 9 + [0]]).astype(np.uint8)
    assert expected_calibration_error(probability, labels) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(1 - probability, labels) == pytest.approx(0.8 * 2 / 3)


# Intervals --------------------------------------------------------------------------------------------------------


def mean_of_labels(readings):
    return {"share": float(readings.labels.mean())}


def test_the_bootstrap_interval_of_a_share_is_the_binomial_one():
    labels = (np.arange(400) % 4 == 0).astype(np.uint8)
    share = with_intervals(Scored(labels / 1.0, labels, POINT), measure=mean_of_labels)["share"]
    half = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert share.value == 0.25
    assert (share.low, share.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.008)


def test_each_bin_of_the_reliability_diagram_has_its_interval():
    probability = np.repeat([0.1, 0.9], 200)
    labels = np.concatenate([np.arange(200) % 10 == 0, np.arange(200) % 4 > 0]).astype(np.uint8)
    found = reliability_intervals(probability, labels, resamples=300)
    assert [bin.value for bin in found] == reliability(probability, labels)["positive"] == [0.1, 0.75]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 200)
    assert (found[1].low, found[1].high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.02)


def test_a_bin_where_all_agree_is_not_certain():
    """Three patches of three are tumour: Wilson's interval ends at n / (n + z^2)."""
    (found,) = reliability_intervals(np.full(3, 0.9), np.ones(3, np.uint8))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)


def test_the_same_seed_gives_the_same_interval():
    readings = Scored(PROBABILITY, LABELS, POINT)
    first, again, other = (with_intervals(readings, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_patches_that_cluster_in_slides_make_the_interval_wide():
    slides = np.repeat([f"slide {i:02}" for i in range(20)], 30)
    labels = np.tile([0, 1], 300).astype(np.uint8)
    good = np.repeat(np.arange(20) % 2 == 0, 30)  # every other slide is read rightly, the others at random
    luck = np.random.default_rng(0).random(600) < 0.5
    probability = np.where(good | luck, labels, 1 - labels).astype(float)
    readings = Scored(probability, labels, POINT)
    by_patch = with_intervals(readings, resamples=300)["accuracy"]
    by_slide = with_intervals(readings, slides, resamples=300)["accuracy"]
    assert by_patch.value == by_slide.value
    assert by_slide.high - by_slide.low > 2 * (by_patch.high - by_patch.low)


def test_slides_are_drawn_whole():
    slides = np.array(["a", "a", "b", "b", "b", "c"])
    sizes = set()

    def note(readings):
        marks = readings.probability.astype(int).tolist()
        assert marks.count(0) == marks.count(1)
        assert marks.count(2) == marks.count(3) == marks.count(4)
        sizes.add(len(marks))
        return {"nothing": 0.0}

    with_intervals(Scored(np.arange(6.0), LABELS[:6], POINT), slides, resamples=60, measure=note)
    assert {3, 6, 9} < sizes  # thrice slide c, each once, thrice slide b
