"""Batches: a pure function of configuration and step, whoever asks and however often."""

from dataclasses import replace

import numpy as np
import pytest

from core.data.pcam import Split
from core.data.transforms import dihedral
from core.errors import TrainingError
from core.task import PCAM
from core.training.config import Augmentation, make_config
from core.training.data import Batches, Subset, augment, centre_crop, cutmix, draw_augmentation, subsets, turned

FULL = {"shift": 3, "rotation": 5.0, "stain": 0.2, "brightness": 0.1, "contrast": 0.2, "blur": 1.0, "jpeg": 50}


@pytest.fixture
def config():
    cycles = [{"epochs": 2.5, "max_lr": 1e-3, "side": 64}, {"epochs": 1, "max_lr": 1e-3}]
    return make_config("smoke", batch=4, cycles=cycles, augmentation=FULL)


@pytest.fixture
def train(split):
    return Subset(split, np.array([1, 2, 3, 5, 6, 7, 8, 9, 10, 11]))


def same(one, other):
    np.testing.assert_array_equal(one.inputs, other.inputs)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.whole, other.whole)


def test_steps_and_epochs(train, config):
    batches = Batches(train, config, 0)
    assert (batches.per_epoch, batches.steps) == (2, 5)
    assert Batches(train, config, 1).steps == 2
    for epoch in range(2):
        seen = np.concatenate([batches.positions(2 * epoch + place) for place in range(2)])
        assert len(set(seen.tolist())) == 8  # of ten: nothing twice, and the incomplete batch is left out
    assert batches.positions(0).tolist() != batches.positions(2).tolist()
    assert batches.positions(0).tolist() != Batches(train, config, 1).positions(0).tolist()


def test_a_batch_depends_on_configuration_and_step_alone(train, config):
    first = Batches(train, config, 0)
    later = [first.batch(step) for step in (3, 0, 4)]
    again = Batches(train, config, 0)
    for step, batch in zip((3, 0, 4), later, strict=True):
        same(again.batch(step), batch)
    other = Batches(train, config.model_copy(update={"seed": 1}), 0)
    assert (other.batch(0).whole != later[1].whole).any()


def test_labels_stay_with_their_patches(train, config):
    plain = Batches(train, config.model_copy(update={"augmentation": Augmentation()}), 1)
    for step in range(plain.steps):
        batch = plain.batch(step)
        for patch, label, position in zip(batch.whole, batch.labels, plain.positions(step), strict=True):
            original = train.patches(np.array([position]))[0]
            assert any((dihedral(original[None], v)[0] == patch).all() for v in range(8))
            assert label == train.labels[position]
        np.testing.assert_array_equal(batch.inputs, batch.whole)
        assert batch.labels.dtype == np.float32


def test_inputs_are_the_centre_of_the_whole(train, config):
    batch = Batches(train, config, 0).batch(1)
    assert batch.inputs.shape == (4, 64, 64, 3)
    assert batch.whole.shape == (4, 96, 96, 3)
    np.testing.assert_array_equal(batch.inputs, batch.whole[:, 16:80, 16:80])
    assert centre_crop(batch.whole, 90).shape == (4, 90, 90, 3)
    np.testing.assert_array_equal(centre_crop(batch.whole, 90)[0, 0, 0], batch.whole[0, 3, 3])


def test_shards_make_the_global_batch(train, config):
    batches = Batches(train, config, 0)
    whole, parts = batches.batch(2), [batches.batch(2, slice(start, start + 2)) for start in (0, 2)]
    np.testing.assert_array_equal(np.concatenate([part.inputs for part in parts]), whole.inputs)
    np.testing.assert_array_equal(np.concatenate([part.whole for part in parts]), whole.whole)
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), whole.labels)


