"""The trust card on readers whose answers are known in advance."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from core.data.pcam import Split
from core.data.transforms import VIEWS, dihedral_back
from core.evaluation import trust
from core.evaluation.trust import donors, nearest, reference, trust_figures
from core.evaluation.trust_scale import FIGURES, percentile
from core.inference.caching import CachingEngine, caching_reader
from core.settings import settings
from core.task import PCAM

BLACK = np.zeros((1, 96, 96, 3), np.uint8)
CENTRES = np.ix_((16, 48, 80), (16, 48, 80))


def dotted(*cells):
    """A black patch with a white dot in the middle of some of nine cells; blurring a cell takes its dot away."""
    patch = np.zeros((96, 96, 3), np.uint8)
    for cell in cells:
        row, column = divmod(cell, 3)
        patch[32 * row + 15 : 32 * row + 18, 32 * column + 15 : 32 * column + 18] = 255
    return patch


class Dots:
    """Counts dots: a cell's evidence is its dot, their sum the logit."""

    model = SimpleNamespace(point=lambda views: SimpleNamespace(threshold=0.5))
    task = PCAM

    def read(self, patches):
        maps = (patches[:, *CENTRES, 0] > 128).astype(np.float32)
        logit = maps.sum(axis=(1, 2))
        return SimpleNamespace(attribution=maps, logit=logit, probability=logit / 9)

    def in_regions(self, method, layer):
        return True

    def explain(self, patches, method="gradcam", layer="last", target="", around=False):
        return self.read(patches)


class Fixed(Dots):
    """Draws one map whatever it is shown; its probability is the brightness of the first pixel."""

    MAP = np.arange(9, dtype=np.float32).reshape(3, 3) ** 2

    def read(self, patches):
        maps = np.tile(self.MAP, (len(patches), 1, 1))
        return SimpleNamespace(attribution=maps, logit=np.zeros(len(patches)), probability=patches[:, 0, 0, 0] / 255)

    def explain(self, patches, method="gradcam", layer="last", target="", around=False):
        if method == "gradcam":
            return self.read(patches)
        return SimpleNamespace(attribution=np.tile(-self.MAP, (len(patches), 1, 1)))


def test_a_reader_that_counts_dots():
    found = trust_figures(Dots(), np.stack([dotted(4), dotted(0, 4), dotted(*range(9))]), BLACK)
    assert set(found) == set(FIGURES)
    np.testing.assert_allclose(found["centre"], [1, 1 / 2, 1 / 9], atol=1e-6)
    np.testing.assert_allclose(found["map_turns"][:2], 1)  # the map turns with the patch
    np.testing.assert_allclose(found["probability_turns"], 0)
    np.testing.assert_allclose(found["methods"][:2], 1)
    assert found["donor_drop"][2] == pytest.approx(0)  # any two cells hold two dots
    assert np.isnan(found["map_turns"][2])  # an even map agrees with nothing
    assert np.isnan(found["methods"][2])


def test_hot_cells_against_random_ones():
    found = trust_figures(Dots(), np.tile(dotted(0, 4), (300, 1, 1, 1)), BLACK)["donor_drop"]
    # Two of two dots go with the hottest cells; of two random cells in nine, 2 * 2 / 9 dots on average.
    assert found.mean() == pytest.approx(2 - 4 / 9, abs=0.06)
    assert found.max() <= 2


def test_donors_count_on_average_and_a_patch_is_no_donor_to_itself():
    patch, full = dotted(*range(5)), dotted(*range(9))
    alone = [trust_figures(Dots(), patch[None], donor[None])["donor_drop"][0] for donor in (BLACK[0], full)]
    both = trust_figures(Dots(), patch[None], np.stack([BLACK[0], patch, full]))["donor_drop"][0]
    assert both == pytest.approx(np.mean(alone))
    assert np.isnan(trust_figures(Dots(), patch[None], patch[None])["donor_drop"][0])
    assert np.isnan(trust_figures(Dots(), patch[None], BLACK[:0])["donor_drop"][0])


