"""Models there are as teachers of a run: what they say of a batch, and how far the network's maps are from theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.files import atomic_path
from core.inference import load_reader
from core.inference.engines.torch_engine import load_net
from core.models.nets import PatchNet
from core.models.store import StoredBundle, bundle_folder, read_description
from core.settings import settings
from core.training.config import Distillation
from core.training.data import Subset

KEPT = "teacher.npy"
"""In a run's folder: what kept teachers said of the training patches."""
CHUNK = 64
EPSILON = 1e-6
"""Least square sum of a teacher's maps that a distance is a share of."""


Ask = Callable[[Tensor], tuple[Tensor, Tensor]]
"""uint8 (n, h, w, 3) -> maps (n, k, rows, columns) and logits (n, 2), float32."""


@dataclass(frozen=True)
class TeacherOutput:
    """What the teacher says of a batch: logits (n, 2), and maps (n, k, h, w) where they are learned; float32."""

    logits: Tensor
    maps: Tensor | None = None


class Teacher:
    """Served models, and the linear layer that tells the maps of one from those of the network that learns.

    That layer stands in the network as `feature_projection`, where it is trained, averaged and kept in checkpoints; a
    bundle leaves it out. Without a weight for maps there is none.
    """

    def __init__(self, distillation: Distillation, net: PatchNet) -> None:
        """Load the teachers, and put a feature_projection into `net` where it is to learn from maps.

        Raises:
            the errors of `load_reader`.
        """
        self._weight, self._views = distillation.maps, distillation.views
        device = next(net.parameters()).device
        self._teachers = _teachers(distillation, device)
        self._net = net
        if self._weight:
            side = read_description(bundle_folder(distillation.teacher, settings().models)).task.side
            blank = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=device)
            channels = self._teachers[0](blank)[0].shape[1]
            net.add_module("feature_projection", _silent(nn.Conv2d(net.net.num_features, channels, 1)).to(device))

    def output(self, patches: NDArray[np.uint8], device: torch.device) -> TeacherOutput:
        """What the teachers say of patches (n, side, side, 3): the mean over them and their views, maps turned back."""
        seen = _views(torch.from_numpy(patches).to(device), self._views)
        told = [ask(seen) for ask in self._teachers]
        logits = torch.stack([logits for _, logits in told]).mean(0).reshape(self._views, -1, 2).mean(0)
        if not self._weight:
            return TeacherOutput(logits)
        back = [_turned_back(maps, index) for index, maps in enumerate(told[0][0].chunk(self._views))]
        return TeacherOutput(logits, torch.stack(back).mean(0))

    def loss_of_maps(self, maps: Tensor, teacher_output: TeacherOutput) -> Tensor | float:
        """Weighted distance of projected maps (n, k, h, w) to the teacher's; 0 without a weight."""
        if teacher_output.maps is None:
            return 0
        return self._weight * distance(self._net.get_submodule("feature_projection")(maps), teacher_output.maps)


def kept_answers(
    distillation: Distillation,
    train: Subset,
    folder: Path,
    device: torch.device,
    stopped: Callable[[], bool] = lambda: False,
) -> NDArray[np.float32] | None:
    """Margins (n,) of the teachers, positive minus negative logit, of the training patches as they are.

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
    teachers, margins = _teachers(distillation, device), np.empty(len(train), np.float32)
    for start in range(0, len(train), CHUNK):
        if stopped():
            return None
        seen = _views(torch.from_numpy(train.patches(slice(start, start + CHUNK))).to(device), distillation.views)
        logits = torch.stack([ask(seen)[1] for ask in teachers]).mean(0).reshape(distillation.views, -1, 2).mean(0)
        margins[start : start + CHUNK] = (logits[:, 1] - logits[:, 0]).cpu().numpy()
    with atomic_path(path) as part, part.open("wb") as file:
        np.save(file, margins)
    return margins


def _teachers(distillation: Distillation, device: torch.device) -> list[Ask]:
    """How each teacher is asked: on processors as it is served, elsewhere by its network, in bf16 on GPUs that have it.

    Pictures and answers stay on the device: served there, they would come back from it at every step.
    """
    return [_asked(name, device) for name in distillation.teachers]


def _asked(name: str, device: torch.device) -> Ask:
    if device.type == "cpu":
        engine = load_reader(name).engine

        def served(patches: Tensor) -> tuple[Tensor, Tensor]:
            maps, logits = engine.forward(patches.numpy())
            return torch.from_numpy(maps), torch.from_numpy(logits)

        return served
    net = load_net(StoredBundle.open(bundle_folder(name, settings().models))).to(device)
    net = net.to(memory_format=torch.channels_last)
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()

    def computed(patches: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            maps, logits = net(patches)
        return maps.float(), logits.float()

    return computed


def _views(patches: Tensor, count: int) -> Tensor:
    """The first `count` flips and turns of patches (n, h, w, c), see `dihedral`: (count n, h, w, c), view by view."""
    mirrored = patches.flip(2)
    return torch.cat([(mirrored if index >= 4 else patches).rot90(index % 4, (1, 2)) for index in range(count)])


def _turned_back(maps: Tensor, index: int) -> Tensor:
    """Maps (n, k, h, w) of a view laid over the patch, see `dihedral_back`."""
    back = maps.rot90(-(index % 4), (2, 3))
    return back.flip(3) if index >= 4 else back


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
