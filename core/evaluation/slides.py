"""How good a map over a slide is: pixels against masks, metastases against false areas, and tissue without any.

Regions are read as slides are: a patch about each cell of tissue, the neighbouring region beyond a border, or the
tissue reflected. All figures are of cells that hold tissue: glass is easy and would make every map look better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CalibrationError
from core.evaluation.metrics import localisation
from core.evaluation.metrics.bootstrap import intervals
from core.evaluation.metrics.froc import (
    RATES,
    Sweep,
    lesions_of,
    rate_interval,
    rates_on,
    sensitivities,
    share_of_lesions,
    sweep,
)
from core.evaluation.sections import Section, map_of
from core.explain.grid import cell_weights
from core.inference.reader import Reader
from core.models.schema import AreaThreshold, FreeTissue, Interval, MapFigures, TissueRecord
from core.slides.areas import Cut, numbered
from core.slides.slide import Slide
from core.task import STRIDE, Task

Cells = NDArray[np.float32]
Tell = Callable[[int, int], None]
DENSITY = "smoothed hematoxylin"
"""The baseline that a map is to be better than: less of it, more likely tumour, whose nuclei lie less densely than
lymphocytes'."""
LEVELS = 400
"""Thresholds that areas are made at, quantiles of a map's cells."""
AT_MOST = 4.0
"""False areas per mm2 of tissue without tumour that the threshold for areas is chosen for. The CAMELYON regions have
2 mm2 of it: at 4 the threshold rests on eight areas, at 1 on two."""


@dataclass(frozen=True)
class Measured:
    """Maps of several sections, as counts that add up over sections.

    Attributes:
        data: which sections.
        counts: by map (sections, 2, levels), pixels of tissue without and with the positive class at each level.
        sweeps: by map, a sweep of each section.
        levels: by map, of the sweeps; the last is infinite.
    """

    data: TissueRecord
    counts: dict[str, NDArray[np.int64]]
    sweeps: dict[str, list[Sweep]]
    levels: dict[str, NDArray[np.float64]]


def measure(
    reader: Reader,
    sections: Sequence[Section],
    name: str,
    note: str = "",
    tell: Tell = lambda done, total: None,  # noqa: ARG005
) -> Measured:
    """Read sections, and count what their maps call: the model's, and smoothed hematoxylin's where there is a stain.

    Args:
        reader: whose task has a pixel size.
        sections: one or more.
        name, note: what they are called, and what they share with what the model learned from.
        tell: told sections done and in all.

    Raises:
        CalibrationError: there is no tissue.
    """
    um = reader.task.um_per_px
    assert um is not None
    maps: dict[str, list[Cells]] = {}
    with_tissue = False
    for number, section in enumerate(sections, start=1):
        tissue = section.tissue(um)
        with_tissue |= bool(tissue.any())
        for kind, one in ({reader.model.name: map_of(reader, section)} | _density(section, reader.task)).items():
            maps.setdefault(kind, []).append(np.where(tissue, one, np.float32(np.nan)))
        tell(number, len(sections))
    if not with_tissue:
        raise CalibrationError(name, "no tissue is found in it")
    lesions = [_lesions(section, um) for section in sections]
    cell_mm2 = (STRIDE * um / 1000) ** 2
    levels, counts, sweeps = {}, {}, {}
    for kind, found in maps.items():
        cells = np.concatenate([one[np.isfinite(one)] for one in found])
        levels[kind] = np.append(np.unique(np.quantile(cells, np.linspace(0, 1, LEVELS + 1))), np.inf)
        edges = localisation.levels(cells[None, None])
        pairs = list(zip(sections, found, strict=True))
        counts[kind] = np.stack([_pixel_counts(section, one, edges) for section, one in pairs])
        sweeps[kind] = [sweep(one, on, levels[kind], cell_mm2) for one, on in zip(found, lesions, strict=True)]
    own = Sweep.pooled(sweeps[reader.model.name])
    data = TissueRecord(
        name=name,
        pictures=sum(len(section.boxes) for section in sections),
        places=len(sections),
        lesions=own.count,
        mm2_without=own.mm2,
        mm2_lesions=own.lesion_cells * cell_mm2,
        fingerprint=_fingerprint(sections),
        note=note,
    )
    return Measured(data, counts, sweeps, levels)


