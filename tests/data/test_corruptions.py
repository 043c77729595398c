"""Perturbations against arithmetic by hand: what is changed, by how much, and what is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import corruptions
from core.data.corruptions import STAINS

STRENGTHLESS = {
    "stain": lambda p: corruptions.stain(p, 1.0, 0.0),
    "tone": lambda p: corruptions.tone(p, 0.0, 1.0),
    "blur": lambda p: corruptions.blur(p, 0),
    "noise": lambda p: corruptions.noise(p, 0),
    "jpeg": lambda p: corruptions.jpeg(p, 0),
    "shift": lambda p: corruptions.shift(p, 0, 0),
    "scale": lambda p: corruptions.scale(p, 1),
    "rotate": lambda p: corruptions.rotate(p, 0),
}
SOME = {
    "stain": lambda p: corruptions.stain(p, [1.2, 0.9, 1.1], [0.02, 0.0, -0.02]),
    "tone": lambda p: corruptions.tone(p, 12.0, 1.3),
    "blur": lambda p: corruptions.blur(p, 1.2),
    "noise": lambda p: corruptions.noise(p, 9.0, seed=4),
    "jpeg": lambda p: corruptions.jpeg(p, 60),
    "shift": lambda p: corruptions.shift(p, 3, -2),
    "scale": lambda p: corruptions.scale(p, 0.8),
    "rotate": lambda p: corruptions.rotate(p, 7),
}
every = pytest.mark.parametrize("name", SOME)


def painted(amounts, side=4):
    """Patches (n, side, side, 3) of one colour each, by amounts (n, 3) of hematoxylin, eosin and residual."""
    levels = 256 * np.exp(-np.asarray(amounts, float) @ STAINS) - 1
    return np.rint(levels).astype(np.uint8)[:, None, None].repeat(side, 1).repeat(side, 2)


def amounts_in(patches):
    """Amounts of the stains (n, 3) in patches of one colour each."""
    return -np.log((patches[:, 0, 0].astype(float) + 1) / 256) @ np.linalg.inv(STAINS)


@every
def test_no_strength_changes_nothing_and_returns_a_patch_of_its_own(name, patches):
    kept = patches.copy()
    same = STRENGTHLESS[name](patches)
    np.testing.assert_array_equal(same, patches)
    same[:] = 0
    np.testing.assert_array_equal(patches, kept)


@every
def test_some_strength_changes_each_patch_and_the_same_again(name, patches):
    kept = patches.copy()
    changed = SOME[name](patches)
    assert changed.dtype == np.uint8
    assert changed.shape == patches.shape
    assert all((after != before).any() for after, before in zip(changed, patches, strict=True))
    np.testing.assert_array_equal(SOME[name](patches), changed)
    np.testing.assert_array_equal(patches, kept)


@every
def test_an_empty_batch_stays_empty(name):
    empty = np.empty((0, 96, 96, 3), np.uint8)
    assert STRENGTHLESS[name](empty).shape == empty.shape


@every
@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 3), side=st.integers(8, 40), seed=st.integers(0, 999))
def test_any_batch_keeps_its_shape_and_type(name, count, side, seed):
    patches = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    changed = SOME[name](patches)
    assert changed.dtype == np.uint8
    assert changed.shape == patches.shape


def test_each_patch_gets_its_own_strength(patches):
    two = patches[:2]
    for change, strengths in (
        (lambda p, s: corruptions.stain(p, np.reshape(s, (-1, 1)) * [1, 1, 1]), [0.8, 1.3]),
        (lambda p, s: corruptions.tone(p, s, 1.0), [10, -20]),
        (lambda p, s: corruptions.tone(p, 0.0, s), [0.7, 1.4]),
        (corruptions.blur, [0.0, 2.0]),
        (corruptions.jpeg, [0, 30]),
        (lambda p, s: corruptions.shift(p, s, [0] * len(s)), [0, 5]),
        (corruptions.scale, [1.0, 1.5]),
        (corruptions.rotate, [0.0, 10.0]),
    ):
        both = change(two, np.array(strengths))
        for i in range(2):
            np.testing.assert_array_equal(both[i], change(two[i : i + 1], np.array(strengths[i : i + 1]))[0])


def test_stain_by_hand():
    """Optical density of grey level 63 is ln 4, of 127 ln 2: with all gains 2 the light passes twice."""
    patch = np.full((1, 2, 2, 3), (63, 127, 255), np.uint8)
    np.testing.assert_array_equal(corruptions.stain(patch, 2.0)[0, 0, 0], (256 / 16 - 1, 256 / 4 - 1, 255))
    # ln 2 of pure hematoxylin more, on glass: what is left of the light is 2 to the minus (0.65, 0.70, 0.29) / 0.9985.
    glass = np.full((1, 2, 2, 3), 255, np.uint8)
    stained = corruptions.stain(glass, 1.0, np.array([[np.log(2), 0, 0]]))
    norm = np.sqrt(0.65**2 + 0.70**2 + 0.29**2)
    np.testing.assert_array_equal(stained[0, 0, 0], np.rint(256 * 2 ** (-np.array([0.65, 0.70, 0.29]) / norm) - 1))


@pytest.mark.parametrize("which", range(3), ids=["hematoxylin", "eosin", "residual"])
def test_a_gain_moves_its_own_stain_alone(which):
    before = painted([[0.4, 0.3, 0.2]])
    gain = np.ones((1, 3))
    gain[0, which] = 1.5
    expected = amounts_in(before) * gain
    np.testing.assert_allclose(amounts_in(corruptions.stain(before, gain)), expected, atol=0.02)  # a grey level or so
    offset = np.zeros((1, 3))
    offset[0, which] = 0.15
    np.testing.assert_allclose(amounts_in(corruptions.stain(before, 1, offset)), amounts_in(before) + offset, atol=0.02)


def test_glass_has_no_stain_to_scale():
    glass = np.full((1, 4, 4, 3), 255, np.uint8)
    np.testing.assert_array_equal(corruptions.stain(glass, 1.8), glass)


def test_tone_by_hand():
    patch = np.zeros((1, 1, 2, 3), np.uint8)
    patch[0, 0, 0], patch[0, 0, 1] = 100, 140  # the mean is 120
    np.testing.assert_array_equal(corruptions.tone(patch, 10, 1)[0, 0, :, 0], (110, 150))
    np.testing.assert_array_equal(corruptions.tone(patch, 0, 1.5)[0, 0, :, 0], (90, 150))
    np.testing.assert_array_equal(corruptions.tone(patch, -100, 2)[0, 0, :, 0], (0, 60))
    np.testing.assert_array_equal(corruptions.tone(patch, 0, 0)[0, 0, :, 0], (120, 120))


def test_blur_spreads_a_point_as_a_gaussian_and_keeps_its_light():
    patch = np.full((1, 33, 33, 3), 100, np.uint8)
    np.testing.assert_array_equal(corruptions.blur(patch, 2.0), patch)  # nothing darkens
    patch[0, 16, 16] = 255
    blurred = corruptions.blur(patch, 1.0)[0, :, :, 0].astype(float) - 100
    one = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    bell = np.outer(one, one) / one.sum() ** 2
    np.testing.assert_allclose(blurred[12:21, 12:21], 155 * bell, atol=0.51)
    coloured = np.zeros((1, 16, 16, 3), np.uint8)
    coloured[..., 1] = 200
    np.testing.assert_array_equal(corruptions.blur(coloured, 3.0), coloured)  # colours do not run


def test_blur_keeps_the_mean_of_a_patch(patches):
    means = corruptions.blur(patches, 0.8).mean((1, 2, 3)) - patches.mean((1, 2, 3))
    assert np.abs(means).max() < 0.1


def test_noise_has_the_strength_it_says():
    grey = np.full((2, 96, 96, 3), 128, np.uint8)
    noisy = corruptions.noise(grey, [4.0, 12.0], seed=1).astype(float) - 128
    assert noisy.std((1, 2, 3)) == pytest.approx([4, 12], rel=0.02)
    assert abs(noisy.mean()) < 0.1
    assert (corruptions.noise(grey, 4.0, seed=1) != corruptions.noise(grey, 4.0, seed=2)).any()


def test_jpeg_loses_more_at_lower_quality(patches):
    flat = np.full((1, 16, 16, 3), 77, np.uint8)
    np.testing.assert_allclose(corruptions.jpeg(flat, 50).astype(int), flat, atol=1)
    losses = [np.abs(corruptions.jpeg(patches, q).astype(int) - patches).mean() for q in (95, 70, 30)]
    assert 0 < losses[0] < losses[1] < losses[2]


def test_shift_moves_tissue_and_mirrors_the_edge():
    patch = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1).repeat(3, -1)
    down = corruptions.shift(patch, 1, 0)[0, :, :, 0]
    np.testing.assert_array_equal(down[:, 0], (0, 0, 4, 8))  # the first row comes twice
    right = corruptions.shift(patch, 0, 2)[0, :, :, 0]
    np.testing.assert_array_equal(right[0], (1, 0, 0, 1))
    left = corruptions.shift(patch, 0, -1)[0, :, :, 0]
    np.testing.assert_array_equal(left[0], (1, 2, 3, 3))
    both = corruptions.shift(patch.repeat(2, 0), [1, 0], [0, -1])[..., 0]
    np.testing.assert_array_equal(both, np.stack([down, left]))


def test_scale_magnifies_about_the_centre():
    """A disc of radius 20 px about the centre, doubled, has four times the area; halved, a quarter."""
    rows, columns = np.mgrid[:96, :96] - 47.5
    disc = np.where(rows**2 + columns**2 < 20**2, 200, 40).astype(np.uint8)[None, :, :, None].repeat(3, -1)
    area = (disc > 120).sum()
    for factor in (2.0, 1.25, 0.8, 0.5):
        scaled = corruptions.scale(disc, factor)[0, :, :, 0]
        middle = scaled[24:72, 24:72] if factor < 1 else scaled  # beyond, the mirrored patch begins
        assert (middle > 120).sum() * 3 == pytest.approx(area * factor**2, rel=0.03)
        np.testing.assert_array_equal(scaled, scaled[::-1, ::-1])  # still about the centre


def test_scale_down_shows_the_mirrored_patch_beyond_the_edge(patches):
    half = corruptions.scale(patches[:1], 0.5)[0]
    np.testing.assert_allclose(half[23], half[24], atol=30)
    np.testing.assert_allclose(half[:24].astype(float), half[24:48][::-1], atol=1)


def test_a_small_turn_turns_about_the_centre_against_the_clock():
    bar = np.zeros((1, 96, 96, 3), np.uint8)
    bar[0, 46:50] = 240  # level
    turned = corruptions.rotate(bar, 10)[0, :, :, 0].astype(float)
    heights = np.arange(96)
    left, right = (turned[:, column] @ heights / turned[:, column].sum() for column in (20, 75))
    assert left - right == pytest.approx(55 * np.tan(np.radians(10)), abs=1)
    assert (left + right) / 2 == pytest.approx(47.5, abs=0.6)


def test_corners_of_a_turn_hold_tissue():
    bright = np.full((1, 96, 96, 3), 210, np.uint8)
    assert corruptions.rotate(bright, 45).min() >= 209