def test_the_stream_is_the_batches_from_any_step_on(train, config):
    batches = Batches(train, config, 0)
    for start in (0, 2, 4, 5):
        streamed = list(batches.stream(start))
        assert len(streamed) == 5 - start
        for step, batch in enumerate(streamed, start):
            same(batch, batches.batch(step))


@pytest.mark.usefixtures("_plain_main")
def test_processes_prepare_the_same_batches(train, config):
    """In their order, with what a teacher said."""
    batches = Batches(train, config, 0, np.linspace(-1, 1, len(train), dtype=np.float32))
    streamed = list(batches.stream(2, workers=2))
    assert len(streamed) == batches.steps - 2
    for step, batch in enumerate(streamed, 2):
        same(batch, batches.batch(step))
        np.testing.assert_array_equal(batch.answers, batches.batch(step).answers)


def test_a_mistake_while_preparing_reaches_the_one_who_waits(train, config):
    batches = Batches(replace(train, indices=np.arange(1000, 1010)), config, 0)
    with pytest.raises(IndexError):
        next(batches.stream(0))


def test_drawn_strengths_stay_within_what_is_allowed():
    drawn = draw_augmentation(Augmentation(**FULL), 2000, 96, np.random.default_rng(0))
    assert set(np.unique(drawn["view"])) == set(range(8))
    assert set(np.unique(drawn["shift"])) == set(range(-3, 4))
    for name, centre, width in (
        ("rotation", 0, 5), ("gain", 1, 0.2), ("offset", 0, 0.04), ("brightness", 0, 25.5), ("contrast", 1, 0.2),
    ):  # fmt: skip
        far = np.abs(drawn[name] - centre).max()
        assert 0.95 * width < far <= width
    for name, low, high in (("blur", 0, 1.0), ("jpeg", 50, 95)):
        some = drawn[name][drawn[name] > 0]
        assert 0.2 < len(some) / 2000 < 0.3
        assert low <= some.min() < some.max() <= high


def test_a_rectangle_of_the_pairs_other_is_pasted_with_its_part_of_the_label():
    values = np.array([10, 20, 30, 50], np.uint8)
    patches = np.broadcast_to(values[:, None, None, None], (4, 96, 96, 3))
    boxes = np.array([[32, 32, 32, 32], [0, 0, 48, 96], [0, 0, 32, 96], [5, 5, 0, 0]])
    found, labels = cutmix(patches, np.array([1, 0, 0, 1], np.float32), boxes, slice(32, 64))
    np.testing.assert_allclose(labels, [0, 0.5, 0, 1])
    for index, (other, area) in enumerate(((20, 32 * 32), (10, 48 * 96), (50, 32 * 96), (30, 0))):
        assert (found[index] == other).sum() == 3 * area
        assert (found[index] == values[index]).sum() == 3 * (96 * 96 - area)
    assert (found[0, 32:64, 32:64] == 20).all()
    assert (found[1, :48] == 10).all()
    assert (patches[0] == 10).all()


def test_some_patches_are_pasted_in_a_batch(train, config):
    plain = config.model_copy(update={"augmentation": Augmentation(stain=0.1), "batch": 10})
    mixed = plain.model_copy(update={"augmentation": Augmentation(stain=0.1, cutmix=0.5)})
    before, after = (Batches(train, one, 1).batch(0) for one in (plain, mixed))
    changed = [not np.array_equal(*pair) for pair in zip(before.whole, after.whole, strict=True)]
    assert 0 < sum(changed) < 10
    for index, was in enumerate(changed):
        own, other, new = before.whole[index], before.whole[index ^ 1], after.whole[index]
        assert ((new == own) | (new == other)).all()
        share = (new != own).any(axis=2)[32:64, 32:64].mean()  # noise hardly ever meets itself
        label = before.labels[index] + share * (before.labels[index ^ 1] - before.labels[index])
        assert after.labels[index] == pytest.approx(label, abs=1e-3 if was else 0)


