"""Batches: a pure function of configuration and step, so that a resumed run and two processes see the same patches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.data import corruptions
from core.data.pcam import Split
from core.data.transforms import VIEWS, dihedral
from core.errors import TrainingError
from core.training.config import Augmentation, Cycle, TrainConfig

AHEAD = 3
"""Batches prepared while the network computes. Where that takes the processor, one thread prepares them, which takes no
core away; a GPU is fed by processes, each with so many ahead."""
OCCASIONALLY = 0.25
"""Share of the patches that are blurred, and that are coded as JPEG."""
PASTED = (0.25, 0.75)
"""Sides of a rectangle that is pasted, from and to, as shares of the patch's."""
HOLDOUT = 0.1


@dataclass(frozen=True)
class Subset:
    """Some patches of a split."""

    split: Split
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(n,) 0 or 1."""
        return self.split.labels[self.indices]

    def patches(self, positions: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Patches at positions of this subset, uint8 (n, side, side, 3)."""
        return self.split.patches(self.indices[positions])


@dataclass(frozen=True)
class Batch:
    """What one step learns from."""

    inputs: NDArray[Any]
    """(n, side, side, 3) uint8 augmented and cropped patches, or (n, k) float32 pooled maps of a frozen body."""
    labels: NDArray[np.float32]
    """(n,) probability of the positive class: 0 or 1, or between them where patches are pasted into each other."""
    whole: NDArray[np.uint8]
    """(n, side, side, 3) the augmented patches before the crop, for a teacher."""
    answers: NDArray[np.float32] | None = None
    """(n,) margins of a teacher that was asked before about the patches as they are."""


def subsets(config: TrainConfig, open_split: Callable[[str], Split]) -> tuple[Subset, Subset]:
    """Training and validation patches of a run.

    Args:
        config: says which, and whether validation patches are drawn from the training split.
        open_split: name -> split.

    Raises:
        TrainingError: too few patches, one class only, or another task's.
    """
    split = open_split(config.train_split)
    generator = np.random.default_rng((config.seed, 1))
    chosen = generator.permutation(len(split))
    if config.holdout == "random":
        held = max(1, round(HOLDOUT * len(split)))
        valid = Subset(split, np.sort(chosen[:held]))
        chosen = chosen[held:]
    else:
        other = open_split(config.valid_split)
        valid = Subset(other, np.arange(len(other)))
    train = Subset(split, np.sort(chosen[: config.limit or None]))
    for name, subset in (("training", train), ("validation", valid)):
        if len(np.unique(subset.labels)) < 2:
            raise TrainingError(f"The {name} patches are all of one class; a classifier needs both.")
        if apart := subset.split.task.difference(config.task):
            field, found, wanted = apart
            raise TrainingError(
                f"The {name} patches are of another task than the run's: "
                f"their {field} is {found}, the run's is {wanted}."
            )
    if len(train) < config.batch:
        raise TrainingError(f"There are {len(train):,} training patches, fewer than one batch of {config.batch:,}.")
    return train, valid


class Batches:
    """The batches of one cycle, by step; the last, incomplete batch of an epoch is left out."""

    def __init__(
        self, train: Subset, config: TrainConfig, number: int, answers: NDArray[np.float32] | None = None
    ) -> None:
        """Batches of cycle `number` of `config`; with a teacher's margins (n,) of the training patches, if given."""
        self.train, self.answers = train, answers
        self.config = config
        self.number = number
        self.cycle: Cycle = config.cycles[number]
        without = {} if config.task.stain else {"stain": 0.0}
        self.augmentation = config.augmentation.model_copy(update=without)
        self.per_epoch = len(train) // config.batch
        self.steps = max(1, round(self.cycle.epochs * self.per_epoch))

    def positions(self, step: int) -> NDArray[np.int64]:
        """Which training patches step `step` of the cycle takes, (batch,)."""
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng((self.config.seed, 2, self.number, epoch)).permutation(len(self.train))
        return order[place * self.config.batch : (place + 1) * self.config.batch]

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """The augmented batch of a step; `part` of its patches, drawn as in the whole."""
        positions = self.positions(step)
        generator = np.random.default_rng((self.config.seed, 3, self.number, step))
        draw = draw_augmentation(self.augmentation, len(positions), self.config.task.side, generator)
        positions = positions[part]
        draw = {name: values[part] for name, values in draw.items()}
        patches = augment(self.train.patches(positions), draw)
        known = [self.train.labels[positions].astype(np.float32)]
        if self.answers is not None:
            known.append(self.answers[positions])
        told = np.stack(known, axis=1)
        if "box" in draw:
            patches, told = cutmix(patches, told, draw["box"].astype(int), self.config.task.label_box)
        inputs = np.ascontiguousarray(centre_crop(patches, self.cycle.side or self.config.task.side))
        labels, *answers = np.ascontiguousarray(told.T)
        return Batch(inputs, labels, np.ascontiguousarray(patches), *answers)

    def stream(self, start: int, part: slice = slice(None), workers: int = 0) -> Iterator[Batch]:
        """Batches from step `start` to the end of the cycle, prepared ahead by so many processes, or by one thread."""
        if workers:
            steps = DataLoader(
                _Steps(self, part), batch_size=None, sampler=range(start, self.steps), num_workers=workers,
                prefetch_factor=AHEAD, collate_fn=_as_it_is, multiprocessing_context="spawn",
            )  # fmt: skip
            yield from map(_received, steps)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:

            def prepare(step: int) -> Future[Batch]:
                return thread.submit(self.batch, step, part)

            coming = deque(map(prepare, range(start, min(start + AHEAD, self.steps))))
            for step in range(start, self.steps):
                if step + AHEAD < self.steps:
                    coming.append(prepare(step + AHEAD))
                yield coming.popleft().result()


