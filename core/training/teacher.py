"""A model there is as teacher of a run: what it says of a batch, and how far the network's maps are from its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.data.transforms import dihedral, dihedral_back
from core.files import atomic_path
from core.inference import load_reader
from core.models.nets import PatchNet
from core.training.config import Distillation
from core.training.data import Subset

KEPT = "teacher.npy"
"""In a run's folder: what the kept teacher said of the training patches."""
CHUNK = 64
EPSILON = 1e-6
"""Least square sum of a teacher's maps that a distance is a share of."""


@dataclass(frozen=True)
class TeacherOutput:
    """What the teacher says of a batch: maps (n, k, h, w) and logits (n, 2), float32."""

    maps: Tensor
    logits: Tensor


class Teacher:
    """A served model, and the linear layer that tells its maps from those of the network that learns.

    That layer stands in the network as `feature_projection`, where it is trained, averaged and kept in checkpoints; a
    bundle leaves it out. Without a weight for maps there is none.
    """

    def __init__(self, distillation: Distillation, net: PatchNet) -> None:
        """Load the teacher, and put a feature_projection into `net` where it is to learn from maps.

        Raises:
            the errors of `load_reader`.
        """
        self._weight, self._views = distillation.maps, distillation.views
        reader = load_reader(distillation.teacher)
        self._engine, side = reader.engine, reader.task.side
        self._net = net
        if self._weight:
            device = next(net.parameters()).device
            blank = np.zeros((1, side, side, 3), np.uint8)
            channels = self.output(blank, device).maps.shape[1]
            net.add_module("feature_projection", _silent(nn.Conv2d(net.net.num_features, channels, 1)).to(device))

    def output(self, patches: NDArray[np.uint8], device: torch.device) -> TeacherOutput:
        """What the teacher says of patches (n, side, side, 3): the mean over its views, maps turned back."""
        seen = np.concatenate([dihedral(patches, index) for index in range(self._views)])
        maps, logits = self._engine.forward(seen)
        by_view = maps.reshape(self._views, len(patches), *maps.shape[1:]).transpose(0, 1, 3, 4, 2)
        turned_back = [np.asarray(dihedral_back(one, index), np.float32) for index, one in enumerate(by_view)]
        mean = np.ascontiguousarray(np.mean(turned_back, axis=0).transpose(0, 3, 1, 2))
        told = mean, logits.reshape(self._views, -1, 2).mean(axis=0)
        return TeacherOutput(*(torch.from_numpy(array).to(device) for array in told))

    def loss_of_maps(self, maps: Tensor, teacher_output: TeacherOutput) -> Tensor | float:
        """Weighted distance of projected maps (n, k, h, w) to the teacher's; 0 without a weight."""
        return self._weight and self._weight * distance(
            self._net.get_submodule("feature_projection")(maps), teacher_output.maps
        )


def kept_answers(
    distillation: Distillation, train: Subset, folder: Path, stopped: Callable[[], bool] = lambda: False
) -> NDArray[np.float32] | None:
    """Margins (n,) of the teacher, positive minus negative logit, of the training patches as they are.

    They are kept in `folder`, where a later start finds them; None where `stopped` asked for an end before the last.

    Raises:
        OutputError: the disk is full.
        the errors of `load_reader`.
    """
    path = folder / KEPT
    if path.is_file():
        found: NDArray[np.float32] = np.load(path)
        if found.shape == (len(train),):
            return found
    engine, margins = load_reader(distillation.teacher).engine, np.empty(len(train), np.float32)
    for start in range(0, len(train), CHUNK):
        if stopped():
            return None
        patches = train.patches(slice(start, start + CHUNK))
        seen = np.concatenate([dihedral(patches, index) for index in range(distillation.views)])
        logits = engine.forward(np.ascontiguousarray(seen))[1].reshape(distillation.views, -1, 2).mean(axis=0)
        margins[start : start + CHUNK] = logits[:, 1] - logits[:, 0]
    with atomic_path(path) as part, part.open("wb") as file:
        np.save(file, margins)
    return margins


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with zeros for weights: all maps it makes are empty until it has learned."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def distance(maps: Tensor, expected: Tensor) -> Tensor:
    """How far maps (n, k, h, w) are from a teacher's: mean over patches of |maps - expected|^2 / |expected|^2."""
    wrong, whole = (values.square().flatten(1).sum(1) for values in (maps - expected, expected))
    return (wrong / whole.clamp_min(EPSILON)).mean()
