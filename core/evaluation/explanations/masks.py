"""Does the map point at tumour? Pixels against masks: of the split's own patches, and of regions of slides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.regions import read_regions, region_files
from core.errors import ImportSourceError
from core.evaluation.explanations.stage import MAIN, Maps, Sample, Stage, joined
from core.evaluation.explanations.table import Groups, Table, row
from core.evaluation.metrics import localisation
from core.evaluation.metrics.bootstrap import intervals
from core.evaluation.schema import Findings, Row
from core.models.schema import Interval


def of_patches(sample: Sample) -> Findings:
    """Pixel masks of the split's own patches, where it has them."""
    masks = sample.split.masks(sample.indices)
    if masks is None or not masks.any():
        return Findings()
    _, maps = sample.read
    task, fine = sample.reader.task, sample.reader.task.side // 8
    patches = sample.patches(np.arange(len(sample.indices)))
    known = localisation.baselines(patches, (fine, fine), task, sample.plan.seed)
    return Findings(rows=_pixel_rows("masks", {**maps, **known}, masks, sample.groups()))


def of_regions(sample: Sample) -> Findings:
    """Regions with masks, read fully convolutionally."""
    if sample.regions is None:
        return Findings()
    pieces: list[Maps] = []
    masks: list[NDArray[np.bool_]] = []
    count = len(region_files(sample.regions))
    for number, region in enumerate(read_regions(sample.regions, sample.reader.task), start=1):
        if masks and region.mask.shape != masks[0].shape:
            raise ImportSourceError(sample.regions, f"'{region.name}' is not of the size of the regions before it")
        image = region.image[None]
        maps = sample.region_maps(image)
        pieces.append({**maps, **localisation.baselines(image, maps[MAIN].shape[1:], sample.reader.task, number)})
        masks.append(region.mask)
        sample.tell(REGIONS.name, number, count)
    return Findings(rows=_pixel_rows("regions", joined(pieces), np.stack(masks)))


def _pixel_rows(
    where: str, maps: Mapping[str, NDArray[np.float32]], masks: NDArray[Any], groups: Groups = None
) -> list[Row]:
    """Rows of pixel figures; the IoU's threshold is chosen on every other slide, or image, and judged on the rest."""
    rows: list[Row] = []
    unit = np.arange(len(masks)) if groups is None else np.unique(groups, return_inverse=True)[1]
    every, fitted, judged = np.arange(len(masks)), np.flatnonzero(unit % 2 == 0), np.flatnonzero(unit % 2)
    shares = (np.asarray(masks) > 0).mean(axis=(1, 2))
    for method, heatmaps in maps.items():
        counts = localisation.pixel_counts(heatmaps, masks, localisation.levels(heatmaps))
        level = localisation.best_level(counts[fitted].sum(axis=0))
        for own, names in ((every, ("pixel_auc", "average_precision")), (judged, ("iou",))):
            slides = None if groups is None else groups[own]
            found = _pixel_intervals(counts[own], level, slides) if len(own) else {}
            for name in names:
                if name in found:
                    chance = 0.5 if name == "pixel_auc" else float(shares[own].mean())
                    rows.append(row(f"{where}_{name}", method, found[name], chance, len(own), slides))
        hit, tumour = localisation.pointing_game(heatmaps, masks)
        table = Table()
        table.add(method, hit)
        known = np.isfinite(hit)
        rows += table.rows(f"{where}_hit", groups, float(tumour[known].mean()) if known.any() else None)
    return rows


def _pixel_intervals(counts: NDArray[np.integer], level: int, groups: Groups) -> dict[str, Interval]:
    return intervals(lambda drawn: localisation.pixel_figures(counts[drawn].sum(axis=0), level), len(counts), groups)


MASKS = Stage("masks", "masks", of_patches)
REGIONS = Stage("regions", "regions", of_regions)
