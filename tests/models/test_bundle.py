"""A bundle that was damaged, altered or made up is refused in one sentence; names lead nowhere but to models."""

import json
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file as numpy_load
from safetensors.numpy import save_file as numpy_save
from safetensors.torch import load_file, save_file

from core.errors import BundleError, ModelNameError, ModelNotFoundError, UnknownArchitectureError
from core.inference.engines.torch_engine import load_net
from core.models.schema import Bundle, OperatingPoint
from core.models.store import (
    DESCRIPTION,
    MAX_DESCRIPTION_BYTES,
    OOD_DETECTOR,
    OOD_DETECTOR_1,
    WEIGHTS,
    StoredBundle,
    bundle_folder,
    bundle_names,
    check_model_name,
    read_description,
    sha256_of,
)


def test_a_bundle_says_what_it_is(tiny_bundle):
    stored = StoredBundle.open(tiny_bundle)
    model = stored.description
    assert model.identity == f"tiny 0.1 ({sha256_of(tiny_bundle / WEIGHTS)[:8]})"
    assert model.net.title == "EfficientNet-Lite0"
    assert (model.point(1).threshold, model.point(8).threshold) == (0.45, 0.55)
    weight, bias = stored.head
    state = load_file(tiny_bundle / WEIGHTS)
    np.testing.assert_array_equal(weight, state["classifier.weight"].float())
    np.testing.assert_array_equal(bias, state["classifier.bias"].float())
    assert load_net(stored).net.classifier.bias.tolist() == bias.tolist()


def test_an_uncalibrated_bundle_has_the_neutral_point(tiny_bundle):
    model = read_description(tiny_bundle).model_copy(update={"points": {}})
    assert model.point(1) == model.point(8) == OperatingPoint()
    assert (OperatingPoint().curve, OperatingPoint().threshold) == ((), 0.5)


def test_a_bundle_from_before_there_were_curves_reads_as_it_did():
    point = OperatingPoint.model_validate({"temperature": 2.0, "bias": 0.5, "threshold": 0.4})
    logits = np.array([-8.0, -1.0, 0.0, 3.0])
    np.testing.assert_allclose(point.view_probability(logits), 1 / (1 + np.exp(-(logits / 2 + 0.5))))
    assert point.threshold == 0.4
    for temperature in (0, -1, "hot", None):
        with pytest.raises(ValidationError):
            OperatingPoint.model_validate({"temperature": temperature})


def test_a_graph_depends_on_weights_architecture_and_normalisation_alone(tiny_bundle):
    model = read_description(tiny_bundle)

    def key(**changes):
        return Bundle.model_validate(model.model_dump() | changes).graph_key

    same = {key(), key(name="other"), key(version="9"), key(points={}), key(scales={"gradcam/last": 2.0})}
    other = {key(weights_sha256="0" * 64), key(architecture="resnet50"), key(mean=(1, 2, 3)), key(std=(1, 2, 3))}
    assert len(same) == 1
    assert len(other | same) == 5


def test_descriptions_are_frozen(tiny_bundle):
    with pytest.raises(ValueError, match="frozen"):
        read_description(tiny_bundle).version = "2"


# Descriptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"weights_sha256": "abc"}, "weights_sha256"),
        ({"std": [60, 0, 57]}, "std.1"),
        ({"mean": [60, 57]}, "mean"),
        ({"name": "../up"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "-rf"}, "name"),
        ({"version": "1\n2"}, "version"),
        ({"version": "1" * 33}, "version"),
        ({"mean": [0, 256, 0]}, "mean.1"),
        ({"mean": [0, -1, 0]}, "mean.1"),
        ({"format": 3}, "format"),
        ({"accuracy": 0.999}, "accuracy"),
        ({"points": {"1": {"curve": [[0, 0]]}}}, "points.1.curve"),
        ({"points": {"1": {"curve": [[0, 0], [1, -1]]}}}, "points.1.curve"),
        ({"points": {"1": {"curve": [[1, 0], [1, 1]]}}}, "points.1.curve"),
        ({"points": {"1": {"threshold": 1.2}}}, "points.1.threshold"),
        ({"points": {"4": {}}}, "points.4"),
        ({"scales": {"gradcam/last": 0}}, "scales.gradcam/last"),
    ],
)
def test_fields_that_cannot_be_are_named(tiny_copy, describe, fields, where):
    describe(tiny_copy, **fields)
    with pytest.raises(BundleError, match=rf"not valid at {where}"):
        StoredBundle.open(tiny_copy)


