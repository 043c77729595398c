"""The Reader: patches -> readings. A reading is the prediction and its reason from the same forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.data.flags import SYNTHETIC, bits_of, flags
from core.data.patch import as_batch
from core.data.picture_statistics import picture_statistics
from core.data.transforms import VIEWS, dihedral, dihedral_back
from core.explain.question import Question
from core.explain.registry import LAST, METHODS, check_vocabulary, layer_words, target_weights
from core.inference.engines.engine import Engine, open_engine
from core.inference.explainer import ExplainedNetwork
from core.inference.regions import amid_reflections, patch_logits, region_maps, whole_patches
from core.inference.verdict import verdicts
from core.models.receptive_field import ReceptiveField
from core.models.schema import Bundle, OperatingPoint
from core.models.store import StoredBundle, bundle_folder
from core.settings import settings
from core.task import PREDICTED, STRIDE, Task

REFLECTED, SURROUNDINGS = "reflected tissue", "surroundings"
"""What cells that see beyond a patch's border are read by."""
T_OF_VIEWS = 2.365
"""Student's t with 7 degrees of freedom at 97.5 %: half an interval over eight views, in standard errors."""


@dataclass(frozen=True)
class Readings:
    """What the network makes of n patches, and why.

    Attributes:
        probability: (n,) float64 in [0, 1], calibrated, of the positive class: what `logit` says on the curve.
        logit: (n,) float32, positive minus negative class before calibration; the mean over the views.
        logits: (n, 2) float32, negative and positive class; the mean over the views.
        view_logits: (n, views) float32, `logit` of each view.
        verdict: (n,) a class of the task, "refer" or "not read"; see `core.inference.verdict`.
        attribution: (n, h, w) float32 on the method's own grid, in its unit (see `Method`); positive speaks for
            `target`; the mean of the views' maps, each turned back. The grid covers the patch evenly; `own` says which
            of its cells the logit is made of.
        sign_unstable: (n, h, w) bool, cells of the attribution whose 95 % t-interval over the views holds both signs;
            none with one view, which does not tell.
        map_agreement: (n,) float64 in [-1, 1], mean Pearson correlation of the first view's map with the others', each
            turned back; nan with one view or an even map.
        coordinates: (n, d) float32, whitened coordinates of the first view (`core.models.ood`); d is 0 where the bundle
            has no detector.
        flags: per patch, names of `core.data.flags.FLAGS` that speak against reading it.
        method, layer, target: what `attribution` is.
        around: what cells that are not the patch's own were read by: REFLECTED or SURROUNDINGS; '' where they were
            not and are 0.
        point: the operating point that made the verdict.
        model: the bundle's description.
        engine: name of the engine that served.
    """

    probability: NDArray[np.float64]
    logit: NDArray[np.float32]
    logits: NDArray[np.float32]
    view_logits: NDArray[np.float32]
    verdict: NDArray[np.str_]
    attribution: NDArray[np.float32]
    sign_unstable: NDArray[np.bool_]
    map_agreement: NDArray[np.float64]
    coordinates: NDArray[np.float32]
    flags: tuple[tuple[str, ...], ...]
    method: str
    layer: str
    target: str
    around: str
    point: OperatingPoint
    model: Bundle
    engine: str

    def __len__(self) -> int:
        return len(self.probability)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    @property
    def views(self) -> int:
        """Views that each reading is the mean of: 1, or 8 flips and turns."""
        return int(self.view_logits.shape[1])

    @property
    def flagged(self) -> NDArray[np.uint8]:
        """(n,) the flags as bits, see `core.data.flags.bits_of`."""
        return bits_of(self.flags)

    @property
    def view_probability(self) -> NDArray[np.float64]:
        """(n, views) what each view's own logit says on the curve; `probability` is what their mean logit says."""
        return self.point.view_probability(self.view_logits)

    @property
    def spread(self) -> NDArray[np.float64]:
        """(n,) difference between the highest and the lowest probability among the views."""
        return np.asarray(np.ptp(self.view_probability, axis=1))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the attribution."""
        return self.attribution.shape[1], self.attribution.shape[2]

    @property
    def own(self) -> NDArray[np.bool_]:
        """(h, w) which cells see the patch alone, and make its logit: all, but those about the middle without padding.

        A cell of a network without padding sees its window and nothing else; where that reaches beyond the border, the
        cell is none of the patch's.
        """
        field, side = self.model.net.field, self.model.task.side
        if field is None or self.layer != LAST:
            return np.ones(self.grid, bool)
        return ~field.beyond(side, side)

    @property
    def hatched(self) -> NDArray[np.bool_]:
        """(n, h, w) cells not to be taken at their word: `sign_unstable`, and `reflected`."""
        return self.sign_unstable | self.reflected

    @property
    def reflected(self) -> NDArray[np.bool_]:
        """(h, w) cells that were read by reflected tissue."""
        return ~self.own & (self.around == REFLECTED)

    @property
    def scale(self) -> float | None:
        """The fixed colour scale of these maps from validation; None when the bundle has none."""
        return self.model.scales.get(scale_key(self.method, self.layer))

    @property
    def explained(self) -> str:
        """What is explained, in one line for under the picture."""
        target = self.target if self.target != PREDICTED else "the predicted class"
        views = f"mean of {self.views} views" if self.views > 1 else "one view"
        title = METHODS[self.method].title
        rows, columns = self.grid
        cells = f"{rows} x {columns} cells"
        net, side = self.model.net, self.model.task.side
        if self.around:
            cells += f", of which the {net.cells(side)} x {net.cells(side)} in the middle make the logit"
        elif self.layer == LAST:
            cells = net.cells_in_words(side)
        layer = f"{layer_words(self.layer)} ({cells})"
        return f"{title} for {target}, {layer}, {views}, model {self.model.identity}"


def scale_key(method: str, layer: str) -> str:
    """Name of a fixed colour scale in `Bundle.scales`."""
    return f"{method}/{layer}"


def pooled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over positions (n, k) of maps (n, k, h, w): as a product, ten times as fast as NumPy's mean."""
    n, k, h, w = maps.shape
    return np.asarray(maps.reshape(n, k, h * w) @ np.full(h * w, 1 / (h * w), np.float32))


