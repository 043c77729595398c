"""Strangers that are known to be strange."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from core.errors import BundleError
from core.evaluation.strangers import (
    DETECTORS,
    NEIGHBOURS,
    Mahalanobis,
    Neighbours,
    alarm_threshold,
    load_detector,
    recognised,
    save_detector,
)

EACH = pytest.mark.parametrize("kind", DETECTORS)


@pytest.fixture(scope="module")
def features():
    """A thousand features of forty directions that vary by very different amounts, none of them negative."""
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((40, 40)) * np.geomspace(1, 0.05, 40)
    return np.maximum(generator.standard_normal((1400, 40)) @ mixing.T + 8, 0)


@EACH
def test_strangers_are_told_and_one_s_own_are_not(features, kind):
    detector = DETECTORS[kind].fit(features[:800])
    threshold = alarm_threshold(detector, features[800:1100])
    far = features[1100:] * np.random.default_rng(1).choice([0.3, 1.7], (300, 40))
    found = recognised(detector, features[1100:], far, threshold)
    assert found["auroc"] > 0.99
    assert found["found"] > 0.95
    assert found["false_alarms"] == pytest.approx(0.05, abs=0.04)
    nobody = recognised(detector, features[800:1100], features[1100:], threshold)
    assert nobody["auroc"] == pytest.approx(0.5, abs=0.07)
    assert (detector.distance(features[800:1100]) > threshold).mean() == pytest.approx(0.05, abs=0.005)


def test_mahalanobis_of_a_known_gaussian():
    generator = np.random.default_rng(0)
    detector = Mahalanobis.fit(generator.standard_normal((20_000, 3)) * [1, 2, 5] + [1, 2, 3])
    assert detector.looks[:, 0].tolist() == [2, 3]  # variances 25 and 4 of 30 make 97 %
    found = detector.distance(np.array([[1, 2, 3], [3, 2, 3], [1, 6, 3], [1, 2, 13.0]]))
    narrow, wide = (np.sqrt(chi2.ppf(0.95, directions)) for directions in (2, 3))
    assert found == pytest.approx([0, 2 / wide, 2 / narrow, 2 / narrow], abs=0.03)


def test_neighbours_equal_scipy(features):
    detector = Neighbours.fit(features[:300])
    index, distance = detector.nearest(features[300:900], 4)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.sort(cdist(unit[300:900], unit[:300]), axis=1)
    np.testing.assert_allclose(distance, expected[:, :4], atol=1e-3)
    assert (index[:, 0] == cdist(unit[300:900], unit[:300]).argmin(axis=1)).mean() > 0.99
    np.testing.assert_allclose(detector.distance(features[300:900]), expected[:, NEIGHBOURS - 1], atol=1e-3)


def test_a_patch_is_its_own_neighbour(features):
    index, distance = Neighbours.fit(features[:50]).nearest(features[:50], 1)
    assert index[:, 0].tolist() == list(range(50))
    assert distance.max() < 2e-3
    assert Neighbours.fit(features[:3]).nearest(features[:0], 5)[0].shape == (0, 3)


@EACH
def test_a_detector_survives_the_disk(features, kind, tmp_path):
    detector = DETECTORS[kind].fit(features[:300])
    save_detector(tmp_path / "strangers.safetensors", detector, 1.25)
    read, threshold = load_detector(tmp_path / "strangers.safetensors")
    assert type(read) is type(detector)
    assert threshold == 1.25
    np.testing.assert_allclose(read.distance(features), detector.distance(features), rtol=0.02, atol=0.005)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "strangers.safetensors"
    path.write_bytes(b"no")
    with pytest.raises(BundleError):
        load_detector(path)
    save_file({"threshold.mahalanobis": np.ones(1), "known": np.ones((2, 2))}, path)
    with pytest.raises(BundleError, match="no detector"):
        load_detector(path)
