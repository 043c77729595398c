"""The histogram of Browse: counts on a square-root axis, with the true ones at its ticks."""

import numpy as np
import pytest

from core.models.schema import OperatingPoint
from core.task import PCAM
from core.view.charts.scores import count_ticks, probability_histogram


def test_bars_end_at_the_root_of_their_sum():
    probability = np.array([0.01] * 16 + [0.99] * 9 + [np.nan])
    labels = np.array([1] * 7 + [0] * 9 + [1] * 9 + [0])
    figure = probability_histogram(probability, labels, OperatingPoint(), PCAM)
    positive, negative = figure.data
    assert (positive.customdata[0], negative.customdata[0]) == (7, 9)
    assert positive.y[0] == pytest.approx(np.sqrt(7))
    assert negative.base[0] + negative.y[0] == pytest.approx(4)
    assert positive.y[-1] == pytest.approx(3)
    assert sum(positive.customdata) + sum(negative.customdata) == 25
    axis = figure.layout.yaxis
    np.testing.assert_allclose(np.square(axis.tickvals), [int(text.replace(",", "")) for text in axis.ticktext])


@pytest.mark.parametrize(
    ("most", "ticks"), [(0, [0]), (1, [0, 1]), (16, [0, 1, 4, 9, 10]), (3000, [0, 100, 700, 1000, 3000])]
)
def test_ticks_are_round_counts(most, ticks):
    assert count_ticks(most) == ticks
