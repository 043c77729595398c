"""Does the map matter to the prediction? Deletion, insertion, ROAD, and evidence against the drop of each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation.explanations.stage import MAIN, Maps, Sample, Stage
from core.evaluation.explanations.table import Table
from core.evaluation.measures import ANOTHER
from core.evaluation.metrics import faithfulness, localisation
from core.evaluation.metrics.bootstrap import mean_interval
from core.evaluation.schema import ALL, Curves, Figure, Findings, Paired, Row
from core.explain.grid import in_tiles


def measure(sample: Sample) -> Findings:
    """Every way to replace what is taken away, each with the same readings."""
    places = sample.some(STAGE.share)
    _, everything = sample.read
    patches, groups, task = sample.patches(places), sample.groups(places), sample.reader.task
    maps = {name: heatmaps[places] for name, heatmaps in everything.items()}
    maps |= localisation.baselines(patches, maps[MAIN].shape[1:], task, sample.plan.seed)
    maps[ANOTHER] = _of_others(maps[MAIN], sample.labels[places])
    rows: list[Row] = []
    paired: list[Paired] = []
    removal: dict[str, Any] = {}
    ways: dict[str, Any] = {}
    for way, replace in faithfulness.REPLACEMENTS.items():
        curves = faithfulness.curves(patches, maps, sample.margin, replace)
        ways[way] = _replaced(sample, next(iter(curves.values())), places)
        gaps, areas, road = Table(), {"deletion": Table(), "insertion": Table()}, Table()
        for method, curve in curves.items():
            area = curve.areas()
            gaps.add(method, area["gap"])
            for name, table in areas.items():
                table.add(method, area[name])
            road.add(method, curve.road())
            if way == "blurred":
                means = {"deletion": curve.deletion.mean(axis=0), "insertion": curve.insertion.mean(axis=0)}
                removal[method] = {"share": curve.share, **means}
        rows += gaps.rows(f"gap_{way}", groups, chance=gaps.mean(ANOTHER))
        paired += gaps.paired(f"gap_{way}", groups)
        if way == "blurred":
            for name, table in areas.items():
                rows += table.rows(name, groups, chance=table.mean("random"))
        else:
            rows += road.rows("road", groups)
        sample.tell(STAGE.name, len(places), len(places))
    rows += _drops(sample, patches, maps, groups)
    decision = sample.reader.model.point(1).threshold_logit
    replaced = {"decision": decision, "ways": ways}
    return Findings(rows=rows, paired=paired, curves=Curves.of(deletion=removal, replaced=replaced))


def _of_others(maps: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """For each patch the map of the next of its label, the last one's of the first."""
    found = maps.copy()
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        found[own] = maps[np.roll(own, -1)]
    return found


def _drops(sample: Sample, patches: NDArray[np.uint8], maps: Maps, groups: NDArray[np.str_] | None) -> list[Row]:
    """Of maps on tiles: a finer cell blurred alone hardly moves the logit."""
    tiled = {method: in_tiles(heatmaps, sample.reader.task.side) for method, heatmaps in maps.items()}
    correlation, grid = Table(), tiled[MAIN].shape[1:]
    drops = faithfulness.cell_drops(patches, grid, sample.margin, faithfulness.blurred)
    for method, heatmaps in tiled.items():
        if heatmaps.shape[1:] == grid:
            correlation.add(method, faithfulness.drop_correlation(heatmaps, drops))
    return correlation.rows("drop_spearman", groups)


def _replaced(sample: Sample, curves: faithfulness.Curves, places: NDArray[np.intp]) -> dict[str, Any]:
    """Mean logit of patches as they are and wholly replaced, of all and by label; nothing of a label not there."""
    found: dict[str, Any] = {}
    labels, task = sample.labels[places], sample.reader.task
    for name, own in ((ALL, labels < 2), (task.positive, labels == 1), (task.negative, labels == 0)):
        if own.any():
            means = {"as_is": curves.scores[own, 0, 0], "replaced": curves.scores[own, 0, -1]}
            found[name] = {"patches": int(own.sum())} | {
                which: Figure.of(mean_interval(logits, sample.groups(places[own]))) for which, logits in means.items()
            }
    return found


STAGE = Stage("faithfulness", "taking cells away and putting them back", measure, share=1 / 5)
