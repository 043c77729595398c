"""What a method of explanation is asked, and what it may ask of the network in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Patches = NDArray[np.uint8]
STEPS = 32
"""Points on the path of Integrated Gradients, and noisy copies of SmoothGrad."""


class Network(Protocol):
    """What a method may ask of the network that it explains."""

    @property
    def weight(self) -> Array:
        """(2, k) float32 of the linear layer."""
        ...

    @property
    def blank(self) -> Patches:
        """(3,) uint8, the colour of what is hidden."""
        ...

    @property
    def batch(self) -> int:
        """Patches that a pass serves best."""
        ...

    def logits(self, patches: Patches) -> Array:
        """Logits (n, 2) of changed patches."""
        ...

    def layer_maps(self, patches: Patches, layer: str) -> Array:
        """Maps (n, k, h, w) of an earlier layer."""
        ...

    def layer_gradients(self, patches: Patches, layer: str, weights: Array) -> tuple[Array, Array]:
        """Maps of an earlier layer, and the targets' derivatives by them, each (n, k, h, w)."""
        ...

    def layer_ablation(
        self, maps: Array, layer: str, channels: NDArray[np.intp], weights: Array, tick: Callable[[int], None]
    ) -> Array:
        """How far each target falls (n, m) when one of its channels (n, m) of an earlier layer is set to zero."""
        ...

    def placed(self, maps: Array, side: int) -> Array:
        """Maps (n, h, w) of patches of `side` px as a grid that covers the whole patch, evenly."""
        ...

    def pixel_maps(
        self, attribute: Callable[..., Any], patches: Patches, weights: Array, tick: Callable[[int], None]
    ) -> Array:
        """Gradients at the pixels (n, h, w) by a function of `core.explain.pixels`."""
        ...


@dataclass(frozen=True)
class Question:
    """What is to be explained.

    Attributes:
        patches: uint8 (n, h, w, 3).
        layer: where; see `Method.layers`.
        last: (n, k, rows, columns) float32, their last maps.
        logits: (n, 2) float32.
        weights: (n, 2) float32; the target of patch i is `weights[i] @ logits[i]`.
        tick: told how many passes through the network were made.
    """

    patches: Patches
    layer: str
    last: Array
    logits: Array
    weights: Array
    tick: Callable[[int], None]