def figures_of(measured: Measured) -> MapFigures:
    """Pixel AUC, average precision and sensitivity at false areas per mm2, by map, with intervals over places.

    Those of sensitivity are no narrower than Clopper & Pearson's (see `share_of_lesions`), and it is told at rates of
    which one false area or more fits on the tissue (see `rates_on`).
    """
    data = measured.data
    rates = rates_on(data.mm2_without)

    def pixels(counts: NDArray[np.int64]) -> Callable[[NDArray[np.intp]], dict[str, float]]:
        def figures(drawn: NDArray[np.intp]) -> dict[str, float]:
            found = localisation.pixel_figures(counts[drawn].sum(axis=0))
            return {name: found[key] for name, key in _PIXELS.items()}

        return figures

    def found(sweeps: list[Sweep]) -> Callable[[NDArray[np.intp]], dict[str, float]]:
        return lambda drawn: {
            f"{rate:g}": float(share)
            for rate, share in zip(rates, sensitivities([sweeps[i] for i in drawn], rates), strict=True)
        }

    def widened(figures: dict[str, Interval | float]) -> dict[str, Interval | float]:
        return {
            rate: share_of_lesions(share, data.lesions) if isinstance(share, Interval) else share
            for rate, share in figures.items()
        }

    why = f"that is less than one on the {data.mm2_without:.2f} mm2 measured, and would only mean that none was seen"
    return MapFigures(
        data=data,
        pixels={kind: _over_places(pixels(one), data.places) for kind, one in measured.counts.items()},
        found={kind: widened(_over_places(found(one), data.places)) for kind, one in measured.sweeps.items()},
        left_out={f"{rate:g}": why for rate in RATES if rate not in rates},
    )


_PIXELS = {"pixel_auc": "pixel_auc", "average_precision": "average_precision", "chance": "tumour"}


def choose_threshold(reader: Reader, measured: Measured, at_most: float = AT_MOST) -> AreaThreshold:
    """The threshold for areas: the lowest with at most that many false areas per mm2 of tissue without the positive
    class (see `Sweep.level`), and no lower than the operating point for patches.

    What is told of the threshold is of the places that it was chosen on. Intervals draw places; those of false areas
    and of lesions found are no narrower than if each came independently (see `rate_interval`, `share_of_lesions`).

    Args:
        reader: whose maps were measured.
        measured: of two places or more, and tissue without the positive class.
        at_most: false areas per mm2.

    Raises:
        CalibrationError: there is nothing to choose on.
    """
    sweeps, levels = measured.sweeps[reader.model.name], measured.levels[reader.model.name]
    if measured.data.places < 2 or not measured.data.mm2_without:
        raise CalibrationError(
            measured.data.name, f"areas need two places or more, and tissue without {reader.task.positive} among them"
        )
    point = reader.model.point(1)
    lowest = int(np.searchsorted(levels, point.threshold_logit))

    def chosen(drawn: Sequence[Sweep]) -> int:
        return max(Sweep.pooled(drawn).level(at_most), lowest)

    level = min(chosen(sweeps), len(levels) - 2)  # the last is infinite

    def figures(drawn: NDArray[np.intp]) -> dict[str, float]:
        those = [sweeps[i] for i in drawn]
        pooled, anew = Sweep.pooled(those), min(chosen(those), len(levels) - 2)
        return {
            "alarms": pooled.rate(level),
            "called": float(pooled.called[level]) / pooled.cells if pooled.cells else np.nan,
            "found": pooled.sensitivity(level),
            "covered": float(pooled.covered[level]) / pooled.lesion_cells if pooled.lesion_cells else np.nan,
            "chosen_anew": float(point.view_probability(levels[anew : anew + 1])[0]),
        }

    found = intervals(figures, len(sweeps))
    pooled = Sweep.pooled(sweeps)
    return AreaThreshold(
        logit=float(levels[level]),
        at_most=at_most,
        stride=STRIDE,
        data=measured.data,
        alarms=rate_interval(found["alarms"], int(pooled.alarms[level]), pooled.mm2),
        called=found["called"],
        found=share_of_lesions(found["found"], pooled.count) if "found" in found else None,
        covered=found.get("covered"),
        chosen_anew=found["chosen_anew"],
    )


def check_free(slides: Iterable[Path], task: Task, um_per_px: float | None = None) -> None:
    """Refuse slides for `false_alarms` that say nothing of it, before anything is read by a model.

    Args:
        slides, um_per_px: see `false_alarms`; those after the first with tissue are not opened.
        task: with a pixel size.

    Raises:
        CalibrationError: none holds tissue; see also `false_alarms`.
    """
    um = task.um_per_px
    assert um is not None
    if not any(_whole(path, um, um_per_px)[1].any() for path in slides):
        raise CalibrationError(*_NO_FREE_TISSUE)


_NO_FREE_TISSUE = ("slides without the positive class", "no tissue is found in any of them")


def _whole(path: Path, um: float, um_per_px: float | None) -> tuple[Section, NDArray[np.bool_]]:
    """A slide at `um` per pixel, with a mask that is empty, and which of its cells hold tissue; it may have no cell."""
    with Slide.open(path, um_per_px) as slide:
        width, height = (side // STRIDE * STRIDE for side in slide.size_at(um))
        if not (width and height):
            return Section(np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), bool), ()), np.zeros((0, 0), bool)
        image = slide.region(0, 0, width, height, um)
    section = Section(image, np.zeros((height, width), bool), ((0, 0, height, width),))
    return section, section.tissue(um)


