"""Evidence reports: the one kept with a model, and those made here."""

from __future__ import annotations

from pathlib import Path

from core.data.pcam import Split
from core.evaluation.schema import EVIDENCE, EvidenceReport, read_report
from core.kept import Kept
from core.models.schema import Bundle
from core.models.store import bundle_folder, read_description
from core.settings import settings

SAMPLES = (100, 300, 1000)
"""Patches of an examination that is started on the page."""

_reports: Kept[EvidenceReport] = Kept(16)


def report_of(model: str, split: Split) -> EvidenceReport | None:
    """The newest report on this model and these patches: the one kept with the model, or one made here."""
    kept = [bundle_folder(model, settings().models) / EVIDENCE]
    kept += [report_file(model, split, sample) for sample in SAMPLES]
    identity = bundle_of(model).identity
    found = [_read(path) for path in kept if path.is_file()]
    ours = [report for report in found if report.model.identity == identity and is_of(report, split)]
    return max(ours, key=lambda report: report.finished, default=None)


def kept_report(model: str) -> EvidenceReport | None:
    """The report kept with a model, if it is of these weights."""
    path = bundle_folder(model, settings().models) / EVIDENCE
    report = _read(path) if path.is_file() else None
    return report if report and report.model.identity == bundle_of(model).identity else None


def bundle_of(model: str) -> Bundle:
    """What is known of a model, without loading its network."""
    return read_description(bundle_folder(model, settings().models))


def _read(path: Path) -> EvidenceReport:
    return _reports.get(path, lambda: read_report(path), path.stat().st_mtime_ns)


def is_of(report: EvidenceReport, split: Split) -> bool:
    """Whether a report was made on these patches."""
    return report.data.fingerprint == split.fingerprint()


def report_file(model: str, split: Split, sample: int) -> Path:
    """Where the report of an examination that is started here is kept."""
    name = f"{model}-{split.name}-{split.fingerprint()[:8]}-{sample}.json"
    return settings().cache / "evidence" / name
