"""Every command as a person types it: what it writes, what it says, and how it refuses."""

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import torch
import typer
from PIL import Image
from safetensors.torch import load_file

from core import cli
from core.data.masks import read_mask
from core.data.pcam import Split, file_of
from core.data.synthetic_slide import MASK, SLIDE
from core.inference import Reader, load_reader
from core.models.architectures import ARCHITECTURES
from core.models.store import CARD, DESCRIPTION, OOD_DETECTOR, WEIGHTS, read_description, sha256_of, write_description
from core.settings import settings
from core.slides.areas import cut_of

ROOT = Path(__file__).resolve().parents[1]


def png(pixels):
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


@pytest.fixture
def refuses(command):
    """A function that runs a command which must end as a person's mistake: exit code 2 and one line, returned."""

    def refuses(*arguments):
        code, out, err = command(*arguments)
        assert code == 2
        assert out == ""
        assert err.startswith("nodelens: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        return err

    return refuses


@pytest.fixture
def image(tmp_path, patches):
    path = tmp_path / "patch.png"
    path.write_bytes(png(patches[3]))
    return path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["id", "probability", "logit", "verdict", "flags", "notes"]
    return rows


# Score ------------------------------------------------------------------------------------------------------------


NO_SIZE = "The file gives no usable pixel size; 0.97 um is assumed."


def expected_rows(names, readings):
    return [
        [
            name,
            f"{readings.probability[i]:.6f}",
            f"{readings.logit[i]:.6f}",
            readings.verdict[i],
            ";".join(readings.flags[i]),
            "" if name.isdecimal() else NO_SIZE,
        ]
        for i, name in enumerate(names)
    ]


@pytest.mark.parametrize("tta", [False, True])
def test_score_reads_everything_it_is_given(tmp_path, command, tiny_bundle, tiny_reader, patches, split, image, tta):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b.png").write_bytes(png(patches[1]))
    (folder / "a.png").write_bytes(png(patches[0]))
    (folder / "bad.jpg").write_bytes(b"no image, at all")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("in/z.png", png(patches[2]))
        archive.writestr("in/small.png", png(patches[2][:90]))
    inputs = [folder, tmp_path / "some.zip", image, file_of(split.folder, "valid", "x.h5")]
    out = tmp_path / "new" / "scores.csv"
    code, _, err = command("score", *inputs, "--out", out, "--model", tiny_bundle, *(["--tta"] if tta else []))
    assert code == 0
    rows = rows_of(out)
    names = ["a", "b", "in/z", "patch", *map(str, range(12))]
    order = [0, 1, 2, 3, *range(12)]
    read = [row for row in rows if row[3] != "refused"]
    assert read == expected_rows(names, tiny_reader.read(patches[order], views=8 if tta else 1))
    refused = [row for row in rows if row[3] == "refused"]
    assert [row[:4] for row in refused] == [["bad", "", "", "refused"], ["in/small", "", "", "refused"]]
    assert "not a PNG" in refused[0][4]
    assert "96 x 90" in refused[1][4]
    assert [row[0] for row in rows] == ["a", "b", "bad", "in/small", "in/z", "patch", *map(str, range(12))]
    assert "2 of 18 refused; first: bad: " in err


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["none"], "none cannot be imported: it does not exist"),
        (["notes.txt"], "not an image"),
        (["patch.png", "notes.txt"], "not an image"),
        (["empty"], "no images"),
        (["text.png"], "not a PNG"),
        (["bad.zip"], "not a readable zip"),
        (["empty.zip"], "no patch"),
        (["bad.h5"], "not an HDF5 file"),
        (["damaged.h5"], "data are damaged"),
        (["patch.png", "--model", "densenet170"], "No model 'densenet170'"),
        (["patch.png", "--model", "../models"], "No model"),
        (["patch.png", "--engine", "tensorrt"], "Unknown engine 'tensorrt'"),
    ],
)
def test_score_refuses_in_one_line_and_writes_nothing(
    tmp_path, refuses, monkeypatch, tiny_bundle, image, write_split, patches, labels, inputs, said
):
    monkeypatch.chdir(tmp_path)
    for name, data in (("notes.txt", b"text"), ("text.png", b"text"), ("bad.zip", b"PK"), ("bad.h5", b"text")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "empty").mkdir()
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    damaged = file_of(write_split(tmp_path / "split", patches, labels, layout="gzip"), "valid", "x.h5")
    with h5py.File(damaged) as file:
        offset = file["x"].id.get_chunk_info(0).byte_offset
    with damaged.open("r+b") as raw:
        raw.seek(offset)
        raw.write(bytes(1000))
    damaged.rename(tmp_path / "damaged.h5")
    before = sorted(tmp_path.rglob("*"))
    model = [] if "--model" in inputs else ["--model", tiny_bundle]
    assert said in refuses("score", *inputs, "--out", "scores.csv", *model)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_be_written_is_refused(tmp_path, refuses, tiny_bundle, image):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    for out in ("file/scores.csv", "folder"):
        assert "Cannot write" in refuses("score", image, "--out", tmp_path / out, "--model", tiny_bundle)
    assert "Cannot write" in refuses("explain", image, "--out", tmp_path / "file", "--model", tiny_bundle)
    assert list((tmp_path / "folder").iterdir()) == []
    assert (tmp_path / "file").read_text() == "not a folder"


