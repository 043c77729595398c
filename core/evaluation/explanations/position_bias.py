"""Why does the map lean where it leans? True positives are moved, mirrored and exchanged; and masks are asked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.data.regions import read_regions
from core.evaluation.explanations.stage import CHUNK, MAIN, Sample, Stage, joined
from core.evaluation.explanations.table import Table
from core.evaluation.metrics import position_bias
from core.evaluation.schema import Curves, Findings


def measure(sample: Sample) -> Findings:
    """What the figures say of each explanation; nothing where there are too few true positives,
    or the label's box is no cell of the map."""
    task = sample.reader.task
    if not task.label_is_a_cell:
        return Findings()
    places = sample.some(STAGE.share)
    labels = sample.labels[places]
    called = sample.read[0][places] >= sample.reader.model.point(1).threshold
    right, normal = places[(labels == 1) & called], places[labels == 0]
    if len(right) < position_bias.LEAST or not len(normal):
        return Findings()
    donors = np.random.default_rng((sample.plan.seed, 2)).choice(normal, len(right))
    chunks = zip(range(0, len(right), CHUNK), sample.chunks(right, STAGE.name), strict=True)
    shares = joined(
        [
            position_bias.measured(
                chunk, sample.patches(donors[start : start + CHUNK]), sample.look, sample.reader.region, task.label_box
            )
            for start, chunk in chunks
        ]
    )
    curve = position_bias.summary(shares, sample.groups(right))
    curve["chance"] = task.label_share
    curve["windows"] = position_bias.by_mask(_masked(sample), sample.look)
    table = Table()
    table.add(MAIN, position_bias.middle_cell(shares["context"]))
    return Findings(
        rows=table.rows("centre_context", sample.groups(right), task.label_share), curves=Curves.of(position_bias=curve)
    )


def _masked(sample: Sample) -> Iterator[position_bias.Masked]:
    """Patches with masks: windows of the regions where there are any, otherwise the sample's own."""
    if sample.regions is not None:
        task = sample.reader.task
        for piece in position_bias.windows(read_regions(sample.regions, task), task.side, sample.plan.seed):
            yield piece._replace(sources=np.array([sample.places[name] for name in piece.sources.tolist()], np.str_))
        return
    masks = sample.split.masks(sample.indices)
    if masks is not None:
        places = np.arange(len(sample.indices))
        slides = sample.groups()
        sources = places.astype(str) if slides is None else slides
        for start, chunk in zip(places[::CHUNK], sample.chunks(places, STAGE.name), strict=True):
            part = slice(start, start + CHUNK)
            yield position_bias.Masked(chunk, masks[part], sources[part])


STAGE = Stage("position_bias", "why the map leans where it leans", measure)
