"""Drawn patches: reproducible, labelled by PCam's rule, and written as an honest PCam split."""

import shutil
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from core.data import synthetic
from core.data.pcam import Split
from core.data.synthetic import DRAWN, LABEL_BOX, LYMPHOID, TUMOUR, generate, noise, transmit, write_demo
from core.errors import OutputError, SyntheticRequestError


@pytest.fixture(scope="module")
def drawn():
    return generate(32, seed=2)


def test_same_arguments_give_the_same_bytes_and_another_seed_does_not(drawn):
    again, other = generate(4, seed=2), generate(4, seed=3)
    for first, second in zip(vars(again).values(), vars(generate(4, seed=2)).values(), strict=True):
        assert first.tobytes() == second.tobytes()
    assert not (again.patches == other.patches).all((1, 2, 3)).any()


def test_a_patch_depends_on_seed_index_and_label_but_not_on_n(drawn):
    few = generate(6, seed=2)
    same_label = np.flatnonzero(few.labels == drawn.labels[:6])
    assert 0 < len(same_label) < 6, "the seed must show both cases"
    same_patch = np.flatnonzero((few.patches == drawn.patches[:6]).all((1, 2, 3)))
    np.testing.assert_array_equal(same_patch, same_label)


def test_shapes_types_and_values(drawn):
    assert (drawn.patches.shape, drawn.patches.dtype) == ((32, 96, 96, 3), np.uint8)
    assert (drawn.masks.shape, drawn.masks.dtype) == ((32, 96, 96), np.uint8)
    assert (drawn.labels.shape, drawn.labels.dtype) == ((32,), np.uint8)
    assert set(np.unique(drawn.masks)) == {0, 1}


def test_label_is_tumour_in_the_centre_box(drawn):
    in_centre = drawn.masks[:, LABEL_BOX, LABEL_BOX].any((1, 2))
    np.testing.assert_array_equal(drawn.labels, in_centre)


