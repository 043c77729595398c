"""What a patch is: the few facts about PCam that everything else shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import PatchShapeError

PATCH_SIDE = 96
"""Side of a patch in pixels."""
LABEL_SIDE = 32
"""Side of the centre box that decides the label (Veeling et al. 2018)."""
LABEL_BOX = slice((PATCH_SIDE - LABEL_SIDE) // 2, (PATCH_SIDE + LABEL_SIDE) // 2)
"""Rows, and columns, of the label's box."""
UM_PER_PX = 0.97
"""Micrometres per pixel of PCam (level 2 of CAMELYON16, about 10x)."""


def as_batch(patches: ArrayLike) -> NDArray[np.uint8]:
    """Check patches and give them their leading axis: uint8 (n, 96, 96, 3) from that or from one (96, 96, 3).

    Raises:
        PatchShapeError: another shape or type; nothing is resized or converted on the quiet.
    """
    batch = np.asarray(patches)
    if batch.ndim == 3:
        batch = batch[None]
    if batch.dtype != np.uint8 or batch.shape[1:] != (PATCH_SIDE, PATCH_SIDE, 3):
        raise PatchShapeError(batch.shape[1:] if batch.ndim == 4 else batch.shape)
    return np.ascontiguousarray(batch)
