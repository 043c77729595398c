"""Planted truth: what lies where, and whether metrics rank maps of known quality."""

import numpy as np
import pytest

from core.evaluation.metrics import planted
from core.evaluation.metrics.shapley import Coalitions
from core.task import PCAM

LABELS = np.array([0, 1, 0, 1, 0, 0])


@pytest.fixture
def plants():
    patches = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 96, 96, 3), np.uint8)
    patches[:, 32:64, 32:64] += 100  # what lies in the label's box
    return planted.planted(patches, LABELS, PCAM, 18, seed=2)


def test_the_box_of_a_patch_lies_in_one_cell_of_another(plants):
    assert sorted(plants.cell) == sorted([*range(9)] * 2)
    for host, positive, control, cell in zip(plants.host, plants.positive, plants.control, plants.cell, strict=True):
        top, left = cell // 3 * 32, cell % 3 * 32
        inside = np.zeros((96, 96), bool)
        inside[top : top + 32, left : left + 32] = True
        assert (positive[~inside] == host[~inside]).all()
        assert (control[~inside] == host[~inside]).all()
        assert LABELS[host[0, 0, 0]] == 0
        assert {LABELS[value - 100] for value in np.unique(positive[inside])} == {1}
        assert {LABELS[value - 100] for value in np.unique(control[inside])} == {0}
        assert control[inside][0, 0] - 100 != host[0, 0, 0]


def test_too_few_patches_are_refused():
    with pytest.raises(ValueError, match="Too few"):
        planted.planted(np.zeros((3, 96, 96, 3), np.uint8), np.zeros(3, int), PCAM, 2)
    with pytest.raises(ValueError, match="3 x 3"):
        planted.planted(np.zeros((3, 64, 64, 3), np.uint8), np.zeros(3, int), PCAM.model_copy(update={"side": 64}), 2)


def test_a_hit_by_hand():
    maps = np.zeros((3, 3, 3))
    maps[0, 1, 2] = 1.0  # cell 5
    maps[1, 0, 0] = maps[1, 2, 2] = 2.0  # a tie of cells 0 and 8
    np.testing.assert_allclose(planted.hit(maps, np.array([5, 8, 4])), [1, 0.5, 1 / 9])
    fine = maps.repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_allclose(planted.hit(fine, np.array([5, 8, 4])), [1, 0.5, 1 / 9])


def test_good_metrics_rank_maps_of_known_quality_and_a_blind_one_does_not():
    generator = np.random.default_rng(0)
    cell = np.arange(36) % 9
    bits = np.arange(512)[:, None] >> np.arange(9) & 1
    # a network that answers by the planted cell, and a little by everything
    effect = np.eye(9)[cell] * 3 + generator.normal(0, 0.2, (36, 9))
    means, tau = planted.ranking(cell, Coalitions(effect @ bits.T, (3, 3)))
    assert set(tau) == set(planted.METRICS)
    assert min(tau.values()) >= 0.8
    assert means["planted_hit"][0] == 0.0
    assert means["planted_hit"][-1] == 1.0
    # one that answers by something else: faithfulness to it says nothing of the planted place
    _, astray = planted.ranking(cell, Coalitions(generator.normal(size=(36, 9)) @ bits.T, (3, 3)))
    assert astray["gap_donor"] < 0.8
    assert astray["planted_hit"] >= 0.8
