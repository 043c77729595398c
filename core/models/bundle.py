"""A trained model and everything a prediction depends on.

A bundle is a folder: `weights.safetensors` (fp16 state dict), `bundle.json` (this module's `Bundle`), `CARD.md`
(written from the bundle by `python -m core model card`), and perhaps `ood.safetensors` (see `core.models.ood`).
Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError, safe_open

from core.errors import BundleError, ModelNameError, ModelNotFoundError, ModelValueError
from core.files import migrated, write_text
from core.models.architectures import Architecture, architecture
from core.models.ood import Mahalanobis, load_detector
from core.task import PCAM, Task

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
OOD_DETECTOR, OOD_DETECTOR_1 = "ood.safetensors", "strangers.safetensors"
"""The detector's file, and its name in bundles of format 1."""
DESCRIPTION = "bundle.json"
CARD = "CARD.md"
SHIPPED = ("densenet169", "densenet169_local", "efficientnet_lite0")
"""Names of the models that come with NodeLens, in whatever folder a new one is made."""
GRAPH_VERSION = 2
"""Goes up when `core.models.nets` computes the same in other bits, so that kept graphs and scores are made anew."""
MAX_DESCRIPTION_BYTES = 2**20
MAX_WEIGHTS_BYTES = 2 * 2**30
MOST_SHIFT, LEAST_CORRELATION = 0.02, 0.995
"""What a faster arithmetic may do to a probability, and to maps, to be served."""

_NEARLY_0 = 1e-6
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_VERSION = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$"

Probability = Annotated[float, Field(ge=0, le=1)]
Logit = Annotated[float, Field(gt=-1e6, lt=1e6)]
Positive = Annotated[float, Field(gt=0, lt=1e6)]
Level = Annotated[float, Field(ge=0, le=255)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) in float64."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def along(places: NDArray[np.floating], knots: Sequence[float], values: Sequence[float]) -> NDArray[np.float64]:
    """Values at places, of any shape, on a line through k >= 2 ascending knots: straight between and beyond them."""
    starts, heights = np.asarray(knots, np.float64), np.asarray(values, np.float64)
    segment = np.clip(np.searchsorted(starts, places) - 1, 0, len(starts) - 2)
    slopes = np.diff(heights) / np.diff(starts)
    return np.asarray(heights[segment] + slopes[segment] * (places - starts[segment]))


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
    of tumour minus normal adds up, with the head's bias, to the logit that is shown. At or above `threshold` it reads
    tumour; from `refer_low` up to (not including) `refer_high` it is referred instead.
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
        logits = np.asarray(logits, np.float64)
        return sigmoid(along(logits, *zip(*self.curve, strict=True)) if self.curve else logits)

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probability (n,) of patches by the logits (n, views) of their views."""
        return self.view_probability(np.asarray(logits, np.float64).mean(axis=1))

    @property
    def threshold_logit(self) -> float:
        """The logit at which one view reads tumour; finite even where the threshold is 0 or 1."""
        threshold = min(max(self.threshold, _NEARLY_0), 1 - _NEARLY_0)
        calibrated = math.log(threshold / (1 - threshold))
        if not self.curve:
            return calibrated
        logits, values = zip(*self.curve, strict=True)
        return float(along(np.asarray(calibrated), values, logits))


class Interval(_Record):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Evaluation(_Record):
    """Figures of merit on one split through one pipeline; made by `core.evaluation.metrics.classification`."""

    data: DataRecord
    views: Literal[1, 8]
    positives: int
    referred: Probability
    resampled_by: Literal["patch", "slide"]
    figures: dict[str, Interval]


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


class Trial(_Record):
    """Another way to train that was tried, and how it did on the split that choices were made on."""

    what: str
    split: str
    views: Literal[1, 8]
    figures: dict[str, Interval]


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
    name: str = Field(pattern=_NAME)
    version: str
    architecture: str
    task: Task = PCAM
    weights_sha256: Sha256
    mean: tuple[Level, Level, Level]
    std: tuple[Positive, Positive, Positive]
    points: dict[Literal["1", "8"], OperatingPoint] = {}
    calibrated_on: DataRecord | None = None
    scales: dict[str, Positive] = {}
    """Fixed colour scale of a method at a layer ("gradcam/last"): the 99th percentile of |value| over calibration."""
    precision: PrecisionCheck | None = None
    ood: OODRecord | None = None
    evaluations: tuple[Evaluation, ...] = ()
    training: Training
    libraries: dict[str, str] = {}

    @field_validator("version")
    @classmethod
    def _is_short(cls, version: str) -> str:
        if not re.fullmatch(_VERSION, version):
            raise ValueError("a version is 1 to 32 letters, digits, '.', '-', '_' and '+', a letter or digit first")
        return version

    @classmethod
    def checked(cls, **values: Any) -> Bundle:
        """A description made of these values; raises ModelValueError naming the first that cannot be."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            where, reason = _first(error)
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


