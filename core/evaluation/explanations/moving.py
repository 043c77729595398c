"""Does the map follow the tissue? Patches are moved under the network, and their maps moved back."""

from __future__ import annotations

from core.evaluation.explanations.stage import MAIN, Sample, Stage
from core.evaluation.explanations.table import Table, null_of
from core.evaluation.metrics.stability import likeness_when_moved
from core.evaluation.schema import Findings


def measure(sample: Sample) -> Findings:
    """Grad-CAM of the margin, against the maps of other patches that were moved alike."""
    places = sample.some(STAGE.share)
    sample.tell(STAGE.name, 0, len(places))
    own, null = likeness_when_moved(sample.patches(places), sample.look, sample.labels[places])
    table = Table()
    table.add(MAIN, own)
    return Findings(rows=table.rows("follows", sample.groups(places), null_of(null)))


STAGE = Stage("moving", "moving the tissue", measure, share=3 / 10)
