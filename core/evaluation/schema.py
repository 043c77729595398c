"""The evidence report as it is kept and read: `evidence.json`, one checked model with a version.

What a stage finds is a `Findings`; the runner puts them together. Pages and HTML read `EvidenceReport` alone; what the
figures mean is said in `core.view.narrative`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import ReportError
from core.files import migrated
from core.models.schema import DataRecord, Interval, OperatingPoint
from core.task import PCAM, Task

FORMAT: Literal[4] = 4
EVIDENCE = "evidence.json"
"""The report's file in a bundle's folder."""
MAX_REPORT_BYTES = 32 * 2**20
ALL = "all"
"""Patches of either label."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Record):
    """A figure with its 95 % interval; None throughout where it is undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, interval: Interval | None) -> Figure:
        """That of an interval, undefined where there is none."""
        return cls() if interval is None else cls(value=interval.value, low=interval.low, high=interval.high)


class Row(_Record):
    """One measure of one method: a row of the table. `units` are what its interval draws."""

    measure: str
    method: str
    value: float
    low: float
    high: float
    chance: float | None = None
    patches: int
    units: int | None = None
    resampled_by: Literal["patch", "slide", "place", "seed"] = "patch"
    baseline: bool = False


class Paired(_Record):
    """One method's measure less another's, on the same patches."""

    measure: str
    method: str
    against: str
    value: float
    low: float
    high: float


class Measured(_Record):
    """A claim's primary figure with its null, and the p-value of the difference from the claim's bar."""

    name: str
    value: float
    low: float
    high: float
    null: float
    p: float
    n: int
    unit_of_resampling: str
    by_colour: tuple[float, float] | None = None
    """The widest interval over clusters of like colour, which stand for slides that are not known."""


class ClaimResult(_Record):
    """What became of one claim; see `core.evaluation.claims`. `low` and `high` are a 95 % interval about the null.

    `by_colour`: see `Measured`.
    """

    name: str
    sentence: str
    value: float
    low: float
    high: float
    null: float
    least: float
    n: int
    unit_of_resampling: str
    by_colour: tuple[float, float] | None = None
    verdict: Literal["holds", "fails", "undecided"]


class Confirmation(_Record):
    """Claims that were measured once, on patches that nothing was developed on."""

    identity: str
    """Of the model, with the hash of its weights."""
    data: DataRecord
    finished: str
    claims: list[ClaimResult]


class PlantedFigures(_Record):
    """What planting shows; see `core.evaluation.metrics.planted`.

    Attributes:
        logit: change of the logit when the positive class is planted, and `control` when the other is.
        grades: names of the graded maps, worst first; `means` their figure by metric, `tau` Kendall's by metric.
    """

    logit: Figure
    control: Figure
    grades: list[str]
    means: dict[str, list[float]]
    tau: dict[str, float]


class MosaicPlan(_Record):
    """Mosaics that can be drawn again: patches along a side, of each the positive's cell and the patches' places."""

    side: int
    cells: list[int]
    patches: list[list[int]]


class RemovalCurve(_Record):
    """Mean logit over the share of cells taken away, hottest first (`deletion`), or put back (`insertion`)."""

    share: list[float]
    deletion: list[float]
    insertion: list[float]


class Replacement(_Record):
    """Mean logit of patches as they are and wholly replaced."""

    patches: int
    as_is: Figure
    replaced: Figure


class Replaced(_Record):
    """What wholly replaced patches read as: by way of replacing, by label; `decision` is the logit of the threshold."""

    decision: float
    ways: dict[str, dict[str, Replacement]]


class CascadeCurve(_Record):
    """Likeness to the trained network's maps by depth of randomisation; `unrelated` is that of other patches' maps."""

    spearman: list[Figure]
    ssim: list[Figure]
    unrelated: float | None = None


class DriftCurve(_Record):
    """How far maps and probabilities move under one change, by strength."""

    title: str
    unit: str
    levels: list[float]
    drift: list[float]
    shift: list[float]


class Roc(_Record):
    """The ROC curve, with the probability that each point is the threshold of."""

    false_positive_rate: list[float]
    sensitivity: list[float]
    thresholds: list[float]
    auc: Figure


class Reliability(_Record):
    """The reliability diagram by bin."""

    probability: list[float]
    positive: list[float] = Field(validation_alias=AliasChoices("positive", "tumour"))
    """Share of the positive class; `tumour` in the first reports."""
    count: list[int]
    intervals: list[Figure]


class RiskCoverageCurve(_Record):
    """See `core.evaluation.metrics.decisions.RiskCoverage`."""

    coverage: list[float]
    risk: list[float]
    area: float
    chance: float
    best: float


class Referral(_Record):
    """See `core.evaluation.metrics.decisions.referral`; None where nothing is counted."""

    referred: float | None = None
    error_all: float | None = None
    error_read: float | None = None
    error_referred: float | None = None
    errors_caught: float | None = None


class TrustSpread(_Record):
    """How the trust card's figures are spread over patches of one verdict: 101 quantiles by figure."""

    patches: int = 0
    quantiles: dict[str, list[float]] = {}


class MaskGroup(_Record):
    """Patches whose positive tissue lies in one way; see `core.evaluation.metrics.position_bias.by_mask`."""

    patches: int
    silent: int
    positive: float = Field(validation_alias=AliasChoices("positive", "tumour"))
    """The centre's share of the positive class's area; `tumour` in the first reports."""
    share: Figure
    probability: Figure


class ByMask(_Record):
    """The centre's share of the evidence by where the positive class lies."""

    groups: dict[str, MaskGroup] = {}
    difference: Figure | None = None


