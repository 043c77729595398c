"""What a batch of patches is: checked once, by everybody who takes one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import PatchShapeError


def as_batch(patches: ArrayLike, side: int) -> NDArray[np.uint8]:
    """Check patches and give them their leading axis: uint8 (n, side, side, 3) from that or from one (side, side, 3).

    Raises:
        PatchShapeError: another shape or type; nothing is resized or converted on the quiet.
    """
    batch = np.asarray(patches)
    if batch.ndim == 3:
        batch = batch[None]
    if batch.dtype != np.uint8 or batch.shape[1:] != (side, side, 3):
        raise PatchShapeError(batch.shape[1:] if batch.ndim == 4 else batch.shape, side)
    return np.ascontiguousarray(batch)
