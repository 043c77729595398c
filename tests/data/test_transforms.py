"""The eight views are the symmetry group of a square, and each can be undone."""

import numpy as np
import pytest

from core.data.transforms import VIEWS, dihedral, dihedral_back

PLAIN = np.arange(2 * 3 * 3).reshape(2, 3, 3)
COLOUR = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)


@pytest.mark.parametrize("index", range(VIEWS))
@pytest.mark.parametrize("images", [PLAIN, COLOUR], ids=["maps", "patches"])
def test_view_back_undoes_view(images, index):
    np.testing.assert_array_equal(dihedral_back(dihedral(images, index), index), images)
    np.testing.assert_array_equal(dihedral(dihedral_back(images, index), index), images)


def test_views_by_hand():
    square = np.array([[[1, 2], [3, 4]]])
    assert [dihedral(square, index)[0].ravel().tolist() for index in range(VIEWS)] == [
        [1, 2, 3, 4],
        [2, 4, 1, 3],  # a quarter turn counter-clockwise
        [4, 3, 2, 1],
        [3, 1, 4, 2],
        [2, 1, 4, 3],  # mirrored left-right, then turned
        [1, 3, 2, 4],
        [3, 4, 1, 2],
        [4, 2, 3, 1],
    ]


def test_views_form_a_group():
    views = [dihedral(PLAIN, index).tobytes() for index in range(VIEWS)]
    assert len(set(views)) == VIEWS
    for first in range(VIEWS):
        twice = {dihedral(dihedral(PLAIN, first), second).tobytes() for second in range(VIEWS)}
        assert twice == set(views)


def test_colour_channels_are_never_mixed():
    for index in range(VIEWS):
        for channel in range(3):
            np.testing.assert_array_equal(dihedral(COLOUR, index)[..., channel], dihedral(COLOUR[..., channel], index))
