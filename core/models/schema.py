"""What a bundle says of itself: `bundle.json` as frozen, checked records."""

from __future__ import annotations

import hashlib
import math
import re
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import ModelValueError
from core.files import migrated
from core.models.architectures import ARCHITECTURES, Architecture, architecture
from core.models.calibration_curve import calibrated, sigmoid, uncalibrated
from core.task import PCAM, Task

GRAPH_VERSION = 2
"""Goes up when `core.models.nets` computes the same in other bits, so that kept graphs and scores are made anew."""
MOST_SHIFT, LEAST_CORRELATION = 0.02, 0.995
"""What a faster arithmetic may do to a probability, and to maps, to be served."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

_VERSION = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$"
_NEARLY_0 = 1e-6

Probability = Annotated[float, Field(ge=0, le=1)]
Logit = Annotated[float, Field(gt=-1e6, lt=1e6)]
Positive = Annotated[float, Field(gt=0, lt=1e6)]
Level = Annotated[float, Field(ge=0, le=255)]
Unit = Literal["patch", "slide", "cluster of colour"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataRecord(_Record):
    """Which data something was fitted or measured on."""

    split: str
    patches: int = Field(gt=0)
    fingerprint: Sha256
    note: str = ""


class OperatingPoint(_Record):
    """How logits become a probability and a verdict, for one pipeline (a number of views).

    The patch's probability is the sigmoid of the mean logit over its views, calibrated: so the mean of the views' maps
    of the margin adds up, with the head's bias, to the logit that is shown. At or above `threshold` it reads as the
    positive class; from `refer_low` up to (not including) `refer_high` it is referred instead.
    """

    curve: tuple[tuple[Logit, Logit], ...] = ()
    """Knots (logit, calibrated logit), ascending in both. Between and beyond them the curve is straight: two knots are
    a temperature and a bias. Without any a logit stays as it is."""
    calibration_rule: str = ""
    threshold: Probability = 0.5
    threshold_rule: str = "not chosen; 0.5"
    refer_low: Probability = 0.5
    refer_high: Probability = 0.5
    refer_rule: str = "no band"

    @model_validator(mode="before")
    @classmethod
    def _from_a_temperature(cls, values: Any) -> Any:
        """Bundles made before there were curves hold a temperature and a bias, which are two knots."""
        if not isinstance(values, dict) or "temperature" not in values:
            return values
        kept = {name: value for name, value in values.items() if name not in ("temperature", "bias")}
        try:
            slope, bias = 1 / float(values["temperature"]), float(values.get("bias", 0.0))
        except (TypeError, ZeroDivisionError) as error:
            raise ValueError("temperature and bias must be numbers, the temperature a positive one") from error
        return kept | {"curve": ((-1.0, bias - slope), (1.0, bias + slope))}

    @field_validator("curve")
    @classmethod
    def _ascends(cls, curve: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        steps = np.diff(np.asarray(curve, np.float64).reshape(-1, 2), axis=0)
        if len(curve) == 1 or (steps <= 0).any():
            raise ValueError("a curve needs two knots or more that ascend in both values")
        return curve

    @property
    def calibrated(self) -> bool:
        """Whether a curve was fitted; without one the probability is the network's own, sure of too much as a rule."""
        return bool(self.curve)

    @property
    def state(self) -> str:
        """What may be said of a probability: 'calibrated' or 'not calibrated'."""
        return "calibrated" if self.calibrated else "not calibrated"

    @property
    def refers(self) -> bool:
        """Whether there is a band that is left to a person."""
        return self.refer_low < self.refer_high

    def view_probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probability of logits, of any shape, each taken for itself."""
        return sigmoid(calibrated(self.curve, logits))

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probability (n,) of patches by the logits (n, views) of their views."""
        return self.view_probability(np.asarray(logits, np.float64).mean(axis=1))

    @property
    def threshold_logit(self) -> float:
        """The logit at which one view reads as the positive class; finite even where the threshold is 0 or 1."""
        threshold = min(max(self.threshold, _NEARLY_0), 1 - _NEARLY_0)
        return uncalibrated(self.curve, math.log(threshold / (1 - threshold)))


