"""Is what the model should not know told from what it knows? Where the bundle has a detector."""

from __future__ import annotations

from core.evaluation import ood, ood_kinds
from core.evaluation.explanations.stage import Sample, Stage
from core.evaluation.schema import Curves, Findings


def measure(sample: Sample) -> Findings:
    """The sample's own patches against each out-of-distribution kind."""
    if sample.reader.ood is None:
        return Findings()
    places = sample.some(STAGE.share)
    slides = sample.groups(places)
    own = ood_kinds.Kind("own", sample.patches(places), places.astype(str) if slides is None else slides)
    kinds = [*ood_kinds.of_own(own), *ood_kinds.of_scikit_image(sample.reader.task.side)]
    if sample.odd is not None:
        kinds += ood_kinds.of_folder(sample.odd, sample.reader.task, "measuring")
    curve = ood.measured(sample.reader, own, kinds, lambda done, total: sample.tell(STAGE.name, done, total))
    return Findings(curves=Curves.of(ood=curve))


STAGE = Stage("ood", "pictures that the model should not know", measure, share=1 / 5)
