"""The CAM family as pure functions of arrays.

A map is signed and never rescaled: positive cells speak for the target. Drawing decides what to clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


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


def eigen_cam(maps: Array) -> Array:
    """Eigen-CAM (Muhammad & Yeasin 2020, arXiv:2008.00299): a cell's place along the maps' first principal direction.

    As in pytorch-grad-cam, each channel's mean over the cells is taken away first, so that a map tells cells apart and
    sums to zero; the paper's equation does not say so. A principal direction has no sign, and that library leaves it
    to chance: here cells with more activation in all come out positive. No target is asked, so a positive cell stands
    out but speaks for nothing. Maps (n, k, h, w) give (n, h, w).
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
