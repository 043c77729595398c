"""Calibrate a bundle on one split, evaluate it on another: both through the Reader that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.pcam import Split
from core.data.transforms import VIEWS
from core.errors import CalibrationError
from core.evaluation.calibration import fit_operating_point
from core.evaluation.calibrators import compare
from core.evaluation.guarantees import Grouping, grouping, guarantees, outcomes
from core.evaluation.metrics.classification import (
    Scored,
    area_under_roc,
    calibrated_ece,
    reliability,
    with_intervals,
)
from core.evaluation.metrics.stability import varied
from core.explain.registry import LAST, METHODS, SCALE_PASSES
from core.inference.engines.engine import open_engine
from core.inference.engines.openvino_engine import EXACT, FAST, OpenVinoEngine, has_bf16
from core.inference.reader import Reader, Readings, scale_key
from core.models.schema import (
    Bundle,
    CalibrationTrial,
    DataRecord,
    Evaluation,
    Guarantee,
    OperatingPoint,
    PrecisionCheck,
)
from core.models.store import StoredBundle
from core.settings import settings
from core.task import Task

Progress = Callable[[int, int], None]
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
CHUNK = 256
FEWEST = 5
"""Patches of either label that a calibration needs. Far more are wanted: fewer place no threshold at all."""
REPORTED = "test"
"""The split that figures are reported on, so that nothing may be fitted there."""
SEEN = "holds patches the model learned from"
"""Note on a calibration that is not on patches of its own."""
SCALE_QUANTILE = 0.99
SCALE_SAMPLE = 256
"""Patches that fix the colour scales of maps which are no by-product of the reading."""


def unchanged(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Patches as they are."""
    return patches


def read_split(
    reader: Reader, split: Split, views: int, progress: Progress, change: Change = unchanged
) -> Iterator[Readings]:
    """Readings of a split in its own order, a chunk at a time, each chunk changed before it is read."""
    for start in range(0, len(split), CHUNK):
        readings = reader.read(
            change(split.patches(slice(start, start + CHUNK))), views=views, synthetic=split.synthetic
        )
        progress(min(start + CHUNK, len(split)), len(split))
        yield readings


def record_of(split: Split) -> DataRecord:
    """Name, size and fingerprint of a split."""
    note = "synthetic, not tissue" if split.synthetic else ""
    return DataRecord(split=split.name, patches=len(split), fingerprint=split.fingerprint(), note=note)


def check_labels(labels: NDArray[np.integer], split: str, task: Task) -> None:
    """Refuse a split that a calibration cannot be fitted on, whatever the model says; labels (n,) 0 or 1.

    Raises:
        CalibrationError: it is the one that figures are reported on, or has too few patches of a label.
    """
    if split == REPORTED:
        raise CalibrationError(split, "figures are reported on it, so nothing may be fitted there; name another split")
    positives = int((labels == 1).sum())
    for count, of in ((positives, task.positive), (len(labels) - positives, task.negative)):
        if count < FEWEST:
            raise CalibrationError(
                split, f"{count} of its {len(labels):,} patches are labelled {of}, and {FEWEST} of either are needed"
            )


def check_order(logits: NDArray[np.floating], labels: NDArray[np.integer], split: str) -> None:
    """Refuse logits (n,) that do not rise with the labels (n,): a curve that ascends would hide that.

    Raises:
        CalibrationError: they are all the same, or patches of the other class have the higher ones.
    """
    if np.ptp(logits) == 0:
        raise CalibrationError(split, "the model says the same of every patch")
    area = area_under_roc(logits, labels)
    if area < 0.5:
        raise CalibrationError(
            split,
            f"the AUC is {area:.3f}, so patches of the other class get the higher logits. Are the classes swapped? "
            "Label 1 and the second logit mean the positive class",
        )


