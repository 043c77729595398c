"""A page of Browse: 48 patches out of 32,768 (and 262,144) rows, from every HDF5 layout; filtering and sorting."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.measure import Row, interleaved, peak_mib, processor
from core.data.pcam import Split, file_of
from core.inference.scores import Scores
from core.inference.verdict import verdicts
from core.models.calibration_curve import sigmoid
from core.models.schema import OperatingPoint
from core.task import PCAM
from core.view.selection import Filter, select

PAGE = 48
ROWS = (32_768, 262_144)
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (1, 96, 96, 3)},
    "gzip": {"chunks": (1, 96, 96, 3), "compression": "gzip"},
}


def write_split(folder: Path, layout: str, rows: int) -> None:
    """An official-format split of noise under the page's rows and zeros elsewhere, so that it is quickly made."""
    generator = np.random.default_rng(0)
    with h5py.File(file_of(folder, layout, "x.h5"), "w") as file:
        x = file.create_dataset("x", (rows, 96, 96, 3), np.uint8, **LAYOUTS[layout])
        for row in page_rows(rows):
            x[row] = generator.integers(0, 255, (96, 96, 3))
    with h5py.File(file_of(folder, layout, "y.h5"), "w") as file:
        file["y"] = generator.integers(0, 2, (rows, 1, 1, 1)).astype(np.uint8)


def page_rows(rows: int) -> NDArray[np.intp]:
    """48 rows scattered over the split, as a sorted gallery shows them."""
    return np.sort(np.random.default_rng(1).permutation(rows)[:PAGE])


def scores(rows: int) -> tuple[Scores, NDArray[np.uint8]]:
    """Made-up scores and labels of a split."""
    generator = np.random.default_rng(2)
    point = OperatingPoint(refer_low=0.3, refer_high=0.7)
    logits = generator.normal(0, 3, (rows, 1)).astype(np.float32)
    probability = sigmoid(logits).mean(axis=1)
    made = Scores(
        logits=logits,
        probability=probability,
        verdict=verdicts(probability, point, PCAM, np.zeros(len(probability), np.uint8)),
        attribution=np.zeros((rows, 3, 3), np.float32),
        flag_bits=np.zeros(rows, np.uint8),
        coordinates=np.zeros((rows, 0), np.float16),
        point=point,
    )
    return made, generator.integers(0, 2, rows).astype(np.uint8)


def run(repeats: int = 20) -> dict[str, object]:
    """Time and memory of a page for each layout, and of one filter with one sort."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layout in LAYOUTS:
            write_split(folder, layout, ROWS[0])
        pages: dict[str, Callable[[], object]] = {}
        for layout in LAYOUTS:
            split = Split.open(folder, layout)
            pages[f"nodelens-page-{layout}"] = partial(split.patches, page_rows(ROWS[0]))
        for task, seconds in interleaved(pages, repeats).items():
            memory = peak_mib("bench.browse", "--folder", name, "--layout", task.rsplit("-", 1)[1])
            rows.append({"name": task, "batch": PAGE, "rate": 1 / seconds, "unit": "pages/s", "peak_mib": memory})
    for count in ROWS:
        made, labels = scores(count)
        wanted = Filter(outcome="false negative", probability=(0.0, 0.9))
        choice = partial(select, made, labels, wanted, "most wrong")
        seconds = interleaved({"select": choice}, repeats)["select"]
        rows.append({"name": f"nodelens-select-{count}", "batch": count, "rate": 1 / seconds, "unit": "selections/s"})
    return {"bench": "browse", "processor": processor(), "rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Read one page, for its memory.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--layout", required=True)
    arguments = parser.parse_args()
    opened = Split.open(arguments.folder, arguments.layout)
    opened.patches(page_rows(len(opened)))
