"""EfficientNets without padding: every cell of the last maps is a function of its own window of pixels alone.

Zero padding tells a network where in the picture it looks (Islam et al. 2020, arXiv:2001.08248) and makes a cell's
receptive field as wide as the picture. Here all convolutions are valid, residuals are cropped to what is left, and
late depthwise kernels are 1 x 1, so that a window stays bounded (as in BagNet: Brendel & Bethge 2019,
arXiv:1904.00760). Names of weights stay timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import EfficientNet
from torch import Tensor, nn

from core.models.receptive_field import receptive_field


class CroppedResidual(nn.Module):
    """A block of timm's that adds what it was given to what it made, both without the border that it lost."""

    def __init__(self, block: nn.Module, border: int) -> None:
        """Of the layers of `block`, in their order, which lose `border` pixels at each side."""
        super().__init__()
        self.border = border
        for name, layer in block.named_children():
            self.add_module(name, layer)

    def forward(self, maps: Tensor) -> Tensor:
        """(n, k, h, w) -> (n, k, h - 2 border, w - 2 border)."""
        border, made = self.border, maps
        for layer in self.children():
            made = layer(made)
        return made + (maps[..., border:-border, border:-border] if border else maps)


class CroppedConv2d(nn.Conv2d):
    """A convolution that leaves out the first rows and columns of its input, so that its windows start beyond them."""

    start = 0

    def forward(self, maps: Tensor) -> Tensor:
        """See `nn.Conv2d`."""
        return super().forward(maps[..., self.start :, self.start :])


def without_padding(net: EfficientNet, layers: Sequence[tuple[int, int]]) -> EfficientNet:
    """The same network with valid convolutions, changed in place: a start for training.

    A larger kernel gives its middle; one that becomes 1 x 1 gives the sum of its taps, which is what it does where the
    picture is even.

    Args:
        net: an EfficientNet of timm's.
        layers: kernel and stride of the stem and of each block's depthwise convolution in order; those of blocks
            beyond its end are 1 x 1.
    """
    stem, *depthwise = layers
    net.conv_stem = _valid(net.conv_stem, *stem, kind=CroppedConv2d)
    net.conv_stem.start = receptive_field(layers).start
    blocks = [(stage, index) for stage in net.blocks for index in range(len(stage))]
    shapes = [*depthwise, *[(1, 1)] * (len(blocks) - len(depthwise))]
    for (stage, index), (kernel, stride) in zip(blocks, shapes, strict=True):
        block = stage[index]
        block.conv_dw = _valid(block.conv_dw, kernel, stride)
        if block.has_skip:
            stage[index] = CroppedResidual(block, kernel // 2)
    return net


def _valid(layer: Any, kernel: int, stride: int, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    made = kind(layer.in_channels, layer.out_channels, kernel, stride, groups=layer.groups, bias=False)
    with torch.no_grad():
        made.weight.copy_(_shrunk(layer.weight, kernel))
    return made


def _shrunk(weight: Tensor, kernel: int) -> Tensor:
    if kernel == 1:
        return weight.sum((-2, -1), keepdim=True)
    border = (weight.shape[-1] - kernel) // 2
    return weight[..., border : border + kernel, border : border + kernel]
