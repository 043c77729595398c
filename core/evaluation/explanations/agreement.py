"""Do methods agree? The rank correlation of every method's map with Grad-CAM's at the last layer."""

from __future__ import annotations

import numpy as np

from core.evaluation.explanations.stage import MAIN, Sample, Stage
from core.evaluation.explanations.table import Table
from core.evaluation.metrics.agreement import rank_correlation
from core.evaluation.schema import Findings


def measure(sample: Sample) -> Findings:
    """On maps that were made for the other stages."""
    _, maps = sample.read
    places, table = sample.some(STAGE.share), Table()
    for method, heatmaps in maps.items():
        pairs = zip(maps[MAIN][places], heatmaps[places], strict=True)
        values = [rank_correlation(a, b) for a, b in pairs]
        table.add(method, np.array([np.nan if value is None else value for value in values]))
    rows = table.rows("agreement", sample.groups(places))
    return Findings(rows=[row for row in rows if row.method != MAIN])


STAGE = Stage("agreement", "comparing methods", measure, share=3 / 10)