class Interval(_Record):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class CalibrationTrial(_Record):
    """One way to calibrate on slides that it was not fitted on, see `core.evaluation.calibrators`."""

    views: Literal[1, 8]
    method: str
    patches: Literal["as they are", "varied"]
    nll: Interval
    beyond_best: Interval
    """Negative log-likelihood less that of the best way on the same patches."""
    brier: Interval
    ece: float
    ece_if_right: float
    """The calibration error that these probabilities would show if they were exactly right."""


class Guarantee(_Record):
    """Cuts that promise a risk on new units that are exchangeable with those chosen on, see `metrics.conformal`.

    Below `low` a patch is called negative, from `high` on positive; between them it is referred.
    """

    views: Literal[1, 8]
    about: Literal["threshold", "band"]
    unit: Unit
    units: int
    """With positive patches, among those chosen on."""
    risk: Probability
    """Of a new unit's positive patches at most this share is expected below `low`, and for a band of its negative ones
    at `high` or above."""
    low: Probability
    high: Probability


class Outcome(_Record):
    """What became of a guarantee on a split: means over the units that it speaks of."""

    guarantee: Guarantee
    missed: Interval | None
    """Share of the positive patches that lie below `low`."""
    false_alarms: Interval | None
    """Share of the negative patches that lie at `high` or above."""
    referred: Probability
    """Share of all patches."""


class Evaluation(_Record):
    """Figures of merit on one split through one pipeline; made by `core.evaluation.metrics.classification`."""

    data: DataRecord
    views: Literal[1, 8]
    positives: int
    referred: Probability
    resampled_by: Literal["patch", "slide"]
    figures: dict[str, Interval]
    clusters: int = 0
    """Of colour, that stand for slides where none are named."""
    by_cluster: dict[str, Interval] = {}
    """The figures with intervals that draw those clusters."""
    ece_if_right: Interval | None = None
    """Calibration error that the probabilities would show if they were exactly right, with its 95 % range."""
    outcomes: tuple[Outcome, ...] = ()


class PrecisionCheck(_Record):
    """How far a faster arithmetic moves the calibrated probability, and how its maps correlate with exact ones."""

    precision: Literal["bf16"]
    patches: int
    largest_shift: Probability
    map_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0

    @property
    def harmless(self) -> bool:
        """Whether readers may be served by it."""
        return self.largest_shift <= MOST_SHIFT and self.map_correlation >= LEAST_CORRELATION


class OODRecord(_Record):
    """The out-of-distribution detector that was made for a bundle's weights: its file, and what it was made from."""

    sha256: Sha256
    directions: int = Field(gt=0, le=65_536)
    fitted_on: DataRecord
    limit_on: DataRecord
    picture: bool = False
    """Whether the picture is judged too, and the limit keeps its promise over slides (`core.evaluation.ood`)."""


class Trial(_Record):
    """Another way to train that was tried, and how it did on the split that choices were made on."""

    what: str
    split: str
    views: Literal[1, 8]
    figures: dict[str, Interval]


class TissueRecord(_Record):
    """Which tissue maps were measured on."""

    name: str
    pictures: int = Field(gt=0)
    places: int = Field(gt=0)
    """Pictures that lie side by side are one place; intervals draw places."""
    lesions: int = Field(ge=0)
    """See `core.evaluation.metrics.froc.lesions_of`."""
    mm2_without: float = Field(ge=0)
    mm2_lesions: float = Field(ge=0)
    """Tissue without the positive class, and that of lesions."""
    fingerprint: Sha256
    note: str = ""


class AreaThreshold(_Record):
    """From which logit on cells make an area, chosen for a rate of false ones by `core.evaluation.slides`."""

    logit: Logit
    """Of one view before calibration, so that it stays the same cell by cell."""
    at_most: Positive
    """False areas per mm2 of tissue without the positive class that were asked for."""
    stride: int = Field(gt=0)
    data: TissueRecord
    alarms: Interval
    """False areas per mm2 there."""
    called: Interval
    """Share of that tissue that lies in one."""
    found: Interval | None
    covered: Interval | None
    """Share of lesions that an area meets, and of their tissue that lies in one."""
    chosen_anew: Interval
    """The probability that it is, and where it would lie had other places been drawn."""


