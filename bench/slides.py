"""Whole slides: how long a square centimetre takes, when the map begins, memory, and tiles for viewers.

`python -m bench.slides --slide FILE` reads a given slide; without one, slides are made of the drawn slide's tissue,
at 0.485 um/px with JPEG tiles. A square centimetre is extrapolated from the cells that the row states. Seconds of
processor, over both cores, can be compared on a machine that has other work to do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from bench.measure import ROOT, Row, peak_mib, processor
from core.inference import load_reader
from core.slides import shelf
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.slides.tiles import TILE, Tiles

DEMO = ROOT / "assets" / "demo" / "demo_slide.tif"
FINE = 0.485
SIDE = 2048
"""Pixels of the piece of tissue that slides are made of."""
LEVELS = (1, 2, 4, 8, 16)
SAMPLES = {"densenet169": 6, "efficientnet_lite0_unpadded": 40}
"""Chunks of 16 x 16 cells that a square centimetre is extrapolated from."""
AREAS = (5, 50)
VIEWERS = (1, 10)
TILES = 400
"""Asked for by all viewers together."""


def make_slide(path: Path, mm2: float) -> Path:
    """Write a square slide of so much tissue and no glass."""
    with Slide.open(DEMO) as demo:
        width, height = demo.size_at(0.97)
        piece = demo.region((width - SIDE // 2) // 2, (height - SIDE // 2) // 2, SIDE // 2, SIDE // 2, 0.97)
    tissue = piece.repeat(2, axis=0).repeat(2, axis=1)
    side = round(np.sqrt(mm2) * 1000 / FINE / 512) * 512
    facts: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "dtype": np.uint8}
    with tifffile.TiffWriter(path) as file:
        for down in LEVELS:
            level = tissue.reshape(SIDE // down, down, SIDE // down, down, 3).mean(axis=(1, 3)).astype(np.uint8)
            file.write(
                tiles_of(level, side // down),
                shape=(side // down, side // down, 3),
                subfiletype=int(down > 1),
                resolution=(1e4 * down / FINE,) * 2,
                resolutionunit="CENTIMETER",
                **facts,
            )
    return path


def tiles_of(piece: NDArray[np.uint8], side: int) -> Iterator[NDArray[np.uint8]]:
    """Tiles of 256 px of a picture of `side` px that repeats a piece without end."""
    place = np.arange(256)
    for top in range(0, side, 256):
        for left in range(0, side, 256):
            rows, columns = ((first + place) % len(piece) for first in (top, left))
            yield np.ascontiguousarray(piece[rows[:, None], columns])


def scanning(path: Path, model: str, chunks: int) -> Row:
    """How fast a model reads the slide, from a sample, and when the first chunk was on the map."""
    reader = load_reader(model)
    reader.read(np.zeros((8, 96, 96, 3), np.uint8))
    told: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with Slide.open(path) as slide:
            scan = Scan(slide, reader, Path(folder))
            scan.run(lambda: len(told) > chunks + 1, lambda *_: told.append((time.perf_counter(), time.process_time())))
            cells = int(np.isfinite(scan.logits()).sum())
            share = cells * (len(told) - 2) / max(1, len(told) - 1)  # without the first chunk, which compiles
            per_cm2 = 1e8 / (scan.grid.stride * scan.grid.um_per_px) ** 2
    wall, busy = (told[-1][one] - told[1][one] for one in (0, 1))
    return {
        "name": f"nodelens-{model}",
        "batch": 1,
        "rate": share / wall,
        "unit": f"cells/s, {reader.engine.name}",
        "seconds_per_cm2": wall / share * per_cm2,
        "processor_seconds_per_cm2": busy / share * per_cm2,
        "first_map_seconds": told[1][0] - began,
        "cells": cells,
    }


def memory(path: Path, mm2: float, model: str) -> Row:
    """What a process takes at most that reads a whole slide into its files."""
    began = time.perf_counter()
    peak = peak_mib("bench.slides", "--read", str(path), "--model", model)
    rate = mm2 / (time.perf_counter() - began)
    return {"name": f"nodelens-{mm2:g}-mm2", "batch": 1, "rate": rate, "unit": "mm2/s, whole", "peak_mib": peak}


def read_whole(path: Path, model: str) -> None:
    """As `slide read` does."""
    from core.slides.batch import Batch, read_slides
    from core.view.slide_map import overview_picture

    with tempfile.TemporaryDirectory() as out:
        outcomes = list(read_slides(Batch([path], load_reader(model), Path(out), overview_picture)))
    assert [one.status for one in outcomes] == ["read"], outcomes


def viewing(path: Path) -> Generator[Row, None, None]:
    """Tiles asked of the app over HTTP: seen for the first time since the slide was opened, and again."""
    import uvicorn

    from app import app

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        for viewers in VIEWERS:
            shelf.forget()
            token, slide = shelf.opened("bench", path)
            places = _places(Tiles(slide), TILES)
            for when in ("first", "again"):
                began = time.perf_counter()
                with ThreadPoolExecutor(viewers) as pool:
                    parts = pool.map(partial(_ask, port, token), [places[i::viewers] for i in range(viewers)])
                    seconds = np.array([one for part in parts for one in part])
                yield {
                    "name": f"nodelens-tiles-{when}",
                    "batch": viewers,
                    "rate": len(places) / (time.perf_counter() - began),
                    "unit": "tiles/s",
                    "p50_ms": float(np.quantile(seconds, 0.5)) * 1000,
                    "p95_ms": float(np.quantile(seconds, 0.95)) * 1000,
                }
    finally:
        server.should_exit = True
        serving.join()
        shelf.forget()


def _places(tiles: Tiles, count: int) -> list[tuple[int, int, int]]:
    random = Random(0)
    every = [
        (level, column, row)
        for level in range(8, tiles.levels)
        for column in range(-(-tiles.size(level)[0] // TILE))
        for row in range(-(-tiles.size(level)[1] // TILE))
    ]
    return random.sample(every, min(count, len(every)))


def _ask(port: int, token: str, places: list[tuple[int, int, int]]) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    seconds = []
    for place in places:
        began = time.perf_counter()
        connection.request("GET", "/slide-tiles/{}/{}/{}/{}".format(token, *place))
        answer = connection.getresponse()
        answer.read()
        seconds.append(time.perf_counter() - began)
        assert answer.status == 200, answer.status
    connection.close()
    return seconds


def run(slide: Path | None = None, tell: Callable[[Row], None] = lambda _: None) -> dict[str, object]:
    """All of it; a given slide stands for made ones in all but the memory of a small and a large one."""
    rows: list[Row] = []

    def keep(row: Row) -> None:
        rows.append(row)
        tell(row)

    with tempfile.TemporaryDirectory() as folder:
        made = {mm2: make_slide(Path(folder) / f"{mm2}.tif", mm2) for mm2 in AREAS}
        large = slide or made[AREAS[-1]]
        for row in viewing(large):
            keep(row)
        for model, chunks in SAMPLES.items():
            keep(scanning(large, model, chunks))
        for mm2, path in made.items():
            keep(memory(path, mm2, "efficientnet_lite0_unpadded"))
    return {"bench": "slides", "processor": processor(), "rows": rows}


def main() -> None:
    """As a command of its own: of a given slide, or the part that is measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, help="a slide to read in place of a made one")
    parser.add_argument("--read", type=Path, help="read one slide whole and end")
    parser.add_argument("--model", default="efficientnet_lite0_unpadded")
    asked = parser.parse_args()
    if asked.read:
        read_whole(asked.read, asked.model)
    else:
        print(json.dumps(run(asked.slide, lambda row: print(json.dumps(row), flush=True)), indent=2))


if __name__ == "__main__":
    main()
