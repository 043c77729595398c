"""Ways to calibrate find what is known, agree with scikit-learn, and are compared on slides they have not seen."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from core.evaluation.calibrators import (
    CURVES,
    KNOTS,
    SERVES,
    STIFFNESS,
    as_good,
    compare,
    fit_knots,
    fit_platt,
    fit_temperature,
    isotonic,
    simplest,
)
from core.evaluation.metrics.likelihood import losses
from core.models.schema import CalibrationTrial, Interval, OperatingPoint


def simulated(curve, count=20_000, seed=0):
    """Logits whose probability is the sigmoid of `curve`'s inverse, labels drawn from it, and the probability."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, count)
    labels = (generator.random(count) < expit(true)).astype(np.uint8)
    return curve(true), labels, expit(true)


def straight(temperature, bias=0.0):
    return lambda true: (true - bias) * temperature


@pytest.mark.parametrize(("temperature", "bias"), [(0.4, -1.5), (1.0, 0.0), (3.0, 0.7)])
@pytest.mark.parametrize(("fit", "knots"), [(fit_knots, KNOTS), (fit_platt, 2)])
def test_a_known_temperature_and_bias_are_found(fit, knots, temperature, bias):
    logits, labels, truth = simulated(straight(temperature, bias))
    curve = fit(logits, labels)
    assert len(curve) == knots
    for logit, calibrated in curve:
        assert calibrated == pytest.approx(logit / temperature + bias, abs=0.2)
    np.testing.assert_allclose(OperatingPoint(curve=curve).view_probability(logits), truth, atol=0.03)


@pytest.mark.parametrize(
    "flatten",
    [np.arcsinh, lambda true: np.where(true < -1, -1 + (true + 1) / 4, true)],
    ids=["sure logits pressed together", "evidence that stops"],
)
def test_bent_logits_are_beyond_a_temperature_and_a_bias(flatten):
    logits, labels, truth = simulated(flatten)
    found = OperatingPoint(curve=fit_knots(logits, labels)).view_probability(logits)

    def loss(values):
        return losses(expit(logits * np.exp(values[0]) + values[1]), labels).mean()

    factor, bias = minimize(loss, (0.0, 0.0)).x
    of_a_sigmoid = expit(logits * np.exp(factor) + bias)
    wrong, less = (np.abs(probability - truth).mean() for probability in (of_a_sigmoid, found))
    assert less < 0.5 * wrong


def test_no_other_heights_are_likelier():
    logits, labels, _ = simulated(np.arcsinh, count=4000)
    curve = np.array(fit_knots(logits, labels))

    def loss(heights):
        point = OperatingPoint(curve=tuple(zip(curve[:, 0], heights, strict=True)))
        slopes = np.diff(heights) / np.diff(curve[:, 0])
        bends = np.diff(np.log(slopes))
        return losses(point.view_probability(logits), labels).mean() + STIFFNESS * (bends**2).sum()

    best = loss(curve[:, 1])
    for knot in range(KNOTS):
        for step in (-0.05, 0.05):
            assert loss(curve[:, 1] + step * (np.arange(KNOTS) == knot)) > best


@pytest.mark.parametrize(
    "logits", [[-3.0, -2.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, 1.0, 1.0]], ids=["apart", "even", "two"]
)
@pytest.mark.parametrize("fit", CURVES.values(), ids=CURVES)
def test_few_logits_have_a_calibration_all_the_same(fit, logits):
    curve = fit(np.array(logits), np.array([0, 0, 1, 1]))
    point = OperatingPoint(curve=curve)  # which checks that it ascends
    assert np.isfinite(point.probability(np.array([[-1e3], [0.0], [1e3]]))).all()
    slopes = np.diff(np.array(curve)[:, 1]) / np.diff(np.array(curve)[:, 0])
    assert (slopes >= 1 / 20 - 1e-9).all()
    assert (slopes <= 20 + 1e-9).all()


