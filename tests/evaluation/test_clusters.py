"""What is drawn as one: pictures cut side by side from one texture, and patches of like colour."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.evaluation.metrics.bootstrap import mean_interval
from core.evaluation.metrics.clusters import places, pseudo_slides, sensitivity


@pytest.fixture(scope="module")
def tissue():
    """One picture, uint8 (768, 768, 3), of grain about as fine as nuclei."""
    grain = gaussian_filter(np.random.default_rng(0).standard_normal((768, 768)), 2)
    grey = np.clip(128 + 60 * grain / grain.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_pictures_side_by_side_are_one_place_and_so_is_what_joins_on(tissue):
    cut = {(i, j): tissue[256 * i : 256 * i + 256, 256 * j : 256 * j + 256] for i in range(3) for j in range(3)}
    glass = np.full((256, 256, 3), 240, np.uint8)
    # A row of two with one below the second; two that meet at a corner alone; glass twice, which goes on nowhere.
    found = places([cut[0, 0], cut[1, 1], cut[0, 1], cut[2, 0], glass, glass, tissue[:64, 512:]])
    assert found[0] == found[1] == found[2]
    assert len(set(found)) == 5
    assert len(set(places([cut[2, 0], cut[1, 1]]))) == 2
    turned = [np.rot90(cut[0, 0]), cut[0, 1]]
    assert len(set(places(turned))) == 2  # of its own edge the tissue is another
    assert places([]).tolist() == []


@pytest.fixture(scope="module")
def two_stains():
    """Forty patches of two colours, those of one colour in the first half, a little different each."""
    levels = np.repeat([[200, 150, 190], [120, 60, 150]], 20, axis=0) + np.arange(40)[:, None] % 5
    return np.broadcast_to(levels[:, None, None].astype(np.uint8), (40, 8, 8, 3))


def test_patches_of_one_stain_are_one_pseudo_slide(two_stains):
    found = pseudo_slides(two_stains, 2)
    assert len(set(found[:20])) == len(set(found[20:])) == 1
    assert found[0] != found[20]
    assert len(set(pseudo_slides(two_stains, 100))) == 5  # ten colours: two patches of different colour for each
    assert set(pseudo_slides(two_stains[:1], 8)) == {"0"}


def test_values_that_go_with_the_stain_have_wider_intervals_by_pseudo_slide(two_stains):
    of_stain = np.repeat([0.0, 1.0], 20)
    by_patch, found = mean_interval(of_stain), sensitivity(of_stain, two_stains, counts=(2, 4))
    assert set(found) == {2, 4}
    assert (found[2].low, found[2].value, found[2].high) == (0, 0.5, 1)  # both are drawn, or one of them twice
    assert found[4].high - found[4].low > 2 * (by_patch.high - by_patch.low)
    assert sensitivity(np.full(40, np.nan), two_stains) == {}
