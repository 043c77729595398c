"""Every method of explanation, one entry each: its name and source, what it costs, and how its map is made.

A method is asked with a `Question` and may ask a `Network` in turn. A new one is an entry of METHODS and the function
that makes its map; nothing else knows methods by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
from core.explain.grid import enlarge
from core.explain.masking import (
    COVER,
    MASKS,
    map_masks,
    occluded,
    occlusion_map,
    regrouped,
    rise_map,
    rise_masks,
    shown_through,
    strongest,
    windows,
)
from core.explain.question import STEPS, Array, Network, Patches, Question
from core.task import PREDICTED, Task

Formula = Callable[[Array, Array], Array]
"""Maps and gradients (n, k, h, w) -> (n, h, w)."""

LAST = "last"
"""The last maps, after the final ReLU: of padded networks 3 x 3 cells for a 96 px patch."""
INPUT = "input"
"""The patch itself: where methods stand that ask about pixels and know no maps."""
CHANNELS = 64
"""Channels that Score-CAM, and Ablation-CAM before the last layer, ask about: those with the most energy."""
SCALE_PASSES = 2
"""Passes a map may cost for its method to have a fixed colour scale, which hundreds of maps go into."""

Explain = Callable[[Network, Question], Array]


@dataclass(frozen=True)
class Method:
    """One way to explain.

    Attributes:
        title: name as printed.
        paper: where it comes from.
        meaning: what one cell's value says, in a sentence.
        unit: what the value is: "logits", or "relative" where only values of one map can be compared.
        kind: "cam" lies on the network's maps; "perturbation" asks the network about changed patches; "gradient"
            follows the target's derivative down to the pixels.
        cost: what a map costs beyond the reading itself, in words.
        passes: the same as a number of passes through the network, forward or backward, at the dearest layer; or a
            function of the patch's side.
        explain: makes the maps (n, rows, columns) float32 in its unit.
        free_at_last: at the last layer the reading's own forward pass is enough.
        sums_at_last: at the last layer the cells sum to the target logit minus its bias.
        local_at_last: at the last layer a cell's value is a function of that cell's maps and of how many cells there
            are: without padding a region gives it the same value as a patch.
    """

    title: str
    paper: str
    meaning: str
    unit: Literal["logits", "relative"]
    kind: Literal["cam", "perturbation", "gradient"]
    cost: str
    passes: int | Callable[[int], int]
    explain: Explain
    free_at_last: bool = False
    sums_at_last: bool = False
    local_at_last: bool = False

    def layers(self, of_network: tuple[str, ...]) -> tuple[str, ...]:
        """Layers it exists at, for a network whose own layers are `of_network`."""
        return of_network if self.kind == "cam" else (INPUT,)

    def passes_at(self, layer: str, side: int) -> int:
        """Passes through the network, forward or backward, that a map of a patch of `side` px costs beyond reading."""
        if self.free_at_last and layer == LAST:
            return 0
        return self.passes if isinstance(self.passes, int) else self.passes(side)


# How maps are made


def _by_gradients(formula: Formula) -> Explain:
    """A formula of maps and gradients. At the last layer the gradients need no backward pass."""

    def explain(net: Network, asked: Question) -> Array:
        if asked.layer != LAST:
            found = formula(*net.layer_gradients(asked.patches, asked.layer, asked.weights))
            asked.tick(2 * len(asked.patches))
            return found
        weights = asked.weights @ net.weight
        if formula in (grad_cam, hires_cam, x_grad_cam):  # the same there, cell by cell
            return grad_cam_closed_form(asked.last, weights)
        gradients = weights[:, :, None, None] / np.float32(asked.last[0, 0].size if len(asked.last) else 1)
        return formula(asked.last, np.broadcast_to(gradients, asked.last.shape))

    return explain


def _eigen_cam(net: Network, asked: Question) -> Array:
    if asked.layer == LAST:
        return eigen_cam(asked.last)
    asked.tick(len(asked.patches))
    return eigen_cam(net.layer_maps(asked.patches, asked.layer))


def _score_cam(net: Network, asked: Question) -> Array:
    maps = asked.last if asked.layer == LAST else net.layer_maps(asked.patches, asked.layer)
    maps = _chosen(maps, strongest(maps, CHANNELS))
    height, width = asked.patches.shape[1:3]
    changed = (
        piece
        for patch, channels in zip(asked.patches, maps, strict=True)
        for piece in _through(net, patch, map_masks(net.placed(channels, height), height, width))
    )
    return score_cam(maps, _targets(net, asked, changed, maps.shape[1]))


def _ablation_cam(net: Network, asked: Question) -> Array:
    if asked.layer == LAST:  # without channel k the logit lacks w_k times its mean
        return ablation_cam(asked.last, (asked.weights @ net.weight) * asked.last.mean(axis=(2, 3)))
    maps = net.layer_maps(asked.patches, asked.layer)
    channels = strongest(maps, CHANNELS)
    drops = net.layer_ablation(maps, asked.layer, channels, asked.weights, asked.tick)
    return ablation_cam(_chosen(maps, channels), drops)


def _occlusion(net: Network, asked: Question) -> Array:
    side = asked.patches.shape[1]
    changed = (occluded(patch, net.blank) for patch in asked.patches)
    covered = _targets(net, asked, changed, windows(side))
    return occlusion_map((asked.logits * asked.weights).sum(axis=1, keepdims=True) - covered, side)


def _rise(net: Network, asked: Question) -> Array:
    masks = rise_masks(asked.patches.shape[1])
    changed = (piece for patch in asked.patches for piece in _through(net, patch, masks))
    return rise_map(masks, _targets(net, asked, changed, MASKS))


def _integrated_gradients(net: Network, asked: Question) -> Array:
    from core.explain.pixels import integrated_gradients

    return net.pixel_maps(integrated_gradients, asked.patches, asked.weights, asked.tick)


def _smoothgrad(net: Network, asked: Question) -> Array:
    from core.explain.pixels import smoothgrad

    return net.pixel_maps(smoothgrad, asked.patches, asked.weights, asked.tick)


def _guided_grad_cam(net: Network, asked: Question) -> Array:
    from core.explain.pixels import guided_backprop

    side = asked.patches.shape[1]
    coarse = np.maximum(grad_cam_closed_form(asked.last, asked.weights @ net.weight), 0)
    fine = net.pixel_maps(guided_backprop, asked.patches, asked.weights, asked.tick)
    return enlarge(net.placed(coarse, side), side, smooth=True) * fine


def _through(net: Network, patch: Patches, masks: Array) -> Iterator[Patches]:
    """The patch seen through each mask, a batch at a time."""
    for start in range(0, len(masks), net.batch):
        yield shown_through(patch, masks[start : start + net.batch], net.blank)


def _targets(net: Network, asked: Question, changed: Iterator[Patches], each: int) -> Array:
    """Target logits (n, each) of changed patches, `each` of them for one patch after another."""
    logits = [np.zeros((0, 2), np.float32)]
    for batch in regrouped(changed, net.batch):
        logits.append(net.logits(batch))
        asked.tick(len(batch))
    by_patch = np.concatenate(logits).reshape(len(asked.weights), each, 2)
    return np.asarray(np.einsum("nmc,nc->nm", by_patch, asked.weights), dtype=np.float32)


def _chosen(maps: Array, channels: NDArray[np.intp]) -> Array:
    """Maps (n, m, h, w) of each patch's own channels (n, m)."""
    return np.take_along_axis(maps, channels[:, :, None, None], axis=1)


