"""Promotion: a run becomes a calibrated model, whole or not at all."""

import shutil

import pytest

from core.data.pcam import Split, file_of
from core.errors import CalibrationError, ModelNameError, ModelValueError, OutputError, SplitFormatError, TrainingError
from core.evaluation.report import SEEN, record_of
from core.inference import load_reader
from core.models.schema import Training
from core.models.store import (
    CARD,
    DESCRIPTION,
    OOD_DETECTOR,
    WEIGHTS,
    bundle_names,
    read_description,
    sha256_of,
    write_description,
)
from core.training import promote as module
from core.training.config import make_config
from core.training.promote import new_model, promote
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
    assert bundle.ood.fitted_on.patches == 72
    assert bundle.ood.sha256 == sha256_of(folder / OOD_DETECTOR)
    assert load_reader(folder).ood is not None


def test_nothing_half_made_is_ever_to_be_seen(run, split, tmp_path, monkeypatch):
    models = tmp_path / "models"

    def watched(reader, split, progress):
        assert bundle_names(models) == []  # not yet, though its files are on this disk
        return reader.model

    monkeypatch.setattr(module, "calibrate", watched)
    promote(run, "mine", split, models, quiet)
    assert bundle_names(models) == ["mine"]

    def fails(reader, split, progress):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "calibrate", fails)
    with pytest.raises(OutputError, match="no space left"):
        promote(run, "other", split, models, quiet)
    assert [path.name for path in models.iterdir()] == ["mine"]


def test_a_model_of_that_name_is_replaced_only_when_asked(run, split, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "calibrate", lambda reader, split, progress: reader.model)
    models = tmp_path / "models"
    promote(run, "mine", split, models, quiet)
    (models / "mine" / "evidence.json").write_text("{}")
    (models / "mine" / OOD_DETECTOR).write_bytes(b"old")
    with pytest.raises(ModelNameError, match="a model of that name is there"):
        promote(run, "mine", split, models, quiet)
    promote(run, "mine", split, models, quiet, version="2.0.0", replace=True)
    assert read_description(models / "mine").version == "2.0.0"
    assert [path.name for path in models.iterdir()] == ["mine"]
    assert sorted(path.name for path in (models / "mine").iterdir()) == [".engine", CARD, DESCRIPTION, WEIGHTS]


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_old_model_stays_when_the_new_one_cannot_be_made(tiny_copy):
    models, before = tiny_copy.parent, files_of(tiny_copy)

    def half():
        with new_model("tiny", models, replace=True) as folder:
            (folder / WEIGHTS).write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="no space left"):
        half()
    assert files_of(tiny_copy) == before
    assert [path.name for path in models.iterdir()] == ["tiny"]


def test_a_model_that_came_meanwhile_is_left_alone(tiny_bundle, tmp_path):
    def late():
        with new_model("tiny", tmp_path) as folder:
            shutil.copytree(tiny_bundle, tmp_path / "tiny")
            shutil.copytree(tiny_bundle, folder, dirs_exist_ok=True)
            write_description(folder, read_description(folder).changed(version="9.9"))

    with pytest.raises(OutputError, match="not empty"):
        late()
    assert read_description(tmp_path / "tiny").version == "0.1"


@pytest.fixture
def uncalibrated(monkeypatch):
    """Promotion without the cost of a calibration."""
    monkeypatch.setattr(module, "calibrate", lambda reader, split, progress: reader.model)


def test_damaged_training_patches_are_told_and_nothing_is_promoted(run, known_tissue, tmp_path, uncalibrated):
    data = tmp_path / "data"
    shutil.copytree(known_tissue, data)
    file_of(data, "train", "x.h5").write_bytes(b"damaged")
    with pytest.raises(SplitFormatError, match=r"train_x\.h5"):
        promote(run, "mine", Split.open(data, "valid"), tmp_path / "models", quiet)
    assert list((tmp_path / "models").iterdir()) == []


def test_too_few_training_patches_are_none(run, known_tissue, write_split, patches, labels, tmp_path, uncalibrated):
    data = tmp_path / "data"
    shutil.copytree(known_tissue, data)
    write_split(data, patches, labels, "train")
    folder = promote(run, "mine", Split.open(data, "valid"), tmp_path / "models", quiet)
    assert read_description(folder).ood is None


def test_calibrating_on_patches_it_learned_from_is_said(run, split, tmp_path):
    description = read_description(run.model)
    write_description(
        run.model, description.model_copy(update={"training": Training(recipe="Random.", data=(record_of(split),))})
    )
    folder = promote(run, "mine", split, tmp_path / "models", quiet)
    assert read_description(folder).calibrated_on.note == SEEN
    assert SEEN in (folder / "CARD.md").read_text()


def test_what_cannot_be_promoted(run, split, tmp_path):
    models = tmp_path / "models"
    with pytest.raises(ModelNameError, match="give 1 to 64 letters"):
        promote(run, "../up", split, models, quiet)
    with pytest.raises(ModelNameError, match="differs from 'densenet169' in nothing but case"):
        promote(run, "Densenet169", split, models, quiet, replace=True)
    with pytest.raises(ModelValueError, match="version"):
        promote(run, "mine", split, models, quiet, version="1\n2")
    split.labels[:] = 1
    with pytest.raises(CalibrationError, match="0 of its 12 patches are labelled no tumour"):
        promote(run, "mine", split, models, quiet)
    assert not models.exists() or list(models.iterdir()) == []
    shutil.rmtree(models, ignore_errors=True)
    shutil.rmtree(run.folder / "model")
    with pytest.raises(TrainingError, match="is not finished"):
        promote(run, "mine", split, tmp_path / "models", quiet)
    assert not (tmp_path / "models").exists()
