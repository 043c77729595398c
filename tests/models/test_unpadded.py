"""Without padding a cell is a function of its window: not a bit of it depends on a pixel outside."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core.errors import BundleError, ModelValueError
from core.models.architectures import ARCHITECTURES
from core.models.nets import PatchNet, net_of_weights, save_bundle
from core.models.schema import Training
from core.models.unpadded import CroppedResidual, without_padding
from core.task import Task
from core.training.config import make_config
from core.training.start import starting_net

NAME = "efficientnet_lite0_unpadded"
KNOWN = ARCHITECTURES[NAME]
MEAN, STD = (127.0,) * 3, (128.0,) * 3


@pytest.fixture(scope="module", params=[name for name, known in ARCHITECTURES.items() if known.field])
def any_net(request):
    torch.manual_seed(2)
    return PatchNet(request.param, MEAN, STD).eval()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(2)
    return PatchNet(NAME, MEAN, STD).eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 256, (1, 136, 136, 3), dtype=np.uint8)


def maps_of(net, image):
    with torch.no_grad():
        return net.forward_features(torch.from_numpy(np.ascontiguousarray(image)))[0].numpy()


def test_the_layers_are_those_that_the_facts_are_worked_out_from(any_net):
    spatial = [layer for layer in any_net.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)]
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in spatial] == list(ARCHITECTURES[any_net.name].layers)
    convolutions = [layer for layer in any_net.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.padding for layer in convolutions} == {(0, 0)}
    assert {type(layer) for layer in any_net.modules()}.isdisjoint({nn.AvgPool2d, nn.MaxPool2d})
    kernels = [3, ARCHITECTURES[any_net.name].layers[5][0] if len(spatial) > 5 else 1]  # of the first blocks with one
    borders = [block.border for block in any_net.modules() if isinstance(block, CroppedResidual)]
    assert borders[:2] == [kernel // 2 for kernel in kernels]


def test_a_pixel_outside_its_window_changes_not_a_bit_of_a_cell(any_net, image):
    """A pixel at each corner of a cell's window, and its neighbours just outside."""
    field, (row, column) = ARCHITECTURES[any_net.name].field, (3, 4)
    whole = maps_of(any_net, image)
    assert whole.shape[1:] == (field.cells(136),) * 2
    top, left = (field.start + field.stride * place for place in (row, column))
    bottom, right = top + field.size - 1, left + field.size - 1
    for y, x in ((top - 1, left), (top, left - 1), (bottom + 1, right), (bottom, right + 1)):
        changed = image.copy()
        changed[0, y, x] ^= 255
        found = maps_of(any_net, changed)
        np.testing.assert_array_equal(found[:, row, column], whole[:, row, column])
        assert (found != whole).any(), "some cell sees the pixel"
    for y, x in ((top, left), (top, right), (bottom, left), (bottom, right)):
        changed = image.copy()
        changed[0, y, x] ^= 255
        assert (maps_of(any_net, changed)[:, row, column] != whole[:, row, column]).any(), "it is in the window"


def test_a_shift_by_the_stride_shifts_the_map_by_one_cell_bit_for_bit(any_net, image):
    whole = maps_of(any_net, image[:, :128, :128])
    step = ARCHITECTURES[any_net.name].field.stride
    down = maps_of(any_net, image[:, step:, :128])
    right = maps_of(any_net, image[:, :128, step:])
    np.testing.assert_array_equal(down[:, :-1], whole[:, 1:])
    np.testing.assert_array_equal(right[:, :, :-1], whole[:, :, 1:])
    assert (down[:, :-1] != whole[:, :-1]).any()


def test_it_starts_from_the_padded_network(tmp_path, net):
    """Kernels give their middle, and those that become 1 x 1 the sum of their taps; all else is as it was."""
    torch.manual_seed(5)
    padded = PatchNet("efficientnet_lite0", MEAN, STD)
    facts = {"version": "1", "mean": MEAN, "std": STD, "training": Training(recipe="Random.")}
    folder = save_bundle(padded, tmp_path / "padded", **facts)
    started = starting_net(make_config("unpadded", start=str(folder))).net.state_dict()
    theirs = {name: value.half().float() for name, value in padded.net.state_dict().items()}
    assert started.keys() == theirs.keys()
    shrunk = {name for name in started if started[name].shape != theirs[name].shape}
    late_blocks = {f"blocks.{stage}.{block}" for stage, blocks in ((4, 3), (5, 4), (6, 1)) for block in range(blocks)}
    late_blocks |= {"blocks.3.1", "blocks.3.2"}
    assert shrunk == {f"{block}.conv_dw.weight" for block in late_blocks}
    late = "blocks.5.2.conv_dw.weight"
    torch.testing.assert_close(started[late], theirs[late].sum((2, 3), keepdim=True))
    for name in started.keys() - shrunk - {"classifier.bias"}:  # which says the prior
        assert torch.equal(started[name].float(), theirs[name].float()), name


def test_a_larger_kernel_gives_its_middle():
    padded = PatchNet("efficientnet_lite0", MEAN, STD).net
    wide = padded.blocks[2][0].conv_dw.weight.detach().clone()
    layers = ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2))
    torch.testing.assert_close(without_padding(padded, layers).blocks[2][0].conv_dw.weight, wide[..., 1:4, 1:4])


def test_a_state_dict_is_imported_whatever_stands_before_its_names(tmp_path, net, image):
    """As from a training script: behind a prefix, in fp16, with one logit."""
    state = {f"model.{name}": value.half().contiguous() for name, value in net.net.state_dict().items()}
    weight, bias = net.net.classifier.weight.detach(), net.net.classifier.bias.detach()
    state["model.classifier.weight"], state["model.classifier.bias"] = weight[1:] - weight[:1], bias[1:] - bias[:1]
    save_file(state, tmp_path / "w.safetensors")
    imported = net_of_weights(tmp_path / "w.safetensors", NAME, MEAN, STD).eval()
    patches = torch.from_numpy(image[:, :96, :96])
    with torch.no_grad():
        (_, own), (_, theirs) = net(patches), imported(patches)
    torch.testing.assert_close(theirs[:, 1] - theirs[:, 0], own[:, 1] - own[:, 0], atol=0.02, rtol=0.01)
    with pytest.raises(BundleError, match=r"conv_dw\.weight' has shape"):
        net_of_weights(tmp_path / "w.safetensors", "efficientnet_lite0", MEAN, STD)


def test_a_patch_too_small_for_a_window_is_refused(tmp_path, net):
    facts = {"version": "1", "mean": MEAN, "std": STD, "training": Training(recipe="Random.")}
    with pytest.raises(ModelValueError, match="64 px has no room for one cell"):
        save_bundle(net, tmp_path / "small", task=Task(name="toy", side=64, classes=("a", "b")), **facts)
