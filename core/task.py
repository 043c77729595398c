"""What is read: a patch's side and pixel size, its two classes, where its label lies, its stain, and words for people.

A task lives in a bundle, beside imported data (`task.json`) and in a run's configuration. PCam is one instance.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import OutputError, TaskError

TASK = "task.json"
"""The file beside imported data that holds its task; without one the data are PCam's."""
MAX_TASK_BYTES = 2**16
SIDE, MIN_SIDE, MAX_SIDE = 96, 32, 1024
STRIDE = 32
"""Pixels along the side of a cell of the last maps of all networks here; a patch holds whole cells."""
PREDICTED, REFER, NOT_READ = "predicted", "refer", "not read"
"""What stands beside the classes: the target that follows the reading, and the verdicts that name none of them."""

Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f]+$")]
Sentence = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Words(_Record):
    """How a task is spoken of; what is None is made from the classes, see `Task`.

    Attributes:
        subject: what a patch shows, as in "H&E-stained lymph node".
        other: short name of the class that is not positive, in what is explained, as in "tumour minus normal".
        likely, unlikely: headlines of the two verdicts.
        limits: what every reader must know, in sentences.
    """

    subject: Sentence | None = None
    other: Name | None = None
    likely: Sentence | None = None
    unlikely: Sentence | None = None
    limits: tuple[Sentence, ...] = ()


