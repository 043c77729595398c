"""Does a reading hold still? What is done to a patch, how far its probability moves, and how far its map.

Eight flips and turns change nothing a pathologist would name; stains, focus, noise, coding and small moves of the slide
change little. Where the tissue moves, the map is expected to move with it, and only the rest counts as drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.data import corruptions
from core.data.transforms import VIEWS, dihedral, dihedral_back
from core.evaluation.metrics.faithfulness import pearson
from core.explain.grid import cell_weights
from core.task import STRIDE, Task

Patches = NDArray[np.uint8]
Maps = NDArray[np.floating]

STRENGTHS = (1, 2, 3, 4, 5)
HELD = 0.05
"""A probability that moves less than this has held still."""
MOVED = 0.5
"""A map whose drift exceeds this has moved: its correlation with the map before is below 0.5."""


class Seen(Protocol):
    """What reading patches gives; `core.inference.reader.Readings` is one."""

    @property
    def probability(self) -> NDArray[np.floating]:
        """(n,) of the positive class."""
        ...

    @property
    def attribution(self) -> Maps:
        """(n, h, w), signed."""
        ...


Look = Callable[[Patches], Seen]


@dataclass(frozen=True)
class Perturbation:
    """One thing that happens to patches, at five strengths.

    Attributes:
        title: how a person calls it.
        unit: of the levels.
        levels: the five strengths in that unit, ascending.
        apply: patches uint8 (n, h, w, 3), level (n,) -> patches. Where a thing can go either way the level is signed.
        two_sided: every other patch takes the level with a minus.
        moves: level in `unit` -> (shift in px, factor) of the tissue, down and right alike, about the centre.
    """

    title: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[Patches, NDArray[np.float64]], Patches]
    two_sided: bool = False
    moves: Callable[[float], tuple[float, float]] = lambda _: (0.0, 1.0)

    def signed(self, strength: int, count: int) -> NDArray[np.float64]:
        """Level of each of `count` patches at a strength 1..5; 0 is no change."""
        level = np.full(count, self.levels[strength - 1])
        if self.two_sided:
            level[1::2] *= -1
        return level

    def __call__(self, patches: Patches, strength: int) -> Patches:
        """Patches at a strength 1..5."""
        return self.apply(patches, self.signed(strength, len(patches)))

    def carried(self, maps: Maps, strength: int, side: int) -> Maps:
        """The maps (n, h, w) of untouched patches of `side` px as they should be after the tissue has moved."""
        carried = np.array(maps, np.float64)
        level = self.signed(strength, len(maps))
        for value in np.unique(level):
            shift, factor = self.moves(float(value))
            if (shift, factor) != (0.0, 1.0):
                alike = level == value
                rows, columns = (_carry(cells, shift / side, factor) for cells in maps.shape[1:])
                carried[alike] = rows @ carried[alike] @ columns.T
        return carried


def _carry(cells: int, shift: float, factor: float) -> NDArray[np.float64]:
    """(cells, cells): the cell that each cell's tissue lay in before, linear between cell centres."""
    now = (np.arange(cells) + 0.5) / cells
    return cell_weights(cells, (now - 0.5 - shift) / factor + 0.5)


def _stained(patches: Patches, level: NDArray[np.float64]) -> Patches:
    share = level / 100
    return corruptions.stain(patches, np.stack([1 + share, 1 - share, np.ones_like(share)], axis=1))