def test_a_missing_field_is_named(tiny_copy):
    record = json.loads((tiny_copy / DESCRIPTION).read_text())
    del record["mean"]
    (tiny_copy / DESCRIPTION).write_text(json.dumps(record))
    with pytest.raises(BundleError, match="not valid at mean"):
        StoredBundle.open(tiny_copy)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not valid"),
        (b"{", "not valid"),
        (b"\xff\xfe", "not valid"),
        (b"[" * 10_000 + b"]" * 10_000, "not valid"),
        (b'{"training":' * 10_000 + b"1" + b"}" * 10_000, "not valid"),
        (b'{"version": NaN}', "not valid"),
        (b" " * (MAX_DESCRIPTION_BYTES + 1), "larger than"),
    ],
    ids=["empty", "half", "not text", "deep list", "deep object", "NaN", "oversize"],
)
def test_texts_that_are_no_description(tiny_copy, text, reason):
    (tiny_copy / DESCRIPTION).write_bytes(text)
    with pytest.raises(BundleError, match=reason) as caught:
        StoredBundle.open(tiny_copy)
    assert "\n" not in str(caught.value)


def test_a_depth_that_can_be_read_stays_the_same_sentence(tiny_copy, describe):
    nested = 1
    for _ in range(150):
        nested = {"a": nested}
    describe(tiny_copy, training={"recipe": "r", "config": {"deep": nested}})
    assert StoredBundle.open(tiny_copy).description.training.config == {"deep": nested}


def test_no_description(tiny_copy):
    (tiny_copy / DESCRIPTION).unlink()
    with pytest.raises(BundleError, match="missing"):
        StoredBundle.open(tiny_copy)


# Weights ----------------------------------------------------------------------------------------------------------


def rewritten(folder, describe, **changes):
    """Weights with tensors changed (None: left out), and a description that vouches for them."""
    state = {k: v for k, v in (load_file(folder / WEIGHTS) | changes).items() if v is not None}
    save_file(state, folder / WEIGHTS)
    describe(folder, weights_sha256=sha256_of(folder / WEIGHTS))
    return StoredBundle.open(folder)


