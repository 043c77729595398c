"""The CAM family as pure functions of arrays, and the vocabulary of explanations: methods, layers, targets.

A map is signed and never rescaled: positive cells speak for the target. Drawing decides what to clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import ExplanationError
from core.explain.masking import COVER, MASKS, WINDOWS
from core.task import Task

Array = NDArray[np.float32]

LAST = "last"
"""The last maps, after the final ReLU: 3 x 3 cells for a 96 px patch."""
INPUT = "input"
"""The patch itself: where methods stand that ask about pixels and know no maps."""
CHANNELS = 64
"""Channels that Score-CAM, and Ablation-CAM before the last layer, ask about: those with the most energy."""
STEPS = 32
"""Points on the path of Integrated Gradients, and noisy copies of SmoothGrad."""
SCALE_PASSES = 2
"""Passes a map may cost for its method to have a fixed colour scale, which hundreds of maps go into."""

PREDICTED = "predicted"
"""The target that goes by the reading's own class; the others are those of `Task.targets`."""


def grad_cam_closed_form(maps: Array, weights: Array) -> Array:
    """Grad-CAM of one logit for a network ending in global average pooling and a linear layer.

    With y = sum_k w_k mean_ij A_kij the gradient is w_k / (h w), so equations 1 and 2 of Selvaraju et al. (2017,
    arXiv:1610.02391) need no backward pass; the map equals CAM (Zhou et al. 2016), HiResCAM and XGrad-CAM. Equation 2's
    ReLU is left to the drawing.

    Args:
        maps: (n, k, h, w) float32, last feature maps after the ReLU.
        weights: (k,) or (n, k) float32, the linear row of the explained logit, or a difference of two rows.

    Returns:
        (n, h, w) float32 in logits; the cells of a patch sum to its logit minus the bias.
    """
    n, k, h, w = maps.shape
    rows = np.broadcast_to(weights, (n, k))[:, None, :]
    return np.asarray((rows @ maps.reshape(n, k, h * w)).reshape(n, h, w) / (h * w), dtype=np.float32)


