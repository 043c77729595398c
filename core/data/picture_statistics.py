"""Twelve numbers of a picture that need no network: how bright, how varied, how coloured, how sharp.

Their Gaussian over training patches (`core.models.ood`) tells pictures that come from elsewhere. Sums are of whole
numbers, so a patch has the same bits whatever it is read along with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCKS = (1, 2, 4)
"""Pixels along the side of the blocks that sharpness is taken of: no two paths from glass to file share all three."""
NAMES = (
    *("mean red", "mean green", "mean blue"),
    *("spread red", "spread green", "spread blue"),
    *("correlation red, green", "correlation red, blue", "correlation green, blue"),
    *(f"sharpness of {block} px" for block in BLOCKS),
)
_PAIRS = np.triu_indices(3, 1)
_AT_ONCE = 16  # patches whose pixels stay in a core's cache


def picture_statistics(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The numbers of NAMES for patches.

    Args:
        patches: uint8 (n, side, side, 3) RGB, the side a multiple of 4 and at least 12.

    Returns:
        (n, 12) float64: means in grey levels; ln(1 + standard deviation); Fisher's z = artanh(r) of each correlation,
        r = covariance / (product of standard deviations + 1), which an even colour leaves at 0; and ln(1 + root mean
        square of green's Laplacian), in grey levels, of the pixels, and of means over blocks of 2 x 2 and 4 x 4.
    """
    pieces = [_statistics(patches[start : start + _AT_ONCE]) for start in range(0, max(len(patches), 1), _AT_ONCE)]
    return np.concatenate(pieces)


def _statistics(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = patches.shape[1] * patches.shape[2]
    colours = np.ascontiguousarray(patches.reshape(len(patches), pixels, 3).transpose(0, 2, 1), np.float64)
    total = colours.sum(axis=2)
    products = colours @ colours.transpose(0, 2, 1)
    covariance = (pixels * products - total[:, :, None] * total[:, None, :]) / pixels**2
    spread = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0))
    correlation = covariance / (spread[:, :, None] * spread[:, None, :] + 1)
    green = patches[..., 1].astype(np.int16)  # 16 x 255 x 4 is the most that a Laplacian of blocks adds up to
    sharpness = []
    for block in BLOCKS:
        if block > 1:
            green = green[:, ::2, ::2] + green[:, 1::2, ::2] + green[:, ::2, 1::2] + green[:, 1::2, 1::2]
        sharpness.append(_laplacian(green) / block**2)
    return np.concatenate(
        [
            total / pixels,
            np.log1p(spread),
            np.arctanh(correlation[:, _PAIRS[0], _PAIRS[1]]),
            np.log1p(np.stack(sharpness, axis=1)),
        ],
        axis=1,
    )


def _laplacian(levels: NDArray[np.int16]) -> NDArray[np.float64]:
    """Root mean square (n,) of the Laplacian of levels (n, h, w), where all four neighbours are there."""
    found = 4 * levels[:, 1:-1, 1:-1]
    for neighbour in (levels[:, :-2, 1:-1], levels[:, 2:, 1:-1], levels[:, 1:-1, :-2], levels[:, 1:-1, 2:]):
        found -= neighbour
    flat = found.reshape(len(levels), found.shape[1] * found.shape[2]).astype(np.float64)
    squares = (flat[:, None, :] @ flat[:, :, None])[:, 0, 0]
    return np.asarray(np.sqrt(squares / flat.shape[1]))
