"""Every method as it is served: against captum and pytorch-grad-cam, without torch where it may be, seeded, counted."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import GuidedGradCam, IntegratedGradients, Occlusion
from pytorch_grad_cam import AblationCAM, EigenCAM, GradCAMPlusPlus, ScoreCAM, XGradCAM
from pytorch_grad_cam.ablation_layer import AblationLayer

from core.data.transforms import VIEWS, dihedral, dihedral_back
from core.errors import ExplanationError
from core.explain import pixels, registry
from core.explain.cam import grad_cam_plus_plus
from core.explain.grid import enlarge
from core.explain.registry import INPUT, LAST, METHODS
from core.inference import load_reader
from core.inference.engines.torch_engine import TorchEngine, load_net
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.task import PCAM

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)
ROW = torch.tensor([-1.0, 1.0])
CAPTUM_TELLS = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")  # it is asked for just that
COSTLY = [name for name, method in METHODS.items() if method.passes_at("6x6", 96) > 2]
GRIDS = {"last": (3, 3), "6x6": (6, 6), "12x12": (12, 12)}
OWN_GRIDS = {"occlusion": (6, 6)}


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory, set_norms):
    """A network of a few channels with seeded random weights, whose patches give logits that differ."""
    torch.manual_seed(5)
    net = PatchNet("tiny_resnet", MEAN, STD)
    set_norms(net)
    with torch.no_grad():
        net.net.fc.weight.mul_(20)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_bundle(net, folder, version="0.1", mean=MEAN, std=STD, training=Training(recipe="Random weights."))
    return folder


@pytest.fixture(scope="module")
def small(small_bundle):
    return load_reader(small_bundle, "openvino")


@pytest.fixture(scope="module")
def net(small):
    return load_net(small.stored)


class Margin:
    """pytorch-grad-cam's word for the target tumour minus normal; `times` drowns the small numbers it adds."""

    def __init__(self, times=1.0):
        self.times = times

    def __call__(self, logits):
        return self.times * (logits[1] - logits[0])


def target_of(net):
    return lambda images: net.net(images) @ ROW


def images_of(net, patches):
    return net.normalise(torch.from_numpy(patches))


def stretched(maps):
    """What pytorch-grad-cam makes of maps: clipped, enlarged to the patch, stretched to 0..1."""
    large = np.stack([enlarge(heatmap, 96, smooth=True) for heatmap in np.maximum(maps, 0)])
    large = large - large.min(axis=(1, 2), keepdims=True)
    return large / large.max(axis=(1, 2), keepdims=True)


def agree(ours, theirs, atol=2e-3):
    assert theirs.max() > 0.9
    np.testing.assert_allclose(stretched(ours), theirs, atol=atol)


# Against others ---------------------------------------------------------------------------------------------------

MODULES = {"last": "layer4", "6x6": "layer3", "12x12": "layer2"}
ALIKE = {"gradcam++": GradCAMPlusPlus, "xgradcam": XGradCAM}


@pytest.mark.parametrize("layer", MODULES)
@pytest.mark.parametrize("method", ALIKE)
def test_weighted_maps_equal_pytorch_grad_cam(small, net, patches, method, layer):
    ours = small.explain(patches[:3], method, layer, PCAM.margin).attribution
    with ALIKE[method](model=net.net, target_layers=[net.net.get_submodule(MODULES[layer])]) as cam:
        theirs = cam(images_of(net, patches[:3]).requires_grad_(), targets=[Margin()] * 3)
    agree(ours, theirs, atol=5e-3)


@pytest.mark.parametrize("layer", MODULES)
def test_eigen_cam_equals_pytorch_grad_cam_up_to_its_sign(small, net, patches, layer):
    ours = small.explain(patches[:3], "eigencam", layer, PCAM.margin).attribution
    with EigenCAM(model=net.net, target_layers=[net.net.get_submodule(MODULES[layer])]) as cam:
        theirs = cam(images_of(net, patches[:3]), targets=[Margin()] * 3)
    for mine, other in zip(ours, theirs, strict=True):
        errors = [np.abs(stretched(signed[None])[0] - other).max() for signed in (mine, -mine)]
        assert min(errors) < 2e-3
        assert max(errors) > 0.1  # so the sign matters


