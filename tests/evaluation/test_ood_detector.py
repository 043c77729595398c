"""Strangers that are known to be strange: distances by hand, limits that are kept, and kinds cut as they should be."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2

from core.data.flags import flags
from core.data.pcam import Split
from core.data.picture_statistics import picture_statistics
from core.errors import DataError, ImportSourceError, SplitNotFoundError
from core.evaluation import ood
from core.evaluation.ood import (
    FALSE_ALARMS,
    Drawn,
    alarm_threshold,
    fit,
    fit_detector,
    fit_ood_detector,
    fit_picture,
    measured,
    promised_limit,
    pseudo_slides,
    recognised,
)
from core.evaluation.ood_kinds import COLON, Kind, of_folder, of_own, of_scikit_image, part_of
from core.evaluation.schema import OODFigures
from core.models.ood import Detector, Mahalanobis, PictureGaussian, load_detector, save_detector
from core.models.store import StoredBundle, read_description, write_description
from core.task import NOT_READ, PCAM, REFER
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
    assert (detector.distance(features[800:1100]) > limit).mean() == pytest.approx(0.01, abs=0.001)
    far = detector.distance(features[1100:] * np.random.default_rng(1).choice([0.3, 1.7], (300, 40))) / limit
    near, others = (detector.distance(some) / limit for some in (features[1100:], features[800:1100]))
    found = recognised(near, far, names("own", 300), names("odd", 300))
    assert found["auroc"].low > 0.99
    assert found["found"] > 0.95
    nobody = recognised(others, near, names("own", 300), names("odd", 300))["auroc"]
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
    both = Detector(detector, picture_of_noise())
    numbers = np.random.default_rng(0).standard_normal((40, 12))
    alone = np.concatenate([both.distance(some[i : i + 1], numbers[i : i + 1]) for i in range(40)])
    assert both.distance(some, numbers).tobytes() == alone.tobytes()
    assert both.place(some[:0], numbers[:0])[1].shape == (0,)


def picture_of_noise():
    """The Gaussian of twelve numbers that vary alike and on their own."""
    draws = np.random.default_rng(3).standard_normal((4000, 12))
    return fit_picture(draws, draws)


def test_either_distance_alone_makes_a_patch_strange():
    features = Mahalanobis(
        *(np.array(a, np.float32) for a in ([0, 0], np.eye(2), [[1, 1], [2, 1]], [0], [2])),
    )
    picture = PictureGaussian(np.zeros(12, np.float32), np.eye(12, dtype=np.float32), np.array([4], np.float32))
    detector = Detector(features, picture)
    seen = np.array([[0, 1], [0, 3], [0, 1], [3, 4.0]])
    numbers = np.zeros((4, 12))
    numbers[2:, 5] = 6, 8
    assert detector.distance(seen, numbers).tolist() == [0.5, 1.5, 1.5, 2.5]  # 5 / 2 and not 8 / 4
    assert detector.place(seen, numbers)[1].tolist() == [False, True, True, True]
    assert detector.relaxed(1.5).place(seen, numbers)[1].tolist() == [False, False, False, True]
    assert Detector(features).distance(seen, None).tolist() == [0.5, 1.5, 0.5, 2.5]


def test_numbers_of_a_picture_are_weighed_by_how_they_vary():
    """Mahalanobis by hand: the second number is the first, doubled, and noise; the third is in other units."""
    generator = np.random.default_rng(0)
    first, noise, third = generator.standard_normal((3, 40_000))
    draws = np.stack([first, 2 * first + noise, 1000 * third], axis=1)
    gaussian = fit_picture(draws, draws)
    points = draws.mean(axis=0) + np.array([[1, 2, 0], [0, 1, 0], [0, 0, 3000], [1, 0, 0]])
    assert gaussian.distance(points) == pytest.approx([1, 1, 3, np.sqrt(5)], rel=0.03)
    assert gaussian.limit[0] == pytest.approx(np.sqrt(chi2.ppf(0.95, 3)), rel=0.02)


def test_the_limit_keeps_its_promise_over_slides():
    """Of ten slides one is strange throughout: a tenth of all, but a draw may hold it twice or more."""
    distance = np.concatenate([np.linspace(0, 1, 900), np.linspace(2, 3, 100)])
    slides = np.repeat(names("slide", 10), 100)
    limit = promised_limit(distance, slides)
    drawn = np.random.default_rng(7).integers(10, size=(2000, 10))
    shares = [(drawn == 9).sum(axis=1) / 10 * (distance[900:] > limit).mean()]
    assert np.mean(np.array(shares) <= FALSE_ALARMS) >= 0.97
    assert limit > np.quantile(distance, 1 - FALSE_ALARMS)
    assert promised_limit(distance, np.zeros(1000, str)) == np.quantile(distance, 1 - FALSE_ALARMS)


def test_colours_stand_for_slides_where_none_are_named():
    numbers = np.random.default_rng(0).standard_normal((400, 12))
    numbers[:, :6] += np.repeat([0, 100, 200, 300], 100)[:, None]
    found = pseudo_slides(numbers)
    assert len(np.unique(found)) == 20
    assert all(len(np.unique(np.repeat(range(4), 100)[found == one])) == 1 for one in np.unique(found))
    assert len(np.unique(pseudo_slides(numbers[:45]))) == 2
    assert set(pseudo_slides(np.ones((24, 12)))) == {"0"}


def test_slides_that_are_named_are_drawn(features):
    numbers = np.random.default_rng(0).standard_normal((1100, 12))
    numbers[800:806] *= 10
    known, ten = Drawn(features[:800], numbers[:800], None, None), np.repeat(names("slide", 10), 30)
    spread, of_one = (
        fit_detector(known, Drawn(features[800:1100], numbers[800:], slides, None)) for slides in (names("", 300), ten)
    )
    # The same patches: where all six that are strange are of one slide, a draw may hold it four times.
    assert of_one.picture.limit[0] > 2 * spread.picture.limit[0]


def test_a_detector_survives_the_disk(features, tmp_path):
    for picture in (picture_of_noise(), None):
        detector = Detector(fit(features[:300], features[300:400]), picture)
        save_detector(tmp_path / "ood.safetensors", detector)
        read = load_detector(tmp_path / "ood.safetensors")
        assert same(read.features, detector.features)
        assert read.picture is None if picture is None else same(read.picture, picture)


def same(one, other):
    return all(np.array_equal(array, getattr(one, name)) for name, array in vars(other).items())


def test_features_that_never_vary_teach_nothing():
    with pytest.raises(DataError, match="says the same of every training patch"):
        fit(np.ones((30, 4)), np.ones((30, 4)))


# From splits


def test_a_bundle_is_shown_its_training_tissue(ood_bundle, ood_reader, known_tissue):
    record = read_description(ood_bundle).ood
    assert (record.fitted_on.split, record.fitted_on.patches) == ("train", 72)
    assert (record.limit_on.split, record.limit_on.patches) == ("valid", 24)
    assert record.limit_on.fingerprint == Split.open(known_tissue, "valid").fingerprint()
    patches = {name: Split.open(known_tissue, name).patches(slice(None)) for name in ("train", "valid")}
    known, others = (
        Drawn(ood_reader.features(some), picture_statistics(some), None, None) for some in patches.values()
    )
    expected = fit_detector(known, others)
    far = ood_reader.distance(patches["valid"])
    np.testing.assert_allclose(far, expected.distance(others.features, others.statistics), rtol=1e-3)
    assert (far > 1).sum() == 1  # of 24: beyond the 96th percentile; so few are of one cluster
    assert record.picture


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
        save_detector(path, detector.relaxed(2))
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
    assert list(kinds) == [
        *("own, JPEG of quality 50", "own, blur of 0.7 px", "own, blur of 2 px"),
        *("own, scale 0.5x", "own, scale 2x", "own, scale 4x"),
    ]
    for kind in kinds.values():
        assert kind.patches.shape == patches.shape
        assert kind.sources is own.sources
    # At twice the size the middle half is all there is to see: cloud by cloud 16 px instead of 8.
    middle = patches[:, 24:72, 24:72].repeat(2, axis=1).repeat(2, axis=2)
    assert (
        np.abs(kinds["own, scale 2x"].patches.astype(int) - middle).mean()
        < np.abs(patches.astype(int) - middle).mean() / 2
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
    """A reader that sees nothing but the colour of the first pixel, and gives a class to all that is not too bright."""

    def __init__(self):
        self.ood = fit(self.features(coloured(400, 128)), self.features(coloured(400, 128, seed=1)))

    def features(self, patches):
        return patches[:, 0, 0].astype(np.float32)

    def distance(self, patches):
        return self.ood.distance(self.features(patches)) / self.ood.limit[0]

    def read(self, patches):
        return SimpleNamespace(verdict=np.where(patches[:, 0, 0].mean(axis=1) > 175, "not read", "tumour"))


def coloured(count, level, seed=2):
    """Even patches whose colours vary by 5 grey levels about one."""
    colours = np.random.default_rng(seed).normal(level, 5, (count, 1, 1, 3))
    return np.broadcast_to(colours, (count, 96, 96, 3)).astype(np.uint8)


def test_what_is_measured():
    reader, told = Colours(), []
    own = Kind("own", coloured(60, 128), names("patch", 60))
    kinds = [Kind("the same", own.patches, own.sources), Kind("bright", coloured(20, 180), names("lamp", 4).repeat(5))]
    found = measured(reader, own, kinds, lambda *fact: told.append(fact))
    flagged = (reader.distance(own.patches) > 1).mean()
    assert found["patches"] == 60
    assert found["false_alarms"].value == pytest.approx(flagged)
    assert found["undecided"].value == 0
    same, bright = found["kinds"]
    assert (same["auroc"].value, same["auroc"].low, same["auroc"].high) == (0.5, 0.5, 0.5)
    assert same["found"] == pytest.approx(flagged)
    assert (bright["auroc"].value, bright["found"]) == (1, 1)
    assert (bright["patches"], bright["sources"]) == (20, 4)
    far = (kinds[1].patches[:, 0, 0].mean(axis=1) > 175).mean()
    assert 0 < far < 1
    assert bright["undecided"].value == pytest.approx(far)
    assert bright["undecided"].low < far < bright["undecided"].high
    assert ood_finding(OODFigures.model_validate(found)) == [
        ("Cannot be told:", "the same: the interval reaches chance, so no flag on such a patch means nothing.")
    ]
    assert told == [(1, 2), (2, 2)]


def test_other_stains_and_photographs_get_no_class(shipped_reader):
    """Brown stain is refused by the stain, whatever the network thinks of it; the rest by either gate."""
    for kind in of_scikit_image(96):
        readings = shipped_reader.read(kind.patches)
        assert set(readings.verdict) <= {REFER, NOT_READ}, kind.name
        if kind.name.startswith("immunohistochemistry"):
            assert all("not H&E-like" in found for found in flags(kind.patches, PCAM))


@pytest.fixture
def colon(tmp_path):
    """Forty pictures of two classes by the names of CRC-VAL-HE-7K, 224 px, and two that served no choice."""
    folder = tmp_path / "colon"
    folder.mkdir()
    for number in range(40):
        name = f"{('TUM', 'STR')[number % 2]}___{number}.png"
        Image.fromarray(np.full((224, 224, 3), number, np.uint8)).save(folder / name)
    for name in ("lung_1", "lung_2"):
        Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


def test_figures_are_of_other_pictures_than_choices(colon):
    parts = {part: {kind.name: kind for kind in of_folder(colon, PCAM, part)} for part in ("choosing", "measuring")}
    tissue = [COLON["TUM"], COLON["STR"], "colon, all classes, as 0.5 um/px"]
    for name in tissue:
        chosen, rest = (set(parts[part][name].sources) for part in parts)
        assert min(len(chosen), len(rest)) >= 5
        assert not chosen & rest
    assert len({*parts["choosing"][tissue[2]].sources, *parts["measuring"][tissue[2]].sources}) == 40
    assert set(parts["choosing"]) == set(tissue)
    assert set(parts["measuring"]) == {*tissue, "lung"}  # what served no choice is all measured
    assert parts["measuring"][tissue[2]].patches.shape[0] == len(parts["measuring"][tissue[2]].sources)
    for path in colon.glob("lung*"):
        path.unlink()
    for path in colon.glob("*.png"):
        if part_of(path.name) == "measuring":
            path.unlink()
    with pytest.raises(ImportSourceError, match="no pictures for measuring"):
        list(of_folder(colon, PCAM, "measuring"))
