"""What is shown to the network and what is made of its answers, against arithmetic by hand and the papers' formulas."""

import numpy as np
import pytest

from core.explain.masking import (
    MASKS,
    SHOWN,
    map_masks,
    occluded,
    occlusion_map,
    regrouped,
    rise_map,
    rise_masks,
    shown_through,
    strongest,
)

BLANK = np.array([178, 137, 176], np.uint8)


def test_squares_are_blanked_one_after_another():
    patch = np.zeros((96, 96, 3), np.uint8)
    changed = occluded(patch, BLANK)
    assert changed.shape == (25, 96, 96, 3)
    blanked = (changed == BLANK).all(axis=3)
    assert (blanked.sum(axis=(1, 2)) == 32 * 32).all()
    assert blanked[1, :32, 16:48].all()
    assert blanked[5, 16:48, :32].all()
    assert blanked[24, 64:, 64:].all()
    assert not patch.any()


def test_a_cell_is_the_mean_of_the_squares_over_it():
    drops = np.arange(25, dtype=np.float32)[None]
    cells = occlusion_map(drops, 96)
    assert cells.shape == (1, 6, 6)
    assert cells[0, 0, 0] == 0  # one square
    assert cells[0, 0, 1] == np.mean([0, 1])
    assert cells[0, 2, 3] == np.mean([7, 8, 12, 13])
    assert cells[0, 5, 5] == 24


def test_masks_are_the_same_ones_and_fair():
    masks = rise_masks(96)
    assert masks.shape == (MASKS, 96, 96)
    assert (masks.min(), masks.max()) == (0, 1)
    assert abs(float(masks.mean()) - SHOWN) < 0.02
    assert len({mask.tobytes() for mask in masks[:50]}) == 50
    kept = masks.copy()
    rise_masks.cache_clear()
    np.testing.assert_array_equal(rise_masks(96), kept)
    with pytest.raises(ValueError, match="read-only"):
        rise_masks(96)[0, 0, 0] = 1


def test_rise_is_the_papers_map_less_what_all_pixels_share():
    masks = rise_masks(96)[:64, ::12, ::12]
    scores = np.random.default_rng(3).normal(2, 1, (2, 64)).astype(np.float32)
    paper = np.einsum("nm,mhw->nhw", scores, masks) / (64 * SHOWN)
    shared = scores.mean(axis=1)[:, None, None] * masks.mean(axis=0) / SHOWN
    np.testing.assert_allclose(rise_map(masks, scores), paper - shared, atol=1e-5)
    assert not rise_map(masks, np.full((1, 64), 5, np.float32)).any()


def test_the_strongest_channels_come_first():
    maps = np.array([1, -3, 2, 0], np.float32).reshape(1, 4, 1, 1) * np.ones((1, 1, 2, 2), np.float32)
    assert strongest(maps, 2).tolist() == [[1, 2]]
    assert strongest(maps, 9).tolist() == [[1, 2, 0, 3]]


def test_maps_become_masks_of_the_patchs_size():
    maps = np.array([[[1, 3]], [[5, 5]]], np.float32)
    masks = map_masks(maps, 2, 4)
    # bilinear with half-pixel centres gives 1, 1.5, 2.5, 3; a flat map shows nothing
    np.testing.assert_allclose(masks[0], [[0, 0.25, 0.75, 1]] * 2, atol=1e-6)
    assert not masks[1].any()


def test_a_mask_blends_with_the_blank_colour():
    patch = np.array([[[10, 20, 30], [200, 100, 0]]], np.uint8)
    masks = np.array([[[1, 1]], [[0, 0]], [[0.5, 0.25]]], np.float32)
    shown = shown_through(patch, masks, BLANK)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[0], patch)
    assert (shown[1] == BLANK).all()
    assert shown[2].tolist() == [[[94, 78, 103], [184, 128, 132]]]


def test_regrouping_keeps_order_and_size():
    pieces = [np.full((n, 1), n, np.uint8) for n in (3, 1, 5, 2)]
    groups = list(regrouped(iter(pieces), 4))
    assert [len(group) for group in groups] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(groups), np.concatenate(pieces))
    assert list(regrouped(iter([]), 4)) == []
