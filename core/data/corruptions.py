"""What slides, scanners and file formats do to a patch, in batches: one home for augmentation and for stress tests.

Every function takes uint8 (n, h, w, 3) RGB and a strength for each patch, and returns a new array of that kind. Stain
is changed in optical density, OD = -ln((I + 1) / 256), where the amounts of stain add up (Ruifrok & Johnston 2001).
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

Patches = NDArray[np.uint8]

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)
"""Optical density in R, G, B of one unit of hematoxylin, eosin and the residual (Ruifrok & Johnston 2001)."""
STAINS /= np.linalg.norm(STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(STAINS)
_DENSITY = (-np.log((np.arange(256) + 1) / 256)).astype(np.float32)


def stain(patches: Patches, gain: ArrayLike, offset: ArrayLike = 0.0) -> Patches:
    """Scale and shift the amounts of hematoxylin, eosin and residual (Tellez et al. 2018, arXiv:1808.05896).

    Args:
        patches: uint8 (n, h, w, 3).
        gain: (n, 3) factor for each stain; 1 changes nothing.
        offset: (n, 3) added amount of each stain, in optical density.
    """
    count, height, width, _ = patches.shape
    gain = np.broadcast_to(np.asarray(gain, np.float32), (count, 3))
    offset = np.broadcast_to(np.asarray(offset, np.float32), (count, 3))
    mixing = _UNMIX @ (gain[:, :, None] * STAINS)
    density = _DENSITY[patches].reshape(count, height * width, 3) @ mixing + (offset @ STAINS)[:, None]
    return _grey_levels(256 * np.exp(-density) - 1).reshape(patches.shape)


def stains(patches: Patches) -> NDArray[np.float32]:
    """Amounts of hematoxylin, eosin and residual in every pixel, (n, h, w, 3) float32 in optical density."""
    return np.asarray(_DENSITY[patches] @ _UNMIX, np.float32)


def tone(patches: Patches, brightness: ArrayLike = 0.0, contrast: ArrayLike = 1.0) -> Patches:
    """Stretch grey levels around the patch's own mean by `contrast` (n,), then add `brightness` (n,) grey levels."""
    levels = patches.astype(np.float32)
    mean = levels.mean(axis=(1, 2, 3), keepdims=True)
    return _grey_levels((levels - mean) * _per_patch(contrast) + mean + _per_patch(brightness))


def blur(patches: Patches, sigma: ArrayLike) -> Patches:
    """Gaussian blur of `sigma` (n,) pixels; 0 leaves a patch as it is."""

    def blurred(patch: Patches, pixels: float) -> Patches:
        if pixels == 0:
            return patch
        # In float: of whole numbers, SciPy would cut off the fractions along each axis, which darkens.
        return _grey_levels(gaussian_filter(patch, (pixels, pixels, 0), output=np.float32, mode="reflect"))

    return _each(patches, sigma, blurred)


def noise(patches: Patches, sigma: ArrayLike, seed: int = 0) -> Patches:
    """Gaussian sensor noise of `sigma` (n,) grey levels; the same seed gives the same noise."""
    grain = np.random.default_rng(seed).standard_normal(patches.shape, dtype=np.float32)
    return _grey_levels(patches + grain * _per_patch(sigma))


def jpeg(patches: Patches, quality: ArrayLike) -> Patches:
    """Code and decode as JPEG of `quality` (n,) 1..95; 0 leaves a patch as it is."""

    def recoded(patch: Patches, setting: float) -> Patches:
        if setting == 0:
            return patch
        coded = BytesIO()
        Image.fromarray(patch).save(coded, "JPEG", quality=round(setting))
        return np.asarray(Image.open(coded))

    return _each(patches, quality, recoded)


def shift(patches: Patches, down: ArrayLike, right: ArrayLike) -> Patches:
    """Move the tissue by whole pixels, `down` (n,) and `right` (n,); the edge is filled with the mirrored patch."""
    height, width = patches.shape[1:3]
    rows = _mirrored(np.arange(height)[None] - np.broadcast_to(down, len(patches))[:, None], height)
    columns = _mirrored(np.arange(width)[None] - np.broadcast_to(right, len(patches))[:, None], width)
    return np.asarray(patches[np.arange(len(patches))[:, None, None], rows[:, :, None], columns[:, None, :]])


def scale(patches: Patches, factor: ArrayLike) -> Patches:
    """Magnify the tissue about the centre by `factor` (n,), as a wrong pixel size would; edges are mirrored."""

    def scaled(patch: Patches, by: float) -> Patches:
        if by == 1:
            return patch
        side = patch.shape[0]
        margin = max(0, -(-side * (1 / by - 1) // 2)) if by < 1 else 0
        padded = np.pad(patch, ((int(margin),) * 2, (int(margin),) * 2, (0, 0)), mode="symmetric")
        larger = zoom(padded, (by, by, 1), order=1, mode="nearest", grid_mode=True)
        top, left = ((size - side) // 2 for size in larger.shape[:2])
        return np.asarray(larger[top : top + side, left : left + side])

    return _each(patches, factor, scaled)


def rotate(patches: Patches, degrees: ArrayLike) -> Patches:
    """Turn the tissue by small angles, `degrees` (n,), bilinear; corners are filled with the mirrored patch."""

    def turned(patch: Patches, angle: float) -> Patches:
        if angle == 0:
            return patch
        side = patch.shape[0]
        margin = side // 4
        padded = np.pad(patch, ((margin,) * 2, (margin,) * 2, (0, 0)), mode="symmetric")
        whole = np.asarray(Image.fromarray(padded).rotate(angle, Image.Resampling.BILINEAR))
        return whole[margin : margin + side, margin : margin + side]

    return _each(patches, degrees, turned)


def _each(patches: Patches, strength: ArrayLike, change: Callable[[Patches, float], Patches]) -> Patches:
    strengths = np.broadcast_to(np.asarray(strength, np.float64), len(patches))
    changed = [change(patch, float(s)) for patch, s in zip(patches, strengths, strict=True)]
    return np.stack(changed) if changed else patches.copy()


def _per_patch(strength: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(strength, np.float32).reshape(-1, 1, 1, 1)


def _mirrored(index: NDArray[np.integer], size: int) -> NDArray[np.integer]:
    folded = np.mod(index, 2 * size)
    return np.asarray(np.where(folded < size, folded, 2 * size - 1 - folded))


def _grey_levels(values: NDArray[np.floating]) -> Patches:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