class _Steps(Dataset[tuple[Tensor | None, ...]]):
    """Batches by step as tensors, which processes hand over without copying them."""

    def __init__(self, batches: Batches, part: slice) -> None:
        self.batches, self.part = batches, part

    def __getitem__(self, step: int) -> tuple[Tensor | None, ...]:
        batch = self.batches.batch(step, self.part)
        whole = None if batch.inputs.shape == batch.whole.shape else batch.whole
        arrays = batch.inputs, batch.labels, whole, batch.answers
        return tuple(None if array is None else torch.from_numpy(array) for array in arrays)


def _as_it_is(sent: Any) -> Any:
    return sent


def _received(sent: tuple[Tensor | None, ...]) -> Batch:
    inputs, labels, whole, answers = (None if tensor is None else tensor.numpy() for tensor in sent)
    assert inputs is not None
    assert labels is not None
    return Batch(inputs, labels, inputs if whole is None else whole, answers)


def draw_augmentation(
    strength: Augmentation, count: int, side: int, generator: np.random.Generator
) -> dict[str, NDArray[np.floating]]:
    """Strengths for `count` patches of `side` px, by the name of what they drive; absent where nothing is done."""

    def around(width: float, *shape: int) -> NDArray[np.floating]:
        return generator.uniform(-width, width, (count, *shape))

    drawn: dict[str, NDArray[np.floating]] = {"view": generator.integers(VIEWS, size=count).astype(np.float64)}
    if strength.rotation:
        drawn["rotation"] = around(strength.rotation)
    if strength.shift:
        drawn["shift"] = generator.integers(-strength.shift, strength.shift + 1, (count, 2)).astype(np.float64)
    if strength.stain:
        drawn["gain"] = 1 + around(strength.stain, 3)
        drawn["offset"] = around(strength.stain / 5, 3)
    if strength.brightness or strength.contrast:
        drawn["brightness"] = around(strength.brightness * 255)
        drawn["contrast"] = 1 + around(strength.contrast)
    if strength.blur:
        drawn["blur"] = generator.uniform(0, strength.blur, count) * (generator.random(count) < OCCASIONALLY)
    if strength.jpeg:
        quality = generator.integers(strength.jpeg, 96, count).astype(np.float64)
        drawn["jpeg"] = quality * (generator.random(count) < OCCASIONALLY)
    if strength.cutmix:
        least, most = (round(share * side) for share in PASTED)
        sides = generator.integers(least, most + 1, (count, 2)) * (generator.random((count, 1)) < strength.cutmix)
        drawn["box"] = np.hstack([generator.integers(0, side - sides + 1), sides]).astype(np.float64)
    return drawn


def augment(patches: NDArray[np.uint8], drawn: dict[str, NDArray[np.floating]]) -> NDArray[np.uint8]:
    """Vary patches, uint8 (n, side, side, 3), each by itself, by strengths of `draw_augmentation`."""
    if "rotation" in drawn:
        patches = corruptions.rotate(patches, drawn["rotation"])
    if "shift" in drawn:
        patches = corruptions.shift(patches, *drawn["shift"].astype(int).T)
    if "gain" in drawn:
        patches = corruptions.stain(patches, drawn["gain"], drawn["offset"])
    if "contrast" in drawn:
        patches = corruptions.tone(patches, drawn["brightness"], drawn["contrast"])
    if "blur" in drawn:
        patches = corruptions.blur(patches, drawn["blur"])
    if "jpeg" in drawn:
        patches = corruptions.jpeg(patches, drawn["jpeg"])
    return turned(patches, drawn["view"].astype(int))


def cutmix(
    patches: NDArray[np.uint8], labels: NDArray[np.float32], boxes: NDArray[np.integer], label_box: slice
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Patches with a rectangle from the same place of their pair's other (0 and 1, 2 and 3, ...), and their labels.

    Args:
        patches: (n, side, side, 3).
        labels: (n,) probability of the positive class, or (n, m) with what else is known of the label's box; the
            result's goes by whose area the box is.
        boxes: (n, 4) top, left, height, width in pixels; without area, nothing is pasted.
        label_box: rows, and columns, that the label is about.
    """
    result, share = patches.copy(), np.zeros(len(patches), np.float32)
    for index, (top, left, height, width) in enumerate(boxes):
        inside = np.zeros(patches.shape[1:3], bool)
        inside[top : top + height, left : left + width] = True
        result[index, inside] = patches[index ^ 1, inside]
        share[index] = inside[label_box, label_box].mean()
    others = labels.reshape(-1, 2, *labels.shape[1:])[:, ::-1].reshape(labels.shape)
    return result, labels + share.reshape(-1, *(1,) * (labels.ndim - 1)) * (others - labels)


def turned(patches: NDArray[np.uint8], views: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Each patch in a view of its own; `views` (n,) 0..7."""
    result = np.empty_like(patches)
    for index in np.unique(views):
        result[views == index] = dihedral(patches[views == index], int(index))
    return result


def centre_crop(patches: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle `side` x `side` pixels."""
    start = (patches.shape[1] - side) // 2
    return patches[:, start : start + side, start : start + side]
