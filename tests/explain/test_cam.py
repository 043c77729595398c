"""The CAM family against arithmetic by hand, against its own theory, and against captum and pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from hypothesis import given
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from core.errors import ExplanationError
from core.explain.cam import (
    ablation_cam,
    eigen_cam,
    grad_cam,
    grad_cam_closed_form,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    score_cam,
    x_grad_cam,
)
from core.explain.grid import in_tiles
from core.explain.registry import METHODS, SCALE_PASSES, check_vocabulary, target_weights
from core.models.nets import PatchNet
from core.task import PCAM
from core.view.overlay import enlarge

# One patch, two channels, 2 x 2 cells.
MAPS = np.array([[[[1, 2], [3, 4]], [[0, 1], [0, 2]]]], np.float32)
GRADIENTS = np.array([[[[1, 0], [-1, 4]], [[-2, 2], [0, -4]]]], np.float32)


def test_closed_form_by_hand():
    # (4 A1 - 2 A2) / 4 cell by cell
    assert grad_cam_closed_form(MAPS, np.array([4, -2], np.float32)).tolist() == [[[1, 1.5], [3, 3]]]


def test_grad_cam_by_hand():
    # channel weights are the mean gradients, 1 and -1
    assert grad_cam(MAPS, GRADIENTS).tolist() == [[[1, 1], [3, 2]]]


def test_hires_cam_by_hand():
    assert hires_cam(MAPS, GRADIENTS).tolist() == [[[1, 2], [-3, 8]]]


def test_grad_cam_plus_plus_by_hand():
    # S = 10 and 3; the gradients 1, 4 of the first channel and 2 of the second: 1/12 + 4/42 and 2/8
    first, second = 1 / 12 + 4 / 42, 2 / 8
    expected = first * MAPS[0, 0] + second * MAPS[0, 1]
    np.testing.assert_allclose(grad_cam_plus_plus(MAPS, GRADIENTS), [expected], rtol=1e-6)


def test_x_grad_cam_by_hand():
    # (1 - 3 + 16) / 10 and (2 - 8) / 3
    np.testing.assert_allclose(x_grad_cam(MAPS, GRADIENTS), [1.4 * MAPS[0, 0] - 2 * MAPS[0, 1]], rtol=1e-6)


def test_a_silent_channel_weighs_nothing():
    silent = np.zeros((1, 2, 2, 2), np.float32)
    assert x_grad_cam(silent, GRADIENTS).tolist() == [[[0, 0], [0, 0]]]
    assert np.isfinite(grad_cam_plus_plus(-MAPS, GRADIENTS)).all()


def test_eigen_cam_by_hand():
    # one channel is its own direction, the second is flat; the most active cell is positive
    maps = np.stack([MAPS[0, :1], np.full((1, 2, 2), 3, np.float32)], axis=1)[0][None]
    np.testing.assert_allclose(eigen_cam(maps), [[[-1.5, -0.5], [0.5, 1.5]]], atol=1e-5)


def test_score_cam_by_hand():
    # softmax of ln 3 and 0
    scores = np.array([[np.log(3), 0]], np.float32)
    np.testing.assert_allclose(score_cam(MAPS, scores), [0.75 * MAPS[0, 0] + 0.25 * MAPS[0, 1]], rtol=1e-6)
    np.testing.assert_allclose(score_cam(MAPS, scores + 500), score_cam(MAPS, scores), rtol=1e-4)


def test_ablation_cam_by_hand():
    drops = np.array([[2, -1]], np.float32)
    assert ablation_cam(MAPS, drops).tolist() == [[[2, 3], [6, 6]]]


def test_layer_cam_by_hand():
    # only the gradients 1, 4 (first channel) and 2 (second) are positive
    assert layer_cam(MAPS, GRADIENTS).tolist() == [[[1, 2], [0, 16]]]


@st.composite
def networks_ends(draw):
    """Maps (n, k, h, w), rows (n, k) and biases (n,) of the end of some network."""
    n, k, h, w = (draw(st.integers(1, top)) for top in (3, 9, 5, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    maps = np.maximum(generator.normal(size=(n, k, h, w)), 0).astype(np.float32)
    return maps, generator.normal(size=(n, k)).astype(np.float32), generator.normal(size=n)


@given(networks_ends())
def test_cells_sum_to_the_logit_minus_its_bias(end):
    maps, rows, bias = end
    logit = (maps.mean(axis=(2, 3), dtype=np.float64) * rows).sum(axis=1) + bias
    cells = grad_cam_closed_form(maps, rows)
    assert cells.dtype == np.float32
    np.testing.assert_allclose(cells.sum(axis=(1, 2), dtype=np.float64), logit - bias, rtol=1e-5, atol=1e-5)


@given(networks_ends())
def test_closed_form_is_grad_cam_hires_cam_and_x_grad_cam_of_the_last_maps(end):
    maps, rows, _ = end
    gradients = np.broadcast_to(rows[:, :, None, None] / maps[0, 0].size, maps.shape).astype(np.float32)
    closed = grad_cam_closed_form(maps, rows)
    np.testing.assert_allclose(grad_cam(maps, gradients), closed, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(hires_cam(maps, gradients), closed, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x_grad_cam(maps, gradients), closed, rtol=1e-3, atol=1e-4)


@given(networks_ends())
def test_one_row_serves_all_patches(end):
    maps, rows, _ = end
    same = np.repeat(rows[:1], len(maps), axis=0)
    np.testing.assert_array_equal(grad_cam_closed_form(maps, rows[0]), grad_cam_closed_form(maps, same))


@given(networks_ends())
def test_eigen_cam_is_the_first_direction_of_the_centred_cells(end):
    maps = end[0]
    n, k, h, w = maps.shape
    found = eigen_cam(maps).reshape(n, h * w)
    cells = maps.reshape(n, k, h * w) - maps.reshape(n, k, h * w).mean(axis=2, keepdims=True)
    values = np.linalg.svd(cells, compute_uv=False)
    np.testing.assert_allclose((found**2).sum(axis=1), values[:, 0] ** 2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-3)
    assert (np.einsum("np,nkp->n", found, cells) > -1e-4).all()  # more activation, more positive


@pytest.mark.parametrize("formula", [grad_cam, hires_cam, x_grad_cam, layer_cam])
def test_every_method_in_logits_keeps_sign_scale_and_shape(formula):
    generator = np.random.default_rng(0)
    maps, gradients = generator.normal(size=(2, 2, 5, 3, 4)).astype(np.float32)
    heatmap = formula(np.maximum(maps, 0), gradients)
    assert heatmap.shape == (2, 3, 4)
    assert heatmap.dtype == np.float32
    np.testing.assert_allclose(formula(np.maximum(maps, 0), 3 * gradients), 3 * heatmap, rtol=1e-5)
    if formula is not layer_cam:
        np.testing.assert_allclose(formula(np.maximum(maps, 0), -gradients), -heatmap, rtol=1e-5)


def test_the_registry_says_what_holds():
    for name, method in METHODS.items():
        assert method.unit == "logits" or not method.sums_at_last, name
        passes = method.passes if isinstance(method.passes, int) else method.passes(96)
        assert method.free_at_last <= (method.kind == "cam"), name
        assert method.passes_at("last", 96) == (0 if method.free_at_last else passes), name
        assert method.passes_at("6x6", 96) == passes > 0, name
    cheap = {name for name, method in METHODS.items() if method.passes_at("6x6", 96) <= SCALE_PASSES}
    assert cheap == {
        *("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "guided_gradcam"),
    }


# Targets and words ------------------------------------------------------------------------------------------------


def test_targets_are_rows_of_the_two_logits():
    logits, tumour = np.array([[1.0, 4.0], [3.0, -2.0]], np.float32), np.array([True, False])
    value = {target: (target_weights(target, tumour, PCAM) * logits).sum(axis=1).tolist() for target in PCAM.targets}
    assert value == {
        "tumour minus normal": [3, -5],
        "predicted": [4, 3],
        "tumour": [4, -2],
        "normal": [1, 3],
    }


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("gradcam+", "last", "tumour"), "Unknown method 'gradcam\\+'. Known: gradcam, gradcam\\+\\+, hirescam, "),
        (("rise", "last", "tumour"), "Unknown layer 'last'. Known: input"),
        (("gradcam", "24x24", "tumour"), "Unknown layer '24x24'. Known: last, 6x6"),
        (("gradcam", "last", "Tumour"), "Unknown target 'Tumour'"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(words, named):
    with pytest.raises(ExplanationError, match=named):
        check_vocabulary(*words, layers=("last", "6x6"), task=PCAM)


# Against others ---------------------------------------------------------------------------------------------------

LAYERS = {"last": "layer4", "6x6": "layer3"}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    return PatchNet("resnet50", (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images(net, patches):
    return net.normalise(torch.from_numpy(patches[:3]))


@pytest.fixture(scope="module", params=LAYERS)
def ours(request, net, patches):
    """Layer, and the maps and gradients of the tumour logit there, taken as return values."""
    batch = torch.from_numpy(patches[:3])
    if request.param == "last":
        maps = net.forward_features(batch).requires_grad_()
        logits = net.forward_head(maps)
    else:
        maps, logits = net.forward_with_layer(batch, request.param)
    (gradients,) = torch.autograd.grad(logits[:, 1].sum(), maps)
    return request.param, maps.detach().numpy(), gradients.numpy()


def close(mine, theirs):
    assert mine.shape == theirs.shape
    largest = np.abs(theirs).max()
    assert largest > 0
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * largest)


def test_grad_cam_equals_captum(ours, net, images):
    layer, maps, gradients = ours
    theirs = LayerGradCam(net.net, net.net.get_submodule(LAYERS[layer])).attribute(
        images.clone().requires_grad_(), target=1, relu_attributions=False
    )
    close(grad_cam(maps, gradients), theirs.detach().numpy()[:, 0])
    assert (theirs < 0).any()  # a ReLU on either side would go unnoticed otherwise


def test_closed_form_equals_captum_without_a_backward_pass(net, patches, images):
    with torch.no_grad():
        maps = net(torch.from_numpy(patches[:3]))[0].numpy()
    gradcam = LayerGradCam(net.net, net.net.layer4)
    tumour, normal = (gradcam.attribute(images.clone().requires_grad_(), target=t)[:, 0] for t in (1, 0))
    rows = net.net.fc.weight.numpy()
    close(grad_cam_closed_form(maps, rows[1] - rows[0]), (tumour - normal).detach().numpy())


@pytest.mark.parametrize(
    ("formula", "peer"),
    [(grad_cam, GradCAM), (hires_cam, HiResCAM), (layer_cam, LayerCAM)],
    ids=["gradcam", "hirescam", "layercam"],
)
def test_maps_lie_on_the_patch_as_those_of_pytorch_grad_cam(ours, net, images, formula, peer):
    """It clips at zero, stretches each map to [0, 1], enlarges it to the patch and stretches again."""
    layer, maps, gradients = ours

    def stretched(heatmaps):
        shifted = heatmaps - heatmaps.min(axis=(1, 2), keepdims=True)
        return shifted / (1e-7 + shifted.max(axis=(1, 2), keepdims=True))

    # A scale that its 1e-7 does not matter to.
    positive = stretched(np.maximum(formula(maps, 1e6 * gradients), 0))
    mine = stretched(np.stack([enlarge(heatmap, 96, smooth=True) for heatmap in positive]))
    with peer(model=net.net, target_layers=[net.net.get_submodule(LAYERS[layer])]) as cam:
        theirs = cam(input_tensor=images.clone().requires_grad_(), targets=[_Louder(1)] * 3)
    assert theirs.max() > 0.9
    np.testing.assert_allclose(mine, theirs, atol=2e-3)


class _Louder(ClassifierOutputTarget):
    def __call__(self, model_output):
        return 1e6 * super().__call__(model_output)


def test_finer_cells_are_averaged_by_tile():
    fine = np.arange(36.0).reshape(1, 6, 6)
    tiles = in_tiles(fine, 96)
    assert tiles.shape == (1, 3, 3)
    assert tiles[0, 0, 1] == (2 + 3 + 8 + 9) / 4
    np.testing.assert_array_equal(in_tiles(tiles, 96), tiles)
    uneven = np.ones((2, 4, 4))
    assert in_tiles(uneven, 96) is uneven
    assert in_tiles(np.ones((2, 14, 14)), 224).shape == (2, 7, 7)
