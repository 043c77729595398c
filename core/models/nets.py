"""Architectures by name behind one interface: maps after the final ReLU, mean over positions, one linear layer.

The networks are timm's, whose `forward_features` returns the maps with the last ReLU applied, so nothing is hooked.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from timm.models import DenseNet, EfficientNet, ResNet, group_parameters
from timm.models.densenet import DenseTransition
from torch import Tensor, nn

from core.errors import ModelValueError, PretrainedWeightsError
from core.files import atomic_path
from core.models.architectures import architecture
from core.models.checkpoints import fitted, read_state
from core.models.schema import Bundle, Training
from core.models.store import WEIGHTS, write_description
from core.models.unpadded import without_padding
from core.task import PCAM, Task


class PatchNet(nn.Module):
    """A network with its normalisation inside: what is trained, exported and served is this one module.

    Input: uint8 or float (n, h, w, 3) RGB 0..255 (the task's side in serving); h and w multiples of 32 where layers are
    padded, and otherwise large enough for one cell's window.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, mean: tuple[float, ...], std: tuple[float, ...], *, pretrained: bool = False) -> None:
        """Build with random weights, or with ImageNet weights through timm's loader.

        Args:
            name: a key of `core.models.architectures.ARCHITECTURES`.
            mean: per channel, in grey levels 0..255.
            std: per channel, in grey levels 0..255.
            pretrained: fetch ImageNet weights (needs internet once; timm caches them).

        Raises:
            UnknownArchitectureError: no such name.
            PretrainedWeightsError: the weights could not be had.
        """
        super().__init__()
        self.name = name
        self.net = _create(name, pretrained)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def normalise(self, patches: Tensor) -> Tensor:
        """Grey levels (n, h, w, 3) -> network input (n, 3, h, w) float32."""
        return ((patches.float() - self.mean) / self.std).permute(0, 3, 1, 2)

    def forward_features(self, patches: Tensor) -> Tensor:
        """Maps after the final ReLU: (n, k, rows, columns) float32, see `Architecture.cells`."""
        maps: Tensor = self.net.forward_features(self.normalise(patches))
        return maps

    def forward_head(self, maps: Tensor) -> Tensor:
        """Logits (n, 2) of maps: mean over positions, then the linear layer."""
        logits: Tensor = self.net.forward_head(maps)
        return logits

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (n, k, h, w) and logits (n, 2), column 1 the positive class."""
        maps = self.forward_features(patches)
        return maps, self.forward_head(maps)

    def forward_with_layer(self, patches: Tensor, layer: str) -> tuple[Tensor, Tensor]:
        """Maps of an earlier layer (a key of `Architecture.stages`), in the graph, and the logits they lead to."""
        index = architecture(self.name).stages[layer]
        # Parameters are frozen in serving; a differentiable input keeps the maps in the graph.
        images = self.normalise(patches).requires_grad_()
        features, intermediates = self.net.forward_intermediates(images, indices=[index])
        return intermediates[0], self.forward_head(features)

    def forward_from_layer(self, maps: Tensor, layer: str) -> Tensor:
        """Logits (n, 2) of maps of an earlier layer: what `forward_with_layer` does after them."""
        for module in _layers_above(self.net, architecture(self.name).stages[layer]):
            maps = module(maps)
        return self.forward_head(maps)


def _layers_above(net: Any, index: int) -> list[nn.Module]:
    """The modules that follow stage `index` of timm's `forward_intermediates`, up to the last maps."""
    match net:
        case DenseNet():
            return list(net.features[net.feature_ends[index] + 1 :])
        case ResNet():
            return [net.layer1, net.layer2, net.layer3, net.layer4][index:]
        case EfficientNet():
            return [*net.blocks[net.stage_ends[index] :], net.conv_head, net.bn2]
    raise TypeError(f"no way through {type(net).__name__} from a layer")


def state_groups(net: PatchNet) -> list[list[str]]:
    """Names in the state dict of `net.net` by depth, from the stem to the head, as timm groups them.

    What a layer counts stands with its weights; the head is a group of its own.
    """
    head = architecture(net.name).head
    found = group_parameters(net.net, net.net.group_matcher(coarse=True))
    depth_of = {name.rpartition(".")[0]: depth for depth, names in found.items() for name in names}
    depth_of[head] = max(depth_of.values()) + 1
    groups: dict[int, list[str]] = {}
    for name in net.net.state_dict():
        groups.setdefault(depth_of[name.rpartition(".")[0]], []).append(name)
    return [names for _, names in sorted(groups.items())]


def _create(name: str, pretrained: bool) -> Any:
    known = architecture(name)
    try:
        net = _mean_first(timm.create_model(known.timm_name, pretrained=pretrained, num_classes=2))
        return without_padding(net, known.layers) if known.layers else net
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise
        raise PretrainedWeightsError(name) from error


def _mean_first(net: Any) -> Any:
    """The same function with less to compute: DenseNet's transitions average 2 x 2 before their 1 x 1 convolution.

    Both are linear and neither looks where the other does, so they commute, and the convolution sees a quarter of the
    positions. Names of weights stay as they are.
    """
    for module in net.modules():
        if isinstance(module, DenseTransition):
            convolution = module.conv
            del module.conv
            module.add_module("conv", convolution)
    return net


def net_of_weights(
    weights: Path, architecture: str, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> PatchNet:
    """A network with the weights of a state dict from elsewhere, float32.

    Args:
        weights: state dict with timm's (or torchvision's) names, see `core.models.checkpoints`; of one logit or two.
        architecture, mean, std: see `Bundle`.

    Raises:
        BundleError: no state dict, or not that architecture's; naming the first weight that does not fit.
        ModelValueError: mean and std that are no grey levels.
    """
    if max(std) < 1 and 0 < max(mean) <= 1:
        raise ModelValueError("mean and std", "they are grey levels from 0 to 255; multiply shares of 1 by 255")
    net = PatchNet(architecture, mean, std)
    net.net.load_state_dict(fitted(weights, read_state(weights), net.net.state_dict(), net.name))
    return net


def save_bundle(
    net: PatchNet,
    folder: Path,
    *,
    version: str,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    training: Training,
    task: Task = PCAM,
) -> Path:
    """Write a network as a new, uncalibrated bundle; returns its folder.

    Raises:
        ModelValueError: a value that no model can have; nothing is written.
        OutputError: the disk is full.
    """
    data = save({name: _small(tensor) for name, tensor in net.net.state_dict().items()})
    description = Bundle.checked(
        name=folder.name,
        version=version,
        architecture=net.name,
        weights_sha256=hashlib.sha256(data).hexdigest(),
        mean=mean,
        std=std,
        training=training,
        task=task,
        libraries={name: metadata.version(name) for name in ("torch", "timm", "openvino")},
    )
    with atomic_path(folder / WEIGHTS) as part:
        part.write_bytes(data)
    write_description(folder, description)
    return folder


def _small(tensor: Tensor) -> Tensor:
    """In fp16, save what fp16 cannot hold: variances of channels that were never normalised, and counts."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return (half if half.isfinite().all() else tensor).contiguous()