# The methods


_ONE_BACKWARD = "nothing at the last layer; before it, one forward and one backward pass"
METHODS: dict[str, Method] = {
    "gradcam": Method(
        "Grad-CAM",
        "Selvaraju et al. 2017, arXiv:1610.02391",
        "each channel's map weighted by its mean gradient",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        _by_gradients(grad_cam),
        free_at_last=True,
        sums_at_last=True,
        local_at_last=True,
    ),
    "gradcam++": Method(
        "Grad-CAM++",
        "Chattopadhay et al. 2018, arXiv:1710.11063",
        "each channel's map weighted by its positive gradients, those of faint channels more; never against the target",
        "relative",
        "cam",
        _ONE_BACKWARD,
        2,
        _by_gradients(grad_cam_plus_plus),
        free_at_last=True,
    ),
    "hirescam": Method(
        "HiResCAM",
        "Draelos & Carin 2020, arXiv:2011.08891",
        "gradient times map in the same cell",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        _by_gradients(hires_cam),
        free_at_last=True,
        sums_at_last=True,
        local_at_last=True,
    ),
    "xgradcam": Method(
        "XGrad-CAM",
        "Fu et al. 2020, arXiv:2008.02312",
        "each channel's map weighted by its gradient where it is active",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        _by_gradients(x_grad_cam),
        free_at_last=True,
        sums_at_last=True,
        local_at_last=True,
    ),
    "layercam": Method(
        "LayerCAM",
        "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        "map weighted by its own positive gradients alone",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        _by_gradients(layer_cam),
        free_at_last=True,
        local_at_last=True,
    ),
    "eigencam": Method(
        "Eigen-CAM",
        "Muhammad & Yeasin 2020, arXiv:2008.00299",
        "how far a cell stands out along the maps' main direction, whatever the target",
        "relative",
        "cam",
        "nothing at the last layer; before it, one forward pass",
        1,
        _eigen_cam,
        free_at_last=True,
    ),
    "scorecam": Method(
        "Score-CAM",
        "Wang et al. 2020, arXiv:1910.01279",
        f"maps weighted by how the network scores the patch seen through each; the {CHANNELS} strongest channels",
        "relative",
        "cam",
        f"{CHANNELS} forward passes, one for each of the strongest channels (all of them in the paper)",
        CHANNELS,
        _score_cam,
    ),
    "ablationcam": Method(
        "Ablation-CAM",
        "Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360",
        "maps weighted by how far the logit falls without each; before the last layer, "
        f"the {CHANNELS} strongest channels",
        "relative",
        "cam",
        f"nothing at the last layer, where it is arithmetic; before it, {CHANNELS} passes through the layers above",
        CHANNELS,
        _ablation_cam,
        free_at_last=True,
    ),
    "integrated_gradients": Method(
        "Integrated Gradients",
        "Sundararajan et al. 2017, arXiv:1703.01365",
        "the pixel's part in the logit's change from a blank patch to this one; the pixels sum to that change",
        "logits",
        "gradient",
        f"{STEPS} forward and {STEPS} backward passes",
        2 * STEPS,
        _integrated_gradients,
    ),
    "smoothgrad": Method(
        "SmoothGrad",
        "Smilkov et al. 2017, arXiv:1706.03825",
        "how the logit rises as the pixel turns brighter, the mean over noisy copies of the patch",
        "relative",
        "gradient",
        f"{STEPS} forward and {STEPS} backward passes",
        2 * STEPS,
        _smoothgrad,
    ),
    "guided_gradcam": Method(
        "Guided Grad-CAM",
        "Selvaraju et al. 2017, arXiv:1610.02391",
        "positive Grad-CAM times guided backpropagation: sharp edges, which hardly depend on what was learned",
        "relative",
        "gradient",
        "one forward and one backward pass",
        2,
        _guided_grad_cam,
    ),
    "occlusion": Method(
        "Occlusion",
        "Zeiler & Fergus 2014, arXiv:1311.2901",
        f"how far the logit falls when a {COVER} px square over the cell is blanked, the mean over such squares",
        "logits",
        "perturbation",
        "a forward pass for each square: 25 for a patch of 96 px",
        windows,
        _occlusion,
    ),
    "rise": Method(
        "RISE",
        "Petsiuk et al. 2018, arXiv:1806.07421",
        "how much higher the logit is when the pixel is shown than on average, over random masks",
        "logits",
        "perturbation",
        f"{MASKS} forward passes",
        MASKS,
        _rise,
    ),
}