@pytest.mark.parametrize(("n", "positive"), [(2, 1), (7, 3), (1000, 500)])
def test_half_are_positive_and_shuffled(n, positive):
    labels = synthetic._labels(n, seed=5)
    assert labels.sum() == positive
    if n == 1000:
        assert 200 < labels[: n // 2].sum() < 300


def test_some_negatives_hold_tumour_outside_the_centre_but_most_hold_none(drawn):
    outside = drawn.masks[drawn.labels == 0].any((1, 2))
    assert 1 <= outside.sum() <= 5


def test_light_follows_beer_lambert():
    white = np.array([250.0, 240.0, 230.0])
    vectors = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    light = transmit(np.array([[0, 0], [1, 0], [2, 0], [1, 1]], float), vectors, white)
    tenth = np.sqrt(0.1)
    np.testing.assert_allclose(
        light, [[250, 240, 230], [25, 240 * tenth, 230], [2.5, 24, 230], [25, 24, 23]], rtol=1e-12
    )


def test_concentrations_are_never_negative_so_no_light_exceeds_white():
    rng = np.random.default_rng(0)
    tissue = np.arange(DRAWN * DRAWN).reshape(DRAWN, DRAWN) * len(synthetic.TISSUES) // DRAWN**2  # a stripe of each
    hematoxylin, eosin = synthetic.stain(rng, tissue, synthetic.traits_of(rng))
    assert hematoxylin.min() >= 0
    assert eosin.min() >= 0
    light = transmit(np.stack([hematoxylin, eosin], -1), synthetic.BROWN, np.full(3, 240.0))
    assert light.max() <= 240
    assert light.min() < 80


def test_a_scene_without_a_single_nucleus_can_be_drawn():
    glass = np.full((DRAWN, DRAWN), synthetic.GLASS)
    rng = np.random.default_rng(1)
    hematoxylin, _ = synthetic.stain(rng, glass, synthetic.traits_of(rng))
    assert np.median(hematoxylin) < 0.05


def test_noise_has_unit_variance_and_longer_waves_when_asked():
    rng = np.random.default_rng(0)
    short, long = noise(rng, 3), noise(rng, 30)
    for field in (short, long):
        assert field.shape == (DRAWN, DRAWN)
        assert field.mean() == pytest.approx(0, abs=1e-9)
        assert field.std() == pytest.approx(1)
    assert np.diff(short, axis=0).std() > 2 * np.diff(long, axis=0).std()


def test_stretched_noise_runs_along_its_angle():
    along_rows = noise(np.random.default_rng(0), 5, stretch=8, angle=0)
    assert np.diff(along_rows, axis=1).std() > 3 * np.diff(along_rows, axis=0).std()


def radii(kind: int):
    """Radii of the nuclei placed in a scene of one tissue, in patch pixels."""
    traits = dict(zip(synthetic.Tissue._fields, np.array(synthetic.TISSUES).T, strict=True))
    scene = np.full((DRAWN, DRAWN), kind)
    placed = synthetic._place(np.random.default_rng(0), scene, traits, matter=np.ones(scene.shape), flow=0.0)
    inside = (placed.centre > 0).all(1) & (placed.centre < 96).all(1)
    return placed.radius[inside]


def test_tumour_nuclei_are_larger_rarer_and_more_varied_than_lymphocytes():
    tumour, lymphoid = radii(TUMOUR), radii(LYMPHOID)
    assert 4.5 < np.median(tumour) < 7
    assert 2.5 < np.median(lymphoid) < 3.5
    assert len(lymphoid) > 120 > len(tumour) > 30
    assert np.log(tumour).std() > 1.3 * np.log(lymphoid).std()


def test_tumour_and_its_absence_differ_in_grain_as_seen_in_the_picture(drawn):
    def coarse(patch):
        red = ndimage.gaussian_filter(patch[..., 0].astype(float), 0.7)
        dark = red < np.percentile(red, [3, 97]).mean()
        return ndimage.binary_opening(dark, np.hypot(*np.mgrid[-3:4, -3:4]) <= 3.3).sum() / dark.sum()

    share = np.array([coarse(patch) for patch in drawn.patches])
    tumour = drawn.masks.mean((1, 2))
    assert share[tumour > 0.9].mean() > 1.5 * share[tumour == 0].mean()


def test_demo_is_a_pcam_split_that_says_it_is_synthetic(tmp_path, drawn):
    seen = []
    paths = write_demo(tmp_path / "new", 6, seed=2, progress=lambda done, total: seen.append((done, total)))
    assert [p.name for p in paths] == [f"camelyonpatch_level_2_split_demo_{k}.h5" for k in ("x", "y", "mask")]
    assert seen == [(i, 6) for i in range(1, 7)]
    expected = generate(6, seed=2)
    shapes = {"x": (6, 96, 96, 3), "y": (6, 1, 1, 1), "mask": (6, 96, 96, 1)}
    values = {"x": expected.patches, "y": expected.labels, "mask": expected.masks}
    for path, (key, shape) in zip(paths, shapes.items(), strict=True):
        with h5py.File(path) as file:
            assert list(file) == [key]
            assert (file[key].shape, file[key].dtype) == (shape, np.uint8)
            assert (file[key].attrs["synthetic"], file[key].attrs["seed"]) == (True, 2)
            assert key == "y" or file[key].chunks[0] == 1, "one patch is read without its neighbours"
            np.testing.assert_array_equal(file[key][:].reshape(values[key].shape), values[key])
    assert Split.open(tmp_path / "new", "demo").synthetic


def test_demo_files_have_the_same_bytes_every_time(tmp_path):
    first, second = (write_demo(tmp_path / name, 2, seed=9) for name in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_nothing_is_left_behind_when_drawing_stops(tmp_path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path, 2, seed=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_demo_survives_a_failed_one(tmp_path):
    def fail(done: int, total: int) -> None:
        raise OSError("the disk went away")

    kept = {p: p.read_bytes() for p in write_demo(tmp_path, 2, seed=1)}
    with pytest.raises(OutputError, match="the disk went away"):
        write_demo(tmp_path, 2, seed=8, progress=fail)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == kept


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError):
        write_demo(tmp_path / "file", 2, seed=1)


def test_a_full_disk_is_noticed_before_drawing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6, 100))
    with pytest.raises(OutputError, match="no room for 2 patches"):
        write_demo(tmp_path, 2, seed=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("n", "seed", "named"), [(1, 0, "n = 1;"), (100_001, 0, "n = 100,001;"), (4, -1, "seed = -1;")]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, n, seed, named):
    with pytest.raises(SyntheticRequestError, match=named):
        generate(n, seed)
    with pytest.raises(SyntheticRequestError, match=named):
        write_demo(tmp_path / "never", n, seed)
    assert not (tmp_path / "never").exists()
