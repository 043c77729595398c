"""`python -m core score` over very many patches, beside the bare engine: its rate, and memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from bench.explain import demo_patches
from bench.measure import ROOT, Row, interleaved, processor, resources
from core.inference import load_reader

DISTINCT = 400


def write_patches(path: Path, rows: int) -> None:
    """A chunked, gzipped PCam x file of `rows` patches: the demo's, over and over, compressed once."""
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", (rows, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3), compression="gzip")
        x[:DISTINCT] = demo_patches(DISTINCT)
        chunks = [x.id.read_direct_chunk((row, 0, 0, 0))[1] for row in range(DISTINCT)]
        for row in range(DISTINCT, rows):
            x.id.write_direct_chunk((row, 0, 0, 0), chunks[row % DISTINCT])


def run(rows: int = 200_000) -> dict[str, object]:
    """Patches a second of the command and of the engine alone; memory after a tenth of the way and at its highest."""
    patches = demo_patches(32)
    engine = load_reader(engine="openvino").engine
    before = interleaved({"engine": lambda: engine.forward(patches)}, 20)["engine"]
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name) / "x.h5", Path(name) / "scores.csv"
        write_patches(path, rows)
        began = time.perf_counter()
        command = subprocess.Popen([sys.executable, "-m", "core", "score", str(path), "--out", str(out)], cwd=ROOT)
        memory: list[tuple[float, float]] = []
        while command.poll() is None:
            memory.append((time.perf_counter() - began, resources(Path(f"/proc/{command.pid}")).rss_mib))
            time.sleep(0.5)
        seconds = time.perf_counter() - began
        assert command.returncode == 0
        assert sum(1 for _ in out.open(encoding="utf-8")) == rows + 1
    after = interleaved({"engine": lambda: engine.forward(patches)}, 20)["engine"]
    early = max(used for at, used in memory if at <= seconds / 10)
    results: list[Row] = [
        {
            "name": "nodelens",
            "batch": 32,
            "rate": rows / seconds,
            "unit": "patches/s",
            "peak_mib": max(used for _, used in memory),
            "mib_after_a_tenth": early,
            "rows": rows,
        },
        {"name": "openvino-forward", "batch": 32, "rate": 64 / (before + after), "unit": "patches/s"},
    ]
    return {"bench": "score", "processor": processor(), "rows": results}