def test_score_streams(tmp_path, command, tiny_bundle, write_split, monkeypatch):
    """No more patches are held than one batch of the engine."""
    many = np.random.default_rng(0).integers(0, 256, (70, 96, 96, 3), dtype=np.uint8)
    path = file_of(write_split(tmp_path / "s", many, np.zeros(70, np.uint8)), "valid", "x.h5")
    held, read = [], Reader.read

    def watch(self, patches, **asked):
        held.append(len(patches))
        return read(self, patches, **asked)

    monkeypatch.setattr(Reader, "read", watch)
    assert command("score", path, "--out", tmp_path / "s.csv", "--model", tiny_bundle)[0] == 0
    assert held == [32, 32, 6]
    assert len(rows_of(tmp_path / "s.csv")) == 70


@pytest.fixture
def quiet(tmp_path, patches):
    """A picture that has to be reduced and one of two pages."""
    folder = tmp_path / "quiet"
    (folder / "1").mkdir(parents=True)
    large = Image.fromarray(patches[0].repeat(2, axis=0).repeat(2, axis=1))
    large.save(folder / "1" / "large.tif", dpi=(25_400 / 0.485,) * 2)
    first, second = map(Image.fromarray, patches[1:3])
    first.save(folder / "1" / "pages.tif", save_all=True, append_images=[second])
    return folder


REDUCED = "Reduced from 192 x 192 to 96 x 96 pixels to reach 0.97 um/px, averaging areas."


def test_score_says_what_was_changed(tmp_path, command, tiny_bundle, quiet):
    code, _, err = command("score", quiet, "--out", tmp_path / "s.csv", "--model", tiny_bundle)
    assert code == 0
    assert err == f"nodelens: 2 pictures were changed to be read; first: 1/large: {REDUCED}\n"
    large, pages = rows_of(tmp_path / "s.csv")
    assert large[5] == f"The file gives a pixel size of 0.485 um. {REDUCED}"
    assert "first" in pages[5]
    assert pages[5].endswith(NO_SIZE)


def test_explain_says_what_was_changed(tmp_path, command, tiny_bundle, quiet):
    code, _, err = command("explain", quiet / "1" / "large.tif", "--out", tmp_path / "e", "--model", tiny_bundle)
    assert code == 0
    assert err == f"nodelens: 1 picture was changed to be read; first: large: {REDUCED}\n"
    assert REDUCED in json.loads((tmp_path / "e" / "explanation.json").read_text())["notes"]


def test_import_says_what_was_changed(tmp_path, command, quiet, patches):
    code, said, err = command("data", "import", quiet, "--out", tmp_path / "out", "--split", "mine")
    assert code == 0
    assert "mine 2" in said
    assert err == f"nodelens: 2 pictures were changed to be read; first: 1/large.tif: {REDUCED}\n"
    np.testing.assert_array_equal(Split.open(tmp_path / "out", "mine").patches([0, 1]), patches[:2])


