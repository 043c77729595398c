"""What a run is trained with: frozen, checked, and named by its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.data.transforms import VIEWS
from core.errors import TrainingConfigError, without_home
from core.files import migrated
from core.models.architectures import ARCHITECTURES
from core.task import PCAM, PCAM_MEAN, PCAM_STD, Task

Rate = Annotated[float, Field(gt=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Triple = tuple[float, float, float]
Place = Annotated[str, AfterValidator(without_home)]
"""A path, or a name; it goes into the bundle that a run becomes."""

STUDY_MEAN = (0.702447 * 255, 0.546243 * 255, 0.696453 * 255)
STUDY_STD = (0.238893 * 255, 0.282094 * 255, 0.216251 * 255)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_NAMES_1 = {"paste": "cutmix", "peak": "max_lr", "first_peak": "min_group_lr", "average": "ema_decay"} | {
    "centre": "centre_cell",
    "mosaics": "mosaic_batches",
    "spill": "background_evidence",
    "prior": "init_bias_prior",
}
"""Fields of configurations of format 1, and of their parts, by their names since."""


class Augmentation(_Frozen):
    """How patches are varied in training; each strength is drawn anew for each patch. Zero leaves out.

    Flips and quarter turns are always drawn: glass has no up.
    """

    shift: int = Field(default=0, ge=0, le=16)
    """Largest shift in pixels."""
    rotation: float = Field(default=0, ge=0, le=45)
    """Largest angle in degrees."""
    stain: float = Field(default=0, ge=0, le=1)
    """Largest relative change of hematoxylin, eosin and residual; a fifth of it is added as offset."""
    brightness: float = Field(default=0, ge=0, le=0.5)
    """Largest change of brightness, as a share of the full range."""
    contrast: float = Field(default=0, ge=0, lt=1)
    """Largest relative change of contrast."""
    blur: float = Field(default=0, ge=0, le=4)
    """Largest sigma in pixels, in a quarter of the patches."""
    jpeg: int = Field(default=0, ge=0, le=95)
    """Lowest JPEG quality, in a quarter of the patches; 0 for none."""
    cutmix: Share = 0
    """Share of the patches that get a rectangle of another (CutMix: Yun et al. 2019, arXiv:1905.04899); their label
    counts by what of its own box is whose."""


class Cycle(_Frozen):
    """One one-cycle: learning rate up and down again."""

    epochs: float = Field(gt=0, le=1000)
    max_lr: Rate
    min_group_lr: Rate | None = None
    """Peak of the first layers; the groups between are spread geometrically. None: `max_lr` everywhere."""
    frozen: bool = False
    """Train the head alone."""
    frozen_norm: Literal["fixed", "batch"] = "fixed"
    """Batch normalisation in a frozen body: `fixed` keeps its statistics, so that its maps are computed once; `batch`
    goes on learning them, as fastai does."""
    frozen_groups: int = Field(default=0, ge=0, le=100)
    """First layer groups that stay as they are, statistics and all: from the stem on, as timm groups them."""
    frozen_bias: bool = False
    """Leave the head's bias as it is, as `init_bias_prior` set it: evidence goes on being counted from that prior."""
    cached_views: int = Field(default=2, ge=1, le=8)
    """Flips and turns of each patch that the maps of a fixed body are computed for; nothing else varies them."""
    side: int | None = Field(default=None, ge=32)
    """Side of the centre crop in pixels; None for whole patches."""

    @property
    def fixed(self) -> bool:
        """Whether the body stays as it is, statistics and all, so that its maps are computed once."""
        return self.frozen and self.frozen_norm == "fixed"

    @property
    def whole(self) -> bool:
        """Whether all layers learn, from whole patches: what losses on the last maps need."""
        return not self.frozen and self.side is None


class Distillation(_Frozen):
    """Learning from a teacher as well: from its logits (Hinton et al. 2015, arXiv:1503.02531) and its maps."""

    teacher: Place
    """Name under models/, or path of a bundle; several, parted by commas, answer with the mean of their logits."""
    views: int = Field(default=1, ge=1, le=VIEWS)
    """Flips and turns of each patch that the teacher's answer is the mean of, maps turned back: it knows more so."""
    once: bool = False
    """Ask the teacher once about each patch as it is, for one too dear to ask at every step. Of patches pasted into
    each other its answers are mixed as their labels are; its maps are not asked for."""
    weight: Share = 0.5
    temperature: float = Field(default=2.0, gt=0, le=20)
    maps: float = Field(default=0, ge=0, le=100)
    """Weight of telling the teacher's maps from the network's own by one linear layer (FitNets: Romero et al. 2015,
    arXiv:1412.6550); it is added to the rest of the loss, in cycles of whole patches."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names, or paths, one by one."""
        return tuple(filter(None, map(str.strip, self.teacher.split(","))))

    @model_validator(mode="after")
    def _asked(self) -> Distillation:
        if not self.teachers:
            raise ValueError("teacher: no model is named")
        if self.maps and len(self.teachers) > 1:
            raise ValueError("maps: those of one teacher can be learned, not of several")
        return self


