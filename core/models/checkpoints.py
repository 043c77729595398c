"""State dicts as people have them: what file they lie in, how their names are brought to timm's, and what does not fit.

Nothing in a file is executed: safetensors hold numbers alone, and PyTorch's files are read with `weights_only`.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import BundleError
from core.models.architectures import architecture
from core.models.store import MAX_WEIGHTS_BYTES

State = Mapping[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Names under which training scripts keep a state dict beside an optimiser's and a count of epochs."""
DEEPEST = 3
"""Wrappers around one another, at most."""
COUNTER = "num_batches_tracked"
"""What a batch normalisation has counted: nothing depends on it, and old files lack it."""
# What `torch.load` raises at files that are damaged, or no checkpoints at all.
_DAMAGED = (UnpicklingError, EOFError, RuntimeError, LookupError, AttributeError, TypeError, ValueError, struct.error)
_OLD_NAME = re.compile(r"\.(norm|conv)\.([12])\.")
"""torchvision's DenseNet before 2017, `norm.1` for what is `norm1` now."""


def read_state(path: Path) -> State:
    """Read a state dict from a safetensors file, or from a PyTorch checkpoint that holds one.

    Raises:
        BundleError: neither of these, too large, or in need of code that would have to be run.
    """
    try:
        if path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise BundleError(path, f"it is larger than {MAX_WEIGHTS_BYTES:,} bytes")
        state: State = load_file(path)
        return state
    except OSError as error:
        raise BundleError(path, "it is not there, or cannot be read") from error
    except SafetensorError:
        return _inner(path, _read_checkpoint(path))


def _read_checkpoint(path: Path) -> Any:
    try:
        with path.open("rb") as file, warnings.catch_warnings():  # of a path torch looks at the name's ending
            warnings.simplefilter("ignore")  # what it warns of is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(path, "it cannot be read") from error
    except _DAMAGED as error:
        if "TorchScript" in str(error):
            reason = "it is a TorchScript archive, which is a program"
        elif needed := re.search(r"GLOBAL (\S+)|class (\S+) with", str(error)):
            reason = f"it needs {needed[1] or needed[2]}, which is code that would be run"
        else:
            raise BundleError(path, "it is not a safetensors file, nor a PyTorch checkpoint") from error
        raise BundleError(path, f"{reason}; save the state dict alone: torch.save(net.state_dict(), ...)") from error


def _inner(path: Path, record: Any) -> State:
    """The state dict in a checkpoint, under one of WRAPPERS or none."""
    for _ in range(DEEPEST):
        if not isinstance(record, Mapping):
            raise BundleError(path, f"it holds no state dict but a value of type {type(record).__name__}")
        inner = next((record[name] for name in WRAPPERS if isinstance(record.get(name), Mapping)), None)
        if inner is None:
            break
        record = inner
    found = {str(name): value for name, value in record.items()}
    if not any(isinstance(value, Tensor) for value in found.values()):
        raise BundleError(path, f"it holds no state dict, but {', '.join(list(found)[:5]) or 'nothing'}")
    return found


def fitted(path: Path, state: State, wanted: State, name: str) -> dict[str, Tensor]:
    """A state dict with the names and shapes that a network wants, as float32; one logit z becomes the two (0, z).

    Args:
        path: where it comes from, for what is said.
        state: by names that may stand behind a prefix (`module.`, `model.`, `backbone.` ...), or be torchvision's old.
        wanted: state dict of the network.
        name: of the architecture.

    Raises:
        BundleError: naming the first weight that is missing, of another shape, not finite, or does not belong.
    """
    found = _two_logits(_renamed(path, state, wanted), architecture(name).head)
    odd = misfit(found, wanted)
    if odd:
        raise BundleError(path, f"its weights do not fit {name}: {odd}")
    return {
        key: found.get(key, own).to(own.dtype) if key.endswith(COUNTER) else _as_float(path, key, found[key])
        for key, own in wanted.items()
    }


def misfit(state: State, wanted: State) -> str:
    """What keeps a state dict from being a network's: the first such weight, in words; "" where it fits."""
    for name, own in wanted.items():
        if name not in state:
            if not name.endswith(COUNTER):
                return f"'{name}' is missing"
        elif not isinstance(state[name], Tensor):
            return f"'{name}' is no tensor"
        elif state[name].shape != own.shape:
            return f"'{name}' has shape {tuple(state[name].shape)}, expected {tuple(own.shape)}"
    odd = next((name for name in state if name not in wanted), None)
    return f"'{odd}' does not belong" if odd is not None else ""


def _renamed(path: Path, state: State, wanted: State) -> dict[str, Tensor]:
    """By today's names, without what stands before all of them: all that precedes the name of the first weight."""
    first = next(iter(wanted))
    modern = {_OLD_NAME.sub(r".\1\2.", name): value for name, value in state.items()}
    before = [name[: -len(first)] for name in modern if f".{name}".endswith(f".{first}")]
    prefix = min(before, key=len, default="")
    found: dict[str, Tensor] = {}
    for name, value in modern.items():
        short = name.removeprefix(prefix)
        if short in found:
            raise BundleError(path, f"it holds '{short}' twice, with and without '{prefix}'")
        found[short] = value
    return found


def _two_logits(state: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    """With the head where timm has it, and of two logits where it has one: softmax(0, z) is sigmoid(z)."""
    inside = [name.removesuffix(".weight") for name in state if re.fullmatch(rf"{head}\.\d+\.weight", name)]
    if len(inside) == 1:  # the linear layer of a Sequential, as behind dropout
        state = {name.replace(f"{inside[0]}.", f"{head}.", 1): value for name, value in state.items()}
    for name, ndim in ((f"{head}.weight", 2), (f"{head}.bias", 1)):
        alone = state.get(name)
        if isinstance(alone, Tensor) and alone.ndim == ndim and len(alone) == 1:
            state[name] = torch.cat([torch.zeros_like(alone), alone])
    return state


def _as_float(path: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.is_meta or tensor.layout != torch.strided:
        raise BundleError(path, f"its weights '{name}' are of type {tensor.dtype}, expected floating point")
    if not tensor.isfinite().all():
        raise BundleError(path, f"its weights '{name}' hold a number that is not finite")
    return tensor.float()
