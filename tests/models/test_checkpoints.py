"""State dicts as people have them give the outputs of the network they come from, or the reason why not."""

import pickle
import re
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import BundleError, ModelValueError
from core.inference.engines.torch_engine import load_net
from core.models.architectures import ARCHITECTURES
from core.models.checkpoints import read_state
from core.models.nets import net_of_weights, save_bundle
from core.models.schema import Training
from core.models.store import WEIGHTS, StoredBundle

MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)


def settled(net, seed=0):
    """A network in evaluation mode whose weights are numbers of fp16, so that nothing is lost in a bundle."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                tensor.add_(torch.rand(tensor.shape, generator=generator))
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return net.eval()


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(5)
    return settled(timm.create_model(ARCHITECTURES["tiny_resnet"].timm_name, num_classes=2))


@pytest.fixture
def brought_in(tmp_path):
    """A function that saves an object as a file of that name, imports it, and returns what the bundle computes."""

    def bring(record, name="w.pth", architecture="tiny_resnet", mean=MEAN, std=STD):
        save_file(record, tmp_path / name) if name.endswith(".safetensors") else torch.save(record, tmp_path / name)
        net = net_of_weights(tmp_path / name, architecture, mean, std)
        about = {"version": "1", "mean": mean, "std": std, "training": Training(recipe="Elsewhere.")}
        folder = save_bundle(net, tmp_path / "mine", **about)
        return load_net(StoredBundle.open(folder))

    return bring


def same(found, own, patches, mean=MEAN, std=STD):
    """Whether a bundle computes the logits of the network it comes from."""
    images = torch.from_numpy((patches.astype(np.float64) - mean) / std).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        torch.testing.assert_close(found(torch.from_numpy(patches))[1], own(images), rtol=1e-4, atol=1e-4)


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED = {
    "plain": lambda state: state,
    "module.": lambda state: prefixed("module.", state),
    "model.": lambda state: prefixed("model.", state),
    "net.": lambda state: prefixed("net.", state),
    "module.backbone.": lambda state: prefixed("module.backbone.", state),
    "a head beside the body": lambda state: {n if n.startswith("fc") else f"body.{n}": t for n, t in state.items()},
    "state_dict": lambda state: {"epoch": 3, "best": torch.ones(1), "state_dict": prefixed("model.", state)},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "model": lambda state: {"model": {"state_dict": state}},
    "in half precision": lambda state: {n: t.half() if t.is_floating_point() else t for n, t in state.items()},
    "without counters": lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    "behind dropout": lambda state: {re.sub("^fc", "fc.1", n): t for n, t in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_prefixes_and_wrappers_are_understood(tiny, brought_in, patches, wrap):
    same(brought_in(wrap(dict(tiny.state_dict()))), tiny, patches[:3])


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.ckpt", "w.bin", "w.safetensors"])
def test_the_files_ending_does_not_matter(tiny, brought_in, patches, name):
    state = dict(tiny.state_dict())
    same(brought_in(state, name), tiny, patches[:3])


@pytest.mark.parametrize("old", [False, True], ids=["norm1", "norm.1"])
def test_torchvisions_densenet_comes_in_under_its_new_and_old_names(brought_in, patches, old):
    torch.manual_seed(2)
    net = settled(torchvision.models.densenet169(num_classes=2))
    state = dict(net.state_dict())
    if old:
        state = {re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name): tensor for name, tensor in state.items()}
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    same(brought_in(prefixed("module.", state), architecture="densenet169"), net, patches[:2])


def test_one_logit_becomes_two(brought_in, patches):
    torch.manual_seed(7)
    own = settled(timm.create_model(ARCHITECTURES["tiny_resnet"].timm_name, num_classes=1))
    found = brought_in(own.state_dict())
    images = torch.from_numpy((patches[:3].astype(np.float64) - MEAN) / STD).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        logits, z = found(torch.from_numpy(patches[:3]))[1], own(images)[:, 0]
    torch.testing.assert_close(logits, torch.stack([torch.zeros_like(z), z], dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits.softmax(1)[:, 1], z.sigmoid(), rtol=1e-4, atol=1e-4)


def test_a_mean_of_zero_is_a_mean(tiny, brought_in, patches):
    same(brought_in(tiny.state_dict(), mean=(0, 0, 0), std=(255, 255, 255)), tiny, patches[:3], (0, 0, 0), (255,) * 3)


def test_what_fp16_cannot_hold_stays_as_it_is(tiny, brought_in, tmp_path):
    state = dict(tiny.state_dict()) | {"bn1.running_var": torch.full_like(tiny.state_dict()["bn1.running_var"], 1e6)}
    brought_in(state)
    kept = load_file(tmp_path / "mine" / WEIGHTS)
    assert kept["bn1.running_var"].max() == 1e6
    assert kept["fc.weight"].dtype == torch.float16


def changed(**values):
    return lambda state: {n: t for n, t in (state | {k: v(state) for k, v in values.items()}).items() if t is not None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(**{"bn1.weight": lambda s: None}), "do not fit tiny_resnet: 'bn1.weight' is missing"),
        (changed(**{"fc.weight": lambda s: s["fc.weight"].repeat(2, 1)}), r"'fc.weight' has shape \(4, "),
        (changed(extra=lambda s: torch.ones(1)), "'extra' does not belong"),
        (changed(**{"fc.bias": lambda s: "no"}), "'fc.bias' is no tensor"),
        (changed(**{"fc.bias": lambda s: s["fc.bias"] * torch.nan}), "'fc.bias' hold a number that is not finite"),
        (changed(**{"fc.bias": lambda s: torch.ones(2, dtype=torch.int8)}), "'fc.bias' are of type torch.int8"),
        (changed(**{"m.fc.bias": lambda s: s["fc.bias"], "m.conv1.weight": lambda s: None}), "'m.fc.bias' does not"),
        (lambda s: prefixed("m.", s) | {"fc.bias": s["fc.bias"]}, "'fc.bias' twice, with and without 'm.'"),
        (lambda s: {"epoch": 3, "optimizer": {}}, "no state dict, but epoch, optimizer"),
        (lambda s: {}, "no state dict, but nothing"),
        (lambda s: [1, 2], "no state dict but a value of type list"),
        (lambda s: torch.ones(3), "no state dict but a value of type Tensor"),
    ],
)
def test_the_first_thing_that_does_not_fit_is_named(tiny, brought_in, tmp_path, change, said):
    with pytest.raises(BundleError, match=said):
        brought_in(change(dict(tiny.state_dict())))
    assert not (tmp_path / "mine").exists()


class Canary:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


def test_code_is_never_run(tiny, brought_in, tmp_path):
    with pytest.raises(BundleError, match=r"it needs \S+, which is code that would be run; save the state dict"):
        brought_in({"state_dict": dict(tiny.state_dict()), "hyper_parameters": Canary()}, "lightning.ckpt")
    with pytest.raises(BundleError, match=r"it needs \S*ResNet\S*, which is code"):
        brought_in(tiny, "whole.pt")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Canary()))
    with pytest.raises(BundleError):
        read_state(tmp_path / "old.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(BundleError, match="TorchScript archive, which is a program"):
        read_state(tmp_path / "script.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_damaged_files_are_refused(tiny, tmp_path, name):
    path = tmp_path / name
    save_file(dict(tiny.state_dict()), path) if name == "w.safetensors" else torch.save(tiny.state_dict(), path)
    data = path.read_bytes()
    for harmed in (b"", b"no", data[:100], data[: len(data) // 2], bytes(1000), b"\x80\x02" + data[:50], b"PK" + data):
        path.write_bytes(harmed)
        with pytest.raises(BundleError, match="not a safetensors file, nor a PyTorch checkpoint"):
            read_state(path)
    for missing in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(BundleError, match="not there, or cannot be read"):
            read_state(missing)


def test_shares_of_one_are_told_from_grey_levels(tiny, brought_in):
    with pytest.raises(ModelValueError, match="multiply shares of 1 by 255"):
        brought_in(tiny.state_dict(), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
