"""All architectures keep the promise that closed-form Grad-CAM rests on."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from core.errors import BundleError, PretrainedWeightsError, UnknownArchitectureError
from core.inference.engines.torch_engine import load_net
from core.models.architectures import ARCHITECTURES
from core.models.nets import PatchNet, net_of_weights, save_bundle, state_groups
from core.models.schema import Training
from core.models.store import WEIGHTS, StoredBundle

MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def net(request):
    torch.manual_seed(0)
    return PatchNet(request.param, MEAN, STD).eval()


@pytest.fixture(scope="module")
def batch(patches):
    return torch.from_numpy(patches[:2])


def test_head_is_the_mean_and_one_linear_layer_of_maps_after_the_relu(net, batch):
    with torch.no_grad():
        maps, logits = net(batch)
        linear = net.net.get_submodule(ARCHITECTURES[net.name].head)
        by_hand = maps.mean(dim=(2, 3)) @ linear.weight.T + linear.bias
    cells = ARCHITECTURES[net.name].cells(96)
    assert maps.shape == (2, linear.in_features, cells, cells)
    assert logits.shape == (2, 2)
    assert maps.min() == 0  # a ReLU leaves nothing below, and on random weights some at zero
    assert maps.max() > 0
    torch.testing.assert_close(logits, by_hand, rtol=1e-5, atol=1e-5)
    assert not torch.equal(logits[0], logits[1])


def test_it_computes_what_timm_computes(net, batch):
    """Whatever is done to make it faster."""
    if ARCHITECTURES[net.name].layers:
        pytest.skip("without padding it is not timm's")
    theirs = timm.create_model(ARCHITECTURES[net.name].timm_name, num_classes=2)
    theirs.load_state_dict(net.net.state_dict())
    with torch.no_grad():
        expected = theirs.eval().forward_features(net.normalise(batch))
        torch.testing.assert_close(net.forward_features(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", [0, -1])
def test_an_earlier_layer_leads_to_the_same_logits(net, batch, place):
    stages = list(ARCHITECTURES[net.name].stages)
    if not stages:
        pytest.skip("it has no earlier layer to explain")
    layer = stages[place]
    maps, logits = net.forward_with_layer(batch, layer)
    assert f"{maps.shape[2]}x{maps.shape[3]}" == layer
    (gradients,) = torch.autograd.grad(logits[:, 1].sum(), maps)
    assert gradients.shape == maps.shape
    assert gradients.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(logits.detach(), net(batch)[1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net.forward_from_layer(maps, layer), logits, rtol=1e-5, atol=1e-5)


def test_layer_groups_hold_every_weight_once_from_the_stem_to_the_head(net):
    groups = state_groups(net)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(net.net.state_dict())
    assert len(groups) > 3
    head = ARCHITECTURES[net.name].head
    assert groups[-1] == [f"{head}.weight", f"{head}.bias"]
    assert groups[0][0] == next(iter(net.net.state_dict()))


def test_normalisation_is_inside(batch):
    net = PatchNet("efficientnet_lite0", MEAN, STD)
    expected = (batch.numpy().astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(net.normalise(batch), expected.transpose(0, 3, 1, 2), atol=1e-5)


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("hub"), ValueError("no weights")])
def test_no_internet_is_said_in_our_words(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(PretrainedWeightsError, match="ImageNet weights for resnet50"):
        PatchNet("resnet50", MEAN, STD, pretrained=True)
    with pytest.raises(type(error), match=str(error)):  # without a download it is a bug and looks like one
        PatchNet("resnet50", MEAN, STD)


def test_unknown_architectures_are_refused():
    with pytest.raises(UnknownArchitectureError, match="vgg11"):
        PatchNet("vgg11", MEAN, STD)


def test_weights_from_elsewhere_become_a_bundle(tiny_bundle, tmp_path, batch):
    facts = {"version": "2", "mean": MEAN, "std": STD, "training": Training(recipe="Elsewhere.")}
    weights = tmp_path / "w.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(tiny_bundle / WEIGHTS).items()}, weights)
    folder = save_bundle(net_of_weights(weights, "efficientnet_lite0", MEAN, STD), tmp_path / "mine", **facts)
    stored = StoredBundle.open(folder)
    assert stored.description.name == "mine"
    assert stored.description.training.recipe == "Elsewhere."
    with torch.no_grad():
        torch.testing.assert_close(
            load_net(stored)(batch)[1], load_net(StoredBundle.open(tiny_bundle))(batch)[1], rtol=0, atol=0
        )
    with pytest.raises(BundleError, match="do not fit resnet50"):
        net_of_weights(weights, "resnet50", MEAN, STD)
    weights.write_bytes(b"no")
    with pytest.raises(BundleError, match="not a safetensors file"):
        net_of_weights(weights, "efficientnet_lite0", MEAN, STD)