def test_a_pixel_size_given_overrules_the_file_in_all_three(tmp_path, command, refuses, tiny_bundle, quiet):
    model, size = ("--model", tiny_bundle), ("--um-per-px", 0.97)
    large = quiet / "1" / "large.tif"
    for arguments in (
        ("score", large, "--out", tmp_path / "s.csv", *model),
        ("explain", large, "--out", tmp_path / "e", *model),
        ("data", "import", quiet, "--out", tmp_path / "out"),
    ):
        assert "got 192 x 192. Crop it" in refuses(*arguments, *size)
        assert "97 um/px is not a usable pixel size" in refuses(*arguments, "--um-per-px", 97)
    assert not any((tmp_path / name).exists() for name in ("s.csv", "e"))


# Explain ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ([], {}),
        (["--method", "layercam", "--layer", "6x6", "--target", "tumour"], None),
        (["--tta", "--target", "tumour minus normal"], {"views": 8, "target": "tumour minus normal"}),
    ],
)
def test_explain_writes_map_picture_and_record(
    tmp_path, command, tiny_bundle, tiny_reader, patches, image, options, how
):
    how = {"method": "layercam", "layer": "6x6", "target": "tumour"} if how is None else how
    out = tmp_path / "explained"
    code, said, err = command("explain", image, "--out", out, "--model", tiny_bundle, *options)
    assert (code, err) == (0, "")
    expected = tiny_reader.explain(patches[3], **how)
    heatmap = np.load(out / "map.npy")
    assert heatmap.dtype == np.float32
    assert heatmap.shape == expected.grid == ((6, 6) if how.get("layer") else (3, 3))
    np.testing.assert_allclose(heatmap, expected.attribution[0], atol=1e-5)
    record = json.loads((out / "explanation.json").read_text())
    assert record["probability"] == pytest.approx(expected.probability[0])
    assert record["verdict"] == expected.verdict[0]
    assert record["id"] == "patch"
    assert record["notes"] == [NO_SIZE]
    assert record["views"] == how.get("views", 1)
    explanation = record["explanation"]
    assert explanation["target"] == how.get("target", "predicted")
    assert (explanation["method"], explanation["layer"]) == (how.get("method", "gradcam"), how.get("layer", "last"))
    np.testing.assert_allclose(explanation["map"], heatmap)
    with Image.open(out / "overlay.png") as picture:
        picture.load()
        assert min(picture.size) >= 2 * 96
    assert f"patch: {expected.verdict[0]}, probability {expected.probability[0]:.3f}" in said
    assert sorted(path.name for path in out.iterdir()) == ["explanation.json", "map.npy", "overlay.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.png"], "does not exist"),
        (["notes.txt"], "not an image"),
        (["folder"], "name one image"),
        (["empty.zip"], "no patch"),
        (["small.png"], "96 x 50"),
        (["patch.png", "--method", "telepathy"], "Unknown method 'telepathy'. Known: gradcam"),
        (["patch.png", "--layer", "3x3"], "Unknown layer '3x3'"),
        (["patch.png", "--target", "lesion"], "Unknown target 'lesion'"),
    ],
)
def test_explain_refuses_in_one_line_and_writes_nothing(
    tmp_path, refuses, monkeypatch, tiny_bundle, image, patches, arguments, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "small.png").write_bytes(png(patches[0][:50]))
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    assert said in refuses("explain", *arguments, "--out", "explained", "--model", tiny_bundle)
    assert not (tmp_path / "explained").exists()


def test_evaluate_slides(tmp_path, command, unpadded_bundle):
    """What is recorded serves areas from then on; a name of a slide goes nowhere."""
    model = shutil.copytree(unpadded_bundle, tmp_path / "cells")
    mask = np.zeros((288, 288), bool)
    mask[:, :150] = True
    coarse = np.random.default_rng(5).random((36, 36, 1)).repeat(8, axis=0).repeat(8, axis=1)
    tissue = (np.array([200, 110, 180]) - np.array([90, 60, 50]) * coarse).astype(np.uint8)
    regions = tmp_path / "regions"
    regions.mkdir()
    for path, turned in ((regions / "a.png", 0), (regions / "b.png", 1), (tmp_path / "Doe.png", 2)):
        Image.fromarray(np.rot90(tissue, turned)).save(path, dpi=(25_400 / 0.97,) * 2)
        Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))
    slides = ("--slide", tmp_path / "Doe.png", "--free", regions / "b.png", "--note", "made for a test")
    arguments = ("evaluate-slides", "--model", model, "--regions", regions, *slides, "--at-most", 0.01, "--record")
    code, said, err = command(*arguments, "--out", tmp_path / "out.json")
    assert code == 0, err
    kept = read_description(model)
    assert (kept.areas.at_most, kept.areas.data.note) == (0.01, "made for a test")
    assert cut_of(kept, 32).threshold > kept.point(1).threshold
    assert [one.data.name for one in kept.slides.maps] == ["regions", "slide 1"]
    assert "made for a test" in (model / CARD).read_text()
    assert "Doe" not in (model / DESCRIPTION).read_text() + said
    assert json.loads((tmp_path / "out.json").read_text())["free"][0]["slide"] == "b.png"