def grad_cam(maps: Array, gradients: Array) -> Array:
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2, without the ReLU of equation 2).

    Args:
        maps: (n, k, h, w) float32.
        gradients: (n, k, h, w) float32, derivative of the target logit by the maps.

    Returns:
        (n, h, w) float32; in logits only to first order, and not summing to the logit at an earlier layer.
    """
    return _weighted(maps, gradients.mean(axis=(2, 3)))


def grad_cam_plus_plus(maps: Array, gradients: Array) -> Array:
    """Grad-CAM++ (Chattopadhay et al. 2018, equations 5, 7 and 19); shapes as `grad_cam`.

    w_k = sum_ij a_kij relu(g_kij) with a = g^2 / (2 g^2 + sum_ab A_kab g^3) = 1 / (2 + S_k g), written here in the
    second form: pytorch-grad-cam adds 1e-6 to the first form's denominator, which weakens small gradients. As in that
    library the exponential of the logit, which the paper differentiates and which only scales g, is left out. Relative:
    the weights are no derivative, do not turn with the target's sign and do not grow in step with the logit. Where
    maps may be negative, before the last layer, the denominator can come near zero and a weight be huge.
    """
    positive = np.maximum(gradients, 0)
    denominator = 2 + maps.sum(axis=(2, 3), keepdims=True) * positive
    safe = np.where(denominator == 0, 1, denominator)
    return _weighted(maps, np.where(denominator == 0, 0, positive / safe).sum(axis=(2, 3)))


def hires_cam(maps: Array, gradients: Array) -> Array:
    """HiResCAM (Draelos & Carin 2020, arXiv:2011.08891): gradient times map, cell by cell; shapes as `grad_cam`."""
    return np.asarray((maps * gradients).sum(axis=1), dtype=np.float32)


def x_grad_cam(maps: Array, gradients: Array) -> Array:
    """XGrad-CAM (Fu et al. 2020, equation 8): w_k = sum_ij A_kij g_kij / sum_ij A_kij; shapes as `grad_cam`.

    A channel whose map sums to zero weighs nothing; pytorch-grad-cam adds 1e-7 to every sum instead. The map's cells
    sum to those of HiResCAM. Where maps may be negative, before the last layer, a sum near zero makes a weight huge.
    """
    total = maps.sum(axis=(2, 3))
    share = (maps * gradients).sum(axis=(2, 3)) / np.where(total == 0, 1, total)
    return _weighted(maps, np.where(total == 0, 0, share))


def layer_cam(maps: Array, gradients: Array) -> Array:
    """LayerCAM (Jiang et al. 2021, equation 6): only positive gradients weigh; shapes as `grad_cam`."""
    return np.asarray((maps * np.maximum(gradients, 0)).sum(axis=1), dtype=np.float32)


def eigen_cam(maps: Array, gradients: Array | None = None) -> Array:  # noqa: ARG001 - it has no target
    """Eigen-CAM (Muhammad & Yeasin 2020, arXiv:2008.00299): a cell's place along the maps' first principal direction.

    As in pytorch-grad-cam, each channel's mean over the cells is taken away first, so that a map tells cells apart and
    sums to zero; the paper's equation does not say so. A principal direction has no sign, and that library leaves it
    to chance: here cells with more activation in all come out positive. No target is asked, so a positive cell stands
    out but speaks for nothing. Shapes as `grad_cam`; the gradients are not looked at.
    """
    n, k, h, w = maps.shape
    cells = maps.reshape(n, k, h * w).astype(np.float64)
    cells = cells - cells.mean(axis=2, keepdims=True)
    # The cells' Gram matrix has few rows: of X = U S V^T, X V_1 = S_1 U_1, and X X^T = U S^2 U^T.
    squares, directions = np.linalg.eigh(cells.transpose(0, 2, 1) @ cells)
    places = directions[:, :, -1] * np.sqrt(np.maximum(squares[:, -1:], 0))
    towards = np.einsum("np,nkp->n", places, cells)
    return np.asarray((places * np.where(towards < 0, -1, 1)[:, None]).reshape(n, h, w), dtype=np.float32)


def score_cam(maps: Array, scores: Array) -> Array:
    """Score-CAM (Wang et al. 2020, arXiv:1910.01279, equations 3 to 5, without the ReLU of equation 5).

    Args:
        maps: (n, m, h, w) float32, the channels asked about.
        scores: (n, m) float32, target logit of the patch seen through each of these maps, stretched to 0..1.

    Returns:
        (n, h, w) float32, relative: the mean map, weighted by the softmax of the scores. The paper takes the score of
        an empty patch off each of them, which the softmax cancels.
    """
    weights = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
    return _weighted(maps, weights / weights.sum(axis=1, keepdims=True))


def ablation_cam(maps: Array, drops: Array) -> Array:
    """Ablation-CAM (Desai & Ramaswamy 2020, equations 5 and 6, without the ReLU), not divided by the logit.

    The paper weighs a channel by (y - y_k) / y, where y_k is the target logit with channel k set to zero. Dividing by y
    scales all of a patch's map alike, and turns its sign where y < 0: it is left out. pytorch-grad-cam divides; and
    where no map is zero it sets a channel not to zero but to its least value less 1e7.

    Args:
        maps: (n, m, h, w) float32, the channels asked about.
        drops: (n, m) float32, y - y_k.

    Returns:
        (n, h, w) float32, relative (logits times activation).
    """
    return _weighted(maps, drops)


def _weighted(maps: Array, weights: NDArray[np.floating]) -> Array:
    return np.asarray(np.einsum("nkhw,nk->nhw", maps, weights), dtype=np.float32)


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
        passes: the same as a number of passes through the network, forward or backward, at the dearest layer.
        formula: maps and gradients (n, k, h, w) -> (n, h, w), for those that are such a function.
        free_at_last: at the last layer the reading's own forward pass is enough.
        sums_at_last: at the last layer the cells sum to the target logit minus its bias.
    """

    title: str
    paper: str
    meaning: str
    unit: Literal["logits", "relative"]
    kind: Literal["cam", "perturbation", "gradient"]
    cost: str
    passes: int
    formula: Callable[[Array, Array], Array] | None = None
    free_at_last: bool = False
    sums_at_last: bool = False

    def layers(self, of_network: tuple[str, ...]) -> tuple[str, ...]:
        """Layers it exists at, for a network whose own layers are `of_network`."""
        return of_network if self.kind == "cam" else (INPUT,)

    def passes_at(self, layer: str) -> int:
        """Passes through the network, forward or backward, that a map there costs beyond the reading itself."""
        return 0 if self.free_at_last and layer == LAST else self.passes