@pytest.mark.parametrize("layer", ["last", "6x6"])
def test_score_cam_equals_pytorch_grad_cam_over_all_channels(small, net, patches, layer, monkeypatch):
    monkeypatch.setattr(registry, "CHANNELS", 1000)
    monkeypatch.setattr(  # half-pixel centres, see `map_masks`
        torch.nn, "UpsamplingBilinear2d", lambda size: torch.nn.Upsample(size=size, mode="bilinear")
    )
    ours = small.explain(patches[:2], "scorecam", layer, PCAM.margin).attribution
    with ScoreCAM(model=net.net, target_layers=[net.net.get_submodule(MODULES[layer])]) as cam:
        theirs = cam(images_of(net, patches[:2]), targets=[Margin()] * 2)
    agree(ours, theirs, atol=2e-2)  # our network sees whole grey levels


class ToZero(AblationLayer):
    """Ablation as the paper has it: to zero, whatever the least activation."""

    def __call__(self, x):
        self.activations[range(len(self.activations)), self.indices[: len(self.activations)]] = 0
        return self.activations


@pytest.mark.parametrize("layer", ["last", "6x6"])
def test_ablation_cam_equals_pytorch_grad_cam_over_all_channels(small, net, patches, layer, monkeypatch):
    monkeypatch.setattr(registry, "CHANNELS", 1000)
    chosen = patches[small.read(patches).logit > 0][:2]  # it divides by the logit; below zero that turns its sign
    assert len(chosen) == 2
    ours = small.explain(chosen, "ablationcam", layer, PCAM.margin).attribution
    copy = deepcopy(net).net
    with AblationCAM(
        model=copy, target_layers=[copy.get_submodule(MODULES[layer])], ablation_layer=ToZero(), batch_size=16
    ) as cam:
        theirs = cam(images_of(net, chosen), targets=[Margin()] * 2)
    agree(ours, theirs, atol=5e-3)


def test_occlusion_equals_captum(small, net, patches):
    ours = small.explain(patches[:2], "occlusion", target=PCAM.margin).attribution
    theirs = Occlusion(target_of(net)).attribute(
        images_of(net, patches[:2]), sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16)
    )
    theirs = theirs.detach().numpy()[:, 0]
    large = ours.repeat(16, axis=1).repeat(16, axis=2)
    np.testing.assert_allclose(large, theirs, atol=2e-3 * np.abs(theirs).max())


def test_integrated_gradients_sum_to_the_change_from_the_mean_colour(small, net, patches):
    found = small.explain(patches[:2], "integrated_gradients", target=PCAM.margin)
    with torch.no_grad():
        blank = target_of(net)(torch.zeros(1, 3, 96, 96)).item()
    change = found.logit - blank
    np.testing.assert_allclose(found.attribution.sum(axis=(1, 2)), change, atol=0.05 * np.abs(change).max())
    finer = IntegratedGradients(target_of(net)).attribute(images_of(net, patches[:1]), n_steps=200)
    finer = finer.sum(dim=1).detach().numpy()[0]
    assert np.corrcoef(found.attribution[0].ravel(), finer.ravel())[0, 1] > 0.98


def test_smoothgrad_is_the_mean_gradient_over_its_noise(small, net, patches):
    found = small.explain(patches[:1], "smoothgrad", target=PCAM.margin).attribution[0]
    image = images_of(net, patches[:1])
    torch.manual_seed(0)
    noisy = torch.cat([image + torch.normal(0, torch.full((16, 3, 96, 96), pixels.NOISE)) for _ in range(2)])
    (gradient,) = torch.autograd.grad(target_of(net)(noisy.requires_grad_()).sum(), noisy)
    by_hand = gradient.mean(dim=0).sum(dim=0).numpy()
    np.testing.assert_allclose(found, by_hand, atol=1e-3 * np.abs(by_hand).max())


@CAPTUM_TELLS
def test_guided_grad_cam_equals_captum(small, net, patches):
    found = small.explain(patches[:2], "guided_gradcam", target=PCAM.margin).attribution
    target = pixels.Target(pixels.guided_copy(net), ROW)
    peer = GuidedGradCam(target, target.net.net.layer4)
    theirs = peer.attribute(images_of(net, patches[:2]).requires_grad_(), interpolate_mode="bilinear")
    theirs = theirs.sum(dim=1).detach().numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-3 * np.abs(theirs).max())
    plain = torch.autograd.grad(target_of(net)(x := images_of(net, patches[:1]).requires_grad_()).sum(), x)[0]
    guided = pixels.guided_backprop(target, images_of(net, patches[:1]))
    assert np.corrcoef(plain.sum(dim=1).numpy().ravel(), guided.numpy().ravel())[0, 1] < 0.9  # the guiding shows


