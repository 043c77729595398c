"""Intervals against formulas."""

import numpy as np
import pytest

from core.evaluation.metrics.bootstrap import (
    intervals,
    mean_interval,
    paired_difference,
    share_interval,
)


def test_the_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.03)


def test_means_and_any_figure_agree():
    values = np.random.default_rng(1).exponential(size=300)
    slides = np.repeat([f"{i}" for i in range(30)], 10)
    for groups in (None, slides):
        quick = mean_interval(values, groups)
        slow = intervals(lambda drawn: {"mean": float(values[drawn].mean())}, 300, groups)["mean"]
        assert quick.value == pytest.approx(slow.value)
        assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.02)


def test_whole_slides_are_drawn():
    values = np.repeat([0.0, 1.0], 50)
    slides = np.repeat(["a", "b"], 50)
    by_slide, by_patch = mean_interval(values, slides), mean_interval(values)
    assert (by_slide.low, by_slide.high) == (0, 1)
    assert by_patch.high - by_patch.low < 0.25


def test_slides_of_unequal_size_count_by_their_patches():
    values, slides = np.array([0.0, 0, 0, 1]), np.array(["a", "a", "a", "b"])
    assert mean_interval(values, slides).value == 0.25


def test_what_is_undefined_is_left_out():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    assert mean_interval(values).value == 2.0
    assert mean_interval(np.full(3, np.nan)) is None
    assert mean_interval(np.zeros(0)) is None


def test_pairing_finds_a_difference_that_two_intervals_hide():
    generator = np.random.default_rng(0)
    patch = generator.normal(0, 5, 200)
    first, second = patch + 0.3 + generator.normal(0, 0.5, 200), patch + generator.normal(0, 0.5, 200)
    apart = paired_difference(first, second)
    assert apart.low > 0
    assert apart.value == pytest.approx(0.3, abs=0.1)
    assert mean_interval(first).low < mean_interval(second).high
    same = paired_difference(first, first)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values) == mean_interval(values.copy())


def test_a_share_of_none_is_not_certain():
    """Nothing of n: Wilson's interval ends at z^2 / (n + z^2); slides count where they are known."""
    z = 1.959964**2
    by_patch = share_interval(np.zeros(60, bool))
    by_slide = share_interval(np.zeros(60, bool), np.repeat(["a", "b", "c"], 20))
    assert (by_patch.value, by_patch.low) == (by_slide.value, by_slide.low) == (0, 0)
    assert (by_patch.high, by_slide.high) == pytest.approx((z / (60 + z), z / (3 + z)), abs=1e-6)
    ties = share_interval(np.array([1.0, np.nan, 1.0]))
    assert (ties.value, ties.high) == (1, 1)
    assert ties.low == pytest.approx(2 / (2 + z), abs=1e-6)  # of the two that are known
    some = np.arange(60) < 15
    assert share_interval(some) == mean_interval(some.astype(float))