def test_shards_make_the_pasted_batch(train, config):
    mixed = config.model_copy(update={"augmentation": Augmentation(cutmix=1)})
    batches = Batches(train, mixed, 0)
    parts = [batches.batch(2, slice(start, start + 2)) for start in (0, 2)]
    np.testing.assert_array_equal(np.concatenate([part.whole for part in parts]), batches.batch(2).whole)
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), batches.batch(2).labels)


def test_pasted_rectangles_lie_inside_and_have_the_sides_they_may_have():
    drawn = draw_augmentation(Augmentation(cutmix=1), 3000, 96, np.random.default_rng(0))["box"].astype(int)
    ends = drawn[:, :2] + drawn[:, 2:]
    assert drawn[:, :2].min() == 0
    assert ends.max() == 96
    assert (drawn[:, 2:].min(), drawn[:, 2:].max()) == (24, 72)
    half = draw_augmentation(Augmentation(cutmix=0.5), 3000, 96, np.random.default_rng(0))["box"]
    assert (half[:, 2:].min(1) == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_zero_strength_leaves_out_all_but_flips_and_turns(patches):
    drawn = draw_augmentation(Augmentation(), len(patches), 96, np.random.default_rng(0))
    assert set(drawn) == {"view"}
    np.testing.assert_array_equal(augment(patches, drawn), turned(patches, drawn["view"].astype(int)))
    np.testing.assert_array_equal(turned(patches, np.zeros(12, int)), patches)
    np.testing.assert_array_equal(turned(patches, np.arange(12) % 8)[5], dihedral(patches[5:6], 5)[0])


class TestSubsets:
    def test_validation_on_its_own_split_takes_all(self, split, config):
        config = config.model_copy(update={"holdout": "split", "limit": 6, "train_split": "a", "valid_split": "b"})
        asked = []
        train, valid = subsets(config, lambda name: asked.append(name) or split)
        assert asked == ["a", "b"]
        assert len(train) == 6
        assert len(valid) == len(split)
        assert (np.diff(train.indices) > 0).all()
        np.testing.assert_array_equal(subsets(config, lambda name: split)[0].indices, train.indices)

    def test_a_random_tenth_is_never_trained_on(self, config, tmp_path, write_split):
        labels = (np.arange(80) % 2).astype(np.uint8)
        patches = np.arange(80, dtype=np.uint8)[:, None, None, None] * np.ones((1, 96, 96, 3), np.uint8)
        split = Split.open(write_split(tmp_path, patches, labels), "valid")
        found = []
        for seed in range(5):
            seeded = config.model_copy(update={"seed": seed, "holdout": "random"})
            train, valid = subsets(seeded, lambda name: split)
            assert len(valid) == 8
            assert sorted([*train.indices, *valid.indices]) == list(range(80))
            found.append(tuple(valid.indices))
        assert len(set(found)) > 1

    def test_one_class_teaches_nothing(self, config, tmp_path, write_split, patches):
        split = Split.open(write_split(tmp_path, patches, np.ones(12, np.uint8)), "valid")
        with pytest.raises(TrainingError, match="all of one class"):
            subsets(config.model_copy(update={"holdout": "split"}), lambda name: split)

    def test_another_task_in_other_words_is_the_same(self, config, split):
        """Whoever mends a sentence of task.json can go on with a run that was stopped."""
        whole = config.model_copy(update={"holdout": "split"})
        subsets(whole, lambda name: replace(split, task=PCAM.model_copy(update={"name": "renamed"})))
        with pytest.raises(TrainingError, match="their label box in px is none, the run's is 32"):
            subsets(whole, lambda name: replace(split, task=PCAM.model_copy(update={"label_region": None})))

    def test_fewer_patches_than_a_batch(self, config, split):
        few = config.model_copy(update={"holdout": "split", "batch": 16})
        with pytest.raises(TrainingError, match="12 training patches, fewer than one batch of 16"):
            subsets(few, lambda name: split)
