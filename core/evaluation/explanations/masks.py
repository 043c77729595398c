"""Does the map point at tumour? Pixels against masks: of the split's own patches, and of regions of slides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.regions import read_regions, region_files
from core.errors import ImportSourceError
from core.evaluation.explanations.stage import MAIN, Maps, Sample, Stage, joined
from core.evaluation.explanations.table import row
from core.evaluation.metrics import localisation
from core.evaluation.metrics.bootstrap import intervals, mean_interval
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
    return Findings(rows=_pixel_rows("masks", {**maps, **known}, masks))


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


def _pixel_rows(where: str, maps: Mapping[str, NDArray[np.float32]], masks: NDArray[Any]) -> list[Row]:
    """Rows of pixel figures; the IoU's threshold is chosen on every other image and judged on the rest."""
    rows = []
    fitted, judged = np.arange(0, len(masks), 2), np.arange(1, len(masks), 2)
    for method, heatmaps in maps.items():
        counts = localisation.pixel_counts(heatmaps, masks, localisation.levels(heatmaps))
        level = localisation.best_level(counts[fitted].sum(axis=0))
        found = _pixel_intervals(counts, None)
        overlap = {"iou": _pixel_intervals(counts[judged], level).get("iou")}
        share = float((np.asarray(masks) > 0).mean())
        chances = {"pixel_auc": 0.5, "average_precision": share, "iou": share}
        for name, chance in chances.items():
            interval = {**found, **overlap}.get(name)
            if interval is not None:
                rows.append(row(f"{where}_{name}", method, interval, chance, len(masks)))
        hit, tumour = localisation.pointing_game(heatmaps, masks)
        interval = mean_interval(hit)
        if interval is not None:
            chance = float(tumour[np.isfinite(hit)].mean())
            rows.append(row(f"{where}_hit", method, interval, chance, int(np.isfinite(hit).sum())))
    return rows


def _pixel_intervals(counts: NDArray[np.integer], level: int | None) -> dict[str, Interval]:
    return intervals(lambda drawn: localisation.pixel_figures(counts[drawn].sum(axis=0), level), len(counts))


MASKS = Stage("masks", "masks", of_patches)
REGIONS = Stage("regions", "regions", of_regions)