class MapFigures(_Record):
    """How good maps are on tissue with masks: of the model, and of a baseline. A bare number has no interval, since
    there is but one place."""

    data: TissueRecord
    pixels: dict[str, dict[str, Interval | float]]
    """By map and figure: pixel_auc, average_precision, chance (the share of the positive class among tissue)."""
    found: dict[str, dict[str, Interval | float]]
    """By map and rate of false areas per mm2: the share of lesions that an area meets."""
    left_out: dict[str, str] = {}
    """Rates at which nothing is told, and why."""


class FreeTissue(_Record):
    """What is called on tissue that is held to be without the positive class."""

    pictures: int = Field(gt=0)
    mm2: Positive
    alarms: Interval
    """Areas per mm2 from the threshold that serves areas."""
    at_point: Interval
    """From the operating point for patches."""
    rule: str
    note: str = ""


class SlideEvaluation(_Record):
    """Figures of merit of maps over slides."""

    stride: int = Field(gt=0)
    maps: tuple[MapFigures, ...]
    free: FreeTissue | None = None


class Training(_Record):
    """Where the weights come from."""

    recipe: str
    data: tuple[DataRecord, ...] = ()
    config: dict[str, Any] = {}
    trials: tuple[Trial, ...] = ()
    finished: str | None = None
    """UTC time in ISO 8601, written by training itself; None when it was not recorded."""


class Bundle(_Record):
    """`bundle.json`: frozen and checked, so that a page cannot invent a mean, a date or an accuracy."""

    format: Literal[2] = 2
    name: str = Field(pattern=NAME)
    version: str
    architecture: str
    task: Task = PCAM
    weights_sha256: Sha256
    mean: tuple[Level, Level, Level]
    std: tuple[Positive, Positive, Positive]
    points: dict[Literal["1", "8"], OperatingPoint] = {}
    calibrated_on: DataRecord | None = None
    calibration_trials: tuple[CalibrationTrial, ...] = ()
    guarantees: tuple[Guarantee, ...] = ()
    scales: dict[str, Positive] = {}
    """Fixed colour scale of a method at a layer ("gradcam/last"): the 99th percentile of |value| over calibration."""
    precision: PrecisionCheck | None = None
    ood: OODRecord | None = None
    evaluations: tuple[Evaluation, ...] = ()
    areas: AreaThreshold | None = None
    slides: SlideEvaluation | None = None
    training: Training
    libraries: dict[str, str] = {}

    @field_validator("version")
    @classmethod
    def _is_short(cls, version: str) -> str:
        if not re.fullmatch(_VERSION, version):
            raise ValueError("a version is 1 to 32 letters, digits, '.', '-', '_' and '+', a letter or digit first")
        return version

    @model_validator(mode="after")
    def _has_cells(self) -> Bundle:
        known = ARCHITECTURES.get(self.architecture)
        if known and not known.cells(self.task.side):
            raise ValueError(f"a patch of {self.task.side} px has no room for one cell of {self.architecture}")
        return self

    @classmethod
    def checked(cls, **values: Any) -> Bundle:
        """A description made of these values; raises ModelValueError naming the first that cannot be."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            where, reason = first_mistake(error)
            raise ModelValueError(where, reason) from error

    def changed(self, **values: Any) -> Bundle:
        """This description with other values, which are checked; raises ModelValueError."""
        return Bundle.checked(**(self.model_dump() | values))

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("format", 1) == 1:
            values = {name: value for name, value in values.items() if name != "classes"}  # PCam's, always
        return migrated(values, 1, {"strangers": "ood"})

    @property
    def synthetic(self) -> bool:
        """Whether it learned from drawn pictures, and so has never seen what they stand for."""
        return any("synthetic" in data.note for data in self.training.data[:1])

    @cached_property
    def net(self) -> Architecture:
        """The architecture's description."""
        return architecture(self.architecture)

    @property
    def identity(self) -> str:
        """Name, version and the first digits of the weights' hash, as shown under every picture."""
        return f"{self.name} {self.version} ({self.weights_sha256[:8]})"

    @cached_property
    def graph_key(self) -> str:
        """Hex digest of what a compiled network depends on: weights, architecture and normalisation."""
        facts = (GRAPH_VERSION, self.architecture, self.weights_sha256, self.mean, self.std, self.task.side)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def point(self, views: int) -> OperatingPoint:
        """Operating point of the pipeline with that many views."""
        return self.points.get("8" if views == 8 else "1", OperatingPoint())


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """Where the first mistake is, and what it is."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])) or "its text", first["msg"].removeprefix("Value error, ")