class StoredBundle:
    """A bundle on disk, its hash checked when it is opened."""

    def __init__(self, folder: Path, description: Bundle) -> None:
        self.folder = folder
        self.description = description

    @classmethod
    def open(cls, folder: Path) -> StoredBundle:
        """Read and check a bundle.

        Raises:
            ModelNotFoundError: no bundle in that folder.
            BundleError: description or weights missing, damaged, altered or of another architecture.
        """
        description = read_description(folder)
        weights = folder / WEIGHTS
        if not weights.is_file():
            raise BundleError(folder, f"{WEIGHTS} is missing")
        if weights.stat().st_size > MAX_WEIGHTS_BYTES:
            raise BundleError(folder, f"{WEIGHTS} is larger than {MAX_WEIGHTS_BYTES:,} bytes")
        if sha256_of(weights) != description.weights_sha256:
            raise BundleError(folder, f"{WEIGHTS} is not the file that {DESCRIPTION} was written for (wrong SHA-256)")
        detector = detector_file(folder)
        if description.ood is None and detector.is_file():
            log.warning("%s of %s is not used: %s does not name it.", detector.name, description.name, DESCRIPTION)
        return cls(folder, description)

    @cached_property
    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight (2, k) and bias (2,) float32 of the linear layer, read without torch."""
        prefix = self.description.net.head
        with self._opened() as tensors:
            try:
                weight, bias = (tensors.get_tensor(f"{prefix}.{part}") for part in ("weight", "bias"))
            except SafetensorError as error:
                raise BundleError(self.folder, f"its weights have no linear layer '{prefix}'") from error
        if weight.dtype.kind != "f" or bias.dtype.kind != "f":
            raise BundleError(self.folder, f"its linear layer is of type {weight.dtype}, expected floating point")
        if weight.ndim != 2 or weight.shape[0] != 2 or bias.shape != (2,):
            raise BundleError(self.folder, f"its linear layer has shape {weight.shape}, expected (2, k)")
        _require_finite(self.folder, {"weight": weight, "bias": bias})
        return weight.astype(np.float32), bias.astype(np.float32)

    @cached_property
    def ood(self) -> Mahalanobis | None:
        """What tells tissue unlike the training patches; None where the description names no such file.

        Raises:
            BundleError: the file is missing, damaged, or was made for other weights.
        """
        record, path = self.description.ood, detector_file(self.folder)
        if record is None:
            return None
        if not path.is_file():
            raise BundleError(self.folder, f"{path.name} is missing")
        if sha256_of(path) != record.sha256:
            raise BundleError(
                self.folder, f"{path.name} is not the file that {DESCRIPTION} was written for (wrong SHA-256)"
            )
        detector = load_detector(path)
        if detector.whiten.shape != (self.head[0].shape[1], record.directions):
            raise BundleError(self.folder, f"{path.name} does not fit its weights")
        return detector

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All weights by name."""
        with self._opened() as tensors:
            found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - not a dict
        _require_finite(self.folder, found)
        return found

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(self.folder / WEIGHTS, framework="np") as tensors:
                yield tensors
        except (SafetensorError, OSError) as error:
            raise BundleError(self.folder, f"{WEIGHTS} is not a safetensors file") from error
        except (TypeError, AttributeError) as error:
            raise BundleError(self.folder, "its weights are of a type NumPy lacks, such as bf16; use fp16") from error