def test_altered_weights_are_refused(tiny_copy):
    data = bytearray((tiny_copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tiny_copy / WEIGHTS).write_bytes(data)
    with pytest.raises(BundleError, match="wrong SHA-256"):
        StoredBundle.open(tiny_copy)


def test_missing_weights_are_refused(tiny_copy):
    (tiny_copy / WEIGHTS).unlink()
    with pytest.raises(BundleError, match="is missing"):
        StoredBundle.open(tiny_copy)


class Canary:
    def __reduce__(self):
        return (pytest.fail, ("the weights were unpickled",))


@pytest.mark.parametrize("content", ["pickle", "truncated", "header of 2**62 bytes"])
def test_files_that_are_not_safetensors_are_refused_even_with_the_right_hash(tiny_copy, describe, content):
    data = (tiny_copy / WEIGHTS).read_bytes()
    other = {"pickle": pickle.dumps(Canary()), "truncated": data[: len(data) // 2]}
    (tiny_copy / WEIGHTS).write_bytes(other.get(content, (2**62).to_bytes(8, "little") + data))
    describe(tiny_copy, weights_sha256=sha256_of(tiny_copy / WEIGHTS))
    stored = StoredBundle.open(tiny_copy)
    with pytest.raises(BundleError, match="not a safetensors file"):
        _ = stored.head
    with pytest.raises(BundleError, match="not a safetensors file"):
        load_net(stored)


def test_a_missing_or_foreign_tensor_is_named(tiny_copy, describe):
    with pytest.raises(BundleError, match=r"'bn1.weight' is missing"):
        load_net(rewritten(tiny_copy, describe, **{"bn1.weight": None}))
    bn1 = load_file(tiny_copy / WEIGHTS)["bn1.bias"]
    with pytest.raises(BundleError, match="'extra' does not belong"):
        load_net(rewritten(tiny_copy, describe, **{"bn1.weight": bn1, "extra": bn1.clone()}))


def test_a_head_of_another_size_is_refused(tiny_copy, describe):
    with pytest.raises(BundleError, match=r"linear layer has shape \(3, 1280\)"):
        _ = rewritten(tiny_copy, describe, **{"classifier.weight": torch.zeros(3, 1280)}).head
    with pytest.raises(BundleError, match="no linear layer 'classifier'"):
        _ = rewritten(tiny_copy, describe, **{"classifier.weight": None}).head


def test_weights_in_bf16_are_refused_in_a_sentence(tiny_copy, describe):
    stored = rewritten(tiny_copy, describe, **{"classifier.weight": torch.zeros(2, 1280, dtype=torch.bfloat16)})
    with pytest.raises(BundleError, match="bf16"):
        _ = stored.head
    with pytest.raises(BundleError, match="bf16"):
        stored.tensors()


def test_another_architecture_is_refused(tiny_copy, describe):
    describe(tiny_copy, architecture="densenet121")
    with pytest.raises(BundleError, match="do not fit densenet121"):
        load_net(StoredBundle.open(tiny_copy))
    describe(tiny_copy, architecture="vgg11")
    with pytest.raises(UnknownArchitectureError, match="Known: densenet169"):
        load_net(StoredBundle.open(tiny_copy))


# Names ------------------------------------------------------------------------------------------------------------


def test_bundles_are_found_by_name_and_by_path(tiny_bundle, tmp_path, monkeypatch):
    models = tiny_bundle.parent
    assert bundle_names(models) == ["tiny"]
    assert bundle_folder("tiny", models) == tiny_bundle
    assert bundle_folder(tiny_bundle, tmp_path) == tiny_bundle
    assert bundle_folder(str(tiny_bundle), tmp_path) == tiny_bundle
    assert bundle_names(tmp_path / "none") == []


def test_a_bundle_at_home_is_found(tiny_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tiny_bundle.parent))
    assert bundle_folder(f"~/{tiny_bundle.name}", tmp_path) == tiny_bundle
    with pytest.raises(ModelNotFoundError):
        bundle_folder("~nobody-of-that-name/x", tmp_path)


@pytest.mark.parametrize(
    "name", ["../tiny", "x/../tiny", "..", ".", "", "/", "tiny/", "..\\tiny", "a\0b", "x/\0", "n" * 300, "TINY "]
)
def test_a_name_never_climbs_out_of_the_models_folder(tiny_bundle, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    models = tiny_bundle.parent / "deeper"
    with pytest.raises(ModelNotFoundError) as caught:
        bundle_folder(name, models)
    assert caught.value.name == name


@pytest.mark.parametrize("name", ["a", "Tiny-2.0_b", "9", "n" * 64])
def test_names_that_a_new_model_can_have(tmp_path, name):
    check_model_name(name, tmp_path / "none")


def test_names_are_compared_without_regard_to_case(tiny_bundle):
    models = tiny_bundle.parent
    check_model_name("tiny", models, replace=True)
    for name, replace, said in (
        ("tiny", False, "a model of that name is there"),
        ("TINY", True, "differs from 'tiny' in nothing but case"),
        ("Densenet169", True, "differs from 'densenet169' in nothing but case"),
        ("densenet169", False, "a model of that name is there"),  # in a folder without it too
    ):
        with pytest.raises(ModelNameError, match=said):
            check_model_name(name, models, replace=replace)
    check_model_name("densenet169", models, replace=True)


# The out-of-distribution detector


@pytest.fixture
def ood_copy(ood_bundle, tmp_path):
    return Path(shutil.copytree(ood_bundle, tmp_path / "tiny", ignore=shutil.ignore_patterns(".engine")))


def renamed(folder):
    """Let the description name whatever lies there now."""
    record = json.loads((folder / DESCRIPTION).read_text())
    record["ood"]["sha256"] = sha256_of(folder / OOD_DETECTOR)
    (folder / DESCRIPTION).write_text(json.dumps(record))


def test_a_bundle_brings_its_detector(ood_bundle, tiny_bundle):
    stored = StoredBundle.open(ood_bundle)
    assert stored.ood.features.whiten.shape == (1280, stored.description.ood.directions)
    assert stored.description.ood.fitted_on.split == "train"
    assert StoredBundle.open(tiny_bundle).ood is None


def test_a_detector_that_the_description_does_not_name_is_left_alone(ood_copy, tiny_bundle, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("core"), "propagate", True)
    shutil.copy(tiny_bundle / DESCRIPTION, ood_copy / DESCRIPTION)
    assert StoredBundle.open(ood_copy).ood is None
    assert {r.getMessage() for r in caplog.records} == {
        "ood.safetensors of tiny is not used: bundle.json does not name it."
    }


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "ood.safetensors is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4] + b"    "), r"not the file .*wrong SHA-256"),
    ],
)
def test_a_detector_of_other_weights_is_refused(ood_copy, harm, said):
    harm(ood_copy / OOD_DETECTOR)
    with pytest.raises(BundleError, match=said):
        _ = StoredBundle.open(ood_copy).ood


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (lambda a: b"no", "is not a safetensors file"),
        (lambda a: {"mean": a["mean"]}, "holds no out-of-distribution detector"),
        (lambda a: a | {"mean": a["mean"].astype(np.float64)}, "holds no out-of-distribution detector"),
        (lambda a: a | {"limit": a["limit"] * np.float32(np.nan)}, "holds no out-of-distribution detector"),
        (lambda a: a | {"whiten": a["whiten"] * np.float32(0)}, "holds no out-of-distribution detector"),
        (lambda a: a | {"subspaces": a["subspaces"] * np.float32(-1)}, "holds no out-of-distribution detector"),
        (lambda a: a | {"subspaces": a["subspaces"] + np.float32(9999)}, "holds no out-of-distribution detector"),
        (lambda a: a | {"mean": a["mean"][:-1], "whiten": a["whiten"][:-1].copy()}, "does not fit its weights"),
        (lambda a: a | {"residual_scale": np.zeros(2, np.float32)}, "holds no out-of-distribution detector"),
        (lambda a: a | {"picture_limit": -a["picture_limit"]}, "holds no out-of-distribution detector"),
        (lambda a: a | {"picture_mean": a["picture_mean"][:-1]}, "holds no out-of-distribution detector"),
        (lambda a: {k: v for k, v in a.items() if k != "picture_whiten"}, "holds no out-of-distribution detector"),
    ],
)
def test_a_damaged_detector_is_refused(ood_copy, arrays, said):
    path = ood_copy / OOD_DETECTOR
    made = arrays(numpy_load(path))
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        numpy_save({name: np.ascontiguousarray(array) for name, array in made.items()}, path)
    renamed(ood_copy)
    with pytest.raises(BundleError, match=said):
        _ = StoredBundle.open(ood_copy).ood


