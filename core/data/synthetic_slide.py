"""A drawn slide: a section of a lymph node with capsule, sinuses, follicles, fat and two metastases, and its mask.

Drawn patch by patch as `core.data.synthetic` draws them, with one laboratory for all, faded into each other. It shows
that the software works; it is no tissue, and no score on it says anything about patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.data.synthetic import (
    BROWN,
    DRAWN,
    FAT,
    GERMINAL,
    GLASS,
    LYMPHOID,
    OVERSAMPLING,
    SIDE,
    SINUS,
    STROMA,
    TUMOUR,
    Field,
    stain,
    traits_of,
    transmit,
)
from core.files import atomic_path
from core.task import PCAM

SLIDE, MASK = "demo_slide.tif", "demo_slide_mask.png"
COARSE = 2
"""Slide pixels a pixel of the plan."""
FADE = 16
"""Pixels over which neighbouring patches fade into each other."""
WHITE = np.array([243.0, 242.0, 244.0])
QUALITY = 80
TILE = 256


@dataclass(frozen=True)
class DrawnSlide:
    """A slide and where its tumour is.

    Attributes:
        pixels: uint8 (side, side, 3) RGB at PCam's pixel size.
        mask: bool (side, side), tumour.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def draw(side: int, seed: int, progress: Callable[[int, int], None] | None = None) -> DrawnSlide:
    """Draw a slide of `side` px; the same arguments give the same bytes.

    Args:
        side: a multiple of COARSE, 512 at least.
        seed: 0 or more.
        progress: told patches drawn and patches in all.

    Raises:
        ValueError: another side.
    """
    if side < 512 or side % COARSE:
        raise ValueError(f"side must be a multiple of {COARSE} from 512 on, not {side}")
    plan = _plan(side // COARSE, np.random.default_rng(seed))
    traits = traits_of(np.random.default_rng((seed, 1)))
    step = SIDE - FADE
    corners = [(top, left) for top in range(0, side, step) for left in range(0, side, step)]
    light = np.zeros((side + SIDE, side + SIDE, 3), np.float32)
    weight = np.zeros((side + SIDE, side + SIDE, 1), np.float32)
    ramp = np.minimum(1, (np.arange(SIDE) + 0.5) / FADE)
    ramp = np.minimum(ramp, ramp[::-1]).astype(np.float32)
    fade = (ramp[:, None] * ramp)[..., None]
    for number, (top, left) in enumerate(corners):
        light[top : top + SIDE, left : left + SIDE] += fade * _patch(plan, traits, seed, top, left)
        weight[top : top + SIDE, left : left + SIDE] += fade
        if progress:
            progress(number + 1, len(corners))
    picture = light[:side, :side] / weight[:side, :side]
    picture += np.random.default_rng((seed, 2)).normal(0, 1.2, (side, side, 1))
    mask = (plan == TUMOUR).repeat(COARSE, axis=0).repeat(COARSE, axis=1)
    return DrawnSlide(np.clip(picture, 0, 255).astype(np.uint8), mask)


def write_slide(out: Path, side: int, seed: int, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Write a drawn slide as a tiled pyramid that says it is synthetic, and its mask beside it.

    Raises:
        OutputError: the folder is full or read-only.
    """
    drawn = draw(side, seed, progress)
    um = PCAM.um_per_px
    assert um is not None
    facts: dict[str, Any] = {
        "tile": (TILE, TILE),
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": QUALITY},
    }
    facts |= {"resolutionunit": "CENTIMETER"}
    levels = [drawn.pixels]
    while max(levels[-1].shape) > 2 * TILE:
        rows, columns = (length // 2 * 2 for length in levels[-1].shape[:2])
        even = levels[-1][:rows, :columns].astype(np.uint16)
        levels.append((even.reshape(rows // 2, 2, columns // 2, 2, 3).sum(axis=(1, 3)) // 4).astype(np.uint8))
    paths = [out / SLIDE, out / MASK]
    with atomic_path(paths[0]) as part, tifffile.TiffWriter(part) as file:
        for number, level in enumerate(levels):
            size = (1e4 / (um * 2**number),) * 2
            words = f"synthetic, not tissue; seed {seed}" if number == 0 else None
            file.write(level, resolution=size, subfiletype=int(number > 0), description=words, metadata=None, **facts)
    with atomic_path(paths[1]) as part:
        Image.fromarray(drawn.mask).save(part, "PNG", optimize=True)
    return paths


def _plan(side: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Tissue of every coarse pixel (side, side)."""
    y, x = (np.indices((side, side)) + 0.5) / side - 0.5
    wave = 0.03 * _cloud(rng, side, 0.12)
    radius = np.hypot(x / 0.42, y / 0.33) + wave
    plan = np.full((side, side), GLASS)
    plan[(radius < 1.18) & (_cloud(rng, side, 0.05) > 0.3)] = FAT
    plan[radius < 1.0] = STROMA  # the capsule
    plan[radius < 0.96] = SINUS
    plan[radius < 0.92] = LYMPHOID
    follicles = rng.uniform(0, 2 * np.pi, 9)
    for angle in follicles:
        middle = 0.74 * 0.42 * np.cos(angle), 0.74 * 0.33 * np.sin(angle)
        plan[np.hypot(x - middle[0], y - middle[1]) < rng.uniform(0.03, 0.05)] = GERMINAL
    medulla = (radius < 0.5) & (_cloud(rng, side, 0.025) > 0.4)
    plan[medulla] = SINUS
    hilum = np.hypot((x - 0.3) / 0.12, (y - 0.02) / 0.08) + 2 * wave < 1
    plan[hilum] = FAT
    for middle, size in (((-0.2, -0.1), 0.11), ((0.12, 0.16), 0.028)):  # a macro- and a micrometastasis
        nest = np.hypot(x - middle[0], y - middle[1]) + 0.02 * _cloud(rng, side, 0.03) < size
        plan[nest & (radius < 0.97)] = TUMOUR
    return plan


def _cloud(rng: np.random.Generator, side: int, length: float) -> NDArray[np.float64]:
    """Smooth noise of unit variance, waves of about `length` sides."""
    found = ndimage.gaussian_filter(rng.standard_normal((side, side)), length * side, mode="wrap")
    return np.asarray(found / found.std())


def _patch(plan: NDArray[np.intp], traits: dict[str, Field], seed: int, top: int, left: int) -> NDArray[np.float64]:
    """Light (SIDE, SIDE, 3) through the patch at a corner, before patches are faded into each other."""
    tissue = _tissue_at(plan, top, left)
    if (tissue == GLASS).all():
        return np.broadcast_to(WHITE, (SIDE, SIDE, 3))
    return _light(*stain(np.random.default_rng((seed, top, left)), tissue, traits))


def _tissue_at(plan: NDArray[np.intp], top: int, left: int) -> NDArray[np.intp]:
    """Tissue (DRAWN, DRAWN) of the patch at a corner; glass beyond the plan."""
    places = np.arange(DRAWN) / (OVERSAMPLING * COARSE)
    rows, columns = (np.floor(corner / COARSE + places).astype(int) for corner in (top, left))
    inside = np.ix_(np.minimum(rows, plan.shape[0] - 1), np.minimum(columns, plan.shape[1] - 1))
    beyond = (rows >= plan.shape[0])[:, None] | (columns >= plan.shape[1])
    return np.where(beyond, GLASS, plan[inside])


def _light(hematoxylin: NDArray[np.float64], eosin: NDArray[np.float64]) -> NDArray[np.float64]:
    vectors = BROWN / np.linalg.norm(BROWN, axis=1, keepdims=True)
    light = transmit(np.stack([hematoxylin, eosin], -1), vectors, WHITE)
    blocks = light.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING, 3)
    image: NDArray[np.float64] = blocks.mean((1, 3))
    return np.asarray(image + 1.5 * (image - ndimage.gaussian_filter(image, (0.7, 0.7, 0))))
