"""How many metastases are found at how many false alarms: the free-response curve (FROC), by area of tissue.

As in CAMELYON16 (Ehteshami Bejnordi et al. 2017, doi:10.1001/jama.2017.14585), where false alarms are counted a slide;
here they are counted per mm2 of tissue without tumour, which regions of any size can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per mm2 at which sensitivity is told."""


@dataclass(frozen=True)
class Detections:
    """What was found on one picture.

    Attributes:
        scores: (n,) of each detection.
        lesions: (n,) the number from 1 of the lesion that each lies on, 0 for a false alarm.
        count: lesions there are.
        mm2: of tissue without tumour.
    """

    scores: NDArray[np.float64]
    lesions: NDArray[np.intp]
    count: int
    mm2: float


def lesions_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Connected parts of a mask (h, w), numbered from 1, with their count; parts that touch at a corner are one."""
    found, count = label(mask, np.ones((3, 3)))
    return np.asarray(found, np.intp), int(count)


def sensitivities(pictures: Sequence[Detections], rates: Sequence[float] = RATES) -> NDArray[np.float64]:
    """Share of lesions found at each rate of false alarms per mm2.

    A lesion is found from the highest score of a detection on it; further ones count for nothing.

    Args:
        pictures: with a lesion among them, or all are nan.
        rates: false alarms per mm2 of tissue without tumour.

    Returns:
        (len(rates),) in [0, 1].
    """
    total, mm2 = sum(one.count for one in pictures), sum(one.mm2 for one in pictures)
    if not total or mm2 <= 0:
        return np.full(len(rates), np.nan)
    alarms = np.sort(np.concatenate([one.scores[one.lesions == 0] for one in pictures]))[::-1]
    best = [
        one.scores[one.lesions == number].max()
        for one in pictures
        for number in range(1, one.count + 1)
        if (one.lesions == number).any()
    ]
    found = []
    for rate in rates:
        allowed = int(np.floor(rate * mm2 + 1e-9))
        threshold = alarms[allowed] if allowed < len(alarms) else -np.inf
        found.append(sum(score > threshold for score in best) / total)
    return np.array(found)
