"""The network as methods of explanation ask it: the engine that reads, and torch where a gradient is needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.inference.engines.engine import Engine
from core.models.store import StoredBundle
from core.settings import settings

if TYPE_CHECKING:
    from core.inference.engines.torch_engine import TorchEngine

Array = NDArray[np.float32]
Patches = NDArray[np.uint8]


class ExplainedNetwork:
    """One bundle's `core.explain.question.Network`.

    Torch is loaded only for layers before the last and for gradients at the pixels.
    """

    def __init__(self, stored: StoredBundle, engine: Engine) -> None:
        """Answer for `stored`, whose patches `engine` reads."""
        self.stored, self.engine = stored, engine
        self.batch = engine.batch
        self.blank: Patches = np.rint(stored.description.mean).astype(np.uint8)

    @cached_property
    def weight(self) -> Array:
        """(2, k) of the linear layer."""
        return self.stored.head[0]

    def logits(self, patches: Patches) -> Array:
        """See `Network.logits`."""
        return self.engine.forward(patches)[1]

    def layer_maps(self, patches: Patches, layer: str) -> Array:
        """See `Network.layer_maps`."""
        return self._differentiable.maps(patches, layer)

    def layer_gradients(self, patches: Patches, layer: str, weights: Array) -> tuple[Array, Array]:
        """See `Network.layer_gradients`."""
        return self._differentiable.gradients(patches, layer, weights)

    def layer_ablation(
        self, maps: Array, layer: str, channels: NDArray[np.intp], weights: Array, tick: Callable[[int], None]
    ) -> Array:
        """See `Network.layer_ablation`."""
        return self._differentiable.ablated(maps, layer, channels, weights, tick)

    def placed(self, maps: Array, side: int) -> Array:
        """See `Network.placed`: the cells of a network without padding lie in the middle, others cover all."""
        field = self.stored.description.net.field
        return field.placed(maps, side) if field else maps

    def pixel_maps(
        self, attribute: Callable[..., Any], patches: Patches, weights: Array, tick: Callable[[int], None]
    ) -> Array:
        """See `Network.pixel_maps`."""
        return self._differentiable.pixel_maps(attribute, patches, weights, tick)

    @cached_property
    def _differentiable(self) -> TorchEngine:
        # Imported here so that reading at the last layer needs no torch.
        from core.inference.engines.torch_engine import TorchEngine

        if isinstance(self.engine, TorchEngine):
            return self.engine
        return TorchEngine(self.stored, settings().threads)