def calibrate(reader: Reader, split: Split, progress: Progress) -> Bundle:
    """Fit all that turns logits into what is shown: calibration curves, thresholds, refer bands, colour scales.

    Beside them stand other ways to calibrate, and what a threshold and a band could promise. Earlier evaluations are
    dropped, since they were made with another calibration.

    Args:
        reader: serves the bundle to calibrate.
        split: validation patches; never the ones reported on.
        progress: called with patches done and patches in all, for each pass.

    Returns:
        The bundle's new description; nothing is written.

    Raises:
        CalibrationError: what keeps a calibration from being fitted on that split.
        OtherTaskError: it is of another task.
    """
    split.require(reader.task)
    check_labels(split.labels, split.name, reader.task)
    pieces = [(r.view_logits, r.attribution) for r in read_split(reader, split, 1, progress)]
    logits, last_maps = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    check_order(logits.mean(axis=1), split.labels, split.name)
    vary, grouped = partial(varied, task=reader.task), grouping(split)
    worn = _view_logits(reader, split, 1, progress, vary)
    one = fit_operating_point(logits, worn, split.labels, split.name)
    first = _beside(one, logits, worn, split.labels, grouped)
    precision = bf16_check(reader, split, one, progress)
    reader = _as_served(reader, precision)  # most of the work is to come
    logits, worn = (_view_logits(reader, split, VIEWS, progress, change) for change in (unchanged, vary))
    check_order(logits.mean(axis=1), split.labels, split.name)
    several = fit_operating_point(logits, worn, split.labels, split.name)
    second = _beside(several, logits, worn, split.labels, grouped)
    points = {"1": one, str(VIEWS): several}
    scales: dict[str, float] = {}
    for name, method in METHODS.items():
        if method.sums_at_last:  # closed form: every patch counts
            scales[scale_key(name, LAST)] = _scale_of(last_maps)
    sample = np.sort(np.random.default_rng(0).permutation(len(split))[:SCALE_SAMPLE])
    patches = split.patches(sample)
    for name, method in METHODS.items():
        for layer in method.layers(reader.layers):
            if scale_key(name, layer) not in scales and method.passes_at(layer, reader.task.side) <= SCALE_PASSES:
                explained = reader.explain(patches, name, layer, reader.task.margin)
                scales[scale_key(name, layer)] = _scale_of(explained.attribution)
    return reader.model.model_copy(
        update={
            "points": points,
            "scales": scales,
            "calibrated_on": _calibrated_on(reader.model, split),
            "calibration_trials": first[0] + second[0],
            "guarantees": first[1] + second[1],
            "precision": precision,
            "evaluations": (),
            "areas": None,
            "slides": None,
        }
    )


def judge_calibration(
    reader: Reader, split: Split, progress: Progress, pipelines: Sequence[int] = (1, VIEWS)
) -> Bundle:
    """The ways to calibrate compared, and guarantees beside what serves, as `calibrate` records them; nothing that
    serves is changed.

    Outcomes of other guarantees are dropped from the evaluations; `evaluate` measures them anew.

    Args:
        reader: serves the bundle.
        split: the one that it was calibrated on.
        progress: called with patches done and patches in all, for each pass.
        pipelines: numbers of views; what is recorded of others stays.

    Raises:
        CalibrationError: the bundle was calibrated on other patches, or not at all.
        OtherTaskError: it is of another task.
    """
    split.require(reader.task)
    check_labels(split.labels, split.name, reader.task)
    on = reader.model.calibrated_on
    if on is None or on.fingerprint != split.fingerprint():
        raise CalibrationError(split.name, "its calibration is to be judged, and that was fitted on other patches")
    vary, grouped = partial(varied, task=reader.task), grouping(split)
    trials: list[CalibrationTrial] = []
    promised: list[Guarantee] = []
    for views in pipelines:
        logits, worn = (_view_logits(reader, split, views, progress, change) for change in (unchanged, vary))
        compared, made = _beside(reader.model.point(views), logits, worn, split.labels, grouped)
        trials += compared
        promised += made
    trials += [row for row in reader.model.calibration_trials if row.views not in pipelines]
    promised += [one for one in reader.model.guarantees if one.views not in pipelines]
    evaluations = [
        one.model_copy(update={"outcomes": tuple(o for o in one.outcomes if o.guarantee in promised)})
        for one in reader.model.evaluations
    ]
    return reader.model.model_copy(
        update={
            "calibration_trials": tuple(sorted(trials, key=lambda row: row.views)),
            "guarantees": tuple(sorted(promised, key=lambda one: one.views)),
            "evaluations": tuple(evaluations),
        }
    )


def _beside(
    point: OperatingPoint,
    logits: NDArray[np.float32],
    worn: NDArray[np.float32],
    labels: NDArray[np.integer],
    grouped: Grouping,
) -> tuple[tuple[CalibrationTrial, ...], tuple[Guarantee, ...]]:
    """What stands beside an operating point, from the logits (n, views) of patches as they are and varied."""
    views = logits.shape[1]
    compared = compare(logits.mean(axis=1), worn.mean(axis=1), labels, grouped.names, views)
    return compared, guarantees(point.probability(logits), labels, grouped, point, views)


def _calibrated_on(bundle: Bundle, split: Split) -> DataRecord:
    """The split's record, which says so when the model was trained on it: the first of its data are what it learned."""
    record = record_of(split)
    if any(learned.fingerprint == record.fingerprint for learned in bundle.training.data[:1]):
        record = record.model_copy(update={"note": "; ".join(filter(None, (record.note, SEEN)))})
    return record