def test_guiding_reaches_rectifiers_that_stop_at_six():
    net = pixels.guided_copy(PatchNet("efficientnet_lite0", MEAN, STD).eval())
    kinds = {type(module) for module in net.modules() if isinstance(module, torch.nn.ReLU | torch.nn.ReLU6)}
    assert kinds == {pixels._ReLU6}
    layers = torch.nn.Sequential(torch.nn.ReLU6(), torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
    layers[2].weight.data[:] = torch.tensor([2.0, -3.0, 5.0, 7.0])
    image = torch.tensor([-1.0, 1.0, 2.0, 8.0]).reshape(1, 1, 2, 2)
    # closed below 0 and above 6, and deaf to the negative slope
    model = torch.nn.Module()
    model.net = layers
    assert pixels.guided_backprop(pixels.Target(model, torch.ones(1)), image).tolist() == [[0, 0], [5, 0]]


@CAPTUM_TELLS
def test_the_shipped_model_agrees_with_both(shipped_reader, patches):
    net, two = load_net(shipped_reader.stored), patches[:2]
    images = images_of(net, two)
    norm = net.net.features.norm5
    for method, peer in {**ALIKE, "eigencam": EigenCAM}.items():
        ours = shipped_reader.explain(two, method, target="normal").attribution
        assert (ours.max(axis=(1, 2)) > 0).all()
        with peer(model=net.net, target_layers=[norm]) as cam:
            theirs = cam(images.clone().requires_grad_(), targets=[lambda logits: 1e3 * logits[0]] * 2)
        if method == "gradcam++":  # not in step with the target, see its docstring
            gradients = 1e3 * shipped_reader.stored.head[0][0] / 9
            maps = shipped_reader.engine.forward(two)[0]
            ours = grad_cam_plus_plus(maps, np.broadcast_to(gradients[None, :, None, None], maps.shape))
        for mine, other in zip(ours, theirs, strict=True):
            signs = (mine, -mine) if method == "eigencam" else (mine,)
            assert min(np.abs(stretched(signed[None])[0] - other).max() for signed in signs) < 2e-2, method
    ours = shipped_reader.explain(two[:1], "guided_gradcam", target=PCAM.margin).attribution
    target = pixels.Target(pixels.guided_copy(net), ROW)
    peer = GuidedGradCam(target, target.net.net.features.norm5)
    theirs = peer.attribute(images[:1].clone().requires_grad_(), interpolate_mode="bilinear").sum(dim=1)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-2 * float(theirs.detach().abs().max()))
    # a channel ablated by arithmetic is the channel set to zero
    maps, logits = shipped_reader.engine.forward(two[:1])
    without = maps.copy()
    without[:, 7] = 0
    weight, bias = shipped_reader.stored.head
    left = without.mean(axis=(2, 3)) @ weight.T + bias
    drop = (weight[1] - weight[0])[7] * maps[:, 7].mean()
    np.testing.assert_allclose((logits - left) @ [-1, 1], drop, atol=1e-4)


# As served --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", COSTLY)
def test_a_costly_map_is_the_patchs_own_and_tells_how_far_it_is(small, patches, method):
    for layer in METHODS[method].layers(small.layers):
        told = []
        one = small.explain(
            patches[1], method, layer, progress=lambda done, total, told=told: told.append((done, total))
        )
        grid = GRIDS.get(layer, OWN_GRIDS.get(method, (96, 96)))
        assert one.grid == grid
        assert f"({grid[0]} x {grid[1]} cells)" in one.explained
        assert (one.attribution.dtype, one.layer) == (np.float32, layer)
        assert one.attribution.any()
        assert one.logit[0] == small.read(patches[1]).logit[0]
        total = METHODS[method].passes_at(layer, 96)
        assert told[-1:] == ([(total, total)] if total else [])
        steps = np.diff([0, *(done for done, _ in told)])
        assert all((steps >= 0) & (steps <= small.engine.batch))  # whoever waits for a step waits for one batch
    many = small.explain(patches[:2], method, layer)
    again = small.explain(patches[1], method, layer)
    np.testing.assert_array_equal(again.attribution, one.attribution)  # same patch, same map
    largest = np.abs(one.attribution).max()
    np.testing.assert_allclose(many.attribution[1], one.attribution[0], atol=1e-4 * largest)
    assert small.explain(patches[:0], method, layer).attribution.shape == (0, *grid)