class Task(_Record):
    """One thing that patches are read for.

    Attributes:
        name: as people call it.
        side: of a patch in pixels, a multiple of 32.
        um_per_px: micrometres per pixel, or None where pixels have no size.
        classes: the two classes; a number in a table of labels is a place in this order.
        positive: the one that is looked for, the second where it is not said. Its logit comes last, its label is 1.
        label_region: side in pixels of the centred box that the label is about; None: the whole patch.
        stain: "H&E", or None: decides whether stain is checked and varied.
        words: how it is spoken of.
    """

    name: Name
    side: int = Field(default=SIDE, ge=MIN_SIDE, le=MAX_SIDE, multiple_of=STRIDE)
    um_per_px: float | None = Field(default=None, ge=0.05, le=20)
    classes: tuple[Name, Name]
    positive: Name = ""
    label_region: int | None = Field(default=None, ge=1)
    stain: Literal["H&E"] | None = None
    words: Words = Words()

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_say_it(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if not values.get("positive") and len(values.get("classes") or ()) == 2:
            values = values | {"positive": values["classes"][1]}
        if values.get("label_region") == values.get("side", SIDE):
            values = values | {"label_region": None}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Task:
        if self.positive not in self.classes:
            raise ValueError(f"the positive class is '{self.positive}', which is none of {' and '.join(self.classes)}")
        if plainly(self.positive) in map(plainly, (self.negative, self.other)):
            raise ValueError("the two classes need different names, in words.other too")
        if own := {PREDICTED, REFER, NOT_READ}.intersection(map(plainly, (*self.classes, self.other))):
            raise ValueError(f"'{own.pop()}' cannot be a class: it means something else beside the classes")
        if self.label_region is not None and (self.label_region > self.side or (self.side - self.label_region) % 2):
            raise ValueError(f"a label region of {self.label_region} px cannot lie in the middle of {self.side} px")
        return self

    def label(self, number: int | np.integer[Any] | np.bool_) -> str:
        """The class that a label, 0 or 1, means."""
        return self.positive if number else self.negative

    @property
    def negative(self) -> str:
        """The class that is not looked for."""
        return self.classes[self.classes[0] == self.positive]

    @property
    def label_box(self) -> slice:
        """Rows, and columns, that the label is about."""
        inside = self.label_region or self.side
        return slice((self.side - inside) // 2, (self.side + inside) // 2)

    @property
    def label_share(self) -> float | None:
        """Share of the patch that the label box covers: chance for a map to lie in it. None where it is the whole."""
        return None if self.label_region is None else self.label_region**2 / self.side**2

    @property
    def label_is_a_cell(self) -> bool:
        """Whether the label's box is exactly the middle cell of the last maps."""
        return self.label_region == STRIDE and (self.side // STRIDE) % 2 == 1

    @property
    def label_place(self) -> str:
        """Where the label lies, for a sentence: 'in the centre 32 x 32 px', or 'in the patch'."""
        if self.label_share is None:
            return "in the patch"
        return f"in the centre {self.label_region} x {self.label_region} px"

    @property
    def size(self) -> str:
        """'96 x 96 px', with the pixel size where there is one."""
        scale = f" at {self.um_per_px:g} um/px" if self.um_per_px else ""
        return f"{self.side} x {self.side} px{scale}"

    @property
    def subject(self) -> str:
        """What a patch shows."""
        return self.words.subject or f"a picture of the task '{self.name}'"

    @property
    def other(self) -> str:
        """Short name of the negative class."""
        return self.words.other or self.negative

    @property
    def margin(self) -> str:
        """What the margin's map explains: 'tumour minus normal'."""
        return f"{self.positive} minus {self.other}"

    def difference(self, other: Task) -> tuple[str, str, str] | None:
        """What sets two tasks apart for a model: a field in words and both values; None but for names and words."""
        for field, words in _FIELDS.items():
            one, another = getattr(self, field), getattr(other, field)
            if one != another:
                return words, _said(one), _said(another)
        return None

    def headline(self, verdict: str) -> str:
        """A verdict as a headline; one that is no class as it is."""
        if verdict == self.positive:
            return self.words.likely or f"{self.positive} likely"
        return (self.words.unlikely or f"{self.positive} unlikely") if verdict == self.negative else verdict

    @property
    def limits(self) -> tuple[str, ...]:
        """What every reader must know, in plain words."""
        return (
            "Research use only. Not a medical device; no clinical decision may rest on it.",
            f"It reads one patch of {self.size}, {self.subject}, and knows nothing of what lies around it.",
            *self.words.limits,
        )

    @property
    def targets(self) -> dict[str, str]:
        """What can be explained: the name of a target and its meaning, the usual one first."""
        return {
            self.margin: f"what speaks for {self.positive} rather than for {self.other}: the margin behind the "
            "probability",
            PREDICTED: "the logit of the class the reading names",
            self.positive: f"the {self.positive} logit alone",
            self.other: f"the {self.other} logit alone",
        }


def plainly(text: str) -> str:
    """A name by which two are told apart, whatever their case and whatever stands between their words."""
    return re.sub(r"[\s_-]+", " ", text.strip().casefold())


_FIELDS = {
    "side": "patch side in px",
    "classes": "pair of classes",
    "positive": "positive class",
    "label_region": "label box in px",
    "um_per_px": "pixel size in um",
    "stain": "stain",
}
"""What a reading depends on, in words."""


def _said(value: object) -> str:
    return "none" if value is None else " and ".join(value) if isinstance(value, tuple) else f"{value}"


PCAM = Task(
    name="PCam",
    side=96,
    um_per_px=0.97,
    classes=("no tumour", "tumour"),
    positive="tumour",
    label_region=32,
    stain="H&E",
    words=Words(
        subject="H&E-stained lymph node",
        other="normal",
        likely="Tumour likely",
        unlikely="Tumour unlikely",
        limits=("Half of PCam's patches are positive. In a clinic far fewer are.",),
    ),
)
"""PatchCamelyon (Veeling et al. 2018): is there tumour in the centre of a patch of lymph node?"""
PCAM_MEAN, PCAM_STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)
"""Of its training patches by channel, in grey levels."""
PCAM_ORIGIN = (
    "Its label means: at least one tumour pixel in the centre 32 x 32 px. A patch read as 'no tumour' may hold tumour "
    "outside that box.",
    "The slides come from two Dutch hospitals. Other scanners, stains and laboratories can shift its readings without "
    "a warning.",
)
"""What is known of a model that learned from PCam's own patches."""


def read_task(path: Path) -> Task:
    """A task from a JSON file.

    Raises:
        TaskError: the file cannot be read, or a value of it cannot be.
    """
    try:
        with path.open("rb") as handle:
            text = handle.read(MAX_TASK_BYTES + 1)
        values = json.loads(text) if len(text) <= MAX_TASK_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise TaskError(path, "it is not a JSON file that can be read") from error
    if values is None:
        raise TaskError(path, f"it is larger than {MAX_TASK_BYTES:,} bytes")
    try:
        return Task.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the task"
        raise TaskError(path, f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def task_of(folder: Path) -> Task:
    """The task of the data in a folder: `task.json` where there is one, else PCam's; raises TaskError."""
    path = folder / TASK
    return read_task(path) if path.is_file() else PCAM


def require_pcam(folder: Path) -> None:
    """Refuse to write PCam's own patches beside data of another task; raises OutputError, TaskError."""
    if PCAM.difference(task_of(folder)):
        raise OutputError(folder, "it holds data of another task; choose another folder")


def task_json(task: Task) -> str:
    """A task as `task.json` holds it."""
    return json.dumps(task.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
