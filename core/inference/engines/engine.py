"""What an engine is, and which one serves here."""

from __future__ import annotations

import platform
import shutil
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import EngineError
from core.inference.engines.memory import share_arenas
from core.models.store import StoredBundle
from core.settings import ENGINES, Settings


class Engine(Protocol):
    """Runs one network. Safe to share between threads: one pass at a time on all allowed cores, shared by calls that
    wait together (`core.inference.batcher`)."""

    name: str
    batch: int
    """Patches a call serves best; `Reader` cuts longer inputs into pieces of this size."""

    def forward(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps and logits of patches.

        Args:
            patches: uint8 (n, h, w, 3) RGB, n >= 1; h and w as `PatchNet` takes them. The task's side is the fast
                size; other sizes are read fully convolutionally, few at a time.

        Returns:
            maps after the final ReLU, float32 (n, k, rows, columns), and logits, float32 (n, 2), the
            positive class last. The arrays belong to the caller.
        """
        ...


def open_engine(stored: StoredBundle, settings: Settings, engine: str = "auto") -> Engine:
    """The engine for a bundle: the named one, or the fastest that this machine has.

    `auto` takes torch where a GPU is present and OpenVINO elsewhere, which computes in bf16 where that is faster here
    and harmless to this bundle; `openvino-fp32` never does. Neither library is imported before it is needed.

    Raises:
        BundleError: the weights do not fit the architecture.
        EngineError: no such engine, or it cannot run here.
    """
    name = engine if engine != "auto" else settings.engine
    if name not in ENGINES:
        raise EngineError(f"Unknown engine '{name}'. Known: {', '.join(ENGINES)}.")
    share_arenas()
    if name == "torch" or (name == "auto" and gpu_present()):
        from core.inference.engines.torch_engine import TorchEngine

        return TorchEngine(stored, settings.threads)
    from core.inference.engines.openvino_engine import OpenVinoEngine, fastest_engine

    if name == "openvino-fp32":
        return OpenVinoEngine(stored, settings.threads)
    return fastest_engine(stored, settings.threads)


def gpu_present() -> bool:
    """Whether torch is likely to find a GPU (NVIDIA's driver, or an Apple processor), judged without importing it."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return apple or shutil.which("nvidia-smi") is not None