class TrainConfig(_Frozen):
    """Everything that decides what a run becomes."""

    format: Literal[2] = 2
    task: Task = PCAM
    """What patches are read for; that of the data."""
    architecture: str = "densenet169"
    start: Place = "random"
    """`random`, `imagenet`, or the name or path of a bundle (or safetensors file) whose weights it starts from."""
    data: Place = "data/pcam"
    train_split: str = "train"
    valid_split: str = "valid"
    holdout: Literal["split", "random"] = "split"
    """Validate on `valid_split`, or on a random tenth of the training patches as the study did (slides leak)."""
    cycles: tuple[Cycle, ...] = Field(min_length=1, max_length=20)
    batch: int = Field(default=64, ge=2, le=4096)
    weight_decay: float = Field(default=1e-2, ge=0, le=1)
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    clip: float = Field(default=0, ge=0)
    """Largest norm of the gradient; 0 for no limit."""
    ema_decay: float = Field(default=0, ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights that is validated and kept; 0 for none."""
    augmentation: Augmentation = Augmentation()
    distillation: Distillation | None = None
    centre_cell: Share = 0
    """Weight of the loss on what the centre cell's evidence says alone, beside that on all cells; see
    `core.training.losses.localisation`."""
    mosaic_batches: bool = False
    """Read every other batch as mosaics of four patches; see `core.training.losses.localisation`."""
    background_evidence: float = Field(default=0, ge=0, le=100)
    """Weight of the evidence for tumour in cells of patches without; see `core.training.losses.localisation`."""
    init_bias_prior: float | None = Field(default=None, gt=0, lt=1)
    """Probability of tumour that the head's bias says at the start, as of a patch without evidence (Lin et al. 2017,
    arXiv:1708.02002). Below one half, normal tissue needs no evidence against tumour, and weak tumour keeps a voice.
    None leaves the bias as it is."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 autocast where the processor is found to compute in it faster when the run starts, else fp32."""
    mean: Triple = PCAM_MEAN
    std: Triple = PCAM_STD
    seed: int = Field(default=0, ge=0, lt=2**31)
    limit: int = Field(default=0, ge=0, lt=2**31)
    """Train on so many patches, drawn once; 0 for all."""
    checkpoint_every: int = Field(default=200, ge=1, lt=2**31)
    """Steps between checkpoints."""

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, values: Any) -> Any:
        values = migrated(values, 1, _NAMES_1)
        return _whole_patches(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _known(self) -> TrainConfig:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture '{self.architecture}'; known: {', '.join(ARCHITECTURES)}")
        known = ARCHITECTURES[self.architecture]
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        points = self.centre_cell or self.mosaic_batches or self.background_evidence
        if points and not all(cycle.whole for cycle in self.cycles):
            raise ValueError(
                f"centre_cell, mosaic_batches and background_evidence need whole patches ({self.task.side} px) and no "
                "frozen cycle"
            )
        if self.centre_cell and not self.task.label_is_a_cell:
            raise ValueError("centre_cell needs a label region that is one cell of the last maps")
        if any(cycle.side is not None and cycle.side > self.task.side for cycle in self.cycles):
            raise ValueError(f"cycles.side: a crop cannot be larger than a patch of {self.task.side} px")
        if known.layers and (self.centre_cell or self.mosaic_batches):
            raise ValueError(
                f"centre_cell and mosaic_batches are for padded networks, which {self.architecture} is not"
            )
        if not all(known.cells(cycle.side or self.task.side) for cycle in self.cycles):
            raise ValueError(f"a crop has no room for the window of one cell of {self.architecture}")
        if self.distillation and self.distillation.maps and (known.layers or self.distillation.once):
            raise ValueError("distillation.maps needs a teacher that is asked at every step, and padded layers")
        if self.batch % self.unit:
            raise ValueError(f"mosaic batches and cutmix need a batch that is a multiple of {self.unit}")
        return self

    @property
    def unit(self) -> int:
        """Patches that stand side by side in a batch and are mixed with each other, so that no process parts them."""
        return 4 if self.mosaic_batches else 2 if self.augmentation.cutmix else 1

    @property
    def digest(self) -> str:
        """First digits of the hash of every value."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _whole_patches(values: dict[str, Any]) -> dict[str, Any]:
    """A crop as large as the patch is the whole patch."""
    task, cycles = values.get("task", PCAM), values.get("cycles")
    side = task.side if isinstance(task, Task) else task.get("side", PCAM.side) if isinstance(task, dict) else None
    if not isinstance(cycles, list | tuple):
        return values
    plain = [cycle.model_dump() if isinstance(cycle, Cycle) else cycle for cycle in cycles]
    whole = [c | {"side": None} if isinstance(c, dict) and c.get("side") == side else c for c in plain]
    return values | {"cycles": whole}


_STUDY_AUGMENTATION = {"shift": 2, "rotation": 3.0, "brightness": 0.07, "contrast": 0.05}
_STUDY: dict[str, Any] = {
    "architecture": "densenet169",
    "start": "imagenet",
    "cycles": [
        {"epochs": 8, "max_lr": 2e-2, "frozen": True, "frozen_norm": "batch", "side": 90},
        {"epochs": 12, "max_lr": 4e-4, "min_group_lr": 4e-5, "side": 90},
    ],
    "batch": 128,
    "weight_decay": 1e-4,
    "augmentation": _STUDY_AUGMENTATION,
    "mean": STUDY_MEAN,
    "std": STUDY_STD,
}
_DEFAULT: dict[str, Any] = {
    "cycles": [
        {"epochs": 6, "max_lr": 2e-3, "side": 64},
        {"epochs": 9, "max_lr": 1e-3, "min_group_lr": 5e-4},
    ],
    "weight_decay": 2e-2,
    "label_smoothing": 0.05,
    "clip": 1.0,
    "ema_decay": 0.999,
    "augmentation": {
        "shift": 3, "stain": 0.35, "brightness": 0.1, "contrast": 0.25, "blur": 2.0, "jpeg": 30, "cutmix": 0.5,
    },
    "distillation": {"teacher": "efficientnet_lite0", "views": 4, "weight": 0.7, "temperature": 2.0, "maps": 2.0},
}  # fmt: skip
_REFINE: dict[str, Any] = {
    "start": "densenet169",
    "cycles": [{"epochs": 7, "max_lr": 1e-3, "min_group_lr": 5e-4}],
}
_LOCAL: dict[str, Any] = {
    "start": "densenet169",
    "cycles": [{"epochs": 1.5, "max_lr": 5e-4, "min_group_lr": 2.5e-4}],
    "ema_decay": 0.997,
    "distillation": {"teacher": "efficientnet_lite0", "weight": 0.5, "temperature": 2.0},
    "centre_cell": 0.5,
    "mosaic_batches": True,
    "background_evidence": 1.0,
    "init_bias_prior": 0.2,
}
_UNPADDED: dict[str, Any] = {
    "architecture": "efficientnet_lite0_unpadded",
    "start": "efficientnet_lite0",
    "cycles": [{"epochs": 54, "max_lr": 3e-3, "min_group_lr": 1.5e-3, "frozen_bias": True}],
    "batch": 256,
    "mean": (127.0, 127.0, 127.0),
    "std": (128.0, 128.0, 128.0),
    "ema_decay": 0.998,
    "distillation": {"teacher": "densenet169,efficientnet_lite0", "views": 2, "weight": 0.8, "temperature": 2.0},
    "background_evidence": 1.0,
    "init_bias_prior": 0.5,
}  # fmt: skip
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (
        "DenseNet169 from random weights: stain augmentation, averaged weights, the shipped EfficientNet as teacher.",
        _DEFAULT,
    ),
    "refine": (
        "The shipped DenseNet169, trained on: the second half of what `default` does.",
        _DEFAULT | _REFINE,
    ),
    "local": (
        "The shipped DenseNet169, taught to answer from the label's own cell, so that its map points.",
        _DEFAULT | _LOCAL,
    ),
    "unpadded": (
        "EfficientNet-Lite0 without padding, whose cells are the cause: taught by two shipped models. For a GPU.",
        _DEFAULT | _UNPADDED,
    ),
    "study": ("The study's protocol as it was, its random split by patch included.", _STUDY | {"holdout": "random"}),
    "study-official": ("The study's protocol, validated on PCam's own split by slide.", _STUDY),
    "smoke": (
        "A small network on a few patches, to try things out in a minute.",
        {
            "architecture": "tiny_resnet",
            "data": "assets/demo",
            "train_split": "demo",
            "holdout": "random",
            "cycles": [
                {"epochs": 1, "max_lr": 1e-2, "frozen": True},
                {"epochs": 6, "max_lr": 5e-3, "min_group_lr": 1e-3},
            ],
            "batch": 32,
            "augmentation": {"stain": 0.05},
            "precision": "fp32",
            "checkpoint_every": 10,
        },
    ),
}  # fmt: skip
"""Name -> what it is for, and its values."""


def make_config(preset: str = "default", **changes: Any) -> TrainConfig:
    """A preset with some values changed; None changes nothing.

    Raises:
        TrainingConfigError: an unknown preset, or a value that cannot be.
    """
    if preset not in PRESETS:
        raise TrainingConfigError(f"unknown preset '{preset}'; known: {', '.join(PRESETS)}")
    return parse_config(PRESETS[preset][1] | {name: value for name, value in changes.items() if value is not None})


def parse_config(values: Any) -> TrainConfig:
    """Check values that came from a file or a form; raises TrainingConfigError."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the configuration"
        raise TrainingConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