# Data -------------------------------------------------------------------------------------------------------------


def test_data_demo(tmp_path, command, refuses):
    code, said, _ = command("data", "demo", "--out", tmp_path / "demo", "--seed", 3, "--n", 4, "--slide-side", 512)
    assert code == 0
    assert "synthetic, not tissue" in said
    assert (read_mask(tmp_path / "demo" / MASK).shape, (tmp_path / "demo" / SLIDE).is_file()) == ((512, 512), True)
    split = Split.open(tmp_path / "demo", "demo")
    assert (len(split), split.synthetic) == (4, True)
    assert split.masks([0]).shape == (1, 96, 96)
    assert "n = 1" in refuses("data", "demo", "--out", tmp_path / "one", "--n", 1)
    assert not (tmp_path / "one").exists()


def test_data_import(tmp_path, command, refuses, patches):
    with zipfile.ZipFile(tmp_path / "valid.zip", "w") as archive:
        archive.writestr("labels.csv", "row,label,file\n9,1,a.png\n4,0,b.png\n")
        archive.writestr("a.png", png(patches[0]))
        archive.writestr("b.png", png(patches[1]))
    code, said, _ = command("data", "import", tmp_path, "--out", tmp_path / "out")
    assert code == 0
    assert "valid 2" in said
    split = Split.open(tmp_path / "out", "valid")
    assert split.rows.tolist() == [4, 9]
    np.testing.assert_array_equal(split.patches([0, 1]), patches[[1, 0]])
    assert "there is no zip" in refuses("data", "import", tmp_path / "nowhere", "--out", tmp_path / "no")
    (tmp_path / "bad.zip").write_text("text")
    assert "not a readable zip" in refuses("data", "import", tmp_path / "bad.zip", "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


# Models -----------------------------------------------------------------------------------------------------------


def test_evaluate_writes_a_report_and_records_it_when_asked(tmp_path, command, refuses, tiny_copy, split):
    arguments = ["--data", split.folder, "--split", "valid", "--model", tiny_copy, "--engine", "torch"]
    before = read_description(tiny_copy)
    code, said, _ = command("evaluate", "--out", tmp_path / "report.json", *arguments)
    assert code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    value = report["figures"]["accuracy"]["value"]
    assert f"{'accuracy':22} {value:.3f} [" in said
    assert read_description(tiny_copy) == before
    assert not (tiny_copy / "CARD.md").exists()
    assert command("evaluate", "--out", tmp_path / "again.json", *arguments, "--record")[0] == 0
    (kept,) = read_description(tiny_copy).evaluations
    assert kept.figures["accuracy"].value == value
    assert f"| Accuracy | {value:.3f} [" in (tiny_copy / "CARD.md").read_text()
    assert f"Calibration error: {kept.figures['ece'].value:.3f}; if these probabilities were exactly right" in said
    arguments[3] = "test"
    assert "No split 'test'" in refuses("evaluate", "--out", tmp_path / "no.json", *arguments)
    assert not (tmp_path / "no.json").exists()


def test_calibrate_writes_bundle_and_card(tmp_path, command, tiny_copy, tiny_bundle, split):
    assert command("model", "calibrate", tiny_copy, "--data", split.folder)[0] == 0
    model = read_description(tiny_copy)
    assert model.calibrated_on.fingerprint == split.fingerprint()
    assert model.points != read_description(tiny_bundle).points
    assert f"| 8 | {model.point(8).threshold:.3f} |" in (tiny_copy / "CARD.md").read_text()
    assert load_reader(tiny_copy, "torch").model == model
    write_description(tiny_copy, model.model_copy(update={"guarantees": ()}))
    assert command("model", "judge-calibration", tiny_copy, "--data", split.folder, "--one-view")[0] == 0
    promised = tuple(one for one in model.guarantees if one.views == 1)
    assert read_description(tiny_copy) == model.model_copy(update={"guarantees": promised})
    said = command("evaluate", "--out", tmp_path / "report.json", "--data", split.folder, "--model", tiny_copy)[1]
    assert "guarantee by patch (6): 10% missed, at 0.000: missed 0.000 [" in said


def test_calibrate_without_training_patches_says_so(command, tiny_copy, split):
    said = command("model", "calibrate", tiny_copy, "--data", split.folder)[1]
    assert "No split 'train'" in said
    assert "What is unlike training tissue was not learned." in said
    assert read_description(tiny_copy).ood is None


def test_calibrate_learns_what_training_tissue_looks_like(command, tiny_copy, known_tissue):
    assert command("model", "calibrate", tiny_copy, "--data", known_tissue)[0] == 0
    record = read_description(tiny_copy).ood
    assert record.sha256 == sha256_of(tiny_copy / OOD_DETECTOR)
    assert "from 72 patches of train" in (tiny_copy / "CARD.md").read_text()
    assert load_reader(tiny_copy, "openvino").ood is not None


def test_familiar_changes_nothing_else(command, refuses, tiny_copy, known_tissue, split):
    before = read_description(tiny_copy)
    assert "No split 'train'" in refuses("model", "familiar", tiny_copy, "--data", split.folder)
    assert read_description(tiny_copy) == before
    code, said, _ = command("model", "familiar", tiny_copy, "--data", known_tissue)
    assert code == 0
    assert f"{tiny_copy / OOD_DETECTOR} written" in said
    after = read_description(tiny_copy)
    assert after.ood.limit_on.split == "valid"
    assert after.model_copy(update={"ood": None}) == before


def test_another_way_to_train_is_told_of_once_per_pipeline(command, tiny_copy, tiny_bundle, split):
    arguments = ["model", "trial", tiny_copy, tiny_bundle, "--data", split.folder, "--what", "no stain"]
    for pipeline in ("--tta", "--one-view", "--one-view"):
        assert command(*arguments, pipeline)[0] == 0
    trials = read_description(tiny_copy).training.trials
    assert [(trial.what, trial.split, trial.views) for trial in trials] == [("no stain", "valid", n) for n in (8, 1)]
    card = (tiny_copy / "CARD.md").read_text()
    for trial, pipeline in zip(trials, ("8 views", "one view"), strict=True):
        assert f"| no stain | valid, {pipeline} | {trial.figures['auc'].value:.3f} [" in card


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A models folder of this test's own."""
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "own"))
    settings.cache_clear()
    yield tmp_path / "own"
    settings.cache_clear()


