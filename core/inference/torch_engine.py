"""The torch engine: CUDA or MPS where present, else the processor; and gradients at earlier layers."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

# torch's threads would spin while they wait, which is slow wherever the processor is shared; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from core.bundle import StoredBundle
from core.errors import BundleError
from core.inference.memory import give_back
from core.inference.turns import TURN, SharedForward
from core.nets import PatchNet


def load_net(stored: StoredBundle) -> PatchNet:
    """The bundle's network, in evaluation mode, float32, on the processor.

    Raises:
        BundleError: weights that are not those of the named architecture.
    """
    description = stored.description
    net = PatchNet(description.architecture, description.mean, description.std)
    state = {name: torch.from_numpy(np.asarray(array)) for name, array in stored.tensors().items()}
    try:
        missing, unexpected = net.net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise BundleError(stored.folder, f"its weights do not fit {description.architecture}") from error
    if missing or unexpected:
        odd = f"'{missing[0]}' is missing" if missing else f"'{unexpected[0]}' does not belong"
        raise BundleError(stored.folder, f"its weights do not fit {description.architecture}: {odd}")
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
        self._forward = SharedForward(self._run, self.batch)

    def forward(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.forward`."""
        return self._forward(patches)

    def _run(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            maps, logits = self.net(self._tensor(patches))
            return maps.cpu().numpy(), logits.cpu().numpy()

    def gradients(
        self, patches: NDArray[np.uint8], layer: str, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps of an earlier layer and the derivative of each patch's target by them, through the rest of the network.

        Args:
            patches: uint8 (n, 96, 96, 3).
            layer: a key of the architecture's `stages`.
            rows: float32 (n, 2); the target of patch i is `rows[i] @ logits[i]`.

        Returns:
            maps and gradients, each float32 (n, k, h, w).
        """
        with TURN:
            found = self._gradients(patches, layer, rows)
            give_back()
        return found

    def _gradients(
        self, patches: NDArray[np.uint8], layer: str, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.enable_grad():
            maps, logits = self.net.forward_with_layer(self._tensor(patches), layer)
            target = (logits * torch.from_numpy(rows).to(self.device)).sum()
            (gradients,) = torch.autograd.grad(target, maps)
            return maps.detach().cpu().numpy(), gradients.cpu().numpy()

    def _tensor(self, patches: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(patches).to(self.device)
