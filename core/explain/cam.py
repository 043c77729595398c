"""The CAM family as pure functions of arrays, and the vocabulary of explanations: methods, layers, targets.

A map is signed and never rescaled: positive cells speak for the target. Drawing decides what to clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import ExplanationError

Array = NDArray[np.float32]

LAST = "last"
"""The last maps, after the final ReLU: 3 x 3 cells for a 96 px patch."""

TARGETS = {
    "tumour minus normal": "what speaks for tumour rather than for normal: the margin behind the probability",
    "predicted": "the logit of the class the reading names",
    "tumour": "the tumour logit alone",
    "normal": "the normal logit alone",
}
MARGIN = "tumour minus normal"


def grad_cam_closed_form(maps: Array, weights: Array) -> Array:
    """Grad-CAM of one logit for a network ending in global average pooling and a linear layer.

    With y = sum_k w_k mean_ij A_kij the gradient is w_k / (h w), so equations 1 and 2 of Selvaraju et al. (2017,
    arXiv:1610.02391) need no backward pass; the map equals CAM (Zhou et al. 2016) and HiResCAM. Equation 2's ReLU is
    left to the drawing.

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
    return np.asarray(np.einsum("nkhw,nk->nhw", maps, gradients.mean(axis=(2, 3))), dtype=np.float32)


def hires_cam(maps: Array, gradients: Array) -> Array:
    """HiResCAM (Draelos & Carin 2020, arXiv:2011.08891): gradient times map, cell by cell; shapes as `grad_cam`."""
    return np.asarray((maps * gradients).sum(axis=1), dtype=np.float32)


def layer_cam(maps: Array, gradients: Array) -> Array:
    """LayerCAM (Jiang et al. 2021, equation 6): only positive gradients weigh; shapes as `grad_cam`."""
    return np.asarray((maps * np.maximum(gradients, 0)).sum(axis=1), dtype=np.float32)


@dataclass(frozen=True)
class Method:
    """One way to explain.

    Attributes:
        title: name as printed.
        formula: maps and gradients (n, k, h, w) -> (n, h, w).
        paper: where it comes from.
        sums_at_last: at the last layer the cells sum to the target logit minus its bias.
        meaning: what one cell's value says, in a sentence.
    """

    title: str
    formula: Callable[[Array, Array], Array]
    paper: str
    sums_at_last: bool
    meaning: str


METHODS = {
    "gradcam": Method(
        "Grad-CAM",
        grad_cam,
        "Selvaraju et al. 2017, arXiv:1610.02391",
        True,
        "each channel's map weighted by its mean gradient",
    ),
    "hirescam": Method(
        "HiResCAM",
        hires_cam,
        "Draelos & Carin 2020, arXiv:2011.08891",
        True,
        "gradient times map in the same cell",
    ),
    "layercam": Method(
        "LayerCAM",
        layer_cam,
        "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        False,
        "map weighted by its own positive gradients alone",
    ),
}


def check_vocabulary(method: str, layer: str, target: str, layers: tuple[str, ...]) -> None:
    """Raise ExplanationError unless all three words are known."""
    for kind, value, known in (("method", method, METHODS), ("layer", layer, layers), ("target", target, TARGETS)):
        if value not in known:
            raise ExplanationError(kind, value, tuple(known))


def target_rows(target: str, predicted_tumour: NDArray[np.bool_]) -> Array:
    """Weights (n, 2) float32 that turn the two logits of each patch into its target: target = row @ logits."""
    count = len(predicted_tumour)
    if target == "predicted":
        return np.stack([~predicted_tumour, predicted_tumour], axis=1).astype(np.float32)
    row = {MARGIN: (-1.0, 1.0), "tumour": (0.0, 1.0), "normal": (1.0, 0.0)}[target]
    return np.tile(np.array(row, dtype=np.float32), (count, 1))
