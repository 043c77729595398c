"""Does the map point at tumour? Pixels against masks: of the split's own patches, and of regions of slides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.regions import read_regions, region_files
from core.errors import ImportSourceError
from core.evaluation import claims
from core.evaluation.explanations.stage import MAIN, Maps, Sample, Stage, joined
from core.evaluation.explanations.table import Groups, Table, Unit, row
from core.evaluation.measures import BASELINES, DENSITY
from core.evaluation.metrics import localisation
from core.evaluation.metrics.bootstrap import intervals
from core.evaluation.schema import Findings, Row
from core.models.schema import Interval


@dataclass(frozen=True)
class Regions:
    """Regions as every method sees them.

    Attributes:
        maps: by method and baseline, (n, h, w) of each.
        masks: bool (n, side, side).
        places: (n,) regions of one name lie side by side, see `clusters.places`.
    """

    maps: Maps
    masks: NDArray[np.bool_]
    places: NDArray[np.str_]


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
    found = regions(sample)
    if found is None:
        return Findings()
    claim = None
    if DENSITY in found.maps:
        effects, places = auc_over_baseline(sample, DENSITY)
        claim = claims.measured("beyond_density", effects, 0.0, places, "place")
    rows = _pixel_rows("regions", found.maps, found.masks, found.places)
    return Findings(rows=rows, claims=[] if claim is None else [claim])


def regions(sample: Sample) -> Regions | None:
    """The regions, their maps and baselines; made once a sample, and None without regions.

    Raises:
        ImportSourceError: one cannot be read, or is not of the size of those before it.
    """
    return sample.once("regions", lambda: _regions(sample))


def auc_of_regions(
    sample: Sample, methods: tuple[str, ...] = (MAIN, DENSITY, "own logit")
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.str_]]:
    """Pixel AUC of every region by itself, which a difference in level between regions does not enter.

    Args:
        sample: with regions, or there are none.
        methods: of the plan, or baselines.

    Returns:
        (n,) in [0, 1] by method, nan where a region's mask is empty or full or there is no such map; and the place (n,)
        of each region.
    """
    found = regions(sample)
    if found is None:
        return {method: np.zeros(0) for method in methods}, np.zeros(0, np.str_)
    areas = {method: np.full(len(found.masks), np.nan) for method in methods}
    for method in found.maps.keys() & areas.keys():
        for number, (heatmap, mask) in enumerate(zip(found.maps[method], found.masks, strict=True)):
            counts = localisation.pixel_counts(heatmap[None], mask[None], localisation.levels(heatmap))[0]
            areas[method][number] = localisation.pixel_figures(counts)["pixel_auc"]
    return areas, found.places


def auc_over_baseline(
    sample: Sample, baseline: str = DENSITY, method: str = MAIN
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """By region, how much better a method's pixel AUC is than a baseline's: (n,) in [-1, 1], and their places (n,).

    Regions without both kinds of pixel are nan; see `auc_of_regions`.
    """
    areas, places = auc_of_regions(sample, (method, baseline))
    return areas[method] - areas[baseline], places


def _regions(sample: Sample) -> Regions | None:
    if sample.regions is None:
        return None
    pieces: list[Maps] = []
    masks: list[NDArray[np.bool_]] = []
    names: list[str] = []
    task, count = sample.reader.task, len(region_files(sample.regions))
    for number, region in enumerate(read_regions(sample.regions, task), start=1):
        if masks and region.mask.shape != masks[0].shape:
            raise ImportSourceError(sample.regions, f"'{region.name}' is not of the size of the regions before it")
        image = region.image[None]
        maps = sample.region_maps(image)
        maps |= {"activation norm": sample.activation_norm(image)}
        maps |= localisation.baselines(image, maps[MAIN].shape[1:], task, number)
        own = localisation.slid(region.image, task, sample.margin)
        pieces.append(maps if own is None else maps | {"own logit": own})
        masks.append(region.mask)
        names.append(region.name)
        sample.tell(REGIONS.name, number, count)
    return Regions(joined(pieces), np.stack(masks), np.array([sample.places[name] for name in names]))


def _pixel_rows(where: str, maps: Mapping[str, NDArray[np.float32]], masks: NDArray[Any], groups: Groups) -> list[Row]:
    """Rows of pixel figures; the IoU's threshold is chosen on every other slide, or place, or image, and judged on the
    rest, and so is its chance, that of calling everything.

    Baselines are `centred` where a map without positive evidence would point nowhere.
    """
    rows: list[Row] = []
    unit: Unit = "place" if where == "regions" else "slide"
    number = np.arange(len(masks)) if groups is None else np.unique(groups, return_inverse=True)[1]
    every, fitted, judged = np.arange(len(masks)), np.flatnonzero(number % 2 == 0), np.flatnonzero(number % 2)
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
                    rows.append(row(f"{where}_{name}", method, found[name], chance, len(own), slides, unit))
        pointing = localisation.centred({method: heatmaps}) if method in BASELINES else {method: heatmaps}
        hit, tumour = localisation.pointing_game(pointing[method], masks)
        table = Table()
        table.add(method, hit)
        known = np.isfinite(hit)
        rows += table.rows(f"{where}_hit", groups, float(tumour[known].mean()) if known.any() else None, unit=unit)
    return rows


def _pixel_intervals(counts: NDArray[np.integer], level: int, groups: Groups) -> dict[str, Interval]:
    return intervals(lambda drawn: localisation.pixel_figures(counts[drawn].sum(axis=0), level), len(counts), groups)


MASKS = Stage("masks", "masks", of_patches)
REGIONS = Stage("regions", "regions", of_regions, claims=True)
