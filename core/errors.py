"""Every error NodeLens raises on purpose. Anything else is a bug and should look like one.

NodeLensError
├── SettingsError            a value in the environment cannot be used
├── TaskError                a task that cannot be
├── DataError
│   ├── SplitNotFoundError   the folder holds no such split
│   ├── SplitFormatError     a file is not laid out as PCam's are
│   ├── OtherTaskError       data of another task than the model's
│   ├── TooFewPatchesError   a split is too small for what is to be learned from it
│   ├── ImportSourceError    a zip or folder cannot be imported
│   ├── DownloadError        an official file cannot be fetched
│   └── SyntheticRequestError  a number of drawn patches or a seed out of range
├── ReportError              a kept evidence report cannot be read
├── IntakeError              untrusted bytes are refused
│   ├── EmptyFileError       nothing in it
│   ├── UnreadableImageError not an image we read, or damaged
│   ├── ImageTooLargeError   more pixels or bytes than we accept
│   ├── PatchShapeError      smaller than one patch, or not cut to one
│   ├── PixelSizeError       a um/px value that cannot be true
│   ├── CoarseImageError     more um/px than the model reads
│   ├── WindowError          a window that leaves the picture
│   └── FullError            all visitors together hold as much as they may
├── SlideError               a slide cannot be opened, or not at that place
├── ModelError
│   ├── ModelNotFoundError   no bundle of that name
│   ├── BundleError          a bundle is damaged, altered or incomplete
│   ├── ModelNameError       a name that no new model can have
│   ├── ModelValueError      a value that no model can have
│   ├── CalibrationError     patches that nothing can be calibrated on
│   ├── UnknownArchitectureError
│   └── PretrainedWeightsError  ImageNet weights could not be fetched
├── EngineError              an inference engine cannot serve
│   └── BusyError            too many patches are waiting for it
├── TrainingError            a run cannot start or go on
│   ├── TrainingConfigError  a value of its configuration cannot be
│   ├── RunNotFoundError     no run of that name
│   └── RunBusyError         another process trains it
├── LineFullError            too many jobs wait already
├── ReadOnlyError            this NodeLens only shows
├── ExplanationError         unknown method, layer or target
└── OutputError              a result cannot be written

The message is one sentence or two for the person; the attributes are for the program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from unicodedata import category

MAX_MESSAGE = 600


class NodeLensError(Exception):
    """Base of all errors that are shown to a person as they are: in one line, whatever names it quotes."""

    def __init__(self, message: str = "") -> None:
        text = without_home(printable(message))
        if len(text) > MAX_MESSAGE:
            text = f"{text[: MAX_MESSAGE - 200]} ... {text[-190:]}"
        super().__init__(text)


def printable(text: str) -> str:
    """Untrusted text with what moves a cursor or turns the reading direction written out, as in "a\\nb"."""
    return "".join(
        character.encode("unicode_escape").decode() if _steers(character) else character for character in text
    )


def without_home(text: str) -> str:
    """Text in which '~' stands for the home folder, whose name is often a person's."""
    home = os.environ.get("HOME", "").rstrip("/")
    return re.sub(rf"(?<![\w.~/-]){re.escape(home)}(?![\w.-])", "~", text) if home else text


def _steers(character: str) -> bool:
    joins_emoji_and_letters = character in "\u200c\u200d"
    return not joins_emoji_and_letters and category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


class SettingsError(NodeLensError):
    """A value in the environment cannot be used."""

    def __init__(self, variable: str, reason: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} {reason}")


class TaskError(NodeLensError):
    """A task file is damaged, or one of its values cannot be."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path.name} does not describe a task: {reason}.")


class DataError(NodeLensError):
    """Something is wrong with a data set on disk."""


class SplitNotFoundError(DataError):
    """A folder holds no split of that name, or lacks the file `missing` of it."""

    def __init__(self, folder: Path, split: str, present: Sequence[str] = (), missing: str = "") -> None:
        self.folder, self.split, self.present, self.missing = folder, split, tuple(present), missing
        found = f"it holds {', '.join(present)}" if present else "it holds none"
        found = f"{missing} is missing" if missing else found
        super().__init__(f"No split '{split}' in {folder}: {found}.")


class SplitFormatError(DataError):
    """A file does not have the layout of PCam's official files."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path.name} is no file of a split that NodeLens can read: {reason}.")


