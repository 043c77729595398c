"""How the figures of the trust card are spread over patches of the same verdict."""

from __future__ import annotations

from core.evaluation.explanations.stage import Sample, Stage
from core.evaluation.schema import Curves, Findings
from core.evaluation.trust import donors, reference


def measure(sample: Sample) -> Findings:
    """Quantiles by verdict and figure."""
    places = sample.some(STAGE.share)
    chunks, given = sample.chunks(places, STAGE.name), donors(sample.split, sample.reader.task)
    return Findings(curves=Curves.of(trust=reference(sample.reader, chunks, given)))


STAGE = Stage("trust", "how the trust card's figures are spread", measure, share=3 / 10)
