"""From a reading's forward pass to its maps: each method by the cheapest way that is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.explain.cam import CHANNELS, LAST, METHODS, ablation_cam, eigen_cam, grad_cam_closed_form, score_cam
from core.explain.grid import enlarge
from core.explain.masking import (
    MASKS,
    WINDOWS,
    map_masks,
    occluded,
    occlusion_map,
    regrouped,
    rise_map,
    rise_masks,
    shown_through,
    strongest,
)
from core.inference.engines.engine import Engine
from core.models.bundle import StoredBundle
from core.settings import settings

if TYPE_CHECKING:
    from core.inference.engines.torch_engine import TorchEngine

Array = NDArray[np.float32]
Patches = NDArray[np.uint8]
Tick = Callable[[int], None]


class Explainer:
    """Makes maps for one bundle. Torch is loaded only for layers before the last and for gradients at the pixels."""

    def __init__(self, stored: StoredBundle, engine: Engine) -> None:
        """Explain what `engine` says of `stored`."""
        self.stored = stored
        self.engine = engine
        self.blank = np.rint(stored.description.mean).astype(np.uint8)

    def maps(
        self,
        method: str,
        layer: str,
        patches: Patches,
        last: Array,
        logits: Array,
        target_weights: Array,
        tick: Tick,
    ) -> Array:
        """Maps of patches by one method.

        Args:
            method, layer: words that `check_vocabulary` has let pass.
            patches: uint8 (n, h, w, 3).
            last: their last maps, float32 (n, k, h / 32, w / 32).
            logits: float32 (n, 2).
            target_weights: float32 (n, 2); the target of patch i is `target_weights[i] @ logits[i]`.
            tick: told how many passes through the network were made.

        Returns:
            (n, target_weights, columns) float32 in the method's unit.
        """
        if METHODS[method].kind == "cam":
            return (
                self._on_last(method, patches, last, target_weights, tick)
                if layer == LAST
                else self._before(method, layer, patches, target_weights, tick)
            )
        if method == "occlusion":
            changed = (occluded(patch, self.blank) for patch in patches)
            covered = self._targets(changed, target_weights, WINDOWS, tick)
            return occlusion_map((logits * target_weights).sum(axis=1, keepdims=True) - covered)
        if method == "rise":
            changed = (piece for patch in patches for piece in self._through(patch, rise_masks()))
            return rise_map(rise_masks(), self._targets(changed, target_weights, MASKS, tick))
        if method == "guided_gradcam":
            coarse = np.maximum(self._on_last("gradcam", patches, last, target_weights, tick), 0)
            return enlarge(coarse, patches.shape[1], smooth=True) * self._at_pixels(
                method, patches, target_weights, tick
            )
        return self._at_pixels(method, patches, target_weights, tick)

    def _on_last(self, method: str, patches: Patches, last: Array, target_weights: Array, tick: Tick) -> Array:
        weights = target_weights @ self.stored.head[0]
        formula = METHODS[method].formula
        if METHODS[method].sums_at_last:
            return grad_cam_closed_form(last, weights)
        if method == "scorecam":
            return self._score_cam(patches, last, target_weights, tick)
        if formula is None:  # Ablation-CAM: without channel k the logit lacks w_k times its mean
            return ablation_cam(last, weights * last.mean(axis=(2, 3)))
        gradients = weights[:, :, None, None] / np.float32(last[0, 0].size if len(last) else 1)
        return formula(last, np.broadcast_to(gradients, last.shape))

    def _before(self, method: str, layer: str, patches: Patches, target_weights: Array, tick: Tick) -> Array:
        formula = METHODS[method].formula
        if formula is not None and method != "eigencam":
            found = formula(*self._differentiable.gradients(patches, layer, target_weights))
            tick(METHODS[method].passes * len(patches))
            return found
        maps = self._differentiable.maps(patches, layer)
        if method == "eigencam":
            tick(METHODS[method].passes * len(patches))
            return eigen_cam(maps)
        if method == "scorecam":
            return self._score_cam(patches, maps, target_weights, tick)
        channels = strongest(maps, CHANNELS)
        drops = self._differentiable.ablated(maps, layer, channels, target_weights, tick)
        return ablation_cam(_chosen(maps, channels), drops)

    def _score_cam(self, patches: Patches, maps: Array, target_weights: Array, tick: Tick) -> Array:
        maps = _chosen(maps, strongest(maps, CHANNELS))
        height, width = patches.shape[1:3]
        changed = (
            piece
            for patch, channels in zip(patches, maps, strict=True)
            for piece in self._through(patch, map_masks(channels, height, width))
        )
        return score_cam(maps, self._targets(changed, target_weights, maps.shape[1], tick))

    def _at_pixels(self, method: str, patches: Patches, target_weights: Array, tick: Tick) -> Array:
        name = "guided_backprop" if method == "guided_gradcam" else method
        return self._differentiable.pixel_maps(name, patches, target_weights, tick)

    def _through(self, patch: Patches, masks: Array) -> Iterator[Patches]:
        """The patch seen through each mask, a batch at a time."""
        for start in range(0, len(masks), self.engine.batch):
            yield shown_through(patch, masks[start : start + self.engine.batch], self.blank)

    def _targets(self, changed: Iterator[Patches], target_weights: Array, each: int, tick: Tick) -> Array:
        """Target logits (n, each) of changed patches, `each` of them for one patch after another."""
        logits = [np.zeros((0, 2), np.float32)]
        for batch in regrouped(changed, self.engine.batch):
            logits.append(self.engine.forward(batch)[1])
            tick(len(batch))
        by_patch = np.concatenate(logits).reshape(len(target_weights), each, 2)
        return np.asarray(np.einsum("nmc,nc->nm", by_patch, target_weights), dtype=np.float32)

    @cached_property
    def _differentiable(self) -> TorchEngine:
        # Imported here so that reading at the last layer needs no torch.
        from core.inference.engines.torch_engine import TorchEngine

        if isinstance(self.engine, TorchEngine):
            return self.engine
        return TorchEngine(self.stored, settings().threads)


def _chosen(maps: Array, channels: NDArray[np.intp]) -> Array:
    """Maps (n, m, h, w) of each patch's own channels (n, m)."""
    return np.take_along_axis(maps, channels[:, :, None, None], axis=1)