@pytest.mark.parametrize("method", COSTLY)
def test_a_costly_map_is_given_up_at_the_next_step(small, patches, method):
    class Enough(BaseException):
        pass

    def enough(done, total):
        if done:
            raise Enough

    layer = METHODS[method].layers(small.layers)[-1]
    with pytest.raises(Enough):
        small.explain(patches[1], method, layer, progress=enough)
    assert small.read(patches[1]).logit[0] == small.read(patches).logit[1]  # and whoever comes next is served


@pytest.mark.parametrize("method", ["scorecam", "occlusion", "integrated_gradients"])
def test_eight_views_of_a_costly_map_are_its_mean_turned_back(small, patches, method):
    eight = small.explain(patches[:1], method, target=PCAM.margin, views=8).attribution
    singles = [small.explain(dihedral(patches[:1], i), method, target=PCAM.margin).attribution for i in range(VIEWS)]
    mean = np.mean([dihedral_back(single, i) for i, single in enumerate(singles)], axis=0)
    np.testing.assert_allclose(eight, mean, atol=1e-4 * np.abs(mean).max())


def test_occlusion_and_rise_find_what_a_network_looks_at(small, patches):
    """A network that only sees how bright the upper left corner is."""

    class Corner:
        name, batch = "corner", 32

        def forward(self, images):
            bright = images[:, :32, :32].astype(np.float32).mean(axis=(1, 2, 3)) / 25
            return np.zeros((len(images), 96, 3, 3), np.float32), np.stack([0 * bright, bright], axis=1)

    reader = type(small)(small.stored, Corner())
    white = np.full((1, 96, 96, 3), 255, np.uint8)
    drop = (255 - np.mean(MEAN)) / 25
    covered = reader.explain(white, "occlusion", target=PCAM.margin).attribution[0]
    # the corner's own square hides all of it, its neighbours half or a quarter
    assert covered[0, 0] == pytest.approx(drop, rel=1e-3)
    assert covered[0, 1] == pytest.approx(drop * (1 + 1 / 2) / 2, rel=1e-3)
    assert covered[1, 1] == pytest.approx(drop * (1 + 1 / 2 + 1 / 2 + 1 / 4) / 4, rel=1e-3)
    assert not covered[3:].any()
    shown = reader.explain(white, "rise", target=PCAM.margin).attribution[0]
    inside = shown[:32, :32].mean()
    assert inside > 4 * np.abs(shown[48:, 48:]).mean()
    assert np.unravel_index(shown.argmax(), shown.shape) < (32, 32)


def test_maps_go_on_from_an_earlier_layer_to_the_same_logits(net, patches):
    with torch.no_grad():
        batch = torch.from_numpy(patches[:2])
        for name in ("tiny_resnet", "efficientnet_lite0", "densenet121"):
            other = net if name == net.name else PatchNet(name, MEAN, STD).eval()
            for layer in ("6x6", "12x12"):
                maps, logits = other.forward_with_layer(batch, layer)
                torch.testing.assert_close(other.forward_from_layer(maps, layer), logits)


def test_methods_stand_where_they_exist(small, patches):
    assert METHODS["gradcam"].layers(small.layers) == ("last", "6x6", "12x12")
    assert METHODS["rise"].layers(small.layers) == (INPUT,)
    for method, layer in (("occlusion", LAST), ("gradcam", INPUT)):
        with pytest.raises(ExplanationError, match=f"Unknown layer '{layer}'"):
            small.explain(patches[:1], method, layer)


def test_nothing_is_left_on_the_served_network(small_bundle, patches):
    reader = load_reader(small_bundle, "torch")
    assert isinstance(reader.engine, TorchEngine)
    before = {name: value.clone() for name, value in reader.engine.net.state_dict().items()}
    for method in ("integrated_gradients", "smoothgrad", "guided_gradcam", "ablationcam"):
        reader.explain(patches[:1], method, METHODS[method].layers(reader.layers)[-1])
    for module in reader.engine.net.modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            assert not getattr(module, kind), f"{kind} on {type(module).__name__}"
    assert all(torch.equal(value, before[name]) for name, value in reader.engine.net.state_dict().items())


