"""What turns logits into verdicts is found again on data whose answer is known."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit

from core.bundle import OperatingPoint
from core.evaluation.calibration import (
    fit_calibration,
    fit_operating_point,
    negative_log_likelihood,
    refer_band,
)
from core.evaluation.decisions import threshold_for


def simulated(temperature, bias=0.0, stretch=0.0, count=20_000, views=1, seed=0):
    """Logits whose probability is sigmoid(sinh(stretch * logit / temperature) / stretch + bias), and labels from it."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, count)
    labels = (generator.random(count) < expit(true)).astype(np.uint8)
    scaled = np.arcsinh(stretch * (true - bias)) / stretch if stretch else true - bias
    return np.repeat(scaled[:, None] * temperature, views, axis=1), labels, expit(true)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("bias", [-1.5, 0.0, 0.7])
@pytest.mark.parametrize("stretch", [0.0, 0.6])
@pytest.mark.parametrize("views", [1, 8])
def test_a_known_calibration_is_found(temperature, bias, stretch, views):
    logits, labels, truth = simulated(temperature, bias, stretch, views=views)
    found = fit_calibration(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.stretch == pytest.approx(stretch, abs=0.15)
    assert found.bias == pytest.approx(bias, abs=0.06)
    np.testing.assert_allclose(OperatingPoint(**found._asdict()).probability(logits), truth, atol=0.02)


def test_flattened_logits_are_beyond_a_temperature():
    """What the stretch is there for: without it, the surest patches are called less sure than they are."""
    logits, labels, truth = simulated(1.0, stretch=1.0)
    found = OperatingPoint(**fit_calibration(logits, labels)._asdict()).probability(logits)
    temperature = minimize_scalar(lambda t: negative_log_likelihood(expit(logits[:, 0] / t), labels), (0.1, 1)).x
    assert np.abs(expit(logits[:, 0] / temperature) - truth).max() > 0.04 > 3 * np.abs(found - truth).max()


def test_the_calibration_is_that_of_the_mean_over_views():
    logits, labels, _ = simulated(1.0, 0.5, count=4000)
    noisy = logits + np.random.default_rng(1).normal(0, 3, (4000, 8))
    found = fit_calibration(noisy, labels)

    def loss(**changes):
        point = OperatingPoint(**(found._asdict() | changes))
        return negative_log_likelihood(point.probability(noisy), labels)

    around = [{"temperature": found.temperature * 1.05}, {"temperature": found.temperature / 1.05}]
    around += [{"bias": found.bias + 0.05}, {"bias": found.bias - 0.05}, {"stretch": found.stretch + 0.05}]
    assert loss() < min(loss(**changes) for changes in around)
    one = fit_calibration(noisy.mean(axis=1, keepdims=True), labels)
    assert abs(found.temperature - one.temperature) > 0.1


def test_logits_that_tell_the_labels_apart_have_a_calibration_all_the_same():
    found = fit_calibration(np.array([[-3.0], [-2.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]))
    assert 0.05 <= found.temperature <= 20
    assert 0 <= found.stretch <= 1
    assert abs(found.bias) <= 10


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
    logits, labels, truth = simulated(2.0, -0.4, count=3000, views=8)
    point = fit_operating_point(logits, logits, labels, "valid")
    assert fit_calibration(logits, labels) == (point.temperature, point.stretch, point.bias)
    probability = point.probability(logits)
    np.testing.assert_allclose(probability, truth, atol=0.05)
    assert probability[labels == 1][probability[labels == 1] >= point.threshold].size >= 0.9 * labels.sum()
    assert point.refer_low < point.threshold < point.refer_high
    sensitivity, specificity, kept = outside(probability, labels, point.refer_low, point.refer_high)
    assert min(sensitivity, specificity) >= 0.95
    assert 0.2 * 3000 < kept < 0.9 * 3000
    assert "valid" in point.threshold_rule
    assert "95%" in point.refer_rule


def test_patches_varied_as_slides_vary_make_it_less_sure_and_leave_the_threshold_to_the_others():
    logits, labels, _ = simulated(1.0, count=5000)
    varied = logits * np.random.default_rng(1).choice([1, -0.5], (5000, 1), p=[0.9, 0.1])
    point = fit_operating_point(logits, varied, labels, "valid")
    assert point.temperature > fit_operating_point(logits, logits, labels, "valid").temperature * 1.1
    called = point.probability(logits) >= point.threshold
    assert called[labels == 1].mean() == pytest.approx(0.9, abs=0.01)


def test_the_threshold_in_logits():
    point = OperatingPoint(temperature=2.0, bias=0.5, threshold=0.8)
    assert point.threshold_logit == pytest.approx(2 * (np.log(4) - 0.5))
    for stretch in (0.0, 1e-6, 0.5, 1.0):
        stretched = point.model_copy(update={"stretch": stretch})
        assert stretched.view_probability(np.array([stretched.threshold_logit])) == pytest.approx(0.8)
        for end in (0.0, 1.0):
            assert np.isfinite(stretched.model_copy(update={"threshold": end}).threshold_logit)


def test_a_stretch_by_hand():
    """sinh(0.5 * 2 / 1) / 0.5; far ends are certain, and quiet."""
    point = OperatingPoint(stretch=0.5)
    assert point.view_probability(np.array([2.0])) == pytest.approx(expit(np.sinh(1.0) / 0.5))
    with np.errstate(all="raise"):
        assert point.view_probability(np.array([-1e4, 0.0, 1e4])).tolist() == pytest.approx([0, 0.5, 1], abs=1e-6)
