"""What slides, scanners and file formats do to a patch, in batches: one home for augmentation and for stress tests.

Every function takes uint8 (n, h, w, 3) RGB and a strength for each patch, and returns a new array of that kind. Stain
is changed in optical density, OD = -ln((I + 1) / 256), where the amounts of stain add up (Ruifrok & Johnston 2001).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Patches = NDArray[np.uint8]

cv2.setNumThreads(0)  # a patch is too small to share; cores are for the network

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


def optical_density(patches: Patches) -> NDArray[np.float32]:
    """Optical density of every pixel and channel, -ln((I + 1) / 256), float32 of the patches' own shape."""
    return _DENSITY[patches]


def stains(patches: Patches) -> NDArray[np.float32]:
    """Amounts of hematoxylin, eosin and residual in every pixel, (n, h, w, 3) float32 in optical density."""
    return np.asarray(optical_density(patches) @ _UNMIX, np.float32)


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
        # In float: whole numbers would be rounded along each axis, and far parts of the bell left out.
        soft = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), pixels, borderType=cv2.BORDER_REFLECT)
        return _grey_levels(np.asarray(soft, np.float32))

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
        bgr = cv2.cvtColor(patch, cv2.COLOR_RGB2BGR)
        coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(setting)])[1]
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)

    return _each(patches, quality, recoded)


def shift(patches: Patches, down: ArrayLike, right: ArrayLike) -> Patches:
    """Move the tissue by whole pixels, `down` (n,) and `right` (n,); the edge is filled with the mirrored patch."""
    moves = (np.broadcast_to(np.asarray(one), len(patches)) for one in (right, down))
    moved = [
        _warped(patch, [[1, 0, x], [0, 1, y]], cv2.INTER_NEAREST) for patch, x, y in zip(patches, *moves, strict=True)
    ]
    return np.stack(moved) if moved else patches.copy()


def scale(patches: Patches, factor: ArrayLike) -> Patches:
    """Magnify the tissue about the centre by `factor` (n,), as a wrong pixel size would; edges are mirrored."""

    def scaled(patch: Patches, by: float) -> Patches:
        if by == 1:
            return patch
        x, y = _middle(patch)
        return _warped(patch, [[by, 0, (1 - by) * x], [0, by, (1 - by) * y]])

    return _each(patches, factor, scaled)


def rotate(patches: Patches, degrees: ArrayLike) -> Patches:
    """Turn the tissue by small angles, `degrees` (n,), bilinear; corners are filled with the mirrored patch."""

    def turned(patch: Patches, angle: float) -> Patches:
        return patch if angle == 0 else _warped(patch, cv2.getRotationMatrix2D(_middle(patch), angle, 1.0))

    return _each(patches, degrees, turned)


def _warped(patch: Patches, matrix: ArrayLike, how: int = cv2.INTER_LINEAR) -> Patches:
    """A patch moved by a (2, 3) matrix, its mirror images around it."""
    height, width = patch.shape[:2]
    found = cv2.warpAffine(
        patch, np.asarray(matrix, np.float64), (width, height), flags=how, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(found, np.uint8)


def _middle(patch: Patches) -> tuple[float, float]:
    height, width = patch.shape[:2]
    return (width - 1) / 2, (height - 1) / 2


def _each(patches: Patches, strength: ArrayLike, change: Callable[[Patches, float], Patches]) -> Patches:
    strengths = np.broadcast_to(np.asarray(strength, np.float64), len(patches))
    changed = [change(patch, float(s)) for patch, s in zip(patches, strengths, strict=True)]
    return np.stack(changed) if changed else patches.copy()


def _per_patch(strength: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(strength, np.float32).reshape(-1, 1, 1, 1)


def _grey_levels(values: NDArray[np.floating]) -> Patches:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