class OtherTaskError(DataError):
    """A split belongs to another task than the model that is to read it."""

    def __init__(self, split: str, field: str, found: object, wanted: object) -> None:
        """Of a split whose task has `found` in a field where the model's has `wanted`."""
        self.split, self.field, self.found, self.wanted = split, field, found, wanted
        super().__init__(
            f"'{split}' holds data of another task than the model's: its {field} is {found}, the model's is {wanted}."
        )


class TooFewPatchesError(DataError):
    """A split has too few patches for what is to be learned from them."""

    def __init__(self, split: str, patches: int, purpose: str) -> None:
        self.split, self.patches = split, patches
        super().__init__(f"{patches} patches of '{split}' are too few to {purpose}.")


class ImportSourceError(DataError):
    """A zip or folder of patches cannot be imported."""

    def __init__(self, source: Path, reason: str) -> None:
        self.source, self.reason = source, reason
        super().__init__(f"{source} cannot be imported: {reason}.")


class DownloadError(DataError):
    """An official file cannot be fetched, or is not what was published."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"Cannot fetch {url.partition('?')[0]}: {reason}.")


class SyntheticRequestError(DataError):
    """Synthetic patches are asked for with a number or a seed out of range."""

    def __init__(self, name: str, value: int, low: int, high: int) -> None:
        self.name, self.value = name, value
        super().__init__(f"Cannot draw synthetic patches with {name} = {value:,}; give {low:,} to {high:,}.")


class ReportError(NodeLensError):
    """A kept evidence report is damaged, or of a format that cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"The evidence report {path.name} of {path.parent.name} cannot be read: {reason}.")


class IntakeError(NodeLensError):
    """A file somebody offered is refused."""


class EmptyFileError(IntakeError):
    """A file holds no bytes."""

    def __init__(self) -> None:
        super().__init__("The file is empty.")


class UnreadableImageError(IntakeError):
    """A file is not an image of a supported type, or it is damaged."""

    def __init__(self, reason: str = "it is not a PNG, JPEG, TIFF, BMP or WebP image") -> None:
        self.reason = reason
        super().__init__(f"The file cannot be read: {reason}.")


class ImageTooLargeError(IntakeError):
    """An image has more bytes or pixels than NodeLens accepts; `um_per_px` when it was enlarged from that."""

    def __init__(self, limit: int, unit: str, um_per_px: float | None = None) -> None:
        self.limit, self.unit, self.um_per_px = limit, unit, um_per_px
        advice = "Cut out the region of interest" + ("." if um_per_px is None else ", or correct the pixel size.")
        super().__init__(f"The image has more than {limit:,} {unit}. {advice}")


class PatchShapeError(IntakeError):
    """An image is not (or does not contain) one patch of a task."""

    def __init__(
        self, shape: tuple[int, ...], side: int, um_per_px: float | None = None, rescaled_from: float | None = None
    ) -> None:
        """Of an image of `shape` where a patch has `side` px at `um_per_px`; `rescaled_from` where it was rescaled."""
        self.shape, self.side, self.um_per_px, self.rescaled_from = shape, side, um_per_px, rescaled_from
        size = f"{shape[1]} x {shape[0]}" if len(shape) >= 2 else "no picture"
        if rescaled_from is not None and um_per_px is not None:
            region = side * um_per_px
            advice = (
                f" once brought from {rescaled_from:.3g} to {um_per_px:g} um/px. "
                f"Cut out a region of {region:.0f} x {region:.0f} um, or correct the pixel size."
            )
        elif um_per_px is not None:
            advice = f". Crop it at {um_per_px:g} um/px; it is not resized for you."
        else:
            advice = ". Crop it; it is not resized for you."
        super().__init__(f"Expected a {side} x {side} RGB patch, got {size}{advice}")


class PixelSizeError(IntakeError):
    """A pixel size is not a number that microscopy could produce."""

    def __init__(self, um_per_px: float, low: float, high: float) -> None:
        self.um_per_px = um_per_px
        super().__init__(f"{um_per_px:g} um/px is not a usable pixel size; give a value from {low:g} to {high:g}.")


