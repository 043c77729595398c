"""Does the map matter to the prediction? Cells give way to tissue of a donor, in every coalition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.evaluation.explanations.stage import MAIN, Sample, Stage
from core.evaluation.explanations.table import Table, null_of
from core.evaluation.metrics import localisation
from core.evaluation.metrics.faithfulness import drop_correlation
from core.evaluation.metrics.shapley import MOST_CELLS, Coalitions, against_other_maps, coalitions, donors_of
from core.evaluation.schema import Findings, Measured, Row
from core.explain.grid import in_tiles

MOST = 64
"""Patches whose coalitions are read."""
CLAIMED = {"matters": ("gap", "gap_donor"), "shapley": ("shapley", "shapley_spearman")}
"""By claim the figure of `against_other_maps`, and its measure."""


def measure(sample: Sample) -> Findings:
    """Nothing where there are too many tiles for all their coalitions, or a label is missing.

    Cells finer than a tile are asked as tiles: what one of them does is too little to be seen.
    """
    places = sample.some(STAGE.share)[:MOST]
    everything = {name: in_tiles(heatmaps, sample.reader.task.side) for name, heatmaps in sample.read[1].items()}
    grid = everything[MAIN].shape[1:]
    labels = sample.labels[places]
    if grid[0] * grid[1] > MOST_CELLS or (labels == 0).sum() < 2:
        return Findings()
    patches, groups = sample.patches(places), sample.groups(places)
    table = _read(sample, patches, donors_of(labels, sample.plan.seed), (grid[0], grid[1]))
    maps = {name: heatmaps[places] for name, heatmaps in everything.items() if heatmaps.shape[1:] == grid}
    maps |= localisation.baselines(patches, grid, sample.reader.task, sample.plan.seed)
    rows: list[Row] = []
    found: list[Measured] = []
    for claim, (figure, measure_name) in CLAIMED.items():
        for method, heatmaps in maps.items():
            own, null = against_other_maps(heatmaps, table, labels, figure)
            one = Table()
            one.add(method, own)
            rows += one.rows(measure_name, groups, null_of(null))
            if method == MAIN:
                found += sample.claim(claim, own - null, null_of(null), groups, patches)
    drops = Table()
    for method, heatmaps in maps.items():
        drops.add(method, drop_correlation(heatmaps, table.drops()))
    rows += drops.rows("drop_donor", groups)
    swapped = Table()  # of a patch without the positive class a donor's cell should change nothing: cut edges do
    swapped.add(MAIN, np.where(labels == 0, table.drops().mean(axis=(1, 2)), np.nan))
    rows += swapped.rows("donor_swap", groups)
    return Findings(rows=rows, claims=found)


def _read(sample: Sample, patches: NDArray[np.uint8], donors: NDArray[np.intp], grid: tuple[int, int]) -> Coalitions:
    pieces = []
    for place in range(len(patches)):
        part = slice(place, place + 1)
        pieces.append(coalitions(patches[part], patches[donors[part]], grid, sample.margin).scores)
        sample.tell(STAGE.name, place + 1, len(patches))
    return Coalitions(np.concatenate(pieces), grid)


STAGE = Stage("donors", "putting tissue of other patches in the place of cells", measure, share=1 / 3, claims=True)
