"""A network that looks at one cell alone, whose exact map is therefore known."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from core.evaluation.metrics.faithfulness import (
    REPLACEMENTS,
    ROAD_NOISE,
    Curves,
    blurred,
    cell_drops,
    curves,
    drop_correlation,
    inpainted,
    pearson,
    read_without,
    removals,
    single_cells,
)
from core.evaluation.metrics.localisation import hematoxylin

BOTH = pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
EXACT = np.zeros((3, 3))
EXACT[1, 1] = 1.0


def centre_stain(patches):
    """The oracle: its logit is the hematoxylin in the centre cell."""
    return hematoxylin(patches, (3, 3))[:, 1, 1].astype(np.float64)


@pytest.fixture(scope="module")
def islands():
    """Pale patches with a dark purple centre cell."""
    patches = np.random.default_rng(0).integers(215, 235, (6, 96, 96, 3), dtype=np.uint8)
    patches[:, 32:64, 32:64] = np.random.default_rng(1).integers((60, 30, 110), (90, 60, 140), (6, 32, 32, 3))
    return patches


# Replacing --------------------------------------------------------------------------------------------------------


@BOTH
def test_only_what_goes_is_changed_and_never_to_black(islands, replace):
    gone = np.zeros((96, 96), bool)
    gone[:40, 20:70] = True
    found = replace(islands, gone)
    assert found.dtype == np.uint8
    assert (found[:, ~gone] == islands[:, ~gone]).all()
    assert (found[:, gone] != islands[:, gone]).mean() > 0.5
    assert found[:, gone].min() > 20
    assert (replace(islands, np.zeros((96, 96), bool)) == islands).all()
    assert replace(islands, np.ones((96, 96), bool)).min() > 40


def test_imputation_solves_its_own_equation():
    """Without its noise each missing pixel is the weighted mean of the neighbours it has."""
    patches = np.random.default_rng(3).integers(40, 216, (2, 24, 24, 3), dtype=np.uint8)
    gone = np.random.default_rng(4).random((24, 24)) < 0.5
    gone[:8, :8] = True
    found = inpainted(patches, gone).astype(float)
    grain = np.random.default_rng(0).standard_normal((gone.sum(), 3)) * ROAD_NOISE
    found[:, gone] -= grain
    padded = np.pad(found, ((0, 0), (1, 1), (1, 1), (0, 0)))
    inside = np.pad(np.ones((24, 24)), 1)
    total, weights = np.zeros_like(found), np.zeros((24, 24))
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            weight = {2: 0, 1: 1 / 6, 0: 1 / 12}[(down == 1) + (right == 1)]
            total += weight * padded[:, down : down + 24, right : right + 24]
            weights += weight * inside[down : down + 24, right : right + 24]
    expected = total / weights[None, :, :, None]
    assert np.abs(found - expected)[:, gone].max() < 1.1  # rounded to grey levels


def test_imputation_continues_a_ramp():
    ramp = np.broadcast_to(np.linspace(60, 200, 96)[None, :, None], (96, 96, 3)).astype(np.uint8)[None]
    gone = np.zeros((96, 96), bool)
    gone[32:64, 32:64] = True
    off = inpainted(ramp, gone).astype(float) - ramp
    assert np.abs(off[0, gone].mean(axis=1)).mean() < 3
    assert off[0, gone].std() == pytest.approx(ROAD_NOISE, rel=0.2)


def test_blur_is_of_the_tissue():
    patches = np.full((1, 96, 96, 3), 90, np.uint8)
    assert (blurred(patches, np.ones((96, 96), bool)) == 90).all()


# Which cells ------------------------------------------------------------------------------------------------------


def test_removals_by_hand():
    found = removals(np.array([[[4.0, -1], [2, 3]]]), steps=4)
    assert found.shape == (1, 2, 5, 2, 2)
    assert found[0, 0].reshape(5, 4).astype(int).tolist() == [
        [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1],
    ]  # fmt: skip
    assert (found[0, 1] == ~found[0, 0, ::-1]).all()


def test_a_fine_map_goes_in_few_steps():
    found = removals(np.random.default_rng(0).standard_normal((2, 6, 6)), steps=9)
    assert found.sum(axis=(3, 4)).tolist() == [[list(range(0, 37, 4))] * 2] * 2
    assert removals(np.zeros((1, 2, 2)), steps=9).shape[2] == 5


def test_ties_go_in_no_fixed_order():
    first = removals(np.zeros((900, 3, 3)))[:, 0, 1].mean(axis=0)
    assert first == pytest.approx(np.full((3, 3), 1 / 9), abs=0.04)


def test_what_methods_share_is_read_once(islands):
    seen = []

    def read(patches):
        seen.append(len(patches))
        return patches.mean(axis=(1, 2, 3))

    gone = removals(np.random.default_rng(0).standard_normal((6, 3, 3)))
    twice = read_without(islands, {"a": gone, "b": gone, "flipped": gone[:, ::-1]}, read, blurred)
    # nothing and everything are the same mask for both orders: 2 + 2 * 8 for each patch
    assert sum(seen) == 6 * 18
    assert max(seen) <= 64
    assert (twice["a"] == twice["b"]).all()
    assert (twice["a"] == twice["flipped"][:, ::-1]).all()


def test_every_score_belongs_to_its_patch_and_mask(islands):
    gone = np.broadcast_to(single_cells((3, 3)), (6, 9, 3, 3))
    found = read_without(islands, {"all": gone}, lambda p: p.astype(float).mean(axis=(1, 2, 3)), blurred)["all"]
    for patch in range(6):
        for cell in range(9):
            pixels = gone[0, cell].repeat(32, axis=0).repeat(32, axis=1)
            assert found[patch, cell] == pytest.approx(blurred(islands[patch : patch + 1], pixels).mean())


# The oracle -------------------------------------------------------------------------------------------------------


@BOTH
def test_the_exact_map_does_best_the_inverted_worst_and_noise_as_chance(islands, replace):
    noise = np.random.default_rng(2).standard_normal((6, 3, 3))
    many = np.concatenate([islands] * 8)
    maps = {"exact": np.broadcast_to(EXACT, (6, 3, 3)), "inverted": np.broadcast_to(-EXACT, (6, 3, 3)), "noise": noise}
    found = curves(islands, maps, centre_stain, replace)
    whole, nothing = (found["exact"].scores[:, 0, step] for step in (0, -1))
    exact, inverted = (found[name].areas() for name in ("exact", "inverted"))
    assert exact["gap"] / (whole - nothing) == pytest.approx(8 / 9, abs=0.08)
    assert (exact["deletion"] - nothing) / (whole - nothing) == pytest.approx(1 / 18, abs=0.08)
    assert (exact["insertion"] - nothing) / (whole - nothing) == pytest.approx(17 / 18, abs=0.08)
    assert inverted["gap"] == pytest.approx(-exact["gap"], rel=0.02)
    assert (found["noise"].areas()["gap"] < exact["gap"] + 1e-9).all()
    shuffled = np.random.default_rng(3).permuted(np.tile(EXACT.ravel(), (48, 1)), axis=1).reshape(48, 3, 3)
    chance = curves(many, {"": shuffled}, centre_stain, replace)[""].areas()["gap"]
    assert (chance / np.tile(whole - nothing, 8)).mean() == pytest.approx(0, abs=0.25)


def test_road_is_not_nothing(islands):
    """A known bug elsewhere: imputation that changes nothing, and a score of 0 whatever the map."""
    exact = np.broadcast_to(EXACT, (6, 3, 3))
    found = curves(islands, {"exact": exact, "inverted": -exact}, centre_stain, inpainted)
    effect = found["exact"].scores[:, 0, 0] - found["exact"].scores[:, 0, -1]
    assert (found["exact"].road() > 0.4 * effect).all()
    assert (found["exact"].road() <= 0.55 * effect).all()
    assert found["exact"].road() == pytest.approx(-found["inverted"].road(), rel=0.02)


def test_areas_by_hand():
    falls = np.array([[[1.0, 0.2, 0.0], [1.0, 0.8, 0.0]]])
    found = Curves(falls).areas()
    assert found["deletion"][0] == pytest.approx((0.5 + 0.1 + 0.1) / 2 - 0.0)
    assert found["insertion"][0] == pytest.approx((0.4 + 0.9) / 2)
    assert Curves(falls * 3 + 5).areas()["gap"] == pytest.approx(3 * found["gap"])
    assert Curves(falls).road()[0] == pytest.approx((0.8 - 0.2) / 2)


# Evidence and drop ------------------------------------------------------------------------------------------------


@BOTH
def test_the_exact_map_foretells_the_drop(islands, replace):
    drops = cell_drops(islands, (3, 3), centre_stain, replace)
    assert (drops.reshape(6, 9).argmax(axis=1) == 4).all()
    exact = np.broadcast_to(EXACT, (6, 3, 3))
    assert pearson(*(a.reshape(6, 9) for a in (exact, drops))) == pytest.approx(1, abs=0.02)
    assert drop_correlation(exact, exact) == pytest.approx(1)
    assert drop_correlation(-exact, exact) == pytest.approx(-1)


def test_correlations_equal_scipy():
    generator = np.random.default_rng(0)
    maps, drops = generator.integers(0, 4, (5, 3, 3)).astype(float), generator.standard_normal((5, 3, 3))
    found = drop_correlation(maps, drops)
    for i in range(5):
        assert pearson(maps[i].reshape(1, 9), drops[i].reshape(1, 9)) == pytest.approx(
            pearsonr(maps[i].ravel(), drops[i].ravel()).statistic
        )
        assert found[i] == pytest.approx(spearmanr(maps[i].ravel(), drops[i].ravel()).statistic)
    assert np.isnan(drop_correlation(np.full((1, 3, 3), 0.1), drops[:1]))
