"""Connected areas that a scan reads as the positive class: what a person goes to, hottest first.

Cells are never counted: at one false cell in a hundred a clean section has over a thousand wrong ones. Parts of an area
that lie a cell apart are one. Its diameter is the map's, in mm, and no stage: isolated tumour cells are a few cells of
the map across, and most are not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from core.models.schema import Bundle, Interval

GAP = 2
"""Cells, of STRIDE px, that may lie between two parts of one area."""
ASKED_AREAS = 50
"""Areas of a slide, the hottest, whose patches are asked how familiar they are."""
LEAST = 2
"""Such cells of an area; a single one is what a wrong reading looks like."""
NO_STAGE = (
    "Areas are where the network reads the positive class, joined across gaps of at most two cells of 32 px; a single "
    "such cell is none. Their size and longest diameter are the map's, whose cells are coarse: no measurement of a "
    "metastasis, no stage."
)
"""What stands beside every list of areas."""


@dataclass(frozen=True)
class Cut:
    """From which probability on a cell belongs to an area, and in words where that comes from.

    Attributes:
        threshold: a probability.
        rule: in words.
        alarms: false areas per mm2 of tissue without the positive class; None where that was not measured.
    """

    threshold: float
    rule: str
    alarms: Interval | None = None

    def expected(self, mm2: float) -> str:
        """How many false areas that much tissue would have; '' where it is not known."""
        if self.alarms is None:
            return ""
        value, low, high = (f"{one * mm2:.2g}" for one in (self.alarms.value, self.alarms.low, self.alarms.high))
        return f"{value} false areas [{low}, {high}] are to be expected on so much tissue"


def cut_of(model: Bundle, stride: int) -> Cut:
    """The threshold for areas that was recorded with a model, or else its operating point."""
    point, areas = model.point(1), model.areas
    if areas is None:
        return Cut(
            point.threshold,
            f"operating point for patches ({point.threshold_rule}); no threshold for areas is recorded",
        )
    rule = (
        f"threshold for areas: {areas.alarms.value:.2g} false areas per mm2 of tissue without {model.task.positive} "
        f"[{areas.alarms.low:.2g}, {areas.alarms.high:.2g}] on the {areas.data.places} places it was chosen on"
    )
    threshold = float(point.view_probability(np.array(areas.logit)))
    if areas.stride == stride:
        return Cut(threshold, rule, areas.alarms)
    return Cut(threshold, f"{rule}, at a stride of {areas.stride} px; at {stride} px they were not counted")


@dataclass(frozen=True)
class Area:
    """One area.

    Attributes:
        outline: in level-0 px; of several parts where gaps were bridged.
        cells: of the positive class.
        mm2: their area.
        diameter_mm: longest distance between two points of its outline.
        mean, highest: probability of its cells.
        row, column: of its hottest cell.
        members: rows and columns of its cells, (cells,) each.
        unlike: share of its cells flagged as unlike training tissue; nan where that was not asked.
    """

    outline: shapely.Geometry
    cells: int
    mm2: float
    diameter_mm: float
    mean: float
    highest: float
    row: int
    column: int
    members: tuple[NDArray[np.intp], NDArray[np.intp]]
    unlike: float = float("nan")


def areas_of(
    probability: NDArray[np.floating],
    threshold: float,
    cell: tuple[float, float],
    um_per_px: tuple[float, float],
    finer: int = 1,
) -> list[Area]:
    """Areas of a map, the hottest first, by the highest probability and then by size.

    Args:
        probability: (rows, columns), nan where nothing was read.
        threshold: from which on a cell belongs to one.
        cell: width and height of a cell in level-0 px; the first lies at (0, 0).
        um_per_px: across and down, of level 0.
        finer: see `numbered`.
    """
    from scipy.ndimage import find_objects

    numbers = numbered(probability, threshold, finer)
    mm2 = cell[0] * um_per_px[0] * cell[1] * um_per_px[1] / 1e6
    found = []
    for number, box in enumerate(find_objects(numbers), start=1):
        rows, columns = np.nonzero(numbers[box] == number)
        rows, columns = rows + box[0].start, columns + box[1].start
        values = probability[rows, columns]
        hottest = int(values.argmax())
        outline = _outline(rows, columns, cell)
        found.append(
            Area(
                outline,
                len(rows),
                len(rows) * mm2,
                _diameter(outline, um_per_px) / 1000,
                float(values.mean()),
                float(values[hottest]),
                int(rows[hottest]),
                int(columns[hottest]),
                (rows, columns),
            )
        )
    return sorted(found, key=lambda area: (-round(area.highest, 2), -area.mm2))


def numbered(values: NDArray[np.floating], threshold: float, finer: int = 1) -> NDArray[np.intp]:
    """The number from 1 of the area that each cell (rows, columns) belongs to, 0 for none; nan belongs to none.

    `finer` cells of this map lie along one of those that GAP and LEAST count.
    """
    from scipy.ndimage import label

    gap, positive = GAP * finer, np.nan_to_num(values, nan=-np.inf) >= threshold
    closing = np.ones((gap + 1,) * 2, np.uint8)
    near = cv2.morphologyEx(np.pad(positive, gap).astype(np.uint8), cv2.MORPH_CLOSE, closing)[gap:-gap, gap:-gap]
    labels, count = label(near | positive, np.ones((3, 3)))
    labels[~positive] = 0
    large = np.bincount(labels.ravel(), minlength=count + 1) >= LEAST * finer**2
    large[0] = False
    return np.asarray((np.cumsum(large) * large)[labels], np.intp)


def _outline(rows: NDArray[np.intp], columns: NDArray[np.intp], cell: tuple[float, float]) -> shapely.Geometry:
    """Around cells in reading order, in level-0 px: from runs of neighbours in a row, which are fewer."""
    first = np.flatnonzero(np.diff(rows, prepend=-1) | (np.diff(columns, prepend=-2) != 1))
    last = np.append(first[1:], len(rows)) - 1
    # Sides of neighbours from one product each, or they differ in the last bit and stay between them as slits.
    sides = columns[first] * cell[0], rows[first] * cell[1], (columns[last] + 1) * cell[0], (rows[first] + 1) * cell[1]
    return shapely.union_all(shapely.box(*sides))


def _diameter(outline: shapely.Geometry, um_per_px: tuple[float, float]) -> float:
    from scipy.spatial.distance import pdist

    return float(pdist(shapely.get_coordinates(outline.convex_hull) * um_per_px).max())