def evaluate(reader: Reader, split: Split, views: int, progress: Progress) -> tuple[Evaluation, dict[str, Any]]:
    """Figures of merit on a split, with intervals.

    Returns:
        The record that a bundle may keep, and the full report (the record, reliability diagram, confusion matrix,
        operating point) as JSON-ready values.

    Raises:
        OtherTaskError: the split is of another task.
    """
    split.require(reader.task)
    found = [(r.probability, r.flagged) for r in read_split(reader, split, views, progress)]
    probability, flagged = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    point = reader.model.point(views)
    scored = Scored(probability, split.labels, point, flagged)
    called, truth = probability >= point.threshold, split.labels == 1
    measured = with_intervals(scored, split.slides)
    grouped = grouping(split)
    by_cluster = {} if split.slides is not None else with_intervals(scored, grouped.names)
    promised = [one for one in reader.model.guarantees if one.views == views]
    evaluation = Evaluation(
        data=record_of(split),
        views=1 if views == 1 else 8,
        positives=int(truth.sum()),
        referred=measured["referred_gated"].value,
        resampled_by="patch" if split.slides is None else "slide",
        figures=measured,
        clusters=len(np.unique(grouped.names)) if by_cluster else 0,
        by_cluster=by_cluster,
        ece_if_right=calibrated_ece(probability),
        outcomes=outcomes(promised, probability, split.labels, grouped),
    )
    report = {
        "model": reader.model.identity,
        "engine": reader.engine.name,
        **evaluation.model_dump(mode="json"),
        "operating_point": point.model_dump(mode="json"),
        "confusion": {
            "true_positive": int((called & truth).sum()),
            "false_positive": int((called & ~truth).sum()),
            "false_negative": int((~called & truth).sum()),
            "true_negative": int((~called & ~truth).sum()),
        },
        "reliability": reliability(probability, split.labels),
    }
    return evaluation, report


def with_evaluation(bundle: Bundle, evaluation: Evaluation) -> Bundle:
    """The bundle with this evaluation in place of an older one of the same data and pipeline."""
    same = (evaluation.data.fingerprint, evaluation.views)
    kept = [e for e in bundle.evaluations if (e.data.fingerprint, e.views) != same]
    order = {"valid": 0, "test": 1}
    ordered = sorted([*kept, evaluation], key=lambda e: (order.get(e.data.split, 2), e.data.split, e.views))
    return bundle.model_copy(update={"evaluations": tuple(ordered)})


def _view_logits(
    reader: Reader, split: Split, views: int, progress: Progress, change: Change = unchanged
) -> NDArray[np.float32]:
    return np.concatenate([r.view_logits for r in read_split(reader, split, views, progress, change)])


def _as_served(reader: Reader, check: PrecisionCheck | None) -> Reader:
    """The reader in the arithmetic that will serve its bundle once it holds this check."""
    stored = StoredBundle(reader.stored.folder, reader.model.model_copy(update={"precision": check}))
    return Reader(stored, open_engine(stored, settings()))


def _scale_of(maps: NDArray[np.float32]) -> float:
    cells = np.abs(maps[:, maps.any(axis=0)])  # places where a network without padding has no cell count for nothing
    return float(max(np.quantile(cells, SCALE_QUANTILE), 1e-6)) if cells.size else 1e-6


def bf16_check(reader: Reader, split: Split, point: OperatingPoint, progress: Progress) -> PrecisionCheck | None:
    """How far bf16 arithmetic moves the one-view probabilities of a split, and how its maps correlate with exact ones.

    None where the processor has no bf16.
    """
    if not has_bf16():
        return None
    logits: list[NDArray[np.float32]] = []
    maps: list[NDArray[np.float32]] = []
    for precision in (EXACT, FAST):
        engine = OpenVinoEngine(reader.stored, settings().threads, precision)
        passes = [(r.logit, r.attribution) for r in read_split(Reader(reader.stored, engine), split, 1, progress)]
        logits.append(np.concatenate([piece[0] for piece in passes]))
        maps.append(np.concatenate([piece[1] for piece in passes]).ravel())
    exact, fast = (point.view_probability(one) for one in logits)
    alike = np.corrcoef(maps[0], maps[1])[0, 1] if np.ptp(maps[0]) and np.ptp(maps[1]) else 0.0
    return PrecisionCheck(
        precision="bf16",
        patches=len(split),
        largest_shift=float(np.abs(fast - exact).max()),
        map_correlation=float(np.clip(alike, -1, 1)),
    )
