"""How many metastases are found at how many false alarms: the free-response curve (FROC), by area of tissue.

As in CAMELYON16 (Ehteshami Bejnordi et al. 2017, doi:10.1001/jama.2017.14585) a lesion is found from one detection on
it, parts of a mask that lie within 75 um are one lesion, and lesions no larger than isolated tumour cells count neither
as found nor as missed. Unlike there, detections are the areas that are shown to people, made anew at every threshold;
false ones are counted per mm2 of tissue without tumour, not per slide; and they are the areas of that tissue alone.
Where much of a picture is tumour, nearly all that is called wrongly hangs together with it, and would be no false alarm
at all: on the CAMELYON regions a fifth of what the same network calls per mm2 of healthy nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label
from scipy.optimize import isotonic_regression
from scipy.stats import binomtest, chi2
from skimage.measure import regionprops

from core.models.schema import Interval
from core.slides.areas import numbered

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per mm2 at which sensitivity is told, where the tissue is enough for them: see `rates_on`."""
JOINED_UM = 75.0
"""Parts of a mask nearer than this are one lesion, and half of it around a lesion is no false alarm."""
SMALL_UM = 200.0
"""A lesion is larger: isolated tumour cells are not."""


@dataclass(frozen=True)
class Sweep:
    """What is called on one picture from each of several levels of a map on, the levels ascending.

    Attributes:
        alarms: (levels,) areas of what is left of the map without tumour.
        called: (levels,) their cells.
        found: (levels,) lesions that an area of the whole map meets.
        covered: (levels,) cells of lesions that lie in an area.
        count: lesions there are.
        cells, lesion_cells: of tissue without tumour, and of lesions as widened.
        mm2: of tissue without tumour.
    """

    alarms: NDArray[np.intp]
    called: NDArray[np.intp]
    found: NDArray[np.intp]
    covered: NDArray[np.intp]
    count: int
    cells: int
    lesion_cells: int
    mm2: float

    @classmethod
    def pooled(cls, pictures: Sequence[Sweep]) -> Sweep:
        """The sum of one picture or more."""
        return cls(**{one.name: sum(getattr(part, one.name) for part in pictures) for one in fields(cls)})

    def level(self, rate: float) -> int:
        """The lowest level with no more than `rate` false alarms per mm2; the last has none.

        The higher the level the fewer, but for areas that merge and fall apart: isotonic regression lays the falling
        curve through their numbers that is nearest to them, so that one more at a single level decides nothing.
        """
        return int(np.argmax(self._falling <= rate * self.mm2 + 1e-9))

    @cached_property
    def _falling(self) -> NDArray[np.float64]:
        return np.asarray(isotonic_regression(self.alarms.astype(np.float64), increasing=False).x)

    def rate(self, level: int) -> float:
        """False alarms per mm2 from a level on; nan without tissue to have them on."""
        return float(self.alarms[level]) / self.mm2 if self.mm2 else np.nan

    def sensitivity(self, level: int) -> float:
        """Share of lesions found from a level on; nan without any."""
        return float(self.found[level]) / self.count if self.count else np.nan


def lesions_of(mask: NDArray[np.bool_], um_per_px: float) -> tuple[NDArray[np.intp], int]:
    """Lesions of a mask (h, w), numbered from 1, with their count; -1 where the mask holds isolated tumour cells alone.

    Each is widened by half of JOINED_UM and its holes are filled. Its size is the major axis of the ellipse of like
    moments, less what it was widened by.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.intp), 0
    half = JOINED_UM / 2 / um_per_px
    wide = binary_fill_holes(distance_transform_edt(~mask) < half)
    parts, _ = label(wide, np.ones((3, 3)))
    least, count = (SMALL_UM + JOINED_UM) / um_per_px, 0
    numbers = [0]
    for part in regionprops(parts):
        is_lesion = part.axis_major_length >= least
        count += is_lesion
        numbers.append(count if is_lesion else -1)
    return np.asarray(numbers, np.intp)[parts], count


def sweep(
    values: NDArray[np.floating], lesions: NDArray[np.intp], levels: NDArray[np.floating], cell_mm2: float
) -> Sweep:
    """What a map calls from each level on.

    Args:
        values: (rows, columns), nan where there is no tissue.
        lesions: (rows, columns) the number of the lesion that each cell lies on, see `lesions_of`.
        levels: ascending; above the last nothing may be.
        cell_mm2: area of a cell.
    """
    tissue = np.isfinite(values)
    without, on = tissue & (lesions == 0), tissue & (lesions > 0)
    left = np.where(without, values, np.nan)
    counts = []
    for level in levels:
        areas, wrong = numbered(values, float(level)) > 0, numbered(left, float(level))
        met = np.unique(lesions[areas & on])
        counts.append((wrong.max(initial=0), (wrong > 0).sum(), len(met), (areas & on).sum()))
    alarms, called, found, covered = np.array(counts, np.intp).reshape(-1, 4).T
    cells = int(without.sum())
    return Sweep(alarms, called, found, covered, int(lesions.max(initial=0)), cells, int(on.sum()), cells * cell_mm2)


def rates_on(mm2: float) -> tuple[float, ...]:
    """Those of RATES at which one false alarm or more fits on that much tissue without tumour.

    What is below means that none was seen there, whatever the rate: on 2 mm2 without one it may still be 1.8 per mm2
    (see `poisson`).
    """
    return tuple(rate for rate in RATES if rate * mm2 >= 1 - 1e-9)


def sensitivities(pictures: Sequence[Sweep], rates: Sequence[float] = RATES) -> NDArray[np.float64]:
    """Share of lesions found at each rate of false alarms per mm2 of tissue without tumour, (len(rates),) in [0, 1].

    nan where there is no lesion, or no tissue without.
    """
    pooled = Sweep.pooled(pictures)
    if not pooled.mm2:
        return np.full(len(rates), np.nan)
    return np.array([pooled.sensitivity(pooled.level(rate)) for rate in rates])


def poisson(events: int, mm2: float) -> tuple[float, float]:
    """95 % limits of a rate per mm2 by Garwood (1936, doi:10.1093/biomet/28.3-4.437), events taken as independent."""
    low = chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    return float(low) / mm2, float(chi2.ppf(0.975, 2 * events + 2)) / 2 / mm2


def rate_interval(drawn: Interval, events: int, mm2: float) -> Interval:
    """A bootstrap interval of a rate, no narrower than if events came independently: few places know little spread, and
    places without an event none."""
    low, high = poisson(events, mm2)
    return Interval(value=drawn.value, low=min(drawn.low, low), high=max(drawn.high, high))


def share_of_lesions(drawn: Interval, lesions: int) -> Interval:
    """A bootstrap interval of the share of lesions found, in [0, 1], no narrower than if each were found independently:
    places whose lesions are all found know no spread.

    The exact 95 % limits by Clopper & Pearson (1934, doi:10.1093/biomet/26.4.404) are those of one lesion or more.
    """
    exact = binomtest(round(drawn.value * lesions), lesions).proportion_ci(method="exact")
    return Interval(value=drawn.value, low=min(drawn.low, float(exact.low)), high=max(drawn.high, float(exact.high)))
