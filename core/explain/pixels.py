"""Explanations by gradients at the pixels, through captum. Imported only where torch serves.

Each takes one normalised patch, float (1, 3, h, w), whose zero is the bundle's mean colour, and returns (h, w) of the
same device: the sum over the colours, signed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy

import torch
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor, nn

from core.explain.question import STEPS
from core.models.nets import PatchNet

NOISE = 0.6
"""Standard deviation of SmoothGrad's noise in the network's own units, some 15 % of the range of grey levels."""
AT_ONCE = 16
"""Copies of a patch in one pass."""


class Target(nn.Module):
    """The explained logit of normalised images: (n, 3, h, w) -> (n,)."""

    def __init__(self, net: PatchNet, row: Tensor, tick: Callable[[int], None] = lambda _: None) -> None:
        """Weigh the logits of `net` by `row` (2,); `tick` is told how many images each pass took, and may raise."""
        super().__init__()
        self.net, self.row, self.tick = net, row, tick

    def forward(self, images: Tensor) -> Tensor:
        """Row times logits."""
        logits: Tensor = self.net.net(images)
        self.tick(len(images))
        return logits @ self.row


def integrated_gradients(target: Target, image: Tensor) -> Tensor:
    """Integrated Gradients (Sundararajan et al. 2017) from the mean colour, by Gauss-Legendre quadrature, in logits."""
    found = IntegratedGradients(target).attribute(image, n_steps=STEPS, internal_batch_size=AT_ONCE)
    return _over_colours(found)


def smoothgrad(target: Target, image: Tensor) -> Tensor:
    """SmoothGrad (Smilkov et al. 2017): the mean gradient over noisy copies; the same noise for every patch.

    The paper draws absolute values and scales the noise to each image's own range; here the sign stays and the noise
    is fixed. In logits per standard deviation of grey levels.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = NoiseTunnel(Saliency(target)).attribute(
            image, nt_samples=STEPS, nt_samples_batch_size=AT_ONCE, stdevs=NOISE, abs=False
        )
    return _over_colours(found)


def guided_backprop(target: Target, image: Tensor) -> Tensor:
    """Guided backpropagation (Springenberg et al. 2014), on a copy of the network."""
    target = Target(guided_copy(target.net), target.row, target.tick)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # captum announces its hooks, which the copy is there for
        found = GuidedBackprop(target).attribute(image)
    return _over_colours(found)


def guided_copy(net: PatchNet) -> PatchNet:
    """A copy whose rectifiers captum's guided backpropagation can hook; the served network is never touched.

    captum hooks `nn.ReLU` alone, where it may not work in place: ReLU6 becomes a kind of it.
    """
    copy = deepcopy(net)
    for name, module in list(copy.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.ReLU | nn.ReLU6):
            parent, _, own = name.rpartition(".")
            setattr(copy.get_submodule(parent), own, _ReLU6() if isinstance(module, nn.ReLU6) else nn.ReLU())
    return copy


class _ReLU6(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return input.clamp(0, 6)


def _over_colours(found: Tensor) -> Tensor:
    return found.detach().sum(dim=1)[0].float()