def test_models_are_imported_described_and_prepared(own_models, command, refuses, tiny_bundle, patches):
    arguments = ["--name", "mine", "--architecture", "efficientnet_lite0", "--recipe", "Found."]
    code, said, _ = command("model", "import", tiny_bundle / WEIGHTS, *arguments)
    assert code == 0
    assert "model calibrate mine" in said
    assert command("model", "prepare")[1] == "mine: openvino-fp32 ready\n"
    assert command("model", "card", "mine")[0] == 0
    assert "Found." in (own_models / "mine" / "CARD.md").read_text()
    state = load_file(own_models / "mine" / WEIGHTS)
    assert state["classifier.weight"].shape == (2, 1280)
    assert "do not fit" in refuses("model", "import", tiny_bundle / WEIGHTS, "--name", "no", "--recipe", "r")
    assert "Known models: mine" in refuses("model", "card", "other")
    assert not (own_models / "no").exists()


@pytest.fixture
def tiny_weights(tmp_path):
    """A state dict of a network that costs next to nothing."""
    torch.manual_seed(4)
    path = tmp_path / "tiny.pth"
    torch.save(timm.create_model(ARCHITECTURES["tiny_resnet"].timm_name, num_classes=2).state_dict(), path)
    return path


def contents(models):
    """All that lies there but the graphs that an engine keeps."""
    return {path: path.read_bytes() for path in models.rglob("*") if path.is_file() and ".engine" not in path.parts}


