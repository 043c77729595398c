"""The free-response curve by hand."""

import numpy as np
import pytest

from core.evaluation.metrics.froc import Detections, lesions_of, sensitivities


def picture(scores, lesions, count, mm2):
    return Detections(np.array(scores, float), np.array(lesions), count, mm2)


def test_sensitivity_at_false_alarms_by_hand():
    """Two pictures of 2 mm2 without tumour, three lesions; false alarms score 0.9 and 0.5."""
    pictures = [
        picture([0.95, 0.9, 0.8, 0.7], [1, 0, 2, 2], 2, 1.0),
        picture([0.6, 0.5], [1, 0], 1, 1.0),
    ]
    found = sensitivities(pictures, [0.25, 0.5, 1.0])
    # none allowed: above 0.9; one in 2 mm2: above 0.5; two: all
    assert found == pytest.approx([1 / 3, 1, 1])
    missed = [picture([], [], 2, 1.0), picture([0.4], [1], 1, 1.0)]
    assert sensitivities(missed, [8.0]) == pytest.approx([1 / 3])


def test_nothing_to_find_is_undefined():
    assert np.isnan(sensitivities([picture([0.3], [0], 0, 1.0)])).all()
    assert np.isnan(sensitivities([])).all()


def test_lesions_that_touch_at_a_corner_are_one():
    mask = np.zeros((4, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[3, 5] = True
    numbers, count = lesions_of(mask)
    assert count == 2
    assert numbers[0, 0] == numbers[1, 1] == 1
