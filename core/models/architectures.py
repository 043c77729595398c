"""The network families NodeLens reads with, described without importing torch (`core.models.nets` builds them)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from core.errors import UnknownArchitectureError
from core.models.receptive_field import ReceptiveField, receptive_field
from core.task import STRIDE


@dataclass(frozen=True)
class Architecture:
    """One network family.

    Attributes:
        title: how a person calls it.
        timm_name: its name in timm.
        head: prefix of the linear layer's weight (2, k) and bias (2,) in the state dict.
        stages: earlier explainable layers: name (the grid of a 96 px patch) -> index for `forward_intermediates`.
        layers: of a network without padding: kernel and stride of each layer that looks beyond its own position, from
            the picture on. Empty where layers are padded, so that a cell may see the whole patch.
        padded: of a network without padding: the architecture it is made of, whose weights it can start from.
    """

    title: str
    timm_name: str
    head: str
    stages: dict[str, int]
    layers: tuple[tuple[int, int], ...] = ()
    padded: str = ""

    @cached_property
    def field(self) -> ReceptiveField | None:
        """What one cell of the last maps sees, and where the cells stand; None where layers are padded."""
        return receptive_field(self.layers) if self.layers else None

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last maps to the next."""
        return self.field.stride if self.field else STRIDE

    def cells(self, side: int) -> int:
        """Cells of the last maps along `side` pixels."""
        return self.field.cells(side) if self.field else side // STRIDE

    def cells_in_words(self, side: int) -> str:
        """The last maps' cells in a patch of `side` px, for a sentence."""
        cells = self.cells(side)
        return f"{cells} x {cells} cells" + (" in the middle" if self.field else "")

    def grid(self, side: int) -> int:
        """Cells along `side` pixels of the evenly spread grid that the last maps are laid on."""
        return self.field.tiles(side) if self.field else side // STRIDE


# The stages at stride 16 and 8.
_STAGES = {"6x6": 3, "12x12": 2}


def _unpadded(*last: tuple[int, int], stages: dict[str, int]) -> Architecture:
    layers = ((3, 2), (3, 1), (3, 2), (3, 1), *last)
    size = receptive_field(layers).size
    return Architecture(
        f"EfficientNet-Lite0 without padding, {size} px",
        "tf_efficientnet_lite0",
        "classifier",
        stages,
        layers,
        padded="efficientnet_lite0",
    )


ARCHITECTURES = {
    "densenet169": Architecture("DenseNet169", "densenet169", "classifier", _STAGES),
    "densenet121": Architecture("DenseNet121", "densenet121", "classifier", _STAGES),
    "resnet50": Architecture("ResNet50", "resnet50", "fc", _STAGES),
    "efficientnet_lite0": Architecture("EfficientNet-Lite0", "tf_efficientnet_lite0", "classifier", _STAGES),
    "efficientnet_lite0_unpadded": _unpadded((5, 2), (5, 1), (3, 1), stages={"4x4": 2}),
    # The same with a smaller receptive field, to ask what it costs.
    "efficientnet_lite0_rf67": _unpadded((5, 2), (5, 1), stages={}),
    "efficientnet_lite0_rf51": _unpadded((5, 2), (3, 1), stages={}),
    "efficientnet_lite0_rf35": _unpadded((5, 2), stages={}),
    "tiny_resnet": Architecture("Tiny ResNet (for trying things out)", "test_resnet", "fc", _STAGES),
}


def architecture(name: str) -> Architecture:
    """Look an architecture up by name; raises UnknownArchitectureError."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UnknownArchitectureError(name, tuple(ARCHITECTURES)) from None