def importing(weights, name, **options):
    words = [word for key, value in options.items() for word in (f"--{key}", *map(str, value))]
    return ["model", "import", weights, "--name", name, "--architecture", "tiny_resnet", "--recipe", "Found.", *words]


@pytest.mark.parametrize(
    "name", ["..", ".", "../../x", "a/b", "", " ", "a b", "a\nb", "Модель", "n" * 70, ".hidden", "-x", "a\\b", "/tmp/x"]
)
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(own_models, refuses, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    assert "cannot be the name of a new model: give 1 to 64 letters" in refuses(*importing(tmp_path / "none", name))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"version": ["1" * 33]}, "No model can have this version: a version is 1 to 32 letters"),
        ({"version": [""]}, "No model can have this version"),
        ({"version": ["1\n2"]}, "No model can have this version"),
        ({"std": [60, 0, 57]}, "No model can have this std.1: Input should be greater than 0"),
        ({"std": [60, -1, 57]}, "No model can have this std.1"),
        ({"std": [60, "nan", 57]}, "No model can have this std.1"),
        ({"mean": [0, 256, 0]}, "No model can have this mean.1"),
        ({"mean": ["inf", 0, 0]}, "No model can have this mean.0"),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}, "multiply shares of 1 by 255"),
        ({"data": ["nowhere"]}, "No split 'train'"),
    ],
)
def test_values_that_no_model_can_have_leave_nothing(own_models, refuses, tiny_weights, options, said):
    assert said in refuses(*importing(tiny_weights, "mine", **options))
    assert list(own_models.glob("*")) == []


def test_an_imported_model_takes_a_name_that_is_there_only_when_asked(own_models, command, refuses, tiny_weights):
    assert command(*importing(tiny_weights, "mine", mean=[0, 0, 0]))[0] == 0
    assert read_description(own_models / "mine").mean == (0, 0, 0)
    for name in ("evidence.json", OOD_DETECTOR):
        (own_models / "mine" / name).write_text("of the old one")
    before = contents(own_models)
    assert "a model of that name is there" in refuses(*importing(tiny_weights, "mine"))
    for other in ("MINE", "Densenet169", "EFFICIENTNET_lite0"):
        said = refuses(*importing(tiny_weights, other), "--replace")
        assert "in nothing but case" in said
    assert "a model of that name is there" in refuses(*importing(tiny_weights, "densenet169"))
    assert "not a safetensors file" in refuses(*importing(own_models / "mine" / "evidence.json", "mine"), "--replace")
    assert contents(own_models) == before
    assert command(*importing(tiny_weights, "mine", version=["2.0"]), "--replace")[0] == 0
    assert [path.name for path in own_models.iterdir()] == ["mine"]
    assert sorted(path.name for path in (own_models / "mine").iterdir()) == [CARD, DESCRIPTION, WEIGHTS]
    assert read_description(own_models / "mine").version == "2.0"
    assert "mine 2.0" in (own_models / "mine" / CARD).read_text()


def test_of_an_imported_model_nothing_is_claimed(own_models, command, tiny_weights, image, tmp_path):
    assert command(*importing(tiny_weights, "mine"))[0] == 0
    card = (own_models / "mine" / CARD).read_text()
    assert "Not calibrated." in card
    assert "What it learned from is not recorded." in card
    assert "hospital" not in card
    assert command("explain", image, "--model", "mine", "--out", tmp_path / "out", "--engine", "torch")[0] == 0
    record = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert record["calibrated"] is False
    assert record["probability"] == pytest.approx(1 / (1 + np.exp(-record["logit"])))


def test_a_calibration_that_cannot_be_leaves_the_one_there_was(
    own_models, command, refuses, tiny_weights, tmp_path, write_split, patches, labels
):
    assert command(*importing(tiny_weights, "mine"))[0] == 0
    before = contents(own_models)
    for number, (name, count, wrong, said) in enumerate(
        (
            ("valid", 12, labels * 0, "0 of its 12 patches are labelled tumour"),
            ("valid", 12, labels * 0 + 1, "0 of its 12 patches are labelled no tumour"),
            ("valid", 1, labels, "of its 1 patches are labelled"),
            ("test", 12, labels, "figures are reported on it"),
        )
    ):
        folder = write_split(tmp_path / f"split{number}", patches[:count], wrong[:count], name)
        assert said in refuses("model", "calibrate", "mine", "--data", folder, "--split", name)
    assert contents(own_models) == before


