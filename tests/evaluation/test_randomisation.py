"""Similarity by hand, and a network that forgets from the head down."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from core.evaluation.explanations import randomisation as stage
from core.evaluation.explanations.stage import MAIN, Sample
from core.evaluation.metrics.localisation import hematoxylin
from core.evaluation.metrics.randomisation import (
    forgotten,
    magnitude_of_unrelated,
    randomised,
    similarity,
    unrelated,
)
from core.evaluation.schema import Plan
from core.explain.grid import enlarge
from core.inference import load_reader
from core.models.store import StoredBundle
from core.settings import settings


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(0).standard_normal((12, 3, 3)).astype(np.float32)


def test_a_map_is_like_itself_at_any_size_and_unlike_its_negative(maps):
    same, opposite = similarity(maps, 7 * maps), similarity(maps, -maps)
    assert same["spearman"] == pytest.approx(1)
    assert same["ssim"] == pytest.approx(1, abs=1e-5)
    assert opposite["spearman"] == pytest.approx(-1)
    assert (opposite["ssim"] < 0.6).all()
    assert opposite["ssim"].mean() < 0.3  # flat corners have structure in common with anything


def test_unrelated_maps_are_the_level_of_nothing(maps):
    many = np.random.default_rng(1).standard_normal((300, 3, 3))
    assert unrelated(many) == pytest.approx(0, abs=0.01)
    alike = np.arange(9.0).reshape(1, 3, 3) + 0.5 * many  # a shape that all share looks like agreement
    assert unrelated(alike) > 0.8
    pairs = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in combinations(maps, 2)]
    assert unrelated(maps) == pytest.approx(np.mean(pairs))
    assert unrelated(np.concatenate([maps, np.zeros((1, 3, 3))])) == pytest.approx(np.mean(pairs))


def test_rank_correlation_equals_scipy(maps):
    found = similarity(maps, maps[::-1])["spearman"]
    for i in range(12):
        assert found[i] == pytest.approx(spearmanr(maps[i].ravel(), maps[11 - i].ravel()).statistic)


def test_ssim_is_of_levelled_maps_at_patch_size(maps):
    a, b = (enlarge((m / np.abs(m).max() + 1) / 2, 96, smooth=True) for m in maps[:2])
    expected = structural_similarity(
        a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert similarity(maps[:1], maps[1:2])["ssim"][0] == pytest.approx(expected, abs=1e-6)


def test_an_even_map_has_no_ranks():
    even = np.zeros((1, 3, 3))
    found = similarity(even, np.arange(9.0).reshape(1, 3, 3))
    assert np.isnan(found["spearman"][0])
    assert np.isfinite(found["ssim"][0])


def test_a_network_forgets_from_the_head_down(tiny_bundle, patches):
    stored = StoredBundle.open(tiny_bundle)
    trained = stored.tensors()
    whole = load_reader(tiny_bundle, "torch")
    kept = whole.engine.forward(patches)[0]
    deepest, changed = [], []
    for depth, name, reader in randomised(stored, settings().threads, seed=1):
        tensors = reader.stored.tensors()
        assert set(tensors) == set(trained)
        now = {n for n in trained if not np.array_equal(tensors[n], trained[n])}
        changed.append(now)
        deepest.append(name)
        features = reader.engine.forward(patches)[0]
        if depth == 1:
            np.testing.assert_allclose(features, kept, atol=1e-3)  # only the head was forgotten
            assert now == {"classifier.weight", "classifier.bias"}
            np.testing.assert_array_equal(reader.stored.head[0], tensors["classifier.weight"].astype(np.float32))
        else:
            assert np.abs(features - kept).max() > 1e-2
        assert reader.model.weights_sha256 != stored.description.weights_sha256
        assert reader.model.graph_key != stored.description.graph_key
        assert np.isfinite(reader.read(patches[:2]).attribution).all()
    everything = forgotten(stored, settings().threads, seed=1).stored
    assert {n for n, tensor in everything.tensors().items() if not np.array_equal(tensor, tensors[n])} == set()
    np.testing.assert_array_equal(everything.head[1], reader.stored.head[1])
    assert everything.description.weights_sha256 not in (reader.model.weights_sha256, stored.description.weights_sha256)
    assert deepest[0] == "classifier"
    assert deepest[-1] == "conv_stem"
    assert all(before < after for before, after in pairwise(changed))
    assert {"conv_stem.weight", "bn1.running_mean", "bn1.running_var"} <= changed[-1]
    again = next(randomised(stored, settings().threads, seed=1))[2].stored.head[0]
    other = next(randomised(stored, settings().threads, seed=2))[2].stored.head[0]
    np.testing.assert_array_equal(again, next(randomised(stored, settings().threads, seed=1))[2].stored.head[0])
    assert (again != other).any()
    assert stored.tensors()["classifier.weight"].tobytes() == trained["classifier.weight"].tobytes()


def test_unrelated_maps_have_some_likeness_that_falls_with_their_cells():
    assert magnitude_of_unrelated(2) == 1
    assert magnitude_of_unrelated(3) == pytest.approx((1 + 4 * 0.5 + 1) / 6)  # six orders
    many = np.random.default_rng(0).standard_normal((20_000, 3, 3))
    alike = np.abs(similarity(many[:500], many[500:1000])["spearman"])
    assert magnitude_of_unrelated(9) == pytest.approx(0.289, abs=0.001)
    assert alike.mean() == pytest.approx(magnitude_of_unrelated(9), abs=4 * alike.std() / 500**0.5)
    # Of many cells the correlation is nearly normal with variance 1 / (cells - 1).
    assert magnitude_of_unrelated(144) == pytest.approx((2 / np.pi / 143) ** 0.5, abs=0.002)


class Fixed(Sample):
    """A sample whose maps are of the picture alone, or turn over, whatever network is asked."""

    def __init__(self, *args, turned=False):
        super().__init__(*args)
        self.turned = turned

    def maps(self, images, reader=None):
        network = reader is not None and reader.model.weights_sha256 != self.reader.model.weights_sha256
        return {MAIN: hematoxylin(images, (3, 3)) * (-1 if self.turned and network else 1)}


def test_a_map_that_ignores_the_network_does_not_change(tiny_reader, split, monkeypatch):
    """Nor does one that only turns over: what it shows is the picture in either case."""
    monkeypatch.setattr(stage, "SEEDS", 3)
    over = Fixed(tiny_reader, split, Plan(sample=12, methods=(MAIN,)), turned=True)
    assert stage.change_by_seed(over) == pytest.approx([0, 0, 0])
    sample = Fixed(tiny_reader, split, Plan(sample=12, methods=(MAIN,)))
    assert stage.change_by_seed(sample) == pytest.approx([0, 0, 0])
    (row,) = stage.measure(sample).rows
    assert (row.value, row.low, row.high) == pytest.approx((1, 1, 1))
    assert row.chance == pytest.approx(magnitude_of_unrelated(9))
    assert (row.units, row.resampled_by, row.patches) == (3, "seed", 12)


def test_the_seed_is_the_unit_and_the_row_is_the_mean_over_networks(tiny_reader, split, monkeypatch):
    monkeypatch.setattr(stage, "SEEDS", 3)
    sample = Sample(tiny_reader, split, Plan(sample=12, methods=(MAIN,)))
    likeness = stage.likeness_by_seed(sample)[MAIN]
    patches = sample.patches(sample.some(1))
    before = tiny_reader.read(patches).attribution
    for seed, found in enumerate(likeness):
        after = forgotten(tiny_reader.stored, settings().threads, seed).read(patches).attribution
        each = [abs(spearmanr(a.ravel(), b.ravel()).statistic) for a, b in zip(before, after, strict=True)]
        assert found == pytest.approx(np.mean(each), abs=1e-6)
    (row,) = stage.measure(sample).rows
    assert row.value == pytest.approx(likeness.mean())
    assert likeness.min() <= row.low <= row.high <= likeness.max()
    assert len(set(likeness)) == 3
