"""The torch engine: CUDA or MPS where present, else the processor; and all that looks inside the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# torch's threads would spin while they wait, which is slow wherever the processor is shared; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from core.errors import BundleError
from core.inference.batcher import COMPUTE_LOCK, MicroBatcher
from core.inference.engines.memory import give_back
from core.models.checkpoints import misfit
from core.models.nets import PatchNet
from core.models.store import StoredBundle


def load_net(stored: StoredBundle) -> PatchNet:
    """The bundle's network, in evaluation mode, float32, on the processor.

    Raises:
        BundleError: weights that are not those of the named architecture.
    """
    description = stored.description
    net = PatchNet(description.architecture, description.mean, description.std)
    state = {name: torch.from_numpy(np.asarray(array)) for name, array in stored.tensors().items()}
    odd = misfit(state, net.net.state_dict())
    if odd:
        raise BundleError(stored.folder, f"its weights do not fit {description.architecture}: {odd}")
    net.net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def best_device() -> torch.device:
    """CUDA, else MPS, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class TorchEngine:
    """Serves a bundle with torch in float32."""

    batch = 32

    def __init__(self, stored: StoredBundle, threads: int) -> None:
        """Load the weights onto the best device; `threads` caps the processor threads of one call."""
        self.device = best_device()
        self.name = f"torch-{self.device.type}-fp32"
        if self.device.type == "cpu" and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        self.net = load_net(stored).to(self.device)
        self._side = stored.description.task.side
        self._forward = MicroBatcher(self._run, self.batch)

    def forward(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.forward`."""
        return self._forward(patches)

    def _run(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        step = max(1, self.batch * self._side**2 // (patches.shape[1] * patches.shape[2]))
        with torch.inference_mode():
            pieces = [self.net(self._tensor(patches[i : i + step])) for i in range(0, len(patches), step)]
            maps, logits = (torch.cat(parts).cpu().numpy() for parts in zip(*pieces, strict=True))
        return maps, logits

    def maps(self, patches: NDArray[np.uint8], layer: str) -> NDArray[np.float32]:
        """Maps (n, k, h, w) float32 of an earlier layer, a key of the architecture's `stages`."""
        with COMPUTE_LOCK, torch.inference_mode():
            found: NDArray[np.float32] = self.net.forward_with_layer(self._tensor(patches), layer)[0].cpu().numpy()
        return found

    def gradients(
        self, patches: NDArray[np.uint8], layer: str, target_weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps of an earlier layer and the derivative of each patch's target by them, through the rest of the network.

        Args:
            patches: uint8 (n, h, w, 3).
            layer: a key of the architecture's `stages`.
            target_weights: float32 (n, 2); the target of patch i is `target_weights[i] @ logits[i]`.

        Returns:
            maps and gradients, each float32 (n, k, h, w).
        """
        with COMPUTE_LOCK:
            found = self._gradients(patches, layer, target_weights)
            give_back()
        return found

    def _gradients(
        self, patches: NDArray[np.uint8], layer: str, target_weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.enable_grad():
            maps, logits = self.net.forward_with_layer(self._tensor(patches), layer)
            target = (logits * torch.from_numpy(target_weights).to(self.device)).sum()
            (gradients,) = torch.autograd.grad(target, maps)
            return maps.detach().cpu().numpy(), gradients.cpu().numpy()

    def ablated(
        self,
        maps: NDArray[np.float32],
        layer: str,
        channels: NDArray[np.intp],
        target_weights: NDArray[np.float32],
        tick: Callable[[int], None],
    ) -> NDArray[np.float32]:
        """How far each patch's target falls when single channels of an earlier layer are set to zero.

        Args:
            maps: float32 (n, k, h, w) from `maps`.
            layer: that layer.
            channels: (n, m) indices of the channels, one ablation for each.
            target_weights: float32 (n, 2); see `gradients`.
            tick: told how many passes were made.

        Returns:
            float32 (n, m), the target less that without the channel.
        """
        count = channels.shape[1]
        drops = np.empty(channels.shape, np.float32)
        for index, patch in enumerate(maps):
            with COMPUTE_LOCK, torch.inference_mode():
                row = self._tensor(target_weights[index])
                whole = self._tensor(patch)[None]
                target = self.net.forward_from_layer(whole, layer) @ row
                for start in range(0, count, self.batch):
                    chosen = channels[index, start : start + self.batch]
                    without = whole.repeat(len(chosen), 1, 1, 1)
                    without[range(len(chosen)), chosen] = 0
                    left = self.net.forward_from_layer(without, layer) @ row
                    drops[index, start : start + self.batch] = (target - left).cpu().numpy()
                    tick(len(chosen))
                give_back()
        return drops

    def pixel_maps(
        self,
        attribute: Callable[..., torch.Tensor],
        patches: NDArray[np.uint8],
        target_weights: NDArray[np.float32],
        tick: Callable[[int], None],
    ) -> NDArray[np.float32]:
        """Gradients at the pixels, in the colours' sum.

        Args:
            attribute: a function of `core.explain.pixels`.
            patches: uint8 (n, h, w, 3).
            target_weights: float32 (n, 2); see `gradients`.
            tick: told how many copies of a patch each pass took.

        Returns:
            float32 (n, h, w).
        """
        from core.explain import pixels

        found = np.empty(patches.shape[:3], np.float32)
        for index, row in enumerate(target_weights):
            with COMPUTE_LOCK:
                image = self.net.normalise(self._tensor(patches[index : index + 1]))
                target = pixels.Target(self.net, self._tensor(row), tick)
                found[index] = attribute(target, image).cpu().numpy()
                give_back()
        return found

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)