class PositionBias(_Record):
    """Why the map leans where it leans; see `core.evaluation.metrics.position_bias.summary`.

    `chance` is the share of the patch that the label's box covers.
    """

    patches: int
    chance: float = 1 / 9
    silent: int = 0
    resampled_by: Literal["patch", "slide"] = "patch"
    grids: dict[str, list[list[Figure]]]
    context_change: Figure = Figure()
    moved: dict[str, Figure]
    own: Figure = Figure()
    fall: dict[str, Figure]
    windows: ByMask = ByMask()


class OODKind(_Record):
    """How well patches of one kind are told from the split's own; `undecided` is the share that gets no class."""

    name: str
    patches: int
    sources: int
    auroc: Figure
    found: float
    undecided: Figure = Figure()


class OODFigures(_Record):
    """What the out-of-distribution detector tells; see `core.evaluation.ood.measured`."""

    patches: int
    false_alarms: Figure
    undecided: Figure = Figure()
    kinds: list[OODKind]


class Curves(_Record):
    """What is drawn, and what the trust card needs; a stage that was not made leaves its part unset."""

    mosaic2: MosaicPlan | None = None
    mosaic3: MosaicPlan | None = None
    deletion: dict[str, RemovalCurve] = {}
    replaced: Replaced | None = None
    cascade: dict[str, CascadeCurve] = {}
    cascade_layers: list[str] = []
    drift: dict[str, DriftCurve] = {}
    robustness: dict[str, dict[str, dict[str, Figure]]] = {}
    figures: dict[str, Figure] = {}
    roc: Roc | None = None
    reliability: Reliability | None = None
    risk_coverage: RiskCoverageCurve | None = None
    referral: Referral | None = None
    point: OperatingPoint | None = None
    trust: dict[str, TrustSpread] = {}
    position_bias: PositionBias | None = None
    ood: OODFigures | None = None
    planted: PlantedFigures | None = None

    @classmethod
    def of(cls, **parts: Any) -> Curves:
        """Curves of arrays, NumPy's numbers and plain values; what is not a finite number becomes None."""
        return cls.model_validate(plain(parts))


class Speed(_Record):
    """What a stage cost: seconds, and patches that went through the network."""

    seconds: float
    passes: int


class Findings(_Record):
    """What a stage found: table rows, paired differences from Grad-CAM, and curves to draw."""

    rows: list[Row] = []
    paired: list[Paired] = []
    curves: Curves = Curves()
    speed: Speed | None = None
    claims: list[Measured] = []


class Plan(_Record):
    """What an examination looks at.

    Attributes:
        sample: patches that are wanted, half of each label; see `EvidenceReport.examined`.
        seed: of the sample and every draw.
        methods: `method/layer` names.
    """

    sample: int = 1000
    seed: int = 0
    methods: tuple[str, ...]


class ExaminedModel(_Record):
    """Whose maps they are."""

    name: str
    identity: str


class EvidenceReport(_Record):
    """How far one model's maps can be believed on one split."""

    format: Literal[4] = FORMAT
    model: ExaminedModel
    engine: str
    task: Task = PCAM
    data: DataRecord
    plan: Plan
    finished: str
    """UTC time in ISO 8601."""
    rows: list[Row]
    paired: list[Paired] = []
    curves: Curves = Curves()
    speeds: dict[str, Speed] = {}
    claims: list[ClaimResult] = []
    """Of `confirmation` where there is one; else of the patches above, on which they were developed."""
    confirmation: Confirmation | None = None

    @property
    def examined(self) -> int:
        """Patches of the sample, which are fewer than the plan's where the split has too few of a label."""
        every = self.curves.reliability
        return min(self.plan.sample, self.data.patches) if every is None else sum(every.count)

    @model_validator(mode="before")
    @classmethod
    def _from_before(cls, values: Any) -> Any:
        """Of format 3, which made no claims, and of 2 (version 0.2.0), which had other names and kept sentences.

        Figures whose measure means something else since are left out.
        """
        if not isinstance(values, dict) or values.get("format") not in (2, 3):
            return values
        for part in ("rows", "paired"):
            if isinstance(values.get(part), list):
                same = [
                    row for row in values[part] if not isinstance(row, dict) or row.get("measure") not in _CHANGED_4
                ]
                values = values | {part: same}
        if values["format"] == 3:
            return values | {"format": FORMAT}
        curves = dict(values.get("curves", {}))
        if "position" in curves:
            curves["position"] = {name: part for name, part in curves["position"].items() if name != "finding"}
        trust = {
            verdict: {"patches": spread.get("patches", 0)}
            | {"quantiles": {name: row for name, row in spread.items() if name != "patches"}}
            for verdict, spread in curves.get("trust", {}).items()
        }
        kept = {name: value for name, value in values.items() if name != "answer"}
        return migrated(kept | {"curves": curves | {"trust": trust}}, 2, _NAMES_2) | {"format": FORMAT}


_CHANGED_4 = ("after_randomising", "gap_blurred", "gap_inpainted")
"""Measures with another figure or another chance before format 4."""
_NAMES_2 = {"strangers": "ood", "position": "position_bias", "pointing": "localisation"} | {
    "mattering": "faithfulness",
    "learned": "randomisation",
    "holding": "stability",
}


def read_report(path: Path) -> EvidenceReport:
    """A kept report, of this format or of the one before.

    Raises:
        ReportError: the file is damaged, or of another format.
    """
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ReportError(path, f"it is larger than {MAX_REPORT_BYTES:,} bytes")
        return EvidenceReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ReportError(path, f"at {'.'.join(map(str, first['loc'])) or 'its start'}: {first['msg']}") from error
    except OSError as error:
        raise ReportError(path, "it cannot be read") from error


def plain(value: Any) -> Any:
    """Arrays as lists, numbers of NumPy as Python's, figures as figures, and what is not finite as None."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
