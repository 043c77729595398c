"""Twelve numbers of pictures whose moments and Laplacians are known by hand."""

import numpy as np
import pytest

from core.data.picture_statistics import NAMES, picture_statistics


def numbers(patch):
    (found,) = picture_statistics(np.asarray(patch, np.uint8)[None])
    return dict(zip(NAMES, found, strict=True))


def halves(left, right, side=16):
    patch = np.empty((side, side, 3))
    patch[:, : side // 2], patch[:, side // 2 :] = left, right
    return patch


def test_an_even_picture_has_a_colour_and_nothing_else():
    found = numbers(np.full((16, 16, 3), (10, 20, 255)))
    assert [found[name] for name in NAMES[:3]] == [10, 20, 255]
    assert [found[name] for name in NAMES[3:]] == [0] * 9


def test_moments_of_two_halves():
    # deviations of red 10, green 20, blue -30: correlations are 1 and -1, but for the one grey level in the divisor
    found = numbers(halves((90, 80, 130), (110, 120, 70)))
    assert [found[f"mean {colour}"] for colour in ("red", "green", "blue")] == [100, 100, 100]
    spreads = [np.expm1(found[f"spread {colour}"]) for colour in ("red", "green", "blue")]
    assert spreads == pytest.approx([10, 20, 30])
    correlations = [np.tanh(found[name]) for name in NAMES if name.startswith("correlation")]
    assert correlations == pytest.approx([200 / 201, -300 / 301, -600 / 601])


def test_sharpness_of_lines_by_their_width():
    def sharpness(width):
        levels = np.where(np.arange(64) // width % 2, 60, 20)
        found = numbers(np.broadcast_to(levels[None, :, None], (64, 64, 3)))
        return [np.expm1(found[f"sharpness of {block} px"]) for block in (1, 2, 4)]

    # Lines of one pixel: the Laplacian is 2 x 40 everywhere; over blocks they even out. Lines of two pixels have one
    # neighbour of the other level, lines of four in every other pixel.
    assert sharpness(1) == pytest.approx([80, 0, 0])
    assert sharpness(2) == pytest.approx([40, 80, 0])
    assert sharpness(4)[1:] == pytest.approx([40, 80])
    assert sharpness(4)[0] == pytest.approx(40 * np.sqrt(30 / 62))  # of 62 columns those at the 15 edges


def test_only_green_tells_sharpness():
    lines = np.where(np.arange(64) % 2, 60, 20)[None, :, None]
    found = numbers(np.where([True, False, True], np.broadcast_to(lines, (64, 64, 3)), 40))
    assert found["sharpness of 1 px"] == 0
    assert found["correlation red, blue"] == pytest.approx(np.arctanh(400 / 401))


def test_a_patch_has_the_same_numbers_whatever_it_is_read_with():
    patches = np.random.default_rng(0).integers(0, 256, (37, 96, 96, 3), dtype=np.uint8)
    alone = np.concatenate([picture_statistics(patches[i : i + 1]) for i in range(37)])
    assert picture_statistics(patches).tobytes() == alone.tobytes()
    assert picture_statistics(patches[:0]).shape == (0, 12)
    steepest = np.indices((96, 96)).sum(axis=0) // 4 % 2 * 255  # blocks of 4 px are as far apart as levels can be
    assert np.expm1(numbers(np.repeat(steepest[..., None], 3, 2))["sharpness of 4 px"]) <= 4 * 255
    assert np.isfinite(picture_statistics(np.zeros((2, 32, 32, 3), np.uint8))).all()
