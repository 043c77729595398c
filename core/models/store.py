"""Bundles on disk.

A bundle is a folder: `weights.safetensors` (fp16 state dict), `bundle.json` (see `core.models.schema`), `CARD.md`
(written from the bundle by `python -m core model card`), and perhaps `ood.safetensors` (see `core.models.ood`).
Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from core.errors import BundleError, ModelNameError, ModelNotFoundError
from core.files import write_text
from core.models.ood import Detector, load_detector
from core.models.schema import NAME, Bundle, first_mistake

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
OOD_DETECTOR, OOD_DETECTOR_1 = "ood.safetensors", "strangers.safetensors"
"""The detector's file, and its name in bundles of format 1."""
DESCRIPTION = "bundle.json"
CARD = "CARD.md"
SHIPPED = ("densenet169", "efficientnet_lite0", "efficientnet_lite0_unpadded")
"""Names of the models that come with NodeLens, in whatever folder a new one is made."""
MAX_DESCRIPTION_BYTES = 2**20
MAX_WEIGHTS_BYTES = 2 * 2**30


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
    def ood(self) -> Detector | None:
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
        if detector.features.whiten.shape != (self.head[0].shape[1], record.directions):
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
    if not re.fullmatch(NAME, name):
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
        where, reason = first_mistake(error)
        raise BundleError(folder, f"{DESCRIPTION} is not valid at {where}: {reason}") from error


def write_description(folder: Path, description: Bundle) -> None:
    """Write `bundle.json`, whole or not at all.

    Raises:
        ModelValueError: it could not be read again, as when a figure is not finite; the old one stays.
        OutputError: the disk is full.
    """
    text = json.dumps(description.changed().model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_text(folder / DESCRIPTION, text + "\n")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