def layer_words(layer: str) -> str:
    """A layer in words. An earlier one goes by its name, which is its grid in a patch of PCam's and in no other."""
    return {LAST: "last layer", INPUT: "at the input"}.get(layer, f"layer {layer}")


def check_vocabulary(method: str, layer: str, target: str, layers: tuple[str, ...], task: Task) -> None:
    """Raise ExplanationError unless all three words are known and the method exists at that layer.

    Args:
        method, layer, target: the words.
        layers: the network's own layers.
        task: whose targets they are.
    """
    if method not in METHODS:
        raise ExplanationError("method", method, tuple(METHODS))
    at = METHODS[method].layers(layers)
    for kind, value, known in (("layer", layer, at), ("target", target, tuple(task.targets))):
        if value not in known:
            raise ExplanationError(kind, value, known)


def target_weights(target: str, called: NDArray[np.bool_], task: Task) -> Array:
    """Weights (n, 2) float32 that turn the two logits of each patch into its target: target = row @ logits.

    Args:
        target: a key of `Task.targets`.
        called: (n,) which patches read as the positive class.
        task: whose target it is.
    """
    if target == PREDICTED:
        return np.stack([~called, called], axis=1).astype(np.float32)
    row = {task.margin: (-1.0, 1.0), task.positive: (0.0, 1.0), task.other: (1.0, 0.0)}[target]
    return np.tile(np.array(row, dtype=np.float32), (len(called), 1))
