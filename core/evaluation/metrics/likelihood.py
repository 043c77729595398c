"""The loss of a reading. In a module of its own, as galleries order patches by it and wait for no SciPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-12


def losses(probability: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Negative log-likelihood of each label in nats, (n,); probability (n,) of label 1."""
    likelihood = np.where(labels == 1, probability, 1 - np.asarray(probability, np.float64))
    return np.asarray(-np.log(np.clip(likelihood, _TINY, 1)))