_ONE_BACKWARD = "nothing at the last layer; before it, one forward and one backward pass"
METHODS = {
    "gradcam": Method(
        "Grad-CAM",
        "Selvaraju et al. 2017, arXiv:1610.02391",
        "each channel's map weighted by its mean gradient",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        grad_cam,
        free_at_last=True,
        sums_at_last=True,
    ),
    "gradcam++": Method(
        "Grad-CAM++",
        "Chattopadhay et al. 2018, arXiv:1710.11063",
        "each channel's map weighted by its positive gradients, those of faint channels more; never against the target",
        "relative",
        "cam",
        _ONE_BACKWARD,
        2,
        grad_cam_plus_plus,
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
        hires_cam,
        free_at_last=True,
        sums_at_last=True,
    ),
    "xgradcam": Method(
        "XGrad-CAM",
        "Fu et al. 2020, arXiv:2008.02312",
        "each channel's map weighted by its gradient where it is active",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        x_grad_cam,
        free_at_last=True,
        sums_at_last=True,
    ),
    "layercam": Method(
        "LayerCAM",
        "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        "map weighted by its own positive gradients alone",
        "logits",
        "cam",
        _ONE_BACKWARD,
        2,
        layer_cam,
        free_at_last=True,
    ),
    "eigencam": Method(
        "Eigen-CAM",
        "Muhammad & Yeasin 2020, arXiv:2008.00299",
        "how far a cell stands out along the maps' main direction, whatever the target",
        "relative",
        "cam",
        "nothing at the last layer; before it, one forward pass",
        1,
        eigen_cam,
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
    ),
    "smoothgrad": Method(
        "SmoothGrad",
        "Smilkov et al. 2017, arXiv:1706.03825",
        "how the logit rises as the pixel turns brighter, the mean over noisy copies of the patch",
        "relative",
        "gradient",
        f"{STEPS} forward and {STEPS} backward passes",
        2 * STEPS,
    ),
    "guided_gradcam": Method(
        "Guided Grad-CAM",
        "Selvaraju et al. 2017, arXiv:1610.02391",
        "positive Grad-CAM times guided backpropagation: sharp edges, which hardly depend on what was learned",
        "relative",
        "gradient",
        "one forward and one backward pass",
        2,
    ),
    "occlusion": Method(
        "Occlusion",
        "Zeiler & Fergus 2014, arXiv:1311.2901",
        f"how far the logit falls when a {COVER} px square over the cell is blanked, the mean over such squares",
        "logits",
        "perturbation",
        f"{WINDOWS} forward passes",
        WINDOWS,
    ),
    "rise": Method(
        "RISE",
        "Petsiuk et al. 2018, arXiv:1806.07421",
        "how much higher the logit is when the pixel is shown than on average, over random masks",
        "logits",
        "perturbation",
        f"{MASKS} forward passes",
        MASKS,
    ),
}


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
