"""A region of 512 x 512 px: by cells in one pass, beside DenseNet169 on every patch at stride 32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.measure import Row, interleaved, processor
from core.inference import Reader, load_reader
from core.task import STRIDE

SIDE = 512


def patches_of(region: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A patch (n, side, side, 3) about each STRIDE px tile of a region (h, w, 3), reflected beyond its border."""
    around = (side - STRIDE) // 2
    padded = np.pad(region, ((around, around), (around, around), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))[::STRIDE, ::STRIDE]
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2).reshape(-1, side, side, 3))


def read_patches(reader: Reader, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits (n, 2) of patches, as many at a time as the engine serves best."""
    step = reader.engine.batch
    return np.concatenate([reader.engine.forward(patches[i : i + step])[1] for i in range(0, len(patches), step)])


def run(repeats: int = 9) -> dict[str, object]:
    """Regions a second, and numbers that each gives."""
    cells, patch = load_reader("efficientnet_lite0_unpadded"), load_reader("densenet169")
    region = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    patches = patches_of(region, patch.task.side)
    tasks = {
        "nodelens": (cells.engine.name, cells.region(region).size, lambda: cells.region(region)),
        "densenet169 by patch": (patch.engine.name, len(patches), lambda: read_patches(patch, patches)),
    }
    seconds = interleaved({name: task for name, (_, _, task) in tasks.items()}, repeats)
    rows: list[Row] = [
        {"name": name, "batch": 1, "rate": 1 / seconds[name], "unit": f"regions/s, {engine}", "numbers": numbers}
        for name, (engine, numbers, _) in tasks.items()
    ]
    return {"bench": "region", "processor": processor(), "rows": rows}
