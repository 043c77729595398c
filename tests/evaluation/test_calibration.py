"""What turns logits into verdicts is found again on data whose answer is known."""

import numpy as np
import pytest
from scipy.special import expit

from core.bundle import OperatingPoint
from core.evaluation.calibration import (
    fit_calibration,
    fit_operating_point,
    negative_log_likelihood,
    refer_band,
)
from core.evaluation.decisions import threshold_for


def simulated(temperature, bias=0.0, count=20_000, views=1, seed=0):
    """Logits whose probability is sigmoid(logit / temperature + bias), and labels drawn from it."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, count)
    labels = (generator.random(count) < expit(true)).astype(np.uint8)
    return np.repeat((true[:, None] - bias) * temperature, views, axis=1), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("bias", [-1.5, 0.0, 0.7])
@pytest.mark.parametrize("views", [1, 8])
def test_known_temperature_and_bias_are_found(temperature, bias, views):
    found = fit_calibration(*simulated(temperature, bias, views=views))
    assert found[0] == pytest.approx(temperature, rel=0.05)
    assert found[1] == pytest.approx(bias, abs=0.06)


def test_the_calibration_is_that_of_the_mean_over_views():
    logits, labels = simulated(1.0, 0.5, count=4000)
    noisy = logits + np.random.default_rng(1).normal(0, 3, (4000, 8))
    found, bias = fit_calibration(noisy, labels)

    def loss(temperature, bias):
        return negative_log_likelihood(expit(noisy / temperature + bias).mean(axis=1), labels)

    around = [(found * 1.05, bias), (found / 1.05, bias), (found, bias + 0.05), (found, bias - 0.05)]
    assert loss(found, bias) < min(loss(*other) for other in around)
    assert abs(found - fit_calibration(noisy.mean(axis=1, keepdims=True), labels)[0]) > 0.1


def test_logits_that_tell_the_labels_apart_have_a_calibration_all_the_same():
    temperature, bias = fit_calibration(np.array([[-3.0], [-2.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]))
    assert 0.05 <= temperature <= 20
    assert abs(bias) <= 10


def test_likelihood_by_hand():
    found = negative_log_likelihood(np.array([0.5, 0.25, 0.9]), np.array([1, 0, 1]))
    assert found == pytest.approx(-(np.log(0.5) + np.log(0.75) + np.log(0.9)) / 3)
    assert np.isfinite(negative_log_likelihood(np.array([0.0, 1.0]), np.array([1, 0])))


# Refer band -------------------------------------------------------------------------------------------------------


def outside(probability, labels, low, high):
    """Sensitivity and specificity of what is left, and how many are left."""
    kept = (probability < low) | (probability >= high)
    tumour, normal = labels[kept] == 1, labels[kept] == 0
    called = probability[kept] >= high
    if not tumour.any() or not normal.any():
        return 0.0, 0.0, int(kept.sum())
    return called[tumour].mean(), (~called)[normal].mean(), int(kept.sum())


def most_that_can_be_kept(probability, labels, threshold, goal):
    """Every band that can be drawn between readings, tried one by one."""
    lows = [*probability[probability < threshold], threshold]
    highs = [threshold, *probability[probability >= threshold]]
    tried = [outside(probability, labels, low, high) for low in lows for high in highs]
    return max((kept for sensitivity, specificity, kept in tried if min(sensitivity, specificity) >= goal), default=0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("goal", [0.7, 0.9])
def test_the_band_reaches_the_goal_on_both_sides_and_refers_fewest(seed, goal):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 30)
    probability = expit(generator.normal(1.2 * (2 * labels - 1), 1.3))
    threshold = threshold_for(probability, labels, 0.7)
    low, high = refer_band(probability, labels, threshold, goal)
    best = most_that_can_be_kept(probability, labels, threshold, goal)
    if best == 0:
        assert (low, high) == (0, 1)
        return
    assert low <= threshold <= high
    sensitivity, specificity, kept = outside(probability, labels, low, high)
    assert min(sensitivity, specificity) >= goal
    assert kept == best


def test_readings_that_are_already_good_need_no_band():
    probability, labels = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])
    assert refer_band(probability, labels, 0.8) == (0.8, 0.8)


def test_readings_that_say_nothing_are_all_referred():
    probability, labels = np.tile([0.2, 0.8], 20), np.repeat([0, 1], 20)
    low, high = refer_band(probability, labels, 0.8)
    assert not ((probability < low) | (probability >= high)).any()


def test_a_band_that_leaves_no_normal_reading_is_no_band():
    # Referring all below 0.8 would leave one right positive and a specificity of nothing at all.
    assert refer_band(np.array([0.1, 0.2, 0.8]), np.array([1, 0, 1]), 0.8) == (0, 1)


def test_an_operating_point_holds_all_three_and_says_how():
    logits, labels = simulated(2.0, -0.4, count=3000, views=8)
    point = fit_operating_point(logits, logits, labels, "valid")
    probability = expit(logits / point.temperature + point.bias).mean(axis=1)
    assert point.temperature == pytest.approx(2.0, rel=0.1)
    assert point.bias == pytest.approx(-0.4, abs=0.1)
    np.testing.assert_allclose(point.probability(logits), probability)
    assert probability[labels == 1][probability[labels == 1] >= point.threshold].size >= 0.9 * labels.sum()
    assert point.refer_low < point.threshold < point.refer_high
    sensitivity, specificity, kept = outside(probability, labels, point.refer_low, point.refer_high)
    assert min(sensitivity, specificity) >= 0.95
    assert 0.2 * 3000 < kept < 0.9 * 3000
    assert "valid" in point.threshold_rule
    assert "95%" in point.refer_rule


def test_patches_varied_as_slides_vary_make_it_less_sure_and_leave_the_threshold_to_the_others():
    logits, labels = simulated(1.0, count=5000)
    varied = logits * np.random.default_rng(1).choice([1, -0.5], (5000, 1), p=[0.9, 0.1])
    point = fit_operating_point(logits, varied, labels, "valid")
    assert point.temperature > fit_operating_point(logits, logits, labels, "valid").temperature * 1.1
    called = point.probability(logits) >= point.threshold
    assert called[labels == 1].mean() == pytest.approx(0.9, abs=0.01)


def test_the_threshold_in_logits():
    point = OperatingPoint(temperature=2.0, bias=0.5, threshold=0.8)
    assert point.view_probability(np.array([point.threshold_logit])) == pytest.approx(0.8)
    assert point.threshold_logit == pytest.approx(2 * (np.log(4) - 0.5))
    for end in (0.0, 1.0):
        assert np.isfinite(OperatingPoint(threshold=end).threshold_logit)