def _require_finite(folder: Path, tensors: dict[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise BundleError(folder, f"its weights '{name}' hold a number that is not finite")


def detector_file(folder: Path) -> Path:
    """Where a bundle keeps its out-of-distribution detector, by the name of today or of format 1."""
    older = folder / OOD_DETECTOR_1
    return older if older.is_file() and not (folder / OOD_DETECTOR).is_file() else folder / OOD_DETECTOR


def bundle_names(models: Path) -> list[str]:
    """Names of the bundles under `models`."""
    return sorted(path.parent.name for path in models.glob(f"*/{DESCRIPTION}"))


def bundle_folder(name_or_path: str | Path, models: Path) -> Path:
    """Folder of a bundle given by name (under `models`) or by path; raises ModelNotFoundError."""
    name = str(name_or_path)
    by_name = models / name
    try:
        if "/" not in name and "\\" not in name and name not in ("", ".", "..") and (by_name / DESCRIPTION).is_file():
            return by_name
        path = Path(name).expanduser()
        if ("/" in name or isinstance(name_or_path, Path)) and (path / DESCRIPTION).is_file():
            return path
    except (
        OSError,
        RuntimeError,
    ):  # a name too long, a folder that may not be entered, nobody's home
        pass
    raise ModelNotFoundError(name, bundle_names(models))


def check_model_name(name: str, models: Path, *, replace: bool = False) -> None:
    """Refuse a name that no model can have, and one that is taken; nothing is written.

    Names are compared without regard to case, as some file systems do, and those of the shipped models are taken
    everywhere. With `replace` the new model may have just the name of the old one.

    Raises:
        ModelNameError: why it cannot be the name.
    """
    if not re.fullmatch(_NAME, name):
        raise ModelNameError(name, "give 1 to 64 letters (A to Z), digits, '-', '_' and '.', a letter or digit first")
    there = [path.name for path in models.iterdir()] if models.is_dir() else []
    alike = {other for other in (*there, *SHIPPED) if other.casefold() == name.casefold()}
    taken = name if name in alike else next(iter(alike), None)
    if taken not in (None, name):
        raise ModelNameError(name, f"it differs from '{taken}' in nothing but case; choose another name")
    if taken and not replace:
        raise ModelNameError(name, "a model of that name is there; choose another name, or replace it (--replace)")


def read_description(folder: Path) -> Bundle:
    """Read `bundle.json` alone, without touching the weights; raises BundleError."""
    path = folder / DESCRIPTION
    try:
        if not path.is_file():
            raise BundleError(folder, f"{DESCRIPTION} is missing")
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise BundleError(folder, f"{DESCRIPTION} is larger than {MAX_DESCRIPTION_BYTES:,} bytes")
        return Bundle.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(folder, f"{DESCRIPTION} is missing or cannot be read") from error
    except ValidationError as error:
        where, reason = _first(error)
        raise BundleError(folder, f"{DESCRIPTION} is not valid at {where}: {reason}") from error


def write_description(folder: Path, description: Bundle) -> None:
    """Write `bundle.json`, whole or not at all.

    Raises:
        ModelValueError: it could not be read again, as when a figure is not finite; the old one stays.
        OutputError: the disk is full.
    """
    text = json.dumps(description.changed().model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_text(folder / DESCRIPTION, text + "\n")


def _first(error: ValidationError) -> tuple[str, str]:
    """Where the first mistake is, and what it is."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])) or "its text", first["msg"].removeprefix("Value error, ")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
