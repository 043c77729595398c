"""The network families NodeLens reads with, described without importing torch (`core.models.nets` builds them)."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import UnknownArchitectureError


@dataclass(frozen=True)
class Architecture:
    """One network family.

    Attributes:
        title: how a person calls it.
        timm_name: its name in timm.
        head: prefix of the linear layer's weight (2, k) and bias (2,) in the state dict.
        stages: earlier explainable layers: name (the grid of a 96 px patch) -> index for `forward_intermediates`.
    """

    title: str
    timm_name: str
    head: str
    stages: dict[str, int]


# The stages at stride 16 and 8.
_STAGES = {"6x6": 3, "12x12": 2}
ARCHITECTURES = {
    "densenet169": Architecture("DenseNet169", "densenet169", "classifier", _STAGES),
    "densenet121": Architecture("DenseNet121", "densenet121", "classifier", _STAGES),
    "resnet50": Architecture("ResNet50", "resnet50", "fc", _STAGES),
    "efficientnet_lite0": Architecture("EfficientNet-Lite0", "tf_efficientnet_lite0", "classifier", _STAGES),
    "tiny_resnet": Architecture("Tiny ResNet (for trying things out)", "test_resnet", "fc", _STAGES),
}


def architecture(name: str) -> Architecture:
    """Look an architecture up by name; raises UnknownArchitectureError."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UnknownArchitectureError(name, tuple(ARCHITECTURES)) from None
