"""Patches a second of two measures that Quantus has too, with the same network, patches and maps.

Deletion takes the nine cells of the last layer's Grad-CAM out one after another, hottest first; ours coldest first as
well, which gives insertion too and takes twice the readings. The other measure is the correlation of a cell's evidence
with the drop when that cell alone is replaced (Alvarez-Melis & Jaakkola 2018 in Quantus). Ours replaces by a blur,
Quantus by the mean. What explaining costs is left out. ROAD, which both have, fails in Quantus 0.6.0 on colour images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.explain import demo_patches, peers_view
from bench.measure import Row, interleaved, processor
from core.evaluation.metrics import faithfulness
from core.inference import Reader, load_reader

COUNT = 32
CELLS = 9


def ours(reader: Reader, patches: NDArray[np.uint8], maps: NDArray[np.float32], measure: str) -> Callable[[], object]:
    """A measure of every patch."""

    def read(batch: NDArray[np.uint8]) -> NDArray[np.floating]:
        return reader.read(batch).logit

    def deletion() -> object:
        return faithfulness.curves(patches, {"": maps}, read, faithfulness.blurred)[""].areas()

    def drops() -> object:
        found = faithfulness.cell_drops(patches, maps.shape[1:], read, faithfulness.blurred)
        return faithfulness.drop_correlation(maps, found)

    return {"deletion": deletion, "drops": drops}[measure]


def quantus(
    reader: Reader, patches: NDArray[np.uint8], maps: NDArray[np.float32], measure: str
) -> Callable[[], object]:
    """The same of Quantus, as its documentation calls it."""
    import quantus as q

    model, images = peers_view(reader.stored, patches)
    cell = patches.shape[1] // maps.shape[1]
    pixels = maps.repeat(cell, axis=1).repeat(cell, axis=2)[:, None]
    options: dict[str, Any] = {"normalise": False, "disable_warnings": True, "perturb_baseline": "mean"}
    metric = {
        "deletion": q.RegionPerturbation(patch_size=cell, order="morf", regions_evaluation=CELLS, **options),
        "drops": q.FaithfulnessEstimate(features_in_step=3 * cell**2, **options),
    }[measure]
    labels = np.ones(len(patches), int)
    return lambda: metric(
        model=model, x_batch=images.numpy(), y_batch=labels, a_batch=pixels, device="cpu", softmax=False
    )


def run(repeats: int = 5) -> dict[str, object]:
    """All rows."""
    warnings.filterwarnings("ignore")
    reader, patches = load_reader(), demo_patches(COUNT)
    maps = reader.read(patches).attribution
    rows: list[Row] = []
    for measure in ("deletion", "drops"):
        tasks = {"nodelens": ours(reader, patches, maps, measure), "quantus": quantus(reader, patches, maps, measure)}
        for name, seconds in interleaved(tasks, repeats).items():
            rate = COUNT / seconds
            rows.append({"name": name, "batch": COUNT, "cycle": measure, "rate": rate, "unit": f"patches/s, {measure}"})
    return {"bench": "evidence", "processor": processor(), "rows": rows}