def test_platt_is_logistic_regression_on_the_logit():
    logits, labels, _ = simulated(straight(2.0, -0.4), count=3000)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    (_, low), (_, high) = fit_platt(logits, labels)
    assert (high - low) / 2 == pytest.approx(theirs.coef_[0, 0], rel=1e-3)
    assert (high + low) / 2 == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_temperature_is_logistic_regression_without_an_intercept():
    logits, labels, _ = simulated(straight(2.0), count=3000)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, fit_intercept=False).fit(logits[:, None], labels)
    slope = theirs.coef_[0, 0]
    np.testing.assert_allclose(fit_temperature(logits, labels), ((-1, -slope), (1, slope)), rtol=1e-3)


def test_isotonic_by_hand_and_as_scikit_learn_has_it():
    logits, labels = np.array([-2.0, -1.0, 0.0, 1.0]), np.array([0, 1, 0, 1])  # the middle two are pooled to a half
    others = np.array([-3.0, -1.0, -0.5, 0.5, 2.0])
    np.testing.assert_allclose(isotonic(logits, labels, others), [0.125, 0.5, 0.5, 0.75, 0.875])
    logits, labels, _ = simulated(straight(1.0), count=500)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(logits, labels).predict(logits)
    np.testing.assert_allclose(isotonic(logits, labels, logits), np.clip(theirs, 0.001, 0.999))


# The comparison ---------------------------------------------------------------------------------------------------


def rows_by_way(rows, patches="as they are"):
    return {row.method: row for row in rows if row.patches == patches}


def compared(curve, count=4000, groups=None):
    logits, labels, _ = simulated(curve, count)
    slides = (np.arange(count) % 40).astype(str) if groups is None else groups
    return compare(logits, logits / 2, labels, slides, 1)


def test_of_a_straight_line_platt_is_enough_and_a_temperature_is_not():
    rows = compared(straight(1.0, 1.0))
    assert [row.method for row in rows] == [name for name in (*CURVES, "isotonic") for _ in range(2)]
    found = rows_by_way(rows)
    assert simplest(row for row in rows if row.patches == "as they are") == "Platt"
    assert found["temperature"].beyond_best.low > 0.002
    assert found["temperature"].ece > 2 * found["temperature"].ece_if_right
    assert found["isotonic"].nll.value > found["Platt"].nll.value


def test_of_a_bent_line_knots_are_wanted():
    logits, labels, _ = simulated(np.arcsinh, 8000)
    rows = compare(logits, logits, labels, (np.arange(8000) % 40).astype(str), 8)
    assert simplest(rows) == f"{KNOTS} knots"
    assert {row.views for row in rows} == {8}


def test_a_way_is_measured_on_slides_that_it_was_not_fitted_on():
    """Labels go against the logits on one slide of two: what the other taught is wrong there."""
    logits = np.tile(np.linspace(-2, 2, 50), 2)
    slides = np.repeat(["a", "b"], 50)
    labels = (np.where(slides == "a", logits, -logits) > 0).astype(int)
    nll = rows_by_way(compare(logits, logits, labels, slides, 1))["Platt"].nll.value
    assert nll > np.log(2)


def test_too_few_patches_are_not_compared():
    assert compare(np.arange(6.0), np.arange(6.0), np.tile([0, 1], 3), np.arange(6).astype(str), 1) == ()
    assert compare(np.arange(60.0), np.arange(60.0), np.tile([0, 1], 30), np.full(60, "one"), 1) == ()
    assert simplest(()) == ""


def test_the_rule():
    def row(method, value, low, patches="as they are"):
        one = Interval(value=value, low=low, high=1.0)
        return CalibrationTrial(
            views=1, method=method, patches=patches, nll=one, beyond_best=one, brier=one, ece=0, ece_if_right=0
        )

    assert as_good(row("Platt", 0.002, 0.001))
    assert as_good(row("Platt", 0.5, 0.0))
    assert not as_good(row("Platt", 0.0021, 0.0001))
    kept = [row("temperature", 0.0, 0.0), row("temperature", 0.1, 0.05, "varied"), row("Platt", 0.001, 0.001)]
    assert simplest(kept) == "Platt"
    assert simplest(kept[:1]) == "temperature"
    assert simplest([row("isotonic", 0.0, 0.0)]) == ""
    assert SERVES in CURVES
