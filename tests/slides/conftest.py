"""Slides made to order: pyramids with marked squares at known places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from core.models.schema import OperatingPoint
from core.task import PCAM

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
        icc: bytes | None = None,
    ) -> Path:
        path = tmp_path / name
        facts: dict[str, object] = {"tile": (128, 128), "photometric": "rgb", "compression": "deflate"}
        if icc:
            facts["iccprofile"] = icc
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


class Darkness:
    """Reads how dark the middle of a patch is, 0 to 1: a reader of scans that needs no network."""

    task = PCAM
    ood = None
    surroundings_margin = 0
    engine = SimpleNamespace(name="none", batch=32)

    def __init__(self) -> None:
        """With an operating point, as a bundle has."""
        point = OperatingPoint(curve=((-1.0, -1.0), (1.0, 1.0)), threshold=0.6, refer_low=0.5, refer_high=0.7)
        self.model = SimpleNamespace(
            graph_key="darkness",
            identity="darkness 1",
            weights_sha256="",
            areas=None,
            ood=None,
            task=PCAM,
            point=lambda views: point,
        )

    def patch_logits(
        self, image: NDArray[np.uint8], stride: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """See `Reader.patch_logits`."""
        windows = np.lib.stride_tricks.sliding_window_view(image, (96, 96), axis=(0, 1))[::stride, ::stride]
        found = 1 - windows[..., 32:64, 32:64].mean(axis=(2, 3, 4)) / 255
        return np.asarray(found if wanted is None else np.where(wanted, found, np.nan), np.float32)

    def read(self, patches: NDArray[np.uint8]) -> Any:
        """The logits of patches."""
        return SimpleNamespace(logit=(1 - patches[:, 32:64, 32:64].mean(axis=(1, 2, 3)) / 255).astype(np.float32))


@pytest.fixture(scope="session")
def darkness() -> Any:
    """A reader that needs no network."""
    return Darkness()