@pytest.fixture
def environment(monkeypatch):
    """A function that sets variables of the environment as settings read them."""

    def put(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))
        settings.cache_clear()

    yield put
    settings.cache_clear()


def test_data_and_model_come_from_the_environment(environment, command, refuses, tmp_path, tiny_copy, split, image):
    environment(NODELENS_DATA=split.folder, NODELENS_MODEL=tiny_copy)
    assert command("score", image, "--out", tmp_path / "scores.csv", "--engine", "openvino-fp32")[0] == 0
    said = command("explain", image, "--out", tmp_path / "out", "--engine", "openvino-fp32")[1]
    assert said.startswith("patch: ")
    assert json.loads((tmp_path / "out" / "explanation.json").read_text())["model"].startswith("tiny 0.1")
    assert command("evaluate", "--out", tmp_path / "report.json", "--engine", "openvino-fp32")[0] == 0
    assert json.loads((tmp_path / "report.json").read_text())["data"]["fingerprint"] == split.fingerprint()
    assert f"in {split.folder}" in refuses("model", "familiar", tiny_copy)
    environment(NODELENS_MODEL="nobody")
    assert "No model 'nobody'" in refuses("score", image, "--out", tmp_path / "no.csv")
    environment(NODELENS_DATA=image)
    assert "NODELENS_DATA is" in refuses("evaluate", "--out", tmp_path / "no.json")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("score",), ["NODELENS_MODEL, else densenet169"]),
        (("evidence",), ["NODELENS_MODEL, else densenet169", "NODELENS_DATA, else data/pcam"]),
        (("model", "calibrate"), ["NODELENS_DATA, else data/pcam"]),
        (("data", "fetch"), ["NODELENS_DATA, else data/pcam"]),
    ],
)
def test_help_says_where_defaults_come_from(command, words, told):
    said = " ".join(command(*words, "--help")[1].split())
    for line in told:
        assert line in said


# The commands themselves ------------------------------------------------------------------------------------------


def commands(command, name=()):
    """(words, command) of every command under a group."""
    if not hasattr(command, "commands"):
        return [(name, command)]
    shown = {word: inner for word, inner in command.commands.items() if not inner.hidden}
    return [found for word, inner in shown.items() for found in commands(inner, (*name, word))]


COMMANDS = commands(typer.main.get_command(cli.app))


@pytest.mark.parametrize(("words", "described"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_every_command_has_help_and_an_example_that_parses(command, words, described):
    code, said, _ = command(*words, "--help")
    assert code == 0
    assert "Example: python -m core " + " ".join(words) in " ".join(said.split())
    example = shlex.split(described.epilog.removeprefix("Example: python -m core "))[len(words) :]
    described.make_context("example", example)  # raises on an option that does not exist
    assert described.help


def test_the_commands_that_scripts_call_are_there():
    there = {" ".join(words) for words, _ in COMMANDS}
    assert {"score", "explain", "evaluate", "data import", "data demo"} <= there


def module(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "core", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_it_runs_from_another_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "core", "score", "none", "--out", "scores.csv"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "nodelens: none cannot be imported: it does not exist.\n")


def test_a_mistake_ends_with_code_2_in_a_real_shell(tmp_path):
    done = module("score", tmp_path / "none", "--out", tmp_path / "scores.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"nodelens: {tmp_path / 'none'} cannot be imported: it does not exist.\n"
    assert module("score").returncode == 2  # typer's own: something is missing
    wrong = module("model", "prepare", NODELENS_ENGINE="abacus")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("nodelens: NODELENS_ENGINE is 'abacus'")
    assert wrong.stderr.count("\n") == 1


def test_a_command_is_quiet_off_the_terminal_and_help_needs_no_torch(tmp_path, tiny_bundle, image):
    done = module("score", image, "--out", tmp_path / "s.csv", "--model", tiny_bundle, "--engine", "openvino")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    code = "import sys, core.cli; print({'torch', 'openvino', 'streamlit'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"