class CoarseImageError(IntakeError):
    """An image would have to be enlarged so much that its detail would be invented."""

    def __init__(self, um_per_px: float, wanted: float) -> None:
        self.um_per_px, self.wanted = um_per_px, wanted
        super().__init__(
            f"At {um_per_px:.3g} um/px the image lacks the detail of the {wanted:g} um/px that the model reads. "
            "Export it at a higher magnification, or correct the pixel size."
        )


class WindowError(IntakeError):
    """A window does not lie inside the picture."""

    def __init__(self, left: int, top: int, width: int, height: int, side: int) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        super().__init__(
            f"A {side} x {side} window at {left}, {top} does not lie inside the picture of {width} x {height} pixels."
        )


class FullError(IntakeError):
    """What all visitors together hold leaves no room for another file."""

    def __init__(self) -> None:
        super().__init__("The server holds as many pictures as it may. Remove files, or wait a minute and try again.")


class SlideError(NodeLensError):
    """A slide cannot be opened or read."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The slide {path.name} cannot be read: {reason}.")


class ModelError(NodeLensError):
    """Something is wrong with a model."""


class ModelNotFoundError(ModelError):
    """No bundle of that name or at that path."""

    def __init__(self, name: str, present: Sequence[str] = ()) -> None:
        self.name, self.present = name, tuple(present)
        known = f"Known models: {', '.join(present)}." if present else "No model is installed."
        super().__init__(f"No model '{name}'. {known}")


class BundleError(ModelError):
    """A bundle is damaged, altered or incomplete."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"The model in {path} cannot be used: {reason}.")


class ModelNameError(ModelError):
    """A name that no new model can have, or that is another's."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"'{name}' cannot be the name of a new model: {reason}.")


class ModelValueError(ModelError):
    """A value that no model can have, such as a version of a hundred letters."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(f"No model can have this {where}: {reason}.")


class CalibrationError(ModelError):
    """Patches that a model cannot be calibrated on."""

    def __init__(self, split: str, reason: str) -> None:
        self.split, self.reason = split, reason
        super().__init__(f"The model cannot be calibrated on '{split}': {reason}.")


class UnknownArchitectureError(ModelError):
    """An architecture name that NodeLens does not know."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"Unknown architecture '{name}'. Known: {', '.join(known)}.")


class PretrainedWeightsError(ModelError):
    """ImageNet weights could not be fetched."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        super().__init__(
            f"ImageNet weights for {architecture} could not be downloaded. "
            "Check the internet connection, or start from random weights or from a bundle."
        )


class EngineError(NodeLensError):
    """An inference engine cannot serve."""


class BusyError(EngineError):
    """Too many patches are waiting for an engine."""

    def __init__(self) -> None:
        super().__init__("NodeLens is busy reading for others. Nothing is lost: try again in a moment.")


class TrainingError(NodeLensError):
    """A training run cannot start or go on."""


class TrainingConfigError(TrainingError):
    """A value of a training configuration cannot be."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"This cannot be trained: {reason}.")


class RunNotFoundError(TrainingError):
    """No training run of that name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"There is no training run '{name}'.")


class RunBusyError(TrainingError):
    """Another process holds a run."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"The run '{name}' is in the hands of another process. Stop that one first, or wait for it.")


class LineFullError(NodeLensError):
    """So many jobs are in line that nobody else may join."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        super().__init__(f"The line is full: {jobs} jobs work or wait already. Try again when one has ended.")


class ReadOnlyError(NodeLensError):
    """This NodeLens shows what there is and changes nothing."""

    def __init__(self) -> None:
        super().__init__(
            "This NodeLens is read-only: nothing is trained, examined, changed or deleted here. "
            "Whoever runs it can allow it with NODELENS_READONLY=0."
        )


class ExplanationError(NodeLensError):
    """An unknown method, layer or target, or a combination that does not exist."""

    def __init__(self, kind: str, value: str, known: Sequence[str]) -> None:
        self.kind, self.value, self.known = kind, value, tuple(known)
        super().__init__(f"Unknown {kind} '{value}'. Known: {', '.join(known)}.")


class OutputError(NodeLensError):
    """A result cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"Cannot write {path}: {reason}.")
