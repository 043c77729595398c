"""Slides made to order: pyramids with marked squares at known places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

WriteSlide = Callable[..., Path]


@pytest.fixture
def write_slide(tmp_path: Path) -> WriteSlide:
    """A function that writes pixels (h, w, 3) as a tiled pyramid of the given pixel size."""

    def write(
        pixels: NDArray[np.uint8],
        um_per_px: float | None,
        name: str = "slide.tif",
        levels: tuple[float, ...] = (),
        ome: bool = False,
    ) -> Path:
        path = tmp_path / name
        facts: dict[str, object] = {"tile": (128, 128), "photometric": "rgb", "compression": "deflate"}
        if um_per_px:
            facts |= {"resolution": (1e4 / um_per_px, 1e4 / um_per_px), "resolutionunit": "CENTIMETER"}
        more: dict[str, object] = {"subifds": len(levels)} if ome else {}
        if ome:
            size = {
                "PhysicalSizeX": um_per_px,
                "PhysicalSizeY": um_per_px,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeYUnit": "µm",
            }
            more["metadata"] = {"axes": "YXS", **size}
        with tifffile.TiffWriter(path, ome=ome) as file:
            file.write(pixels, **facts, **more)
            for down in levels:
                file.write(reduced(pixels, down), subfiletype=1, **facts)
        return path

    return write


def reduced(pixels: NDArray[np.uint8], down: float) -> NDArray[np.uint8]:
    """A level of a pyramid: each pixel the one in the middle of its place."""
    rows, columns = (((np.arange(int(side / down)) + 0.5) * down).astype(int) for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[np.ix_(rows, columns)])