class Reader:
    """Reads patches with one bundle. Holds no state between calls; threads may share it."""

    def __init__(self, stored: StoredBundle, engine: Engine) -> None:
        """Serve `stored` through `engine`."""
        self.stored = stored
        self.model = stored.description
        self.ood = stored.ood
        self.engine = engine
        self._network = ExplainedNetwork(stored, engine)

    @property
    def task(self) -> Task:
        """What the model reads patches for."""
        return self.model.task

    @property
    def layers(self) -> tuple[str, ...]:
        """The network's own layers, where the CAM family is at home, the last first; see `Method.layers`."""
        return (LAST, *self.model.net.stages)

    def read(self, patches: ArrayLike, views: int = 1, synthetic: ArrayLike = False) -> Readings:
        """Read patches, with Grad-CAM of the margin at the last maps.

        Args:
            patches: uint8 (n, side, side, 3) RGB, or one (side, side, 3), of the task's side.
            views: 1, or 8 for the mean over flips and turns.
            synthetic: whether they, or (n,) which of them, are drawn: a model that learned from drawn pictures gives
                a verdict on no others.

        Raises:
            PatchShapeError: anything that is not such patches.
            ValueError: another number of views.
        """
        return self.explain(patches, target=self.task.margin, views=views, synthetic=synthetic)

    def explain(
        self,
        patches: ArrayLike,
        method: str = "gradcam",
        layer: str | None = None,
        target: str = "predicted",
        views: int = 1,
        progress: Callable[[int, int], None] | None = None,
        synthetic: ArrayLike = False,
        around: bool = False,
        surroundings: ArrayLike | None = None,
    ) -> Readings:
        """Read patches and explain them by a method, layer and target of choice; see `read`.

        Args:
            patches: see `read`.
            method: a key of `METHODS`.
            layer: where the method exists; by default its first: "last", or "input" for those that ask about pixels.
            target: a key of `Task.targets`.
            views: 1 or 8.
            progress: called with passes made and passes in all, as they are made; see `Method.passes_at`.
            synthetic: see `read`.
            around: where layers are not padded and the method's cells know nothing of the others, explain the cells
                too that see beyond the border, as if the patch were reflected there: a second, larger pass.
            surroundings: uint8 (n, side + 2 m, side + 2 m, 3) or one of them, the patches amid the tissue about them, m
                pixels of `surroundings_margin`: with `around`, it is read in place of reflections.

        Raises:
            ExplanationError: an unknown method, layer or target.
            PatchShapeError: see `read`; surroundings too.
            ValueError: surroundings whose middles are not the patches.
        """
        if layer is None and method in METHODS:
            layer = METHODS[method].layers(self.layers)[0]
        check_vocabulary(method, layer or LAST, target, self.layers, self.task)
        assert layer is not None
        if views not in (1, VIEWS):
            raise ValueError(f"views must be 1 or {VIEWS}, not {views}")
        batch = as_batch(patches, self.task.side)
        around = around and self.model.net.field is not None and self.in_regions(method, layer)
        surrounded = self._surrounded(batch, surroundings) if around and surroundings is not None else None
        total = len(batch) * views * METHODS[method].passes_at(layer, self.task.side)
        tick = _counted(progress, total)
        drawn = np.broadcast_to(np.asarray(synthetic, bool), len(batch))
        step = max(1, self.engine.batch // views)
        pieces = [
            self._explain(
                *(batch[i : i + step], drawn[i : i + step], method, layer, target, views, tick, around),
                None if surrounded is None else surrounded[i : i + step],
            )
            for i in range(0, max(len(batch), 1), step)
        ]
        if progress is not None and total:
            progress(total, total)  # a layer of few channels takes fewer passes
        return pieces[0] if len(pieces) == 1 else _joined(pieces)

    def region(
        self, images: ArrayLike, method: str = "gradcam", layer: str = LAST, target: str | None = None
    ) -> NDArray[np.float32]:
        """Maps of images larger than a patch, read in one pass, one after another.

        A network with padding reads fully convolutionally: the mean over positions runs over the whole region, so at
        the last layer the cells sum to the region's logit minus the bias, and a cell of a larger region holds less. The
        logits are `engine.forward(images)[1]`.

        A network without padding gives the cells of patches: each is the number that a patch cut out around it has, at
        multiples of the network's stride, and what lies beyond the border is the region reflected (`reflected` says
        where). It is read in tiles, so memory does not grow with it.

        Args:
            images: uint8 (n, h, w, 3) RGB, or one (h, w, 3); for a network with padding h and w multiples of 32.
            method: a key of `METHODS` of the CAM family; without padding one whose cells know nothing of the others.
            layer: one of `layers`; without padding the last.
            target: a key of `Task.targets`, by default the margin; "predicted" goes by the region's own logits, and is
                no target without padding, where there are none.

        Returns:
            (n, h / 32, w / 32) float32 at the last layer, finer before it; without padding (n, h / stride, w / stride),
            rounded up; in the method's unit.

        Raises:
            ExplanationError: an unknown word, or a method, layer or target that regions have not.
            ValueError: anything that is not such images.
        """
        target = target or self.task.margin
        check_vocabulary(method, layer, target, self.layers, self.task)
        return region_maps(self._network, np.asarray(images), method, layer, target)

    def patch_logits(
        self, image: ArrayLike, stride: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """The logit of every patch of a region, slid over it: positive minus negative class, before calibration.

        Without padding the region is read in one pass, where the stride is a multiple of the network's; all other
        networks read every patch.

        Args:
            image: uint8 (h, w, 3) RGB, the task's side at least.
            stride: pixels from one patch to the next, both ways, the first at the upper left corner.
            wanted: which patches are asked for, in the shape of what is returned; others are nan, or read where that
                costs nothing. By default all.

        Returns:
            ((h - side) // stride + 1, (w - side) // stride + 1) float32: the numbers that `read` gives for one view.
        """
        pixels = np.asarray(image)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim != 3
            or pixels.shape[2] != 3
            or min(pixels.shape[:2]) < self.task.side
        ):
            raise ValueError(f"A region is uint8 (h, w, 3) of {self.task.side} px at least, not {pixels.shape}")
        return patch_logits(self._network, pixels, stride, wanted)

    def in_regions(self, method: str, layer: str) -> bool:
        """Whether `region` explains by a method at a layer."""
        known = METHODS[method]
        return known.kind == "cam" if self.model.net.field is None else known.local_at_last and layer == LAST

    def reflected(self, height: int, width: int) -> NDArray[np.bool_]:
        """Which cells of the last maps of a region of that size, in pixels, saw reflected tissue: (rows, columns).

        None did where layers are padded: there all that lies beyond the border is black.
        """
        field = self.model.net.field
        return field.beyond(height, width) if field else np.zeros((height // STRIDE, width // STRIDE), bool)

    def features(self, patches: ArrayLike) -> NDArray[np.float32]:
        """The last maps' means over positions, (n, k) float32: what the linear layer sees of patches; see `read`."""
        batch, step = as_batch(patches, self.task.side), self.engine.batch
        return np.concatenate(
            [pooled(self._forward(batch[i : i + step])[0]) for i in range(0, max(len(batch), 1), step)]
        )

    def _explain(
        self,
        patches: NDArray[np.uint8],
        drawn: NDArray[np.bool_],
        method: str,
        layer: str,
        target: str,
        views: int,
        tick: Callable[[int], None],
        around: bool,
        surrounded: NDArray[np.uint8] | None,
    ) -> Readings:
        count = len(patches)
        seen = np.ascontiguousarray(np.concatenate([dihedral(patches, index) for index in range(views)]))
        maps, logits = self._forward(seen)
        point = self.model.point(views)
        # Contiguous, so that a mean over kept logits has the same bits: a threshold is some patch's probability.
        margin = np.ascontiguousarray((logits[:, 1] - logits[:, 0]).reshape(views, count).T)
        probability = point.probability(margin)

        weights = np.tile(target_weights(target, probability >= point.threshold, self.task), (views, 1))
        heatmaps = METHODS[method].explain(self._network, Question(seen, layer, maps, logits, weights, tick))
        by_view = _turned_back(heatmaps, views)
        placed = by_view
        if METHODS[method].kind == "cam":
            placed = _turned_back(self._network.placed(heatmaps, self.task.side), views)
        if around and count:
            amid = amid_reflections(patches, self._field) if surrounded is None else surrounded
            turned = np.ascontiguousarray(np.concatenate([dihedral(amid, index) for index in range(views)]))
            by_view = _turned_back(whole_patches(self._network, turned, method, weights), views)
            placed = np.where(self.reflected(self.task.side, self.task.side), by_view, placed)
        coordinates, strange = self._placed(maps[:count], patches)
        names = flags(patches, self.task, strange)
        if self.model.synthetic:
            names = [own if is_drawn else (*own, SYNTHETIC) for own, is_drawn in zip(names, drawn, strict=True)]

        return Readings(
            probability=probability,
            logit=margin.mean(axis=1),
            logits=logits.reshape(views, count, 2).mean(axis=0),
            view_logits=margin,
            verdict=verdicts(probability, point, self.task, bits_of(names)),
            attribution=placed.mean(axis=0),
            sign_unstable=_sign_unstable(placed),
            map_agreement=_agreement(by_view),
            coordinates=coordinates,
            flags=tuple(names),
            method=method,
            layer=layer,
            target=target,
            around="" if not around else REFLECTED if surrounded is None else SURROUNDINGS,
            point=point,
            model=self.model,
            engine=self.engine.name,
        )

    @property
    def surroundings_margin(self) -> int:
        """Pixels about a patch that a cell for each of its tiles sees; 0 where layers are padded."""
        return self.model.net.field.margin if self.model.net.field else 0

    @property
    def _field(self) -> ReceptiveField:
        assert self.model.net.field is not None
        return self.model.net.field

    def _surrounded(self, patches: NDArray[np.uint8], surroundings: ArrayLike) -> NDArray[np.uint8]:
        margin = self.surroundings_margin
        amid = as_batch(surroundings, self.task.side + 2 * margin)
        middle = slice(margin, margin + self.task.side)
        if not np.array_equal(amid[:, middle, middle], patches):
            raise ValueError("the middles of the surroundings are not the patches")
        return amid

    def distance(self, patches: ArrayLike) -> NDArray[np.float64]:
        """How far patches lie from training tissue, (n,): above 1 they are flagged; see `core.models.ood.Detector`.

        Raises:
            PatchShapeError: anything that is not patches of the task.
            ValueError: the bundle has no detector.
        """
        if self.ood is None:
            raise ValueError("the bundle has no out-of-distribution detector")
        batch = as_batch(patches, self.task.side)
        return self.ood.distance(self.features(batch), self._statistics(batch))

    def _placed(
        self, maps: NDArray[np.float32], patches: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Where last maps (n, k, h, w) of patches lie among those of training tissue, and which lie too far off."""
        if self.ood is None:
            return np.zeros((len(maps), 0), np.float32), None
        return self.ood.place(pooled(maps), self._statistics(patches))

    def _statistics(self, patches: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        return None if self.ood is None or self.ood.picture is None else picture_statistics(patches)

    def _forward(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if len(patches) == 0:
            cells = self.model.net.cells(self.task.side)
            return np.zeros((0, self.stored.head[0].shape[1], cells, cells), np.float32), np.zeros((0, 2), np.float32)
        return self.engine.forward(patches)


def _turned_back(maps: NDArray[np.float32], views: int) -> NDArray[np.float32]:
    """Maps (views * n, h, w) of turned patches as those lie: (views, n, h, w)."""
    by_view = maps.reshape(views, len(maps) // views, *maps.shape[1:])
    return np.stack([dihedral_back(by_view[index], index) for index in range(views)])


def _sign_unstable(maps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of maps (views, n, h, w): where the views leave the sign of their mean open, see `Readings.sign_unstable`."""
    if len(maps) == 1:
        return np.zeros(maps.shape[1:], bool)
    exact = maps.astype(np.float64)
    half = T_OF_VIEWS * exact.std(axis=0, ddof=1) / np.sqrt(len(maps))
    return np.asarray(np.abs(exact.mean(axis=0)) < half)


def _agreement(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of maps (views, n, h, w): how the first goes with the others, see `Readings.map_agreement`."""
    flat = maps.reshape(*maps.shape[:2], maps.shape[2] * maps.shape[3]).astype(np.float64)
    flat -= flat.mean(axis=2, keepdims=True)
    size = np.sqrt((flat**2).sum(axis=2))
    product, scale = (flat[:1] * flat[1:]).sum(axis=2), size[:1] * size[1:]
    known = scale > 0
    total = np.where(known, product / np.where(known, scale, 1), 0).sum(axis=0)
    count = known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _counted(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    done = 0

    def tick(passes: int) -> None:
        nonlocal done
        done += passes
        if progress is not None:
            progress(done, total)

    return tick


def _joined(pieces: list[Readings]) -> Readings:
    arrays = [name for name, value in vars(pieces[0]).items() if isinstance(value, np.ndarray)]
    joined: dict[str, Any] = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in arrays}
    return replace(pieces[0], flags=tuple(f for piece in pieces for f in piece.flags), **joined)


def load_reader(model: str | Path = "densenet169", engine: str = "auto") -> Reader:
    """A Reader for a bundle.

    Args:
        model: a name under the models folder, or the path of a bundle's folder.
        engine: "auto", "torch", "openvino" or "openvino-fp32"; see `open_engine`.

    Raises:
        ModelNotFoundError: no such bundle.
        BundleError: it is damaged, altered or incomplete.
        EngineError: the engine cannot run it.
    """
    stored = StoredBundle.open(bundle_folder(model, settings().models))
    return Reader(stored, open_engine(stored, settings(), engine))
