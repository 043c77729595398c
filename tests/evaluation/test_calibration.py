"""What turns logits into verdicts is found again on data whose answer is known."""

import numpy as np
import pytest
from scipy.special import expit

from core.evaluation.calibration import fit_operating_point, refer_band
from core.evaluation.calibrators import SERVES, fit_knots
from core.evaluation.metrics.decisions import threshold_for
from core.evaluation.metrics.likelihood import losses
from core.models.schema import OperatingPoint


def simulated(curve, count=20_000, seed=0):
    """Logits whose probability is the sigmoid of `curve`'s inverse, labels drawn from it, and the probability."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, count)
    labels = (generator.random(count) < expit(true)).astype(np.uint8)
    return curve(true), labels, expit(true)


def spread_over_views(logits, seed=1):
    """(n, 8) logits of views whose mean over views is `logits`."""
    noise = np.random.default_rng(seed).normal(0, 3, (len(logits), 8))
    return logits[:, None] + noise - noise.mean(axis=1, keepdims=True)


def straight(temperature, bias=0.0):
    return lambda true: (true - bias) * temperature


def test_of_several_views_the_mean_logit_is_calibrated():
    logits, labels, _ = simulated(straight(2.0), count=4000)
    views = spread_over_views(logits)
    several, one = (fit_operating_point(x, x, labels, "valid") for x in (views, logits[:, None]))
    np.testing.assert_allclose(several.curve, one.curve, atol=1e-3)
    np.testing.assert_allclose(several.probability(views), several.view_probability(logits), atol=1e-9)
    mean_of_probabilities = several.view_probability(views).mean(axis=1)
    assert np.abs(mean_of_probabilities - several.probability(views)).max() > 0.1


def test_likelihood_by_hand():
    found = losses(np.array([0.5, 0.25, 0.9]), np.array([1, 0, 1])).mean()
    assert found == pytest.approx(-(np.log(0.5) + np.log(0.75) + np.log(0.9)) / 3)
    assert np.isfinite(losses(np.array([0.0, 1.0]), np.array([1, 0]))).all()


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
    logits, labels, truth = simulated(straight(2.0, -0.4), count=3000)
    views = logits[:, None]
    point = fit_operating_point(views, views, labels, "valid")
    assert fit_knots(np.tile(logits, 2), np.tile(labels, 2)) == point.curve
    assert point.calibration_rule.startswith(f"{SERVES}, ")
    probability = point.probability(views)
    np.testing.assert_allclose(probability, truth, atol=0.06)
    assert probability[labels == 1][probability[labels == 1] >= point.threshold].size >= 0.9 * labels.sum()
    assert point.refer_low < point.threshold < point.refer_high
    sensitivity, specificity, kept = outside(probability, labels, point.refer_low, point.refer_high)
    assert min(sensitivity, specificity) >= 0.95
    assert 0.2 * 3000 < kept < 0.9 * 3000
    assert "valid" in point.threshold_rule
    assert "95%" in point.refer_rule


def test_patches_varied_as_slides_vary_make_it_less_sure_and_leave_the_threshold_to_the_others():
    logits, labels, _ = simulated(straight(1.0), count=5000)
    logits = logits[:, None]
    varied = logits * np.random.default_rng(1).choice([1, -0.5], (5000, 1), p=[0.9, 0.1])
    point = fit_operating_point(logits, varied, labels, "valid")
    alone = fit_operating_point(logits, logits, labels, "valid")
    sure = np.array([[-3.0], [3.0]])
    assert (np.abs(point.probability(sure) - 0.5) < np.abs(alone.probability(sure) - 0.5) - 0.005).all()
    called = point.probability(logits) >= point.threshold
    assert called[labels == 1].mean() == pytest.approx(0.9, abs=0.01)


def test_a_curve_by_hand():
    """Straight between its knots, and beyond them as it was before them."""
    point = OperatingPoint(curve=((-1.0, -2.0), (1.0, 0.0), (2.0, 3.0)))
    logits = np.array([-3.0, -1.0, 0.0, 1.0, 1.5, 2.0, 4.0])
    np.testing.assert_allclose(point.view_probability(logits), expit([-4.0, -2.0, -1.0, 0.0, 1.5, 3.0, 9.0]))
    assert point.view_probability(logits.reshape(7, 1)).shape == (7, 1)
    assert OperatingPoint().view_probability(np.array([2.0])) == pytest.approx(expit(2.0))


def test_the_threshold_in_logits():
    two = ((-2.0, -0.5), (2.0, 1.5))  # logit / 2 + 0.5
    assert OperatingPoint(curve=two, threshold=0.8).threshold_logit == pytest.approx(2 * (np.log(4) - 0.5))
    assert OperatingPoint(threshold=0.8).threshold_logit == pytest.approx(np.log(4))
    for curve in ((), two, ((-1.0, -2.0), (1.0, 0.0), (2.0, 3.0))):
        for threshold in (0.1, 0.5, 0.8):
            point = OperatingPoint(curve=curve, threshold=threshold)
            assert point.view_probability(np.array([point.threshold_logit])) == pytest.approx(threshold)
        for end in (0.0, 1.0):
            assert np.isfinite(OperatingPoint(curve=curve, threshold=end).threshold_logit)