def test_randomness_of_others_is_left_alone(small, patches):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    small.explain(patches[:1], "smoothgrad")
    assert torch.equal(torch.rand(3), expected)


def test_asking_about_patches_needs_no_torch(small, small_bundle, patches, tmp_path):
    small.read(patches[:1])  # the graph is kept
    np.save(tmp_path / "patch.npy", patches[0])
    code = (
        "import sys, numpy as np; from core.inference import load_reader\n"
        "reader, patch = load_reader(sys.argv[1], 'openvino'), np.load(sys.argv[2])\n"
        "for method in ('gradcam++', 'eigencam', 'scorecam', 'ablationcam', 'occlusion', 'rise'):\n"
        "    reader.explain(patch, method)\n"
        "reader.region(np.zeros((1, 64, 128, 3), np.uint8)), reader.features(patch)\n"
        "print(sorted({'torch', 'captum', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, small_bundle, tmp_path / "patch.npy"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert done.stdout.strip() == "[]", done.stderr


# Regions and features ----------------------------------------------------------------------------------------------


def test_a_scene_of_one_patch_is_a_patch(small, patches):
    read = small.read(patches[:3])
    np.testing.assert_array_equal(small.region(patches[:3]), read.attribution)
    for method in ("gradcam++", "layercam", "ablationcam"):
        for layer in small.layers:
            as_patch = small.explain(patches[:2], method, layer, "predicted").attribution
            as_region = small.region(patches[:2], method, layer, "predicted")
            np.testing.assert_allclose(as_region, as_patch, atol=1e-5 * np.abs(as_patch).max())


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_scenes_cells_lie_on_the_scene_and_sum_to_its_logit(small_bundle, engine):
    reader = load_reader(small_bundle, engine)
    regions = np.random.default_rng(4).integers(0, 256, (2, 512, 512, 3), dtype=np.uint8)
    regions[0, :256] //= 4
    maps, logits = reader.engine.forward(regions)
    found = reader.region(regions)
    assert (maps.shape, found.shape, found.dtype) == ((2, 96, 16, 16), (2, 16, 16), np.float32)
    bias = reader.stored.head[1]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), logits @ [-1, 1] - (bias[1] - bias[0]), atol=1e-3)
    np.testing.assert_allclose(reader.region(regions[1]), found[1:], atol=1e-5)
    assert reader.region(regions[:1], layer="6x6").shape == (1, 32, 32)
    upright, lying = reader.region(regions[:, :256]), reader.region(regions[:, :, :256])
    assert (upright.shape, lying.shape) == ((2, 8, 16), (2, 16, 8))
    # far from the cut, a cell of half the region says what it says in the whole, of twice the mean
    np.testing.assert_allclose(upright[:, :2] / 2, found[:, :2], atol=1e-4)


def test_few_scene_sizes_stay_compiled(small_bundle):
    reader = load_reader(small_bundle, "openvino")
    for side in (32, 64, 128, 160, 64, 192):
        reader.engine.forward(np.zeros((2, side, side, 3), np.uint8))
    reader.engine.forward(np.zeros((1, 96, 96, 3), np.uint8))
    assert [shape for shape in vars(reader.engine)["_compiled"] if shape[1] != 96] == [
        (1, 160, 160),
        (1, 64, 64),
        (1, 192, 192),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 100, 96, 3), np.uint8),
        np.zeros((1, 96, 96, 3), np.float32),
        np.zeros((1, 0, 96, 3), np.uint8),
        np.zeros((96, 96), np.uint8),
    ],
    ids=["100 rows", "float", "no rows", "gray"],
)
def test_what_is_no_scene_is_refused(small, wrong):
    with pytest.raises(ValueError, match="multiples of 32"):
        small.region(wrong)


def test_scenes_are_for_the_cam_family(small, patches):
    with pytest.raises(ExplanationError, match="Unknown layer"):
        small.region(patches[:1], "rise")
    with pytest.raises(ExplanationError, match="Unknown method"):
        small.region(patches[:1], "rise", INPUT)


def test_features_are_what_the_linear_layer_sees(small, patches):
    features = small.features(patches)
    weight, bias = small.stored.head
    assert features.dtype == np.float32
    np.testing.assert_allclose(features @ weight.T + bias, small.read(patches).logits, atol=1e-3)
    np.testing.assert_array_equal(small.features(patches[3]), features[3:4])
    assert small.features(patches[:0]).shape == (0, 96)
