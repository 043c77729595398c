"""How good a map over a slide is: pixels against masks, metastases against false alarms, and tissue without any.

Regions are read as slides are: a patch about each cell, the tissue reflected beyond the border.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.regions import Region
from core.evaluation.metrics import localisation
from core.evaluation.metrics.bootstrap import intervals
from core.evaluation.metrics.clusters import places
from core.evaluation.metrics.froc import RATES, Detections, lesions_of, sensitivities
from core.inference.reader import Reader
from core.slides.areas import areas_of
from core.slides.slide import Slide
from core.slides.tissue import in_cells, tissue_mask
from core.task import STRIDE

Maps = dict[str, NDArray[np.float32]]
DENSITY = "inverse hematoxylin"
"""The baseline that a map is to be better than."""


def map_of(reader: Reader, image: NDArray[np.uint8], stride: int = STRIDE) -> NDArray[np.float32]:
    """The logit of a patch about each cell of a region (h, w, 3), sides multiples of the stride: (rows, columns)."""
    around = (reader.task.side - stride) // 2
    padded = np.pad(image, ((around, around), (around, around), (0, 0)), mode="reflect")
    return reader.patch_logits(padded, stride)


def evaluate(
    reader: Reader,
    regions: Iterable[Region],
    tell: Callable[[int], None] = lambda done: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Pixel AUC, average precision and sensitivity at false alarms per mm2, of the map and of smoothed hematoxylin.

    Returns:
        "regions" and "places", their number; by map, figures with 95 % bootstrap intervals over places, regions that
        lie side by side counting as one: "pixel_auc" and "average_precision" of pooled pixels, "mean_pixel_auc" over
        regions with both kinds of pixel, "chance" (the mask's share); and for the model "froc" by rate.
    """
    um = reader.task.um_per_px
    assert um is not None
    found: list[tuple[Region, Maps]] = []
    for number, region in enumerate(regions, start=1):
        own = map_of(reader, region.image)[None]
        known = localisation.baselines(region.image[None], own.shape[1:], reader.task, number)
        maps: Maps = {reader.model.name: own}
        if DENSITY in known:
            maps[DENSITY] = known[DENSITY]
        found.append((region, maps))
        tell(number)
    groups = places([region.image for region, _ in found])
    record: dict[str, Any] = {"regions": len(found), "places": len(np.unique(groups)), "um_per_px": um, "maps": {}}
    for name in found[0][1]:
        record["maps"][name] = _pixels([(region, maps[name]) for region, maps in found], groups)
    pictures = [_detections(reader, region, maps[reader.model.name][0], um) for region, maps in found]
    froc = intervals(
        lambda drawn: dict(zip(map(str, RATES), sensitivities([pictures[i] for i in drawn]), strict=True)),
        len(pictures),
        groups,
    )
    record["froc"] = {name: one.model_dump() for name, one in froc.items()}
    record["lesions"] = sum(one.count for one in pictures)
    record["mm2_without"] = sum(one.mm2 for one in pictures)
    return record


def false_alarms(reader: Reader, slides: Iterable[Path], um_per_px: float | None = None) -> Iterator[dict[str, Any]]:
    """Areas called on tissue without tumour: a row a slide with their number, the tissue's mm2 and the worst score.

    Raises:
        see `Slide.open`.
    """
    um = reader.task.um_per_px
    assert um is not None
    for path in slides:
        with Slide.open(path, um_per_px) as slide:
            width, height = (side // STRIDE * STRIDE for side in slide.size_at(um))
            image = slide.region(0, 0, width, height, um)
        point = reader.model.point(1)
        probability = point.view_probability(map_of(reader, image))
        tissue = in_cells(tissue_mask(image, um), probability.shape[0], probability.shape[1], (STRIDE, STRIDE)) > 0
        called = areas_of(np.where(tissue, probability, np.nan), point.threshold, (STRIDE, STRIDE), (um, um))
        yield {
            "slide": path.name,
            "mm2": float(tissue.sum()) * (STRIDE * um / 1000) ** 2,
            "areas": len(called),
            "highest": float(probability[tissue].max(initial=0.0)),
            "share_called": float((probability[tissue] >= point.threshold).mean()) if tissue.any() else 0.0,
        }


def _pixels(found: list[tuple[Region, NDArray[np.float32]]], groups: NDArray[np.str_]) -> dict[str, Any]:
    every = np.concatenate([maps.ravel() for _, maps in found])
    edges = localisation.levels(every.reshape(1, 1, -1))
    counts = np.concatenate([localisation.pixel_counts(maps, region.mask[None], edges) for region, maps in found])
    own = np.array([localisation.pixel_figures(one)["pixel_auc"] for one in counts])

    def figures(drawn: NDArray[np.intp]) -> dict[str, float]:
        pooled = localisation.pixel_figures(counts[drawn].sum(axis=0))
        known = own[drawn][np.isfinite(own[drawn])]
        return {
            "pixel_auc": pooled["pixel_auc"],
            "average_precision": pooled["average_precision"],
            "mean_pixel_auc": float(known.mean()) if len(known) else np.nan,
            "chance": pooled["tumour"],
        }

    return {name: one.model_dump() for name, one in intervals(figures, len(counts), groups).items()}


def _detections(reader: Reader, region: Region, logits: NDArray[np.float32], um: float) -> Detections:
    """A lesion by its hottest called cell, however many lesions one area joins; an area that meets none is an alarm."""
    point = reader.model.point(1)
    probability = point.view_probability(logits)
    numbers, count = lesions_of(region.mask)
    under = numbers.reshape(logits.shape[0], STRIDE, logits.shape[1], STRIDE)
    scores, on = [], []
    for lesion in range(1, count + 1):
        own = probability[(under == lesion).any(axis=(1, 3))]
        if own.max() >= point.threshold:
            scores.append(float(own.max()))
            on.append(lesion)
    tumour = np.asarray((under > 0).any(axis=(1, 3)))
    for area in areas_of(probability, point.threshold, (STRIDE, STRIDE), (um, um)):
        if not tumour[area.members].any():
            scores.append(area.highest)
            on.append(0)
    without = float((~region.mask).sum()) * (um / 1000) ** 2
    return Detections(np.array(scores), np.array(on, np.intp), count, without)