def test_donors_are_of_the_other_class_and_carry_no_flag(tmp_path, write_split):
    tissue = Split.open(settings().demo, "demo")
    negative = np.flatnonzero(tissue.labels == 0)[:4]
    pixels = np.concatenate([np.full((3, 96, 96, 3), 255, np.uint8), tissue.patches(negative)])
    labels = np.array([0, 0, 0, 0, 1, 0, 0], np.uint8)
    found = donors(Split.open(write_split(tmp_path, pixels, labels), "valid"), PCAM)
    assert sorted(map(bytes, found)) == sorted(map(bytes, pixels[[3, 5, 6]]))


def test_a_reader_that_does_not_look():
    patch = np.zeros((1, 96, 96, 3), np.uint8)
    patch[0, 0, 0] = 255
    found = trust_figures(Fixed(), patch, BLACK)
    turned = [dihedral_back(Fixed.MAP[None], index)[0].ravel() for index in range(1, VIEWS)]
    expected = np.mean([np.corrcoef(Fixed.MAP.ravel(), other)[0, 1] for other in turned])
    assert found["map_turns"][0] == pytest.approx(expected)
    assert found["map_turns"][0] < 0.2
    assert found["probability_turns"][0] == pytest.approx(1)  # bright in two views, dark in six
    assert found["methods"][0] == pytest.approx(-1)
    assert found["donor_drop"][0] == pytest.approx(0)


def test_methods_share_the_pass_of_the_first_view(tiny_reader, patches):
    reader = caching_reader(tiny_reader)
    trust_figures(reader, patches[:1], patches[1:3])
    assert isinstance(reader.engine, CachingEngine)
    assert reader.engine.passes == VIEWS + 2 * (1 + trust.RANDOM_DRAWS)


def test_spread_by_verdict(monkeypatch):
    monkeypatch.setattr(trust, "FEW", 4)
    few, many = [dotted(*range(i)) for i in (1, 2, 3, 4)], [dotted(*range(i)) for i in (5, 6, 7)]
    spread = reference(Dots(), [np.stack(few), np.stack(many)], BLACK)
    assert (spread[PCAM.negative]["patches"], spread[PCAM.positive]["patches"]) == (4, 3)
    assert spread[PCAM.positive]["quantiles"] == {}  # three are too few
    centre = spread[PCAM.negative]["quantiles"]["centre"]  # no dot in the middle cell
    assert (len(centre), min(centre), max(centre)) == (101, 0, 0)
    assert spread[PCAM.negative]["quantiles"]["map_turns"] == pytest.approx([1] * 101)


def test_the_nearest_patches_are_those_scipy_finds(split, patches, monkeypatch):
    monkeypatch.setattr(trust, "CHUNK", 5)
    known = np.random.default_rng(4).standard_normal((12, 3)).astype(np.float16)
    read = np.arange(12) != 8
    at = known[3].astype(np.float32) + 0.01
    found = nearest(split, known, read, patches[3], at)
    far = cdist(at[None], known.astype(np.float64))[0]
    expected = [place for place in np.argsort(far) if place not in (3, 8)][:5]  # neither itself nor one not read
    assert [one.place for one in found] == expected
    np.testing.assert_allclose([one.distance for one in found], far[expected], rtol=1e-6)
    for one in found:
        np.testing.assert_array_equal(one.patch, patches[one.place])


def test_patches_of_the_same_pixels_are_no_neighbours(tmp_path, write_split, patches):
    copies = np.concatenate([np.repeat(patches[:1], 25, axis=0), patches[1:3]])
    split = Split.open(write_split(tmp_path, copies, np.zeros(27, np.uint8)), "valid")
    known = np.arange(27, dtype=np.float16)[:, None]
    found = nearest(split, known, np.ones(27, bool), patches[0], known[0])
    assert [(one.place, one.distance) for one in found] == [(25, 25), (26, 26)]
    assert nearest(split, known, np.zeros(27, bool), patches[0], known[0]) == []


def test_percentile():
    quantiles = {"patches": 50, "centre": np.linspace(0.2, 0.4, 101).tolist()}
    assert percentile(0.3, quantiles, "centre") == pytest.approx(50)
    assert percentile(0.25, quantiles, "centre") == pytest.approx(25)
    assert (percentile(0.0, quantiles, "centre"), percentile(9.0, quantiles, "centre")) == (0, 100)
    assert percentile(0.3, quantiles, "methods") is None
    assert percentile(float("nan"), quantiles, "centre") is None
