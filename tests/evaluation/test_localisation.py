"""Maps whose pointing is known in advance, and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from core.data.corruptions import STAINS
from core.evaluation.metrics.localisation import (
    baselines,
    best_level,
    cell_share,
    centred,
    hematoxylin,
    levels,
    mosaic_plan,
    pixel_counts,
    pixel_figures,
    pointing_game,
    slid,
    tiled,
)
from core.explain.grid import centre_share, enlarge
from core.task import PCAM

SIDES = [2, 3]


def marked(labels):
    """Patches that say what they are: tumour is dark."""
    return np.repeat(np.where(labels == 1, 20, 230), 96 * 96 * 3).reshape(-1, 96, 96, 3).astype(np.uint8)


@pytest.fixture(scope="module")
def many_labels():
    return (np.arange(540) % 9 == 0).astype(np.uint8)


@pytest.mark.parametrize("side", SIDES)
def test_a_mosaic_holds_one_tumour_patch_in_its_cell(many_labels, side):
    index, cell = mosaic_plan(many_labels, side, 50, seed=1)
    images = tiled(marked(many_labels)[index])
    assert images.shape == (50, side * 96, side * 96, 3)
    dark = images[:, 48::96, 48::96, 0].reshape(50, -1) == 20
    assert (dark.sum(axis=1) == 1).all()
    assert (dark.argmax(axis=1) == cell).all()
    assert set(cell) == set(range(side * side))
    whole = images.reshape(50, side, 96, side, 96, 3)
    assert (whole.max(axis=(2, 4, 5)) == whole.min(axis=(2, 4, 5))).all()  # no patch is torn apart


@pytest.mark.parametrize("side", SIDES)
def test_no_patch_stands_in_two_mosaics(many_labels, side):
    index, cell = mosaic_plan(many_labels, side, 50, seed=1)
    assert len(np.unique(index)) == index.size == 50 * side * side
    assert (many_labels[index].sum(axis=1) == 1).all()
    assert (many_labels[index[np.arange(50), cell]] == 1).all()
    again = mosaic_plan(many_labels, side, 50, seed=1)
    assert (again[0] == index).all()
    assert (mosaic_plan(many_labels, side, 50, seed=2)[0] != index).any()


@pytest.mark.parametrize(
    ("tumour", "normal", "side", "mosaics"), [(7, 10, 2, 3), (2, 10, 2, 2), (7, 10, 3, 1), (7, 2, 2, 0)]
)
def test_there_are_as_many_mosaics_as_there_are_patches_for(tumour, normal, side, mosaics):
    labels = np.repeat([1, 0, -1], [tumour, normal, 5])  # the last are not to be used
    index, cell = mosaic_plan(labels, side, 50)
    assert index.shape == (mosaics, side * side)
    assert cell.shape == (mosaics,)
    assert (labels[index] >= 0).all()


@pytest.mark.parametrize("side", SIDES)
def test_the_exact_map_scores_all_the_inverted_none_and_noise_chance(many_labels, side):
    index, cell = mosaic_plan(many_labels, side, 60, seed=3)
    images = tiled(marked(many_labels)[index])
    exact = hematoxylin(images, (side * 3, side * 3))
    exact = exact - exact.min(axis=(1, 2), keepdims=True)
    found = cell_share(exact, cell, side)
    assert found.share == pytest.approx(1.0)
    assert found.hit == pytest.approx(1.0)
    inverted = cell_share(exact.max() - exact, cell, side)
    assert inverted.share.max() == pytest.approx(0, abs=1e-6)
    assert inverted.hit.max() == 0
    many = np.random.default_rng(0).standard_normal((3000, *exact.shape[1:]))
    noise = cell_share(many, np.resize(cell, 3000), side)
    assert noise.share.mean() == pytest.approx(1 / side**2, abs=0.02)
    assert noise.hit.mean() == pytest.approx(1 / side**2, abs=0.04)
    even = cell_share(np.ones_like(exact), cell, side)
    assert even.share == pytest.approx(1 / side**2)
    assert even.hit == pytest.approx(1 / side**2)  # every cell ties


def test_share_and_hit_by_hand():
    heatmap = np.array([[[3.0, -9, 1, 0], [0, 0, 0, 0], [2, 0, 2, 0], [0, 0, 0, 0]]])
    found = [cell_share(heatmap, np.array([cell]), 2) for cell in range(4)]
    assert [f.share[0] for f in found] == pytest.approx([3 / 8, 1 / 8, 2 / 8, 2 / 8])
    assert [f.hit[0] for f in found] == [1, 0, 0, 0]


def test_a_map_without_positive_evidence_points_nowhere():
    found = cell_share(np.full((2, 2, 2), -1.0), np.array([0, 3]), 2)
    assert found.share.tolist() == found.hit.tolist() == [0, 0]


# The label's centre -----------------------------------------------------------------------------------------------


def test_centre_share_by_hand():
    maps = np.zeros((4, 3, 3), np.float32)
    maps[0, 1, 1] = 2
    maps[1] = 1
    maps[2] = [[1, -5, 1], [0, 2, 0], [0, 0, 0]]
    maps[3] = -1
    assert centre_share(maps, PCAM)[:3] == pytest.approx([1, 1 / 9, 0.5])
    assert np.isnan(centre_share(maps, PCAM)[3])
    assert PCAM.label_share == pytest.approx(1 / 9)


@pytest.mark.parametrize("cells", [6, 12])
def test_centre_share_of_a_finer_map_is_that_of_the_cells_in_the_box(cells):
    maps = np.random.default_rng(0).standard_normal((5, cells, cells)).astype(np.float32)
    third = slice(cells // 3, 2 * cells // 3)
    positive = np.maximum(maps, 0)
    expected = positive[:, third, third].sum(axis=(1, 2)) / positive.sum(axis=(1, 2))
    assert centre_share(maps, PCAM) == pytest.approx(expected, rel=1e-5)


def test_many_maps_are_enlarged_like_one():
    maps = np.random.default_rng(0).standard_normal((4, 3, 6)).astype(np.float32)
    for smooth in (True, False):
        each = np.stack([enlarge(heatmap, 24, smooth) for heatmap in maps])
        np.testing.assert_allclose(enlarge(maps, 24, smooth), each, rtol=1e-6)


# Masks ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked():
    """Forty native maps that know a third of the truth, and masks of one 32 px cell."""
    generator = np.random.default_rng(5)
    cells = np.zeros((40, 3, 3))
    cells[np.arange(40), generator.integers(3, size=40), generator.integers(3, size=40)] = 1
    masks = cells.repeat(32, axis=1).repeat(32, axis=2).astype(np.uint8)
    return (cells + 1.5 * generator.standard_normal(cells.shape)).astype(np.float32), masks


def test_pixel_figures_equal_scikit_learn(masked):
    maps, masks = masked
    counts = pixel_counts(maps, masks, levels(maps)).sum(axis=0)
    pixels, truth = enlarge(maps, 96, smooth=True).ravel(), masks.ravel()
    found = pixel_figures(counts)
    assert counts.sum() == truth.size
    assert found["pixel_auc"] == pytest.approx(roc_auc_score(truth, pixels), abs=2e-3)
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, pixels), abs=5e-3)
    assert found["tumour"] == pytest.approx(1 / 9)
    assert "iou" not in found


def test_iou_equals_scikit_learn_and_the_level_is_the_best(masked):
    maps, masks = masked
    edges = levels(maps)
    counts = pixel_counts(maps, masks, edges).sum(axis=0)
    best = best_level(counts)
    pixels = enlarge(maps, 96, smooth=True).ravel()
    iou = pixel_figures(counts, best)["iou"]
    assert iou == pytest.approx(jaccard_score(masks.ravel(), pixels >= edges[best - 1]))
    assert all(pixel_figures(counts, level)["iou"] <= iou for level in range(0, len(edges), 50))


def test_figures_of_the_exact_the_inverted_and_the_even_map(masked):
    _, masks = masked
    pixels = masks.astype(np.float32)  # as fine as the mask itself: nothing is interpolated
    edges = np.array([0.5])
    exact = pixel_figures(pixel_counts(pixels, masks, edges).sum(axis=0), 1)
    assert (exact["pixel_auc"], exact["average_precision"], exact["iou"]) == (1, 1, 1)
    inverted = pixel_figures(pixel_counts(1 - pixels, masks, edges).sum(axis=0), 1)
    assert inverted["pixel_auc"] == 0
    assert inverted["iou"] == 0
    even = pixel_figures(pixel_counts(np.ones((40, 3, 3)), masks, edges).sum(axis=0), 1)
    assert even["pixel_auc"] == 0.5
    assert even["average_precision"] == pytest.approx(1 / 9)
    assert even["iou"] == pytest.approx(1 / 9)


def test_pixel_figures_without_tumour_are_undefined():
    found = pixel_figures(pixel_counts(np.ones((1, 3, 3)), np.zeros((1, 96, 96), np.uint8), np.array([0.5]))[0])
    assert np.isnan(found["pixel_auc"])
    assert np.isnan(found["average_precision"])


def test_pointing_game_by_hand():
    masks = np.zeros((5, 96, 96), np.uint8)
    masks[:4, :32, :32] = 1
    maps = np.full((5, 3, 3), -1.0)
    maps[0, 0, 0] = maps[1, 2, 2] = 1
    maps[2, 0, 0] = maps[2, 2, 2] = 1  # the corners' plateaus tie
    maps[4, 0, 0] = 1
    hit, chance = pointing_game(maps, masks)
    assert hit[:4].tolist() == [1, 0, 0.5, 0]  # the last has no positive evidence
    assert np.isnan(hit[4])  # there is no tumour to point at
    assert chance == pytest.approx([1 / 9] * 4 + [0])


# Baselines --------------------------------------------------------------------------------------------------------


def test_hematoxylin_is_found_again():
    amounts = np.random.default_rng(2).uniform(0.1, 1.0, (4, 3, 3))
    eosin = 0.3
    density = amounts[..., None] * STAINS[0] + eosin * STAINS[1]
    cells = np.rint(256 * np.exp(-density) - 1).astype(np.uint8)
    images = cells.repeat(32, axis=1).repeat(32, axis=2)
    np.testing.assert_allclose(hematoxylin(images, (3, 3)), amounts, atol=0.03)


def test_baselines_know_nothing_but_the_middle():
    images = np.full((400, 96, 96, 3), 200, np.uint8)
    found = baselines(images, (3, 3), PCAM)
    assert list(found) == ["random", "centre prior", "hematoxylin", "inverse hematoxylin", "hematoxylin variation"]
    assert {maps.shape for maps in found.values()} == {(400, 3, 3)}
    assert centre_share(found["random"], PCAM).mean() == pytest.approx(PCAM.label_share, abs=0.03)
    assert (found["centre prior"].reshape(400, 9).argmax(axis=1) == 4).all()
    assert (centre_share(found["centre prior"], PCAM) > PCAM.label_share).all()
    for name in ("hematoxylin", "inverse hematoxylin", "hematoxylin variation"):
        assert np.ptp(found[name]) == pytest.approx(0, abs=1e-5)
    assert list(baselines(images, (3, 3), PCAM.model_copy(update={"stain": None}))) == [
        "random", "centre prior", "darkness"
    ]  # fmt: skip


def test_inverse_and_variation_of_hematoxylin_by_hand():
    """Left half 0.2, right half 0.8, but for a chequered cell; the middle of a smooth step is its mean."""
    amount = np.full((96, 96), 0.2)
    amount[:, 48:] = 0.8
    amount[:32, :32][::2] = 0.6
    picture = np.rint(256 * np.exp(-amount[..., None] * STAINS[0]) - 1).astype(np.uint8)
    found = {name: maps[0] for name, maps in baselines(picture[None], (3, 3), PCAM).items()}
    np.testing.assert_allclose(found["hematoxylin"][:, 2], 0.8, atol=0.01)
    np.testing.assert_allclose(found["hematoxylin"][0, 0], 0.4, atol=0.01)
    # Cells of one amount vary by nothing, of two amounts in equal parts by half their difference.
    assert found["hematoxylin variation"] == pytest.approx(
        np.array([[-0.2, -0.3, 0], [0, -0.3, 0], [0, -0.3, 0]]), abs=0.015
    )
    assert found["inverse hematoxylin"][2, 1] == pytest.approx(-0.5, abs=0.01)
    # 0.2 + 0.6 times the mean of the normal distribution function from 1 to 3 standard deviations beyond the step.
    beyond = norm.cdf(np.linspace(1, 3, 2001)).mean()
    assert found["inverse hematoxylin"][2, 2] == pytest.approx(-(0.2 + 0.6 * beyond), abs=0.01)
    assert found["inverse hematoxylin"][2, 0] == pytest.approx(-(0.8 - 0.6 * beyond), abs=0.01)


def test_centred_baselines_have_shares_that_a_signed_map_can_be_held_against():
    unsigned = np.array([[[1.0, 1, 1, 2]]], np.float32).reshape(1, 2, 2)
    found = centred({"hematoxylin": unsigned, "random": unsigned, "own logit": unsigned})
    assert found["hematoxylin"].ravel().tolist() == [-0.25, -0.25, -0.25, 0.75]
    assert found["random"] is found["own logit"] is unsigned  # these have a sign
    cell = np.array([3])
    assert cell_share(unsigned, cell, 2).share == pytest.approx([2 / 5])
    assert cell_share(found["hematoxylin"], cell, 2).share == pytest.approx([1])
    assert cell_share(-found["hematoxylin"], cell, 2).share == pytest.approx([0])


def test_a_logit_slid_over_a_region_stands_where_its_label_lies():
    cells = np.arange(30, dtype=np.uint8).reshape(5, 6)
    image = np.repeat(cells.repeat(32, axis=0).repeat(32, axis=1)[..., None], 3, axis=2)
    asked = []

    def middle(patches):
        asked.append(len(patches))
        return patches[:, 48, 48, 0].astype(float)

    (found,) = slid(image, PCAM, middle, at_once=3)
    assert asked == [3, 1] * 3  # windows of 3 x 3 cells: three rows of four
    assert (found[1:-1, 1:-1] == cells[1:-1, 1:-1]).all()
    assert (found == np.pad(cells[1:-1, 1:-1], 1, mode="edge")).all()
    # Of a task with windows of two cells the middles lie between cells: those are the mean of both.
    half = PCAM.model_copy(update={"side": 64, "label_region": None})
    corner = lambda patches: patches[:, 0, 0, 0].astype(float)  # noqa: E731
    (found,) = slid(image[:96, :96], half, corner)
    assert found.tolist() == [[0, 0.5, 1], [3, 3.5, 4], [6, 6.5, 7]]
    assert slid(image[:64, :160], PCAM, middle) is None
