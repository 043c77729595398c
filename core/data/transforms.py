"""The eight flips and turns of a patch, and back: one home for training, serving and evaluation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VIEWS = 8
"""Flips and quarter turns of a square: the symmetry a patch has, since glass has no up."""


def dihedral(images: NDArray[np.generic], index: int) -> NDArray[np.generic]:
    """One of the eight flips and turns of the two spatial axes.

    Args:
        images: (n, h, w) or (n, h, w, c), with h = w.
        index: 0..7; `index % 4` quarter turns counter-clockwise, mirrored left-right first when `index >= 4`.
    """
    mirrored = np.flip(images, axis=2) if index >= 4 else images
    return np.rot90(mirrored, k=index % 4, axes=(1, 2))


def dihedral_back(images: NDArray[np.generic], index: int) -> NDArray[np.generic]:
    """Undo `dihedral`: maps computed on a view, laid over the patch as the reader sees it."""
    turned = np.rot90(images, k=-(index % 4), axes=(1, 2))
    return np.flip(turned, axis=2) if index >= 4 else turned
