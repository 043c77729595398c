"""What a stage is, and the sample that all stages of an examination look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.data.pcam import Split
from core.data.regions import read_regions
from core.evaluation import claims
from core.evaluation.metrics.clusters import places, sensitivity
from core.evaluation.schema import Findings, Measured, Plan
from core.inference.caching import CachingEngine
from core.inference.reader import Reader, Readings
from core.inference.regions import cells_of

Tell = Callable[[str, int, int], None]
"""Told the stage, patches done and patches in all."""
Maps = dict[str, NDArray[np.float32]]
Patches = NDArray[np.uint8]
T = TypeVar("T")

MAIN = "gradcam/last"
METHODS = (
    *(MAIN, "gradcam++/last", "layercam/last", "eigencam/last", "ablationcam/last"),
    *("gradcam/6x6", "hirescam/6x6", "gradcam/12x12", "layercam/12x12"),
)
"""What is examined, where a network has it: at the last layer HiResCAM and XGrad-CAM are Grad-CAM, cell by cell."""
CHUNK = 32


def methods_of(reader: Reader, names: Sequence[str] = METHODS) -> tuple[str, ...]:
    """Those of `names` (method/layer) that can be examined: at a layer of the network, and in its regions."""
    known = [(name, *name.split("/", 1)) for name in names]
    return tuple(n for n, method, layer in known if layer in reader.layers and reader.in_regions(method, layer))


@dataclass(frozen=True)
class Stage:
    """One question put to the maps of a sample.

    Attributes:
        name: of its kept file, and of what it tells.
        doing: what it does, in words for who waits.
        measure: the stage itself.
        share: of the sample's patches that it takes, see `Sample.some`.
        claims: whether it measures what is claimed, see `core.evaluation.claims`.
    """

    name: str
    doing: str
    measure: Callable[[Sample], Findings]
    share: float = 1.0
    claims: bool = False


class Sample:
    """Patches of one split as one model reads them; stages share their forward passes and maps."""

    def __init__(
        self,
        reader: Reader,
        split: Split,
        plan: Plan,
        regions: Path | None = None,
        odd: Path | None = None,
        tell: Tell = lambda stage, done, total: None,  # noqa: ARG005
    ) -> None:
        """Of `plan`'s patches; `regions` and `odd` are folders, see `Examination`."""
        self.engine = CachingEngine(reader.engine, reader.task.side)
        self.reader = Reader(reader.stored, self.engine)
        self.split, self.plan, self.regions, self.odd, self.tell = split, plan, regions, odd, tell
        self._made: dict[object, Any] = {}

    @cached_property
    def indices(self) -> NDArray[np.intp]:
        """Positions in the split that are examined, ascending; half of each label where there are enough."""
        generator = np.random.default_rng(self.plan.seed)
        kinds = [generator.permutation(np.flatnonzero(self.split.labels == label)) for label in (0, 1)]
        half = self.plan.sample // 2
        return np.sort(np.concatenate([kind[:half] for kind in kinds]))

    def once(self, what: object, make: Callable[[], T]) -> T:
        """What several stages ask for, made when it is first asked for; `what` is its name."""
        if what not in self._made:
            self._made[what] = make()
        found: T = self._made[what]
        return found

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(n,) of the sample."""
        return self.split.labels[self.indices]

    def groups(self, chosen: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.str_] | None:
        """Slides of patches of the sample; None when unknown."""
        return None if self.split.slides is None else self.split.slides[self.indices][chosen]

    def claim(
        self,
        name: str,
        effects: NDArray[np.floating],
        null: float,
        groups: NDArray[np.str_] | None,
        patches: Patches,
    ) -> list[Measured]:
        """A claim's figure over slides; where those are not known over patches, and over clusters of like colour too.

        Args:
            name, effects, null: see `core.evaluation.claims.measured`.
            groups: (n,) slides of the units, or None.
            patches: (n, side, side, 3) that the units are of.
        """
        by_colour = sensitivity(effects, patches).values() if groups is None else ()
        found = claims.measured(name, effects, null, groups, "slide", by_colour)
        return [] if found is None else [found]

    def count(self, share: float) -> int:
        """How many patches (or mosaics) a share of the sample is, two at the least."""
        return max(2, round(share * len(self.indices)))

    def some(self, share: float) -> NDArray[np.intp]:
        """Places of that share of the sample, ascending, drawn whatever their label."""
        drawn = np.random.default_rng((self.plan.seed, 1)).permutation(len(self.indices))
        return np.sort(drawn[: self.count(share)])

    def patches(self, places: NDArray[np.integer]) -> Patches:
        """Patches of the sample by place."""
        return self.split.patches(self.indices[places])

    def chunks(self, places: NDArray[np.integer], stage: str) -> Iterator[Patches]:
        """Patches of the sample, some at a time."""
        for start in range(0, len(places), CHUNK):
            yield self.patches(places[start : start + CHUNK])
            self.tell(stage, min(start + CHUNK, len(places)), len(places))

    def explained(self, patches: Patches, reader: Reader | None = None) -> dict[str, Readings]:
        """Readings of patches by every method, for the price of one forward pass where a method needs no gradient.

        Maps cover the patch, as on screen: by reflected tissue where cells see beyond its border.
        """
        reader = reader or self.reader
        found = {}
        for name in self.plan.methods:
            method, layer = name.split("/")
            found[name] = reader.explain(patches, method, layer, reader.task.margin, around=True)
        return found

    def maps(self, images: Patches, reader: Reader | None = None) -> Maps:
        """Maps of patches by every method."""
        return {name: readings.attribution for name, readings in self.explained(images, reader).items()}

    def region_maps(self, image: Patches) -> Maps:
        """Maps of a larger image (1, h, w, 3) by every method, read fully convolutionally."""
        found = {}
        for name in self.plan.methods:
            method, layer = name.split("/")
            found[name] = self.reader.region(image, method, layer)
        return found

    @cached_property
    def read(self) -> tuple[NDArray[np.float64], Maps]:
        """Probabilities (n,) of one view and maps of the whole sample."""
        pieces = [self.explained(chunk) for chunk in self.chunks(np.arange(len(self.indices)), "reading")]
        probability = np.concatenate([piece[self.plan.methods[0]].probability for piece in pieces])
        return probability, joined([{name: r.attribution for name, r in piece.items()} for piece in pieces])

    @cached_property
    def places(self) -> dict[str, str]:
        """The place that each region lies in, by its name and named after its first, see `clusters.places`.

        Raises:
            ImportSourceError: see `read_regions`.
        """
        if self.regions is None:
            return {}
        found = {region.name: region.image for region in read_regions(self.regions, self.reader.task)}
        names, own = list(found), places(list(found.values())).tolist()
        return {name: names[own.index(place)] for name, place in zip(names, own, strict=True)}

    def activation_norm(self, images: Patches) -> NDArray[np.float32]:
        """Length of the last layer's answer in each cell of images (n, h, w, 3), on the grid of `region_maps`."""

        def norm(tiles: Patches) -> NDArray[np.float32]:
            return np.asarray(np.linalg.norm(self.engine.forward(tiles)[0], axis=1), np.float32)

        field = self.reader.model.net.field
        return norm(images) if field is None else np.stack([cells_of(image, field, norm) for image in images])

    def look(self, patches: Patches) -> Readings:
        """One view read with Grad-CAM; the map as on screen."""
        return self.reader.explain(patches, target=self.reader.task.margin, around=True)

    def margin(self, patches: Patches) -> NDArray[np.floating]:
        """The logit (n,) of one view."""
        return self.reader.read(patches).logit


def joined(pieces: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Arrays of several pieces by name, one behind the other."""
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