# Bundles of format 1 -----------------------------------------------------------------------------------------------


def test_a_bundle_of_format_1_reads_as_it_did(ood_copy, ood_bundle):
    """As version 0.2.0 wrote it: `strangers`, in a file of that name whose arrays have older names."""
    description = json.loads((ood_copy / DESCRIPTION).read_text())
    arrays = numpy_load(ood_copy / OOD_DETECTOR)
    arrays = {name: array for name, array in arrays.items() if not name.startswith("picture_")}
    arrays["looks"], arrays["rest"] = arrays.pop("subspaces"), arrays.pop("residual_scale")
    (ood_copy / OOD_DETECTOR).unlink()
    numpy_save(arrays, ood_copy / OOD_DETECTOR_1)
    record = description.pop("ood")
    assert record.pop("picture")
    record |= {"sha256": sha256_of(ood_copy / OOD_DETECTOR_1)}
    (ood_copy / DESCRIPTION).write_text(json.dumps(description | {"format": 1, "strangers": record}))
    older, newer = StoredBundle.open(ood_copy), StoredBundle.open(ood_bundle)
    assert older.description.format == 2
    features = np.random.default_rng(0).random((3, older.head[0].shape[1]))
    assert older.ood.picture is None
    assert not older.description.ood.picture
    assert newer.ood.picture is not None
    far = newer.ood.features.distance(features)
    np.testing.assert_array_equal(older.ood.features.distance(features), far)
    # Without numbers of the picture the features decide alone, by their own limit.
    assert older.ood.place(features, None)[1].tolist() == (far > newer.ood.features.limit[0]).tolist()