def false_alarms(
    reader: Reader, slides: Iterable[Path], cut: Cut, um_per_px: float | None = None
) -> Iterator[dict[str, Any]]:
    """Areas called on tissue without tumour: a row a slide.

    Args:
        reader: whose task has a pixel size.
        slides: that fit memory.
        cut: what serves areas.
        um_per_px: of their pixels, where they do not say it.

    Yields:
        "slide", its name; "mm2" of tissue; "areas" from the cut on and "areas_at_point" from the operating point for
        patches on; "highest" probability; "share_called" of the tissue from the cut on.

    Raises:
        see `Slide.open` and `Slide.step`.
    """
    um = reader.task.um_per_px
    assert um is not None
    point = reader.model.point(1)
    for path in slides:
        section, tissue = _whole(path, um, um_per_px)
        probability = np.where(tissue, point.view_probability(map_of(reader, section)), np.nan)
        areas = numbered(probability, cut.threshold)
        yield {
            "slide": path.name,
            "mm2": float(tissue.sum()) * (STRIDE * um / 1000) ** 2,
            "areas": int(areas.max(initial=0)),
            "areas_at_point": int(numbered(probability, point.threshold).max(initial=0)),
            "highest": float(probability[tissue].max(initial=0.0)),
            "share_called": float((areas[tissue] > 0).mean()) if tissue.any() else 0.0,
        }


def free_tissue(rows: Sequence[dict[str, Any]], cut: Cut, note: str = "") -> FreeTissue:
    """Rows of `false_alarms` as one rate, its interval over slides; those without tissue have no part in it.

    Raises:
        CalibrationError: none has tissue.
    """
    rows = [row for row in rows if row["mm2"]]
    if not rows:
        raise CalibrationError(*_NO_FREE_TISSUE)
    areas, at_point, mm2 = (np.array([row[key] for row in rows], float) for key in ("areas", "areas_at_point", "mm2"))

    def rate(events: NDArray[np.float64]) -> Interval:
        found = intervals(lambda drawn: {"rate": events[drawn].sum() / mm2[drawn].sum()}, len(rows))
        return rate_interval(found["rate"], int(events.sum()), float(mm2.sum()))

    return FreeTissue(
        pictures=len(rows), mm2=float(mm2.sum()), alarms=rate(areas), at_point=rate(at_point), rule=cut.rule, note=note
    )


def _over_places(figures: Callable[[NDArray[np.intp]], dict[str, float]], count: int) -> dict[str, Interval | float]:
    """Figures with intervals over places; of a single place as they are, since it knows no spread."""
    if count > 1:
        return dict(intervals(figures, count))
    return {name: value for name, value in figures(np.arange(1)).items() if np.isfinite(value)}


def _density(section: Section, task: Task) -> dict[str, Cells]:
    """The baseline's map (rows, columns) by its name; nothing where the task has no stain."""
    found = np.full([side // STRIDE for side in section.mask.shape], np.nan, np.float32)
    for top, left, height, width in section.boxes:
        image = section.image[None, top : top + height, left : left + width]
        known = localisation.baselines(image, (height // STRIDE, width // STRIDE), task)
        if _OWN_NAME not in known:
            return {}
        cells = (slice(top // STRIDE, (top + height) // STRIDE), slice(left // STRIDE, (left + width) // STRIDE))
        found[cells] = known[_OWN_NAME][0]
    return {DENSITY: found}


_OWN_NAME = "inverse hematoxylin"


def _lesions(section: Section, um_per_px: float) -> NDArray[np.intp]:
    """The lesion that the middle of each cell lies on."""
    numbers, _ = lesions_of(section.mask, um_per_px)
    return numbers[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def _pixel_counts(section: Section, cells: Cells, edges: NDArray[np.floating]) -> NDArray[np.int64]:
    """Pixels of tissue without and with the positive class at each level, (2, levels): maps enlarged bilinearly."""
    bins = len(edges) + 1
    found = np.zeros(2 * bins, np.int64)
    for top, left, height, width in section.boxes:
        own = cells[top // STRIDE : (top + height) // STRIDE, left // STRIDE : (left + width) // STRIDE]
        tissue = np.isfinite(own)
        if not tissue.any():
            continue
        down, right = (cell_weights(n, (np.arange(n * STRIDE) + 0.5) / (n * STRIDE)) for n in own.shape)
        share = down @ tissue.astype(np.float64) @ right.T  # what is no tissue takes no part in the mean
        values = (down @ np.where(tissue, own, 0) @ right.T) / np.maximum(share, 1e-9)
        inside = tissue.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
        tumour = section.mask[top : top + height, left : left + width][inside]
        found += np.bincount(np.searchsorted(edges, values[inside], side="right") + bins * tumour, minlength=2 * bins)
    return found.reshape(2, bins)


def _fingerprint(sections: Sequence[Section]) -> str:
    """Of pictures and masks, whatever their order."""
    each = sorted(hashlib.sha256(one.image.tobytes() + np.packbits(one.mask).tobytes()).digest() for one in sections)
    return hashlib.sha256(b"".join(each)).hexdigest()
