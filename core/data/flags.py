"""Flags: what a reader should know about a patch before believing its score. Never a refusal.

The first three are judged in optical density, OD = -log10(I / 255), where stains add up (Ruifrok & Johnston 2001);
their limits were set on 3,000 PCam validation patches (JPEG-coded); the false-alarm rate on them stands beside each.
The fourth is the model's own judgement, by the picture's numbers and by its features (`core.models.ood`); the last says
what the model learned from. Some of them take the verdict's place (`core.inference.verdict.GATES`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.data.patch import as_batch
from core.task import Task

UNLIKE = "unlike training tissue"
SYNTHETIC = "trained on synthetic pictures"
DRAWN_MARK = "NodeLens: synthetic, not tissue"
"""Comment of a PNG that was cut out of drawn tissue."""
FLAGS: dict[str, str] = {
    "not H&E-like": "The colours are not those of hematoxylin and eosin, the only stain the model knows.",
    "nearly blank": "There is almost no tissue in this patch.",
    "blurred": "The patch is blurred or without texture, so nuclei cannot be told apart.",
    UNLIKE: "By its colours and sharpness or by its features it lies farther from the training patches than nearly all "
    "validation patches do; the model may not know this tissue, or pictures made in this way.",
    SYNTHETIC: "The model learned from drawn pictures and has never seen tissue: it is not for tissue.",
}
"""Stored scores keep flags as bits in this order: a new one goes last."""


def flags_of(task: Task) -> tuple[str, ...]:
    """Names of FLAGS that can be said of a task's patches."""
    return tuple(FLAGS) if task.stain else (UNLIKE, SYNTHETIC)


def says_drawn(data: bytes) -> bool:
    """Whether a PNG says of itself, by DRAWN_MARK as its comment, that it was cut out of drawn tissue."""
    return data.startswith(b"\x89PNG") and DRAWN_MARK.encode() in data[:4096]


def flag_bits(names: Collection[str]) -> int:
    """Flags as stored scores keep them: one bit for each name of FLAGS, in order."""
    return sum(1 << place for place, name in enumerate(FLAGS) if name in names)


def names_of(bits: int) -> tuple[str, ...]:
    """The flags that `flag_bits` made these bits of."""
    return tuple(name for place, name in enumerate(FLAGS) if bits >> place & 1)


def bits_of(flags: Iterable[Collection[str]]) -> NDArray[np.uint8]:
    """(n,) `flag_bits` of the flags of n patches."""
    return np.fromiter((flag_bits(names) for names in flags), np.uint8)


STAINED_OD = 0.3  # red + green + blue; slide background stays near 0.1
# Hematoxylin and eosin both absorb green most; gray gives 0, brown (DAB), skin and retina give less.
MIN_GREEN_EXCESS = 0.045  # median 0.17; lower in 0.5 % of the patches
MIN_STAINED_SHARE = 0.02  # median 0.78; lower in 0.9 %
MIN_SHARPNESS = 0.5  # median 3.0; lower in 0.3 %, but in 99 % after a Gaussian blur of 2 px

_OD = -np.log10(np.maximum(np.arange(256, dtype=np.float32), 1) / 255)  # by grey level; 0 counts as 1
_FLAT_OD = 1e-3  # keeps the sharpness of an even patch at zero instead of undefined


class Look(NamedTuple):
    """What the flags of one patch are decided on."""

    stained_share: float  # share of pixels with stain, 0 to 1
    green_excess: float  # OD of green above the larger of red and blue, as a share of all OD; 0 without stain
    sharpness: float  # spread of the Laplacian of green OD over the spread of green OD


def look(patch: NDArray[np.uint8]) -> Look:
    """Measure one patch, uint8 (side, side, 3) RGB. Colour is read from every second pixel: it varies slowly."""
    fine = _OD.take(patch[..., 1])
    red, green, blue = _OD.take(patch[::2, ::2, 0]), fine[::2, ::2], _OD.take(patch[::2, ::2, 2])
    total = red + green + blue
    stained = (total > STAINED_OD).astype(np.float32)
    excess = np.vdot(green - np.maximum(red, blue), stained)
    amount = np.vdot(total, stained)

    laplacian = 4 * fine[1:-1, 1:-1]
    for neighbour in (fine[:-2, 1:-1], fine[2:, 1:-1], fine[1:-1, :-2], fine[1:-1, 2:]):
        laplacian -= neighbour
    return Look(
        stained_share=float(stained.sum()) / stained.size,
        green_excess=float(excess / amount) if amount else 0.0,
        sharpness=_spread(laplacian) / (_spread(fine) + _FLAT_OD),
    )


def _spread(values: NDArray[np.float32]) -> float:
    """Standard deviation, by sums of products: NumPy's own takes three times as long."""
    mean = float(values.sum()) / values.size
    return math.sqrt(max(float(np.vdot(values, values)) / values.size - mean**2, 0.0))


def flags(patches: NDArray[np.uint8], task: Task, strange: NDArray[np.bool_] | None = None) -> list[tuple[str, ...]]:
    """Flags of each patch. What goes by the stain is asked where the task has one.

    Args:
        patches: uint8 (n, side, side, 3) RGB.
        task: whose patches they are.
        strange: (n,) which of them a model finds unlike its training tissue; None where it cannot tell.

    Returns:
        n tuples of names, in the order of `FLAGS`; empty when nothing is to be said. A nearly blank patch
        carries no other flag: there is nothing in it to be blurred or wrongly stained.

    Raises:
        PatchShapeError: they are not patches of the task.
    """
    patches = as_batch(patches, task.side)
    unlike = np.zeros(len(patches), bool) if strange is None else strange
    if task.stain is None:
        return [(UNLIKE,) if far else () for far in unlike]
    return [_names(look(patch), bool(far)) for patch, far in zip(patches, unlike, strict=True)]


def _names(seen: Look, strange: bool) -> tuple[str, ...]:
    if seen.stained_share < MIN_STAINED_SHARE:
        return ("nearly blank",)
    fires = {
        "not H&E-like": seen.green_excess < MIN_GREEN_EXCESS,
        "blurred": seen.sharpness < MIN_SHARPNESS,
        UNLIKE: strange,
    }
    return tuple(name for name, yes in fires.items() if yes)
