"""Readers that hold still, and readers that do not, by construction."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.evaluation.metrics.localisation import hematoxylin
from core.evaluation.metrics.robustness import robustness
from core.evaluation.metrics.stability import (
    PERTURBATIONS,
    STRENGTHS,
    Held,
    Perturbation,
    eight_views,
    likeness_when_moved,
    map_drift,
    stress,
    varied,
)
from core.models.schema import OperatingPoint
from core.task import PCAM

GRID = (6, 6)


def honest(patches):
    """Its map is what it sees, and its probability does not depend on where that is."""
    maps = hematoxylin(patches, GRID)
    return SimpleNamespace(probability=np.clip(maps.mean(axis=(1, 2)), 0, 1).astype(np.float64), attribution=maps)


def stubborn(patches):
    """Whatever it sees, it points at one corner."""
    maps = np.zeros((len(patches), *GRID))
    maps[:, 0, 0] = 1
    return SimpleNamespace(probability=np.full(len(patches), 0.5), attribution=maps)


def fickle():
    """Its probability stands still while its map is new each time."""
    generator = np.random.default_rng(0)

    def look(patches):
        maps = generator.standard_normal((len(patches), *GRID))
        return SimpleNamespace(probability=np.full(len(patches), 0.5), attribution=maps)

    return look


@pytest.fixture(scope="module")
def tissue():
    """Soft purple clouds on white, wider than any step of a shift."""
    generator = np.random.default_rng(4)
    amount = np.kron(generator.uniform(0, 1, (8, 6, 6)), np.ones((1, 16, 16)))[..., None]
    return (235 - amount * np.array([140, 180, 80])).astype(np.uint8)


def test_varied_patches_meet_every_perturbation_once(tissue):
    patches = np.concatenate([tissue] * 6)[:43]
    before = patches.copy()
    found = varied(patches, PCAM)
    np.testing.assert_array_equal(patches, before)
    assert found.shape == (43, 96, 96, 3)
    places = [(name, strength) for name in PERTURBATIONS for strength in STRENGTHS]
    for place, (name, strength) in enumerate(places):
        chosen = slice(place, None, 40)
        np.testing.assert_array_equal(found[chosen], PERTURBATIONS[name](patches[chosen], strength))
    assert (found != patches).any(axis=(1, 2, 3)).sum() > 38


def test_few_patches_can_be_varied_too(tissue):
    assert varied(tissue[:3], PCAM).shape == (3, 96, 96, 3)
    assert varied(tissue[:0], PCAM).shape == (0, 96, 96, 3)


def test_what_turns_with_the_patch_holds_still(tissue):
    found = eight_views([tissue[:5], tissue[5:]], honest)
    assert found.shift == pytest.approx(np.zeros(8), abs=1e-6)
    assert found.drift == pytest.approx(np.zeros(8), abs=1e-6)
    assert found.moved_alone.tolist() == [0] * 8


def test_what_points_at_a_corner_of_the_picture_drifts(tissue):
    found = eight_views([tissue], stubborn)
    # back on the tissue the corner stays put in one of the seven views; elsewhere two corners correlate with -1/35
    assert found.drift == pytest.approx(np.full(8, 6 / 7 * (1 + 1 / 35)))
    assert found.moved_alone.tolist() == [1] * 8


def test_a_map_that_is_new_each_time_has_drift_one(tissue):
    found = stress([np.concatenate([tissue] * 10)], fickle(), strengths=[1])
    for (name, strength), held in found.items():
        assert held.shift.max() == 0
        if strength:
            assert held.drift.mean() == pytest.approx(1, abs=0.1), name
            assert held.moved_alone.mean() > 0.9


def test_one_pass_reads_each_patch_once_in_each_state(tissue):
    read = []

    def look(patches):
        read.append(len(patches))
        return honest(patches)

    told = []
    found = stress([tissue[:4], tissue[4:]], look, tell=told.append)
    assert next(iter(found)) == ("none", 0)
    assert len(found) == 1 + len(PERTURBATIONS) * len(STRENGTHS)
    assert sum(read) == 8 * len(found)
    assert told == [4, 8]
    assert {len(held.drift) for held in found.values()} == {8}
    assert found["none", 0].drift.max() == 0


def test_a_map_that_moves_with_the_tissue_does_not_drift(tissue):
    moved = {name: PERTURBATIONS[name] for name in ("shift", "scale")}
    found = stress([tissue], honest, moved)
    untold = {
        name: Perturbation(p.title, p.unit, p.levels, p.apply, p.two_sided) for name, p in moved.items()
    }  # the same, without telling where the tissue went
    blind = stress([tissue], honest, untold)
    for name in moved:
        assert found[name, 5].drift.mean() < 0.5 * blind[name, 5].drift.mean()
        assert found[name, 5].drift.mean() < 0.12


def test_carried_by_hand():
    maps = np.arange(9.0).reshape(1, 3, 3)
    cell = Perturbation("", "px", (32,), lambda p, v: p, moves=lambda level: (level, 1.0))
    # a whole cell down and right; what was not seen before takes the edge's value
    assert cell.carried(maps, 1, 96)[0] == pytest.approx(np.array([[0, 0, 1], [0, 0, 1], [3, 3, 4]]))
    both = Perturbation("", "px", (32,), lambda p, v: p, two_sided=True, moves=lambda level: (level, 1.0))
    back = both.carried(np.concatenate([maps] * 2), 1, 96)[1]
    assert back == pytest.approx(np.array([[4, 5, 5], [7, 8, 8], [7, 8, 8]]))
    half = Perturbation("", "", (2,), lambda p, v: p, moves=lambda level: (0.0, level))
    # twice as large: the outer cells' tissue lay half a cell from the middle
    assert half.carried(maps, 1, 96)[0] == pytest.approx(np.array([[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]))


def test_drift_by_hand():
    a = np.array([[[0.0, 1], [2, 3]]])
    even = np.full((1, 2, 2), 0.3)
    assert map_drift(a, 5 * a + 2) == pytest.approx(0)
    assert map_drift(a, -a) == pytest.approx(2)
    assert map_drift(a, even) == pytest.approx(1)
    assert map_drift(even, 2 * even) == pytest.approx(0)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_perturbations_grow_and_go_both_ways(tissue, name):
    perturbation = PERTURBATIONS[name]
    assert len(perturbation.levels) == len(STRENGTHS)
    assert list(perturbation.levels) == sorted(set(perturbation.levels))
    changed = [np.abs(perturbation(tissue, s).astype(float) - tissue).mean() for s in STRENGTHS]
    assert changed == sorted(changed)
    assert changed[0] > 0
    assert perturbation(tissue, 3).dtype == np.uint8
    signs = np.sign(perturbation.signed(2, 4)).tolist()
    assert signs == ([1, -1, 1, -1] if perturbation.two_sided else [1] * 4)


def test_levels_mean_what_they_say():
    grey = np.full((2, 96, 96, 3), 120, np.uint8)
    assert PERTURBATIONS["brightness"](grey, 2)[:, 0, 0, 0].tolist() == [130, 110]
    steps = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, :, None, None], (2, 96, 96, 3))
    moved = PERTURBATIONS["shift"](steps, 5)[:, 40, 0, 0]
    assert moved.tolist() == [32, 48]
    contrast = PERTURBATIONS["contrast"](np.concatenate([grey - 20, grey + 20], axis=1)[:, 48:144], 5)
    assert np.ptp(contrast, axis=(1, 2, 3)).tolist() == [60, 26]


# Robustness -------------------------------------------------------------------------------------------------------


def test_curves_fall_with_what_the_reader_loses():
    labels = np.tile([0, 1], 100).astype(np.uint8)
    right = np.where(labels == 1, 0.75, 0.25)
    nothing = np.zeros(200)

    def held(wrong):
        return Held(np.where(np.arange(200) < wrong, 1 - right, right), nothing, nothing)

    seen = {("none", 0): held(20), ("blur", 1): held(40), ("blur", 2): held(100)}
    found = robustness(seen, labels, OperatingPoint(), resamples=50)
    assert list(found) == ["blur"]
    assert [found["blur"][s]["accuracy"].value for s in (0, 1, 2)] == [0.9, 0.8, 0.5]
    assert [found["blur"][s]["auc"].value for s in (0, 1, 2)] == pytest.approx([0.9, 0.8, 0.5])
    # 75 % sure throughout
    assert [found["blur"][s]["ece"].value for s in (0, 1, 2)] == pytest.approx([0.15, 0.05, 0.25])
    accuracy = found["blur"][1]["accuracy"]
    assert accuracy.low < 0.8 < accuracy.high


def test_a_map_that_follows_moved_tissue_is_told_from_one_that_keeps_its_place(tissue):
    labels = np.array([0, 1] * 4)
    own, null = likeness_when_moved(tissue, honest, labels)
    np.testing.assert_allclose(own, 1, atol=1e-6)
    assert (null < 0.9).all()

    def placed(patches):
        """A gradient from the upper left, whatever it sees: the same map for all, which moved tissue cannot move."""
        maps = np.add.outer(np.arange(6.0) ** 2, np.arange(6.0) ** 2)
        return SimpleNamespace(probability=np.full(len(patches), 0.5), attribution=np.tile(maps, (len(patches), 1, 1)))

    own, null = likeness_when_moved(tissue, placed, labels)
    np.testing.assert_allclose(own, null)
    alone = likeness_when_moved(tissue[:2], honest, np.array([0, 1]))[1]
    assert np.isnan(alone).all()
