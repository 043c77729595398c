"""Conformal cuts: by hand, and on average over draws of exchangeable slides."""

import numpy as np
import pytest

from core.evaluation.guarantees import Grouping, guarantees, outcomes
from core.evaluation.metrics.conformal import by_unit, missed_at_most, promised_band, promised_threshold
from core.models.schema import OperatingPoint


def test_by_patch_one_patch_more_than_the_share_is_kept():
    """Of nine patches and a risk of 0.3, (missed + 1) / 10 <= 0.3 allows two: the cut stands at the third."""
    scores = np.array([0.9, 0.1, 0.5, 0.3, 0.8, 0.2, 0.7, 0.4, 0.6])
    assert missed_at_most(scores, np.arange(9), 0.3) == 0.3
    assert missed_at_most(scores, np.arange(9), 0.29) == 0.2
    assert missed_at_most(scores, np.arange(9), 0.1) == 0.1  # none may be missed, and none lies below the lowest
    assert missed_at_most(scores, np.arange(9), 0.09) == -np.inf


def test_by_slide_each_slide_counts_once():
    """Slides of 1, 2 and 4 patches; a risk of 0.5 allows 0.5 * 4 - 1 = 1 slide's worth: 0.5 + 0.25 + 0.25."""
    scores = np.array([0.9, 0.1, 0.6, 0.2, 0.3, 0.7, 0.8])
    units = np.array(["a", "b", "b", "c", "c", "c", "c"])
    assert missed_at_most(scores, units, 0.5) == 0.6
    assert missed_at_most(scores, units, 0.4) == 0.2  # 0.6 of a slide: the first patch alone


def test_patches_of_equal_scores_fall_together():
    scores = np.array([0.2, 0.5, 0.5, 0.5, 0.9])
    assert missed_at_most(scores, np.arange(5), 0.5) == 0.5  # two may be missed, but three would be
    assert missed_at_most(scores, np.arange(5), 5 / 6) == 0.9


def test_a_band_by_hand():
    """Nine patches of either label and a risk of 0.2: one of each may be on the wrong side."""
    positive, negative = np.arange(1, 10) / 10, np.arange(1, 10) / 10 - 0.05
    probability, labels = np.append(positive, negative), np.repeat([1, 0], 9)
    low, high = promised_band(probability, labels, np.arange(18), 0.2, 0.5)
    assert low == 0.2
    assert high == np.nextafter(0.75, 1)
    assert (negative >= high).sum() == 1
    assert promised_band(probability, labels, np.arange(18), 0.05, 0.5) == (0, 1)  # too few to promise anything
    assert promised_threshold(probability, labels, np.arange(18), 0.05) == 0


@pytest.mark.parametrize(("threshold", "at"), [(0.5, 0.5), (0.05, 0.2), (0.99, 0.9)])
def test_where_none_need_be_referred_the_band_has_no_width(threshold, at):
    probability = np.append(np.full(20, 0.9), np.nextafter(np.full(20, 0.2), 0))
    assert promised_band(probability, np.repeat([1, 0], 20), np.arange(40), 0.1, threshold) == (at, at)


def slides(generator, count, size=15):
    """Patches of slides that differ in stain: scores, slide of each."""
    own = generator.normal(0, 1.5, count)
    return (own[:, None] + generator.normal(1, 1, (count, size))).ravel(), np.repeat(np.arange(count), size)


def test_exchangeable_slides_keep_the_promise_on_average_and_by_patch_it_is_broken():
    """The expected loss of the slide after the last, over 600 draws of 24: at most the risk, and not far below it."""
    generator = np.random.default_rng(0)
    lost, alone = [], []
    for _ in range(600):
        scores, units = slides(generator, 25)
        known, new = units < 24, units == 24
        lost.append((scores[new] < missed_at_most(scores[known], units[known], 0.2)).mean())
        alone.append((scores[new] < missed_at_most(scores[known], np.arange(known.sum()), 0.2)).mean())
    error = np.std(lost) / np.sqrt(600)
    assert 0.2 - 1 / 25 - 3 * error < np.mean(lost) < 0.2 + 2 * error
    assert np.mean(alone) > np.mean(lost)


def test_means_over_units():
    hits, units = np.array([1, 0, 0, 1, 1], bool), np.array(["a", "a", "b", "b", "c"])
    among = np.array([1, 1, 1, 1, 0], bool)
    assert by_unit(hits, among, units).value == 0.5
    assert by_unit(hits, np.ones(5, bool), units).value == pytest.approx(2 / 3)
    assert by_unit(hits, np.zeros(5, bool), units) is None


def test_what_is_promised_and_what_happened():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 2000)
    probability = np.clip(generator.normal(0.3 + 0.4 * labels, 0.15), 0.001, 0.999)
    grouped = Grouping((np.arange(2000) % 50).astype(str), "slide")
    found = guarantees(probability, labels, grouped, OperatingPoint(threshold=0.5), 8)
    assert [(one.unit, one.about, one.risk) for one in found] == [
        ("patch", "threshold", 0.1),
        ("patch", "band", 0.05),
        ("slide", "threshold", 0.1),
        ("slide", "band", 0.05),
    ]
    assert [one.units for one in found] == [int(labels.sum())] * 2 + [50] * 2
    happened = outcomes(found, probability, labels, grouped)
    for one in happened:
        assert one.missed.value <= one.guarantee.risk
        band = (probability >= one.guarantee.low) & (probability < one.guarantee.high)
        assert one.referred == band.mean()
    assert happened[1].false_alarms.value <= 0.05
    assert happened[3].referred > happened[1].referred
    by_slide = [
        (probability[own] < found[2].low).mean()
        for own in ((grouped.names == name) & (labels == 1) for name in np.unique(grouped.names))
    ]
    assert happened[2].missed.value == pytest.approx(np.mean(by_slide))
