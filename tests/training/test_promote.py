"""Promotion: a run becomes a calibrated model, whole or not at all."""

import shutil

import pytest

from core.bundle import STRANGERS, Training, bundle_names, read_description, sha256_of, write_description
from core.data.pcam import Split
from core.errors import OutputError, TrainingError
from core.evaluation.report import record_of
from core.inference import load_reader
from core.training import promote as module
from core.training.config import make_config
from core.training.promote import SEEN, promote
from core.training.runs import Run


@pytest.fixture
def run(tmp_path, tiny_bundle):
    """A finished run that became the tiny bundle."""
    run = Run.create(tmp_path / "runs" / "first", make_config("smoke"))
    shutil.copytree(tiny_bundle, run.folder / "model", ignore=shutil.ignore_patterns(".engine"))
    return run


def quiet(done, total):
    pass


def test_a_run_becomes_a_calibrated_model(run, split, tmp_path):
    seen = []
    folder = promote(run, "mine", split, tmp_path / "models", lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "models" / "mine"
    bundle = read_description(folder)
    assert bundle.name == "mine"
    assert bundle.calibrated_on == record_of(split)
    assert set(bundle.points) == {"1", "8"}
    assert bundle.scales["gradcam/last"] > 0
    assert bundle.weights_sha256 == sha256_of(run.model / "weights.safetensors")
    assert (folder / "CARD.md").read_text().startswith("# EfficientNet-Lite0: mine 1.0.0")
    assert seen[-1] == (12, 12)
    assert load_reader(folder).read(split.patches([0])).model.name == "mine"
    assert read_description(run.model).name != "mine"  # the run is as it was
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["mine"]


def test_what_training_tissue_looks_like_comes_along(run, known_tissue, tmp_path):
    folder = promote(run, "mine", Split.open(known_tissue, "valid"), tmp_path / "models", quiet)
    bundle = read_description(folder)
    assert bundle.strangers.fitted_on.patches == 72
    assert bundle.strangers.sha256 == sha256_of(folder / STRANGERS)
    assert load_reader(folder).strangers is not None


def test_nothing_half_made_is_ever_to_be_seen(run, split, tmp_path, monkeypatch):
    models = tmp_path / "models"
    real = module.calibrate

    def calibrate(reader, split, progress):
        assert bundle_names(models) == []  # not yet, though its files are on this disk
        return real(reader, split, progress)

    monkeypatch.setattr(module, "calibrate", calibrate)
    promote(run, "mine", split, models, quiet)
    assert bundle_names(models) == ["mine"]

    def fails(reader, split, progress):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "calibrate", fails)
    with pytest.raises(OutputError, match="no space left"):
        promote(run, "other", split, models, quiet)
    assert [path.name for path in models.iterdir()] == ["mine"]


def test_a_model_of_that_name_is_replaced_only_when_asked(run, split, tmp_path):
    models = tmp_path / "models"
    promote(run, "mine", split, models, quiet)
    with pytest.raises(OutputError, match="a model of that name is there"):
        promote(run, "mine", split, models, quiet)
    promote(run, "mine", split, models, quiet, version="2.0.0", replace=True)
    assert read_description(models / "mine").version == "2.0.0"
    assert [path.name for path in models.iterdir()] == ["mine"]


def test_calibrating_on_patches_it_learned_from_is_said(run, split, tmp_path):
    description = read_description(run.model)
    write_description(
        run.model, description.model_copy(update={"training": Training(recipe="Random.", data=(record_of(split),))})
    )
    folder = promote(run, "mine", split, tmp_path / "models", quiet)
    assert read_description(folder).calibrated_on.note == SEEN
    assert SEEN in (folder / "CARD.md").read_text()


def test_what_cannot_be_promoted(run, split, tmp_path):
    with pytest.raises(TrainingError, match="is no name for a model"):
        promote(run, "../up", split, tmp_path / "models", quiet)
    shutil.rmtree(run.folder / "model")
    with pytest.raises(TrainingError, match="is not finished"):
        promote(run, "mine", split, tmp_path / "models", quiet)
    assert not (tmp_path / "models").exists()