def _factor(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percent more, or the inverse of it: +25 -> 1.25, -25 -> 0.8."""
    return np.where(level >= 0, 1 + level / 100, 1 / (1 - np.minimum(level, 0) / 100))


def _whole(level: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(level).astype(np.int64)


PERTURBATIONS: dict[str, Perturbation] = {
    "stain": Perturbation(
        "Stain", "% more hematoxylin and less eosin, or the reverse", (5, 10, 20, 30, 40), _stained, True
    ),
    "brightness": Perturbation(
        "Brightness", "grey levels", (5, 10, 20, 30, 40), lambda p, v: corruptions.tone(p, brightness=v), True
    ),
    "contrast": Perturbation(
        "Contrast",
        "% more, or the inverse",
        (5, 10, 20, 35, 50),
        lambda p, v: corruptions.tone(p, 0.0, _factor(v)),
        True,
    ),
    "blur": Perturbation("Blur", "px (sigma)", (0.5, 1.0, 1.5, 2.0, 3.0), corruptions.blur),
    "noise": Perturbation("Noise", "grey levels (sigma)", (4, 8, 12, 18, 25), corruptions.noise),
    "jpeg": Perturbation(
        "JPEG", "100 - quality", (20, 40, 60, 75, 90), lambda p, v: corruptions.jpeg(p, np.where(v, 100 - v, 0))
    ),
    "shift": Perturbation(
        "Shift",
        "px down and right, or up and left",
        (1, 2, 3, 4, 8),
        lambda p, v: corruptions.shift(p, _whole(v), _whole(v)),
        True,
        lambda level: (level, 1.0),
    ),
    "scale": Perturbation(
        "Scale",
        "% larger, or the inverse",
        (5, 10, 15, 20, 25),
        lambda p, v: corruptions.scale(p, _factor(v)),
        True,
        lambda level: (0.0, float(_factor(np.array(level)))),
    ),
}
"""What slides, scanners and file formats do, from hardly visible to what nobody would send."""


def perturbations_of(task: Task) -> dict[str, Perturbation]:
    """Those that can happen to a task's patches: the stain's alone where it has one."""
    return {name: one for name, one in PERTURBATIONS.items() if task.stain or name != "stain"}


def varied(patches: Patches, task: Task) -> Patches:
    """Patches as other slides, scanners and files could have them: each with one perturbation at one strength.

    All perturbations that the task has, at all strengths, come in turn: 40 patches meet each once, 35 without a stain.
    """
    found, known = patches.copy(), perturbations_of(task)
    for place, (perturbation, strength) in enumerate(product(known.values(), STRENGTHS)):
        chosen = slice(place, None, len(known) * len(STRENGTHS))
        if len(patches[chosen]):
            found[chosen] = perturbation(patches[chosen], strength)
    return found


@dataclass(frozen=True)
class Held:
    """How n patches were read before and after a change.

    Attributes:
        probability: (n,) of tumour after it.
        shift: (n,) in [0, 1], |probability after - before|.
        drift: (n,) in [0, 2], 1 - Pearson's correlation of the map with the one before, carried along with the tissue.
            A map unrelated to the one before has 1. Two even maps have 0; an even one and another have 1.
    """

    probability: NDArray[np.float64]
    shift: NDArray[np.float64]
    drift: NDArray[np.float64]

    @property
    def held(self) -> NDArray[np.bool_]:
        """(n,) whether the probability held still."""
        return np.asarray(self.shift < HELD)

    @property
    def moved_alone(self) -> NDArray[np.float64]:
        """(n,) 1 where the map moved though the probability did not, 0 where neither did; nan where the latter did."""
        return np.where(self.held, self.drift > MOVED, np.nan)


def map_drift(before: Maps, after: Maps) -> NDArray[np.float64]:
    """1 - Pearson's correlation (n,) of maps (n, h, w), see `Held.drift`."""
    a, b = (np.asarray(maps, np.float64).reshape(len(maps), -1) for maps in (before, after))
    both_even = (np.ptp(a, axis=1) <= 1e-12) & (np.ptp(b, axis=1) <= 1e-12)
    correlation = pearson(a, b)
    return np.where(both_even, 0.0, 1 - np.nan_to_num(correlation, nan=0.0))


def eight_views(chunks: Iterable[Patches], look: Look) -> Held:
    """How far flips and turns move a reading: means over the seven that are not the patch itself.

    Args:
        chunks: patches uint8 (m, side, side, 3), some at a time.
        look: patches -> probability and maps of the one view it is given.

    Returns:
        Readings of all n patches; `probability` is the mean over the eight views.
    """
    found = []
    for patches in chunks:
        first = look(patches)
        probability, shift, drift = [first.probability], [], []
        for index in range(1, VIEWS):
            other = look(np.ascontiguousarray(dihedral(patches, index)))
            probability.append(other.probability)
            shift.append(np.abs(other.probability - first.probability))
            drift.append(map_drift(first.attribution, np.asarray(dihedral_back(other.attribution, index), np.float64)))
        found.append(Held(*(np.mean(values, axis=0) for values in (probability, shift, drift))))
    return _joined(found)


def likeness_of_views(
    patches: Patches, look: Look, labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How like a map is to that of the flipped or turned patch, turned back, and to those of other patches.

    A map that is the same whatever it is shown is as like to the others', so that it does not pass for one that holds
    still.

    Args:
        patches: uint8 (n, side, side, 3), a handful at least.
        look: patches -> maps of the one view it is given.
        labels: (n,); others are those of the same label.

    Returns:
        (n,) mean Pearson's correlation over the seven views, and (n,) the same with the views of the others, nan where
        there are none; an even map correlates 0 with everything.
    """
    flat = look(patches).attribution.reshape(len(patches), -1)
    own, null = [], []
    for index in range(1, VIEWS):
        seen = look(np.ascontiguousarray(dihedral(patches, index))).attribution
        back = np.asarray(dihedral_back(seen, index), np.float64).reshape(len(patches), -1)
        one, other = _own_and_null(flat, back, labels)
        own.append(one)
        null.append(other)
    return np.mean(own, axis=0), np.mean(null, axis=0)


def likeness_when_moved(
    patches: Patches, look: Look, labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How like a map is to that of the patch moved by STRIDE px, moved back, and to those of other patches so moved.

    The patch is moved up, down, left and right amid its own mirror images; maps are compared over the cells that both
    have. Where a map follows the tissue the first is 1; where it keeps to its place it is that of unlike tissue.

    Args:
        patches: uint8 (n, side, side, 3), a handful at least.
        look: patches -> maps of the one view it is given; a whole number of cells to STRIDE px.
        labels: (n,); others are those of the same label.

    Returns:
        (n,) mean Pearson's correlation over the four ways, and (n,) the same with the others' maps, nan where there are
        none; an even map correlates 0 with everything.
    """
    count, side = patches.shape[:2]
    served = look(patches).attribution
    far = served.shape[1] * STRIDE // side
    around = np.pad(patches, ((0, 0), (STRIDE, STRIDE), (STRIDE, STRIDE), (0, 0)), mode="symmetric")
    own, null = [], []
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        rows, columns = (slice(STRIDE * (1 + way), STRIDE * (1 + way) + side) for way in (down, right))
        seen = look(np.ascontiguousarray(around[:, rows, columns])).attribution
        kept = [slice(max(0, way * far), min(0, way * far) or None) for way in (down, right)]
        moved = [slice(max(0, -way * far), min(0, -way * far) or None) for way in (down, right)]
        before, after = (maps[:, part[0], part[1]].reshape(count, -1) for maps, part in ((served, kept), (seen, moved)))
        one, other = _own_and_null(before, after, labels)
        own.append(one)
        null.append(other)
    return np.mean(own, axis=0), np.mean(null, axis=0)


def _own_and_null(
    before: NDArray[np.floating], after: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation (n,) of flat maps (n, m) with their own ones after, and with those of the others of their label."""
    every = _correlations(before, after)
    others = np.where((labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool), every, np.nan)
    known = np.isfinite(others)
    total, count = np.where(known, others, 0).sum(axis=1), known.sum(axis=1)
    return np.diagonal(every), np.divide(total, count, out=np.full(len(labels), np.nan), where=count > 0)


def _correlations(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pearson's correlation of every row of (n, m) with every row of (k, m): (n, k); 0 where one is even."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    return np.asarray(a @ b.T)


def stress(
    chunks: Iterable[Patches],
    look: Look,
    perturbations: Mapping[str, Perturbation] = PERTURBATIONS,
    strengths: Sequence[int] = STRENGTHS,
    tell: Callable[[int], None] = lambda _: None,
) -> dict[tuple[str, int], Held]:
    """Every perturbation at every strength, each patch read once in each: drift and robustness come from one pass.

    Args:
        chunks: patches uint8 (m, h, w, 3), some at a time: memory holds one chunk. All but the last hold an even
            number, so that as many patches go one way as the other.
        look: patches -> probability and maps.
        perturbations: what to do, by name.
        strengths: 1..5; strength 0, no change, is always read and comes first, as ("none", 0).
        tell: called after each chunk with patches done.
    """
    found: dict[tuple[str, int], list[Held]] = {}
    done = 0
    for patches in chunks:
        first = look(patches)
        found.setdefault(("none", 0), []).append(_held(first, first, first.attribution))
        for name, perturbation in perturbations.items():
            for strength in strengths:
                after = look(perturbation(patches, strength))
                expected = perturbation.carried(first.attribution, strength, patches.shape[1])
                found.setdefault((name, strength), []).append(_held(first, after, expected))
        done += len(patches)
        tell(done)
    return {key: _joined(pieces) for key, pieces in found.items()}


def _held(before: Seen, after: Seen, expected: Maps) -> Held:
    probability = np.asarray(after.probability, np.float64)
    return Held(probability, np.abs(probability - before.probability), map_drift(expected, after.attribution))


def _joined(pieces: list[Held]) -> Held:
    return Held(*(np.concatenate([getattr(p, name) for p in pieces]) for name in ("probability", "shift", "drift")))
