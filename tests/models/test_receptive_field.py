"""Windows, strides and tiles by hand."""

import numpy as np
import pytest

from core.models.architectures import ARCHITECTURES
from core.models.receptive_field import ReceptiveField, receptive_field

UNPADDED = ARCHITECTURES["efficientnet_lite0_unpadded"].field


def test_a_receptive_field_by_hand():
    """Kernels 3, 3, 5 at strides 2, 1, 2: 1 + 2 + 2 * 2 + 4 * 2 = 15 px, every 4 px."""
    assert receptive_field([(3, 2), (3, 1), (5, 2)]) == ReceptiveField(15, 4)
    assert receptive_field([]) == ReceptiveField(1, 1)


def test_the_shipped_one_by_hand():
    assert ReceptiveField(size=83, stride=8) == UNPADDED
    # centres at 3 + 41 = 44 and 52: their tiles 40..47 and 48..55 are the middle of a patch, on whole multiples of 8
    assert (UNPADDED.start, UNPADDED.margin, UNPADDED.cells(96), UNPADDED.cells(85)) == (3, 40, 2, 0)
    assert (UNPADDED.cells(512), UNPADDED.cells(592), UNPADDED.tiles(512), UNPADDED.tiles(505)) == (54, 64, 64, 64)
    assert UNPADDED.window(5) == (3, 86)


@pytest.mark.parametrize(("size", "cells"), [(67, 4), (51, 6), (35, 8)])
def test_smaller_windows_leave_more_cells_to_a_patch(size, cells):
    field = ARCHITECTURES[f"efficientnet_lite0_rf{size}"].field
    assert (field.size, field.stride, field.cells(96)) == (size, 8, cells)
    own = ~field.beyond(96, 96)
    assert own.sum() == cells**2
    np.testing.assert_array_equal(own, field.placed(np.ones((1, cells, cells)), 96)[0] > 0)


@pytest.mark.parametrize(("height", "width"), [(96, 120), (100, 171), (8, 300)])
def test_which_cells_see_beyond_the_border(height, width):
    found = UNPADDED.beyond(height, width)
    assert found.shape == (-(-height // 8), -(-width // 8))
    for row, column in np.ndindex(found.shape):
        (top, bottom), (left, right) = UNPADDED.window(row), UNPADDED.window(column)
        assert found[row, column] == (top < 0 or left < 0 or bottom > height or right > width)


def test_cells_are_laid_in_the_middle_of_the_patch():
    maps = np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2)
    placed = UNPADDED.placed(maps, 96)
    assert (placed.shape, placed.dtype) == ((2, 12, 12), np.float32)
    np.testing.assert_array_equal(placed[:, 5:7, 5:7], maps)
    assert placed.sum() == maps.sum()
    assert UNPADDED.placed(np.ones((1, 4, 4)), 96)[0, 4:8, 4:8].all()
