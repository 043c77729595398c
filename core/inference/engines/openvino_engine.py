"""The OpenVINO engine: the processor's fastest path, converted once and kept beside the bundle.

Converting a bundle needs torch and some seconds; afterwards `<bundle>/.engine/<key>/` holds the graph, and serving
never imports torch. The key is the hash of weights, architecture and normalisation, and OpenVINO's version.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from functools import lru_cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from core.errors import EngineError, OutputError
from core.files import publish, write_text
from core.inference.batcher import COMPUTE_LOCK, MicroBatcher
from core.inference.engines.precision import worth_rounding
from core.models.store import StoredBundle

log = logging.getLogger(__name__)

SIZES = (1, 8)
"""Batch sizes with a compiled graph of their own: fixed shapes run up to twice as fast as open ones.

A graph of 32 is no faster where it was measured, and gives a patch other last bits on processors without AVX-512.
"""
WORTH_PADDING = {8: 6}
"""From so many patches on, a padded batch of that size is faster than several smaller ones (measured)."""
REGIONS = 3
"""Region sizes whose graphs are kept compiled at a time; the one not used for longest makes room."""
GRAPH = "graph.xml"
EXACT, FAST = "f32", "bf16"
CHOICE = "precision.json"
"""Beside the graph: which arithmetic was found faster, on which processor."""


class OpenVinoEngine:
    """Serves a bundle on the processor with OpenVINO."""

    batch = 32

    def __init__(self, stored: StoredBundle, threads: int, precision: str = EXACT) -> None:
        """Open the kept graph, or convert the bundle and keep it.

        Args:
            stored: the bundle.
            threads: processor threads one call may use.
            precision: EXACT, or FAST where `has_bf16`.
        """
        self.name = "openvino-fp32" if precision == EXACT else f"openvino-{precision}"
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        side = stored.description.task.side
        self._sides = (side, side)
        self._graph = _graph(stored)
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._forward = MicroBatcher(self._run, self.batch)

    def forward(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.forward`."""
        return self._forward(patches)

    def _run(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        pieces, start = [], 0
        sides = patches.shape[1:3]
        for size in cover(len(patches)) if sides == self._sides else [1] * len(patches):
            piece = patches[start : start + size]
            start += len(piece)
            request = self._request(size, *sides)
            request.infer([np.concatenate([piece, np.repeat(piece[-1:], size - len(piece), axis=0)])])
            pieces.append([request.get_output_tensor(i).data[: len(piece)].astype(np.float32) for i in (0, 1)])
        if len(pieces) == 1:  # a region's maps are large
            return pieces[0][0], pieces[0][1]
        maps, logits = zip(*pieces, strict=True)
        return np.concatenate(maps), np.concatenate(logits)

    def _request(self, *shape: int) -> Any:
        if shape not in self._compiled:
            regions = [kept for kept in self._compiled if kept[1:] != self._sides]
            if shape[1:] != self._sides and len(regions) == REGIONS:
                del self._compiled[regions[0]]
            model = self._graph.clone()
            model.reshape([*shape, 3])
            self._compiled[shape] = _core().compile_model(model, "CPU", self._options).create_infer_request()
        self._compiled[shape] = self._compiled.pop(shape)  # the latest used stands last
        return self._compiled[shape]


def has_bf16() -> bool:
    """Whether the processor computes in bf16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=1)
def _core() -> Any:
    """OpenVINO's one core of this process: making another takes a while."""
    return ov.Core()


def fastest_engine(stored: StoredBundle, threads: int) -> OpenVinoEngine:
    """In FAST where the bundle's own check found it harmless and this processor is faster with it, else EXACT.

    Measured once for a bundle and a processor, and kept beside the graph.
    """
    check = stored.description.precision
    if check is None or not check.harmless or not has_bf16():
        return OpenVinoEngine(stored, threads)
    processor = _core().get_property("CPU", "FULL_DEVICE_NAME")
    kept = _kept_folder(stored) / CHOICE
    try:
        choice = json.loads(kept.read_text(encoding="utf-8"))
        if choice["processor"] == processor and choice["precision"] in (EXACT, FAST):
            return OpenVinoEngine(stored, threads, choice["precision"])
    except (OSError, ValueError, TypeError, KeyError):
        pass  # not measured yet, or damaged: measure
    engines = {precision: OpenVinoEngine(stored, threads, precision) for precision in (EXACT, FAST)}
    side = stored.description.task.side
    patches = np.zeros((SIZES[1], side, side, 3), np.uint8)
    with COMPUTE_LOCK:  # nobody else computes meanwhile
        faster = worth_rounding(partial(engines[EXACT].forward, patches), partial(engines[FAST].forward, patches))
    precision = FAST if faster else EXACT
    try:
        if kept.with_name(GRAPH).is_file():  # alone, it would keep the next start from keeping its graph
            write_text(kept, json.dumps({"processor": processor, "precision": precision}) + "\n")
    except OutputError as error:
        log.warning("the faster arithmetic has to be found out at every start: %s", error)
    return engines[precision]


def cover(count: int) -> list[int]:
    """Compiled sizes that together hold `count` patches in the least time; the last may be padded."""
    sizes = []
    for size in sorted(SIZES, reverse=True):
        while count >= WORTH_PADDING.get(size, 1):
            sizes.append(size)
            count -= size
    return sizes


def _kept_folder(stored: StoredBundle) -> Path:
    version = ov.__version__.split("-")[0]
    return stored.folder / ".engine" / f"{stored.description.graph_key}-openvino-{version}"


def _graph(stored: StoredBundle) -> Any:
    kept = _kept_folder(stored)
    if (kept / GRAPH).is_file():
        try:
            return _core().read_model(kept / GRAPH)
        except RuntimeError:
            log.warning("the kept engine of %s is damaged; converting again", stored.description.name)
            shutil.rmtree(kept, ignore_errors=True)
    log.info("converting %s for OpenVINO", stored.description.identity)
    model = _convert(stored)
    _keep(model, kept)
    # The converted graph differs from its kept self in the last bits: serve what every later start will serve.
    return _core().read_model(kept / GRAPH) if (kept / GRAPH).is_file() else model


def _convert(stored: StoredBundle) -> Any:
    import torch

    from core.inference.engines.torch_engine import load_net

    side = stored.description.task.side
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            # OpenVINO traces; torch deprecates tracing, which is not for a reader to know.
            warnings.simplefilter("ignore", FutureWarning)
            model = ov.convert_model(load_net(stored), example_input=example)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot run {stored.description.architecture}; use the torch engine.") from error
    model.reshape([-1, side, side, 3])
    return model


def _keep(model: Any, kept: Path) -> None:
    """Keep a graph for the next start; whole or not at all, and never a reason to fail."""
    part: Path | None = None
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(dir=kept.parent, prefix=".part-"))
        ov.save_model(model, part / GRAPH, compress_to_fp16=False)
        part.chmod(0o755)  # a temporary folder is its maker's alone; the app may run as somebody else
        publish(part, kept)
    except (OSError, RuntimeError) as error:
        # Another process was first (the folder exists), or the folder is read-only or full: serve from memory.
        if not (kept / GRAPH).is_file():
            log.warning("the engine could not be kept in %s: %s", kept.parent, error)
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
