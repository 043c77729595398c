"""An examination: every stage in turn, each kept when it is done, so that one which was stopped goes on.

A kept stage is keyed by model, data and plan. A new measure is a new file with a `Stage`, and its line in STAGES.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.data.archive import is_junk
from core.data.pcam import Split, file_of
from core.errors import ExplanationError
from core.evaluation import schema
from core.evaluation.claims import judged
from core.evaluation.explanations import (
    agreement,
    donors,
    faithfulness,
    localisation,
    masks,
    moving,
    ood,
    planted,
    position_bias,
    prediction,
    randomisation,
    stability,
    trust,
)
from core.evaluation.explanations.stage import MAIN, Sample, Stage, Tell, methods_of
from core.evaluation.report import record_of
from core.evaluation.schema import (
    ClaimResult,
    Confirmation,
    Curves,
    EvidenceReport,
    ExaminedModel,
    Findings,
    Plan,
    Speed,
)
from core.explain.registry import check_vocabulary
from core.files import write_text
from core.inference.reader import Reader
from core.kept import digest
from core.task import PREDICTED

STAGES: tuple[Stage, ...] = (
    localisation.STAGE,
    masks.MASKS,
    masks.REGIONS,
    planted.STAGE,
    moving.STAGE,
    donors.STAGE,
    faithfulness.STAGE,
    randomisation.STAGE,
    stability.STAGE,
    agreement.STAGE,
    prediction.STAGE,
    trust.STAGE,
    position_bias.STAGE,
    ood.STAGE,
)
MEASURED = 2
"""Raised when a stage comes to measure something else of the same plan: what was kept before is measured anew."""
READING = "reading"
DOING = {READING: "reading the patches"} | {stage.name: stage.doing for stage in STAGES}
"""What an examination does, by the stage that it tells of."""
PROGRESS = "progress.json"
"""How far an examination is, in its own folder."""


class Examination:
    """One model examined on one split."""

    def __init__(
        self,
        reader: Reader,
        split: Split,
        plan: Plan | None = None,
        regions: Path | None = None,
        tell: Tell = lambda stage, done, total: None,  # noqa: ARG005
        odd: Path | None = None,
    ) -> None:
        """Examine what `reader` serves on `split`.

        On `regions` (a folder, see `read_regions`) too where given, and on `odd`, a folder of pictures that the model
        should not know (see `core.evaluation.ood_kinds.of_folder`).

        Raises:
            OtherTaskError: the split is of another task than the reader's.
        """
        split.require(reader.task)
        self.sample = Sample(reader, split, plan or Plan(methods=methods_of(reader)), regions, odd, self.tell)
        self._told, self._noted = tell, 0.0
        self._folder: Path | None = None

    @property
    def key(self) -> str:
        """Hex digest of all that the result depends on."""
        model, sample = self.sample.reader.model, self.sample
        described = model.model_dump_json(include={"points": {"1"}, "ood": True})  # one view is read
        version, task = (schema.FORMAT, MEASURED), sample.reader.task.model_dump_json()
        facts = (*version, described, model.graph_key, sample.engine.name, task)
        split = sample.split
        slides = None if split.slides is None else digest(split.slides)
        files = [_stamps(file_of(split.folder, split.name, "mask.h5"))]
        files += [_stamps(*folder.glob("*")) if folder else [] for folder in (sample.regions, sample.odd)]
        text = repr((facts, split.fingerprint(), slides, sample.plan.model_dump(), files))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, cache: Path) -> EvidenceReport:
        """The evidence report; stages already under `cache` are not done again.

        Raises:
            OutputError: the cache cannot be written.
            ImportSourceError: a region cannot be read.
        """
        self._folder = cache / "evidence" / self.key
        found = {stage.name: self._findings(stage, self._folder / f"{stage.name}.json") for stage in STAGES}
        curves: dict[str, Any] = {}
        for one in found.values():
            curves |= one.curves.model_dump(exclude_unset=True)
        model = self.sample.reader.model
        return EvidenceReport(
            model=ExaminedModel(name=model.name, identity=model.identity),
            engine=self.sample.engine.name,
            task=self.sample.reader.task,
            data=record_of(self.sample.split),
            plan=self.sample.plan,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            rows=[row for one in found.values() for row in one.rows],
            paired=[pair for one in found.values() for pair in one.paired],
            curves=Curves.model_validate(curves),
            speeds={name: one.speed for name, one in found.items() if one.speed is not None},
            claims=_claims(found.values()),
        )

    def confirm(self, cache: Path) -> Confirmation:
        """The claims alone, measured on patches that nothing was developed on; the caller keeps that it was done."""
        self._folder = cache / "evidence" / self.key
        stages = [stage for stage in STAGES if stage.claims]
        found = [self._findings(stage, self._folder / f"{stage.name}.json") for stage in stages]
        count = min(self.sample.plan.sample, len(self.sample.indices))
        return Confirmation(
            identity=self.sample.reader.model.identity,
            data=record_of(self.sample.split).model_copy(update={"patches": count}),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            claims=_claims(found),
        )

    def tell(self, stage: str, done: int, total: int) -> None:
        """Hand progress on, and keep it beside the stages at most once a second for who watches from elsewhere."""
        self._told(stage, done, total)
        if self._folder is not None and time.monotonic() > self._noted + 1:
            self._noted = time.monotonic()
            write_text(self._folder / PROGRESS, json.dumps({"stage": stage, "done": done, "total": total}))

    def progress(self, cache: Path) -> tuple[float, str]:
        """How far a run of the same examination is, in this process or another: share in [0, 1], and its stage."""
        folder = cache / "evidence" / self.key
        done = sum((folder / f"{stage.name}.json").is_file() for stage in STAGES)
        try:
            now = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return done / len(STAGES), ""
        return min((done + min(now["done"] / now["total"], 0.95)) / len(STAGES), 1.0), str(now["stage"])

    def _findings(self, stage: Stage, kept: Path) -> Findings:
        if not kept.is_file():
            self.tell(stage.name, 0, 1)
            began, passes = time.perf_counter(), self.sample.engine.passes
            found = stage.measure(self.sample)
            cost = Speed(seconds=time.perf_counter() - began, passes=self.sample.engine.passes - passes)
            record = found.model_copy(update={"speed": cost})
            write_text(kept, record.model_dump_json(exclude_unset=True) + "\n")
        self.tell(stage.name, 1, 1)
        return Findings.model_validate_json(kept.read_bytes())


def _claims(found: Iterable[Findings]) -> list[ClaimResult]:
    found = list(found)
    tau = {name: value for one in found if one.curves.planted for name, value in one.curves.planted.tau.items()}
    return judged([claim for one in found for claim in one.claims], tau)


def confirmed(report: EvidenceReport, confirmation: Confirmation | None) -> EvidenceReport:
    """A report whose claims are those of a confirmation, where there is one and it is of the same model."""
    if confirmation is None or confirmation.identity != report.model.identity:
        return report
    return report.model_copy(update={"claims": confirmation.claims, "confirmation": confirmation})


def chosen_methods(names: Sequence[str], reader: Reader) -> tuple[str, ...]:
    """Grad-CAM at the last layer and the named, once each, for a `Plan`.

    Args:
        names: `method/layer`.
        reader: of the network, whose layers they are.

    Raises:
        ExplanationError: no such method, or not at that layer, or regions are not explained by it.
    """
    for name in names:
        method, _, layer = name.partition("/")
        check_vocabulary(method, layer, PREDICTED, reader.layers, reader.task)
        if name not in methods_of(reader, [name]):
            raise ExplanationError("method of regions", name, methods_of(reader))
    return tuple(dict.fromkeys((MAIN, *names)))


def _stamps(*paths: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of those files that are there."""
    found = sorted(path for path in paths if path.exists() and not is_junk(path.name))
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found]
