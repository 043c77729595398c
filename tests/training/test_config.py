"""Configurations: what is refused, in one sentence; what names a run; and how a command line puts one together."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from core.errors import TrainingConfigError
from core.training.config import PRESETS, TrainConfig, make_config, parse_config
from core.training.launch import chosen_config, opener
from core.training.recipe import recipe_of
from core.training.runs import Run

WRONG = {
    "architecture": "vgg",
    "cycles": [],
    "cycles.max_lr": [{"epochs": 1, "max_lr": 0}],
    "cycles.epochs": [{"epochs": 0, "max_lr": 1e-3}],
    "cycles.side": [{"epochs": 1, "max_lr": 1e-3, "side": 97}],
    "cycles.views": [{"epochs": 1, "max_lr": 1e-3, "cached_views": 9}],
    "cycles.norm": [{"epochs": 1, "max_lr": 1e-3, "frozen_norm": "none"}],
    "holdout": "slide",
    "batch": 1,
    "weight_decay": -1,
    "label_smoothing": 1,
    "clip": -0.1,
    "ema_decay": 1.0,
    "augmentation": {"stain": 2},
    "augmentation.typo": {"stian": 0.1},
    "distillation": {"weight": 0.5},
    "precision": "fp16",
    "std": [0, 1, 1],
    "mean": [1, 2],
    "seed": -1,
    "limit": -1,
    "checkpoint_every": 0,
    "batch.text": "many",
    "clip.nan": float("nan"),
    "tpyo": 1,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_survive_a_file(preset):
    config = make_config(preset)
    assert parse_config(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert PRESETS[preset][0].endswith(".")


def test_the_study_is_what_it_was():
    """Figures of the published notebook; see the module that holds them."""
    study = make_config("study")
    initial, second = study.cycles
    assert (initial.epochs, initial.max_lr, initial.frozen, initial.frozen_norm) == (8, 2e-2, True, "batch")
    assert (second.epochs, second.min_group_lr, second.max_lr, second.frozen) == (12, 4e-5, 4e-4, False)
    assert (initial.side, second.side, study.batch, study.holdout) == (90, 90, 128, "random")
    assert study.mean == pytest.approx([179.12, 139.29, 177.60], abs=0.01)
    official = make_config("study-official")
    assert official == TrainConfig.model_validate(study.model_dump() | {"holdout": "split"})


@pytest.mark.parametrize("case", WRONG)
def test_a_value_that_cannot_be_is_refused_in_one_sentence(case):
    field = case.split(".")[0]
    with pytest.raises(TrainingConfigError) as caught:
        make_config("smoke", **{field: WRONG[case]})
    message = str(caught.value)
    assert field in message or WRONG[case] in message
    assert "\n" not in message
    assert len(message) <= 250


def test_not_even_a_mapping_is_refused():
    for values in (None, [], 3, "text"):
        with pytest.raises(TrainingConfigError):
            parse_config(values)
    with pytest.raises(TrainingConfigError, match="unknown preset 'nothing'"):
        make_config("nothing")


def test_frozen_and_named_by_every_value():
    config = make_config("smoke")
    with pytest.raises(ValidationError):
        config.batch = 4
    with pytest.raises(ValidationError):
        config.cycles[0].max_lr = 1.0
    assert make_config("smoke").digest == config.digest
    assert len(config.digest) == 8
    others = [make_config("smoke", seed=1), make_config("smoke", clip=0.5), make_config("smoke", batch=31)]
    others.append(make_config("smoke", cycles=[{"epochs": 1, "max_lr": 1e-2}]))
    assert len({config.digest, *(other.digest for other in others)}) == 5
    assert make_config("smoke", batch=None) == config


class TestChosen:
    def test_a_preset_with_changes(self, tmp_path):
        changes = ["batch=16", "augmentation.stain=0.2", "start=some/path", "cycles.1.epochs=2", "cycles.0.side=64"]
        config = chosen_config(tmp_path / "run", None, "smoke", changes)
        plain = make_config("smoke")
        assert (config.batch, config.augmentation.stain, config.start) == (16, 0.2, "some/path")
        assert [cycle.epochs for cycle in config.cycles] == [plain.cycles[0].epochs, 2]
        assert [cycle.side for cycle in config.cycles] == [64, None]
        assert make_config("smoke") == plain  # the preset itself is untouched

    def test_a_part_that_was_not_there(self, tmp_path):
        config = chosen_config(tmp_path / "run", None, "smoke", ["distillation.teacher=densenet169"])
        assert config.distillation.teacher == "densenet169"
        assert config.distillation.weight == 0.5

    def test_a_file(self, tmp_path):
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"cycles": [{"epochs": 2, "max_lr": 1e-3}], "batch": 8}))
        assert chosen_config(tmp_path / "run", file, "smoke", ["seed=5"]).model_dump() == (
            TrainConfig(cycles=({"epochs": 2, "max_lr": 1e-3},), batch=8, seed=5).model_dump()
        )

    def test_a_run_goes_on_as_it_was_begun(self, tmp_path):
        config = make_config("smoke", seed=9)
        Run.create(tmp_path / "run", config)
        assert chosen_config(tmp_path / "run", None, None, []) == config
        assert chosen_config(tmp_path / "run", None, "study", []) == make_config("study")  # nor is that resumed
        assert chosen_config(tmp_path / "other", None, None, []) == make_config("default")
        assert chosen_config(tmp_path / "run", None, "smoke", ["seed=3"]).seed == 3  # Run.create will refuse it

    @pytest.mark.parametrize("text", ["{", "[1]", "", "[" * 100_000, '{"cycles": 3}'])
    def test_a_file_that_is_none(self, text, tmp_path):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(TrainingConfigError):
            chosen_config(tmp_path / "run", tmp_path / "config.json", "smoke", [])

    @pytest.mark.parametrize(
        "change",
        ["batch", "batch=", "batch=[", "cycles.7.epochs=1", "cycles.x=1", "=3", "a.b.c=1", "seed=" + "9" * 5000],
        ids=lambda change: change[:20],
    )
    def test_a_change_that_cannot_be(self, change, tmp_path):
        with pytest.raises(TrainingConfigError):
            chosen_config(tmp_path / "run", None, "smoke", [change])

    def test_nothing_there(self, tmp_path):
        with pytest.raises(TrainingConfigError, match="not a JSON file that can be read"):
            chosen_config(tmp_path / "run", tmp_path / "missing.json", "smoke", [])
        with pytest.raises(TrainingConfigError, match="unknown preset"):
            chosen_config(tmp_path / "run", None, "nothing", [])


def test_data_are_looked_for_from_the_project():
    split = opener(make_config("smoke"))("demo")
    assert len(split) == 400


def test_a_home_folder_stays_at_home(monkeypatch, tmp_path):
    """The configuration goes into the bundle, and a bundle is passed on."""
    monkeypatch.setenv("HOME", str(tmp_path / "jane.doe"))
    mine = tmp_path / "jane.doe" / "mine"
    config = make_config(
        "smoke", data=str(mine), start=str(mine / "w.safetensors"), distillation={"teacher": str(mine / "t")}
    )
    assert (config.data, config.start) == ("~/mine", "~/mine/w.safetensors")
    assert config.distillation.teacher == "~/mine/t"
    assert "jane.doe" not in recipe_of(config) + config.model_dump_json()
    assert "w.safetensors" in recipe_of(config)


@pytest.mark.parametrize("place", ["data/pcam", "/data/pcam", "densenet169", "random", "~/mine"])
def test_other_places_stay_as_they_are(place, monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane.doe")
    assert make_config("smoke", data=place).data == place


def test_what_lies_at_home_is_found_again(monkeypatch, tmp_path, write_split):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_split(tmp_path / "mine", np.zeros((2, 96, 96, 3), np.uint8), np.array([0, 1], np.uint8), "train")
    assert opener(make_config("smoke", data=str(tmp_path / "mine")))("train").name == "train"
