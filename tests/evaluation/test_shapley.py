"""Coalitions: exact values by hand, by their axioms, and by captum."""

import numpy as np
import pytest

from core.evaluation.metrics.shapley import Coalitions, against_other_maps, coalitions, donors_of

RNG = np.random.default_rng(3)


def table(value, grid=(3, 3), count=1):
    """A table of a set function: cells that are there (h*w,) bool -> score."""
    cells = grid[0] * grid[1]
    bits = np.arange(2**cells)[:, None] >> np.arange(cells) & 1
    return Coalitions(np.tile([value(row.astype(bool)) for row in bits], (count, 1)).astype(float), grid)


def test_shapley_values_by_hand():
    # Three players, the glove game: cell 0 and one of cells 1 and 2 are worth 1: 2/3, 1/6, 1/6.
    game = table(lambda there: there[0] and (there[1] or there[2]), (1, 3))
    np.testing.assert_allclose(game.shapley()[0, 0], [2 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(game.drops()[0, 0], [1, 0, 0])


def test_shapley_values_of_a_sum_are_its_terms_and_always_add_up():
    terms = RNG.normal(size=9)
    np.testing.assert_allclose(table(lambda there: terms[there].sum() - 2).shapley().ravel(), terms, atol=1e-12)
    scores = RNG.normal(size=(4, 512))
    found = Coalitions(scores, (3, 3)).shapley()
    np.testing.assert_allclose(found.sum(axis=(1, 2)), scores[:, -1] - scores[:, 0])


def test_shapley_values_are_captums():
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    scores = RNG.normal(size=(1, 512))
    weights = torch.tensor(2.0 ** np.arange(9))

    def forward(there):
        return torch.tensor(scores[0])[(there.double() @ weights).long()]

    # captum averages over all orders of the players, which for nine are too many: four players, the others there.
    few = Coalitions(scores[:, [int("11111", 2) << 4 | low for low in range(16)]], (2, 2))
    mask = torch.tensor([[0, 1, 2, 3, 4, 4, 4, 4, 4]])

    def fixed(there):
        there = there.clone()
        there[:, 4:] = 1
        return forward(there)

    found = attr.ShapleyValues(fixed).attribute(torch.ones(1, 9), feature_mask=mask)[0, :4].numpy()
    np.testing.assert_allclose(few.shapley().ravel(), found, atol=1e-5)  # captum adds up in float32


def test_a_coalition_is_own_tissue_on_the_donors():
    patch, donor = np.full((6, 6, 3), 200, np.uint8), np.full((6, 6, 3), 10, np.uint8)
    seen = []
    found = coalitions(patch[None], donor[None], (3, 3), lambda p: seen.append(p) or p.mean(axis=(1, 2, 3)))
    pictures = np.concatenate(seen)
    assert (pictures[0] == 10).all()
    assert (pictures[511] == 200).all()
    one = pictures[1 << 5]  # row 1, column 2
    assert (one[2:4, 4:6] == 200).all()
    assert one.sum() == (36 - 4) * 3 * 10 + 4 * 3 * 200
    np.testing.assert_allclose(found.shapley(), (200 - 10) / 9)
    with pytest.raises(ValueError, match="16 cells"):
        coalitions(patch[None], donor[None], (4, 4), len)


def test_curves_are_those_of_reading_anew():
    terms = RNG.normal(size=9)
    found = table(lambda there: terms[there].sum())
    curves = found.curves(terms.reshape(1, 3, 3))
    np.testing.assert_allclose(curves.deletion[0], terms.sum() - np.cumsum([0, *np.sort(terms)[::-1]]), atol=1e-12)
    np.testing.assert_allclose(curves.insertion[0], np.cumsum([0, *np.sort(terms)[::-1]]))
    (best,) = found.curves(terms.reshape(1, 3, 3)).areas()["gap"]
    (worst,) = found.curves(-terms.reshape(1, 3, 3)).areas()["gap"]
    assert best > 0
    assert worst == pytest.approx(-best)


def test_the_null_is_other_patches_maps_of_the_label():
    terms = RNG.normal(size=(4, 9))
    each = np.concatenate([table(lambda there, row=row: row[there].sum()).scores for row in terms])
    maps = terms.reshape(4, 3, 3)
    own, null = against_other_maps(maps, Coalitions(each, (3, 3)), np.array([0, 0, 1, 0]), "shapley")
    np.testing.assert_allclose(own, 1.0)
    assert np.isnan(null[2])  # the only one of its label
    by_hand = Coalitions(each, (3, 3)).of(np.array([0])).curves(maps[[1]]).areas()["gap"]
    both = Coalitions(each, (3, 3)).of(np.array([0])).curves(maps[[3]]).areas()["gap"]
    _, gaps = against_other_maps(maps, Coalitions(each, (3, 3)), np.array([0, 0, 1, 0]), "gap")
    assert gaps[0] == pytest.approx((by_hand[0] + both[0]) / 2)


def test_a_map_that_is_the_same_for_all_is_no_better_than_its_null():
    scores = RNG.normal(size=(6, 512))
    same = np.tile(RNG.normal(size=(1, 3, 3)), (6, 1, 1))
    for figure in ("gap", "shapley"):
        own, null = against_other_maps(same, Coalitions(scores, (3, 3)), np.zeros(6, int), figure)
        np.testing.assert_allclose(own, null)


def test_donors_are_others_without_the_class():
    labels = np.array([1, 0, 0, 1, 0, 1])
    found = donors_of(labels, 4)
    assert (labels[found] == 0).all()
    assert (found != np.arange(6)).all()
    with pytest.raises(ValueError, match="Two patches"):
        donors_of(np.array([1, 1, 0]))
