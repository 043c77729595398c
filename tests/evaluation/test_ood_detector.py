"""Strangers that are known to be strange: distances by hand, limits that are kept, and kinds cut as they should be."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2

from core.data.pcam import Split
from core.errors import DataError, ImportSourceError, SplitNotFoundError
from core.evaluation import ood
from core.evaluation.ood import (
    Kind,
    alarm_threshold,
    fit,
    fit_ood_detector,
    measured,
    of_folder,
    of_own,
    of_scikit_image,
    recognised,
)
from core.evaluation.schema import OODFigures
from core.models.ood import load_detector, save_detector
from core.models.store import StoredBundle, read_description, write_description
from core.task import PCAM
from core.view.narrative import ood_finding


@pytest.fixture(scope="module")
def features():
    """A thousand features of forty directions that vary by very different amounts, none of them negative."""
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((40, 40)) * np.geomspace(1, 0.05, 40)
    return np.maximum(generator.standard_normal((1400, 40)) @ mixing.T + 8, 0)


def names(prefix, count):
    return np.array([f"{prefix}{number}" for number in range(count)])


def test_ood_patches_are_told_and_one_s_own_are_not(features):
    detector = fit(features[:800], features[800:1100])
    limit = float(detector.limit[0])
    assert limit == pytest.approx(alarm_threshold(detector, features[800:1100]))
    assert detector.place(features[800:1100])[1].mean() == pytest.approx(0.05, abs=0.005)
    far = detector.distance(features[1100:] * np.random.default_rng(1).choice([0.3, 1.7], (300, 40)))
    near, others = detector.distance(features[1100:]), detector.distance(features[800:1100])
    found = recognised(near, far, limit, names("own", 300), names("odd", 300))
    assert found["auroc"].low > 0.99
    assert found["found"] > 0.95
    nobody = recognised(others, near, limit, names("own", 300), names("odd", 300))["auroc"]
    assert nobody.low < 0.5 < nobody.high


def test_mahalanobis_of_a_known_gaussian():
    generator = np.random.default_rng(0)
    draws = generator.standard_normal((20_000, 3)) * [1, 2, 5] + [1, 2, 3]
    detector = fit(draws, draws)
    assert detector.subspaces[:, 0].tolist() == [2, 3]  # variances 25 and 4 of 30 make 97 %
    assert detector.residual_scale.tolist() == [0]
    points = np.array([[1, 2, 3], [3, 2, 3], [1, 6, 3], [1, 2, 13.0]])
    narrow, wide = (np.sqrt(chi2.ppf(0.95, directions)) for directions in (2, 3))
    assert detector.distance(points) == pytest.approx([0, 2 / wide, 2 / narrow, 2 / narrow], abs=0.03)
    # Coordinates are standard deviations along the directions, the largest variance first; their signs are free.
    np.testing.assert_allclose(
        np.abs(detector.coordinates(points)), [[0, 0, 0], [0, 0, 2], [0, 2, 0], [2, 0, 0]], atol=0.06
    )


def test_what_lies_off_the_directions_kept_is_looked_at(monkeypatch):
    monkeypatch.setattr(ood, "DIRECTIONS", 1)
    draws = np.random.default_rng(0).standard_normal((20_000, 3)) * [1, 2, 5]
    detector = fit(draws, draws)
    points = np.array([[0, 0, 5], [3, 0, 4], [0, 4, 0.0]])
    np.testing.assert_allclose(detector.left_out(points, detector.coordinates(points)), [0, 3 / 5, 1], atol=0.01)
    share = np.sqrt((draws[:, :2] ** 2).sum(axis=1) / (draws**2).sum(axis=1))
    assert detector.residual_scale[0] == pytest.approx(np.quantile(share, 0.95), abs=0.002)
    assert detector.distance(points)[2] == pytest.approx(1 / detector.residual_scale[0], abs=0.01)


def test_a_patch_has_the_same_coordinates_whatever_it_is_read_with(features):
    detector = fit(features[:300].astype(np.float32), features[300:400])
    some = features[:40].astype(np.float32)
    alone = np.concatenate([detector.coordinates(some[i : i + 1]) for i in range(40)])
    assert detector.coordinates(some).tobytes() == alone.tobytes()
    assert detector.coordinates(some[:0]).shape == (0, detector.whiten.shape[1])
    assert detector.place(some[:0])[1].shape == (0,)


def test_a_detector_survives_the_disk(features, tmp_path):
    detector = fit(features[:300], features[300:400])
    save_detector(tmp_path / "ood.safetensors", detector)
    read = load_detector(tmp_path / "ood.safetensors")
    assert all(np.array_equal(array, getattr(read, name)) for name, array in vars(detector).items())


def test_features_that_never_vary_teach_nothing():
    with pytest.raises(DataError, match="says the same of every training patch"):
        fit(np.ones((30, 4)), np.ones((30, 4)))


# From splits


def test_a_bundle_is_shown_its_training_tissue(ood_bundle, ood_reader, known_tissue):
    record = read_description(ood_bundle).ood
    assert (record.fitted_on.split, record.fitted_on.patches) == ("train", 72)
    assert (record.limit_on.split, record.limit_on.patches) == ("valid", 24)
    assert record.limit_on.fingerprint == Split.open(known_tissue, "valid").fingerprint()
    features = {
        name: ood_reader.features(Split.open(known_tissue, name).patches(slice(None))) for name in ("train", "valid")
    }
    expected = fit(features["train"], features["valid"])
    np.testing.assert_allclose(
        ood_reader.ood.distance(features["valid"]), expected.distance(features["valid"]), rtol=1e-3
    )
    assert ood_reader.ood.place(features["valid"])[1].sum() == 2  # of 24: beyond the 95th percentile


def test_a_sample_is_drawn_of_a_large_split(tiny_copy, known_tissue, monkeypatch):
    from core.inference import load_reader

    monkeypatch.setattr(ood, "SAMPLE", 21)
    told = []
    reader = load_reader(tiny_copy, "openvino")
    bundle = fit_ood_detector(reader, reader.model, Split.open(known_tissue, "valid"), lambda *fact: told.append(fact))
    assert (bundle.ood.fitted_on.patches, bundle.ood.limit_on.patches) == (21, 21)
    assert told == [(21, 21), (21, 21)]
    assert read_description(tiny_copy).ood is None  # writing it is the caller's


def test_a_process_killed_between_the_two_files_leaves_a_bundle_that_opens(tiny_copy, known_tissue, monkeypatch):
    """The old detector's record is gone before the new file comes; what no description names is left alone."""
    from core.inference import load_reader

    valid, quiet = Split.open(known_tissue, "valid"), lambda done, total: None
    reader = load_reader(tiny_copy, "openvino")
    write_description(tiny_copy, fit_ood_detector(reader, reader.model, valid, quiet))
    again = load_reader(tiny_copy, "openvino")

    def killed(path, detector):
        save_detector(path, dataclasses.replace(detector, limit=detector.limit + 1))
        raise KeyboardInterrupt

    monkeypatch.setattr(ood, "save_detector", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_ood_detector(again, again.model, valid, quiet)
    assert StoredBundle.open(tiny_copy).ood is None


def test_without_training_patches_nothing_is_written(tiny_copy, tiny_reader, split, write_split, patches, labels):
    reader = type(tiny_reader)(type(tiny_reader.stored)(tiny_copy, tiny_reader.model), tiny_reader.engine)
    quiet = lambda done, total: None  # noqa: E731
    with pytest.raises(SplitNotFoundError, match="No split 'train'"):
        fit_ood_detector(reader, reader.model, split, quiet)
    write_split(split.folder, patches, labels, "train")
    with pytest.raises(DataError, match="12 patches of 'train' are too few"):
        fit_ood_detector(reader, reader.model, split, quiet)
    assert not list(tiny_copy.glob("ood*"))


# Out-of-distribution kinds


def test_one_s_own_patches_made_strange(patches):
    own = Kind("own", patches, names("slide", 12))
    kinds = {kind.name: kind for kind in of_own(own)}
    assert list(kinds) == ["scale 0.5x", "scale 2x", "scale 4x", "blur, 2 px"]
    for kind in kinds.values():
        assert kind.patches.shape == patches.shape
        assert kind.sources is own.sources
    # At twice the size the middle half is all there is to see: cloud by cloud 16 px instead of 8.
    middle = patches[:, 24:72, 24:72].repeat(2, axis=1).repeat(2, axis=2)
    assert (
        np.abs(kinds["scale 2x"].patches.astype(int) - middle).mean() < np.abs(patches.astype(int) - middle).mean() / 2
    )


def test_scikit_image_s_own_pictures_need_no_network(monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    kinds = {kind.name: kind for kind in of_scikit_image(96)}
    assert set(kinds) == {"immunohistochemistry (scikit-image)", "photographs (scikit-image)"}
    for kind in kinds.values():
        assert kind.patches.shape[1:] == (96, 96, 3)
        assert np.unique(kind.sources, return_counts=True)[1].max() <= 8
    assert len(np.unique(kinds["photographs (scikit-image)"].sources)) > 5


@pytest.fixture
def folder(tmp_path):
    """Four pictures in two colours; the pixels tell the corner they stand at."""
    folder = tmp_path / "odd"
    folder.mkdir()
    rows, columns = np.indices((200, 300))
    for number, name in enumerate(("liver_1", "liver-2", "skin_1", "skin_2")):
        pixels = np.stack([rows // 96, columns // 96, np.full_like(rows, number)], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "README.md").write_text("not a picture")
    return folder


def test_pictures_of_a_folder_are_cut_side_by_side(folder):
    liver, skin = of_folder(folder, PCAM)
    assert (liver.name, skin.name) == ("liver", "skin")
    assert len(liver.patches) == 12  # 2 x 3 of each
    corners = {tuple(patch[0, 0, :2]) for patch in liver.patches}
    assert corners == {(row, column) for row in (0, 1) for column in (0, 1, 2)}
    assert all((patch == patch[0, 0]).all() for patch in liver.patches)
    assert sorted(set(liver.sources)) == ["liver: liver-2.png", "liver: liver_1.png"]


def test_a_name_of_its_own_makes_no_kind(folder):
    (folder / "skin_1.png").rename(folder / "other.png")
    (kind,) = of_folder(folder, PCAM)
    assert (kind.name, len(kind.patches)) == ("pictures of odd", 24)


def test_what_a_mac_leaves_behind_is_no_picture(folder):
    before = [kind.name for kind in of_folder(folder, PCAM)]
    for path in list(folder.glob("*.png")):
        path.with_name(f"._{path.name}").write_bytes(b"left behind")
    assert [kind.name for kind in of_folder(folder, PCAM)] == before


def test_a_folder_that_will_not_do(folder, tmp_path):
    with pytest.raises(ImportSourceError, match="holds no pictures"):
        list(of_folder(tmp_path / "nowhere", PCAM))
    (folder / "skin_2.png").write_bytes(b"no")
    with pytest.raises(ImportSourceError, match=r"skin_2\.png"):
        list(of_folder(folder, PCAM))


class Colours:
    """A reader that sees nothing but the colour of the first pixel."""

    def __init__(self):
        self.ood = fit(self.features(coloured(400, 128)), self.features(coloured(400, 128, seed=1)))

    def features(self, patches):
        return patches[:, 0, 0].astype(np.float32)


def coloured(count, level, seed=2):
    """Even patches whose colours vary by 5 grey levels about one."""
    colours = np.random.default_rng(seed).normal(level, 5, (count, 1, 1, 3))
    return np.broadcast_to(colours, (count, 96, 96, 3)).astype(np.uint8)


def test_what_is_measured():
    reader, told = Colours(), []
    own = Kind("own", coloured(60, 128), names("patch", 60))
    kinds = [Kind("the same", own.patches, own.sources), Kind("bright", coloured(20, 180), names("lamp", 4).repeat(5))]
    found = measured(reader, own, kinds, lambda *fact: told.append(fact))
    flagged = reader.ood.place(reader.features(own.patches))[1].mean()
    assert found["patches"] == 60
    assert found["false_alarms"].value == pytest.approx(flagged)
    same, bright = found["kinds"]
    assert (same["auroc"].value, same["auroc"].low, same["auroc"].high) == (0.5, 0.5, 0.5)
    assert same["found"] == pytest.approx(flagged)
    assert (bright["auroc"].value, bright["found"]) == (1, 1)
    assert (bright["patches"], bright["sources"]) == (20, 4)
    assert ood_finding(OODFigures.model_validate(found)) == [
        ("Cannot be told:", "the same: the interval reaches chance, so no flag on such a patch means nothing.")
    ]
    assert told == [(1, 2), (2, 2)]
