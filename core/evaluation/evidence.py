"""The evidence on a model's maps: every measure, with chance and baselines, stage by stage.

A stage is kept when it is done, keyed by model, data and plan, so that an examination which was stopped goes on. All
stages read the same patches, and methods share their forward passes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from core.data.archive import is_junk
from core.data.pcam import Split
from core.data.regions import read_regions, region_files
from core.errors import ImportSourceError
from core.evaluation import ood
from core.evaluation.answer import ALL, answer_of
from core.evaluation.measures import BASELINES, MEASURES
from core.evaluation.metrics import faithfulness, localisation, position_bias, stability
from core.evaluation.metrics.agreement import rank_correlation
from core.evaluation.metrics.bootstrap import asdict_interval, intervals, mean_interval, paired_difference
from core.evaluation.metrics.classification import Scored, reliability, reliability_intervals, with_intervals
from core.evaluation.metrics.decisions import referral, risk_coverage
from core.evaluation.metrics.randomisation import randomised, similarity, unrelated
from core.evaluation.metrics.robustness import robustness
from core.evaluation.report import record_of
from core.evaluation.trust import mean_known, reference
from core.explain.cam import MARGIN, check_vocabulary
from core.explain.grid import centre_share
from core.files import write_text
from core.inference.caching import CachingEngine, caching_reader
from core.inference.reader import NO_TUMOUR, TUMOUR, Reader, Readings
from core.models.bundle import Interval
from core.settings import settings

Tell = Callable[[str, int, int], None]
"""Told the stage, patches done and patches in all."""
Maps = dict[str, NDArray[np.float32]]
Report = dict[str, Any]

FORMAT = 2
METHODS = (
    *("gradcam/last", "gradcam++/last", "layercam/last", "eigencam/last", "ablationcam/last"),
    *("gradcam/6x6", "hirescam/6x6", "gradcam/12x12", "layercam/12x12"),
)
"""What is examined: at the last layer HiResCAM and XGrad-CAM are Grad-CAM, cell by cell."""
MAIN = "gradcam/last"
CHUNK = 32
SHARES = {
    "mosaic2": 1 / 2,
    "mosaic3": 1 / 10,
    "faithfulness": 1 / 5,
    "randomisation": 1 / 10,
    "stability": 3 / 10,
    "trust": 3 / 10,
    "position_bias": 1,
    "ood": 1 / 5,
}
"""How many patches (or mosaics) a stage takes, as a share of the sample."""
SHOWN = 6
"""Mosaics that the report names, to be drawn with their maps."""
EVIDENCE, PROGRESS = "evidence.json", "progress.json"
"""The report's file in a bundle's folder; how far an examination is, in its own."""
MILD = 2
"""Strength of the changes that maps should not notice, see `stability.PERTURBATIONS`."""


@dataclass(frozen=True)
class Plan:
    """What an examination looks at.

    Attributes:
        sample: patches, half of them tumour where there are enough.
        seed: of the sample and every draw.
        methods: `method/layer` names.
    """

    sample: int = 1000
    seed: int = 0
    methods: tuple[str, ...] = METHODS


@dataclass(frozen=True)
class Found:
    """What a stage found: table rows, paired differences from Grad-CAM, and curves to draw."""

    rows: list[dict[str, Any]]
    paired: list[dict[str, Any]]
    curves: dict[str, Any]


class Examination:
    """One model examined on one split."""

    def __init__(
        self,
        reader: Reader,
        split: Split,
        plan: Plan | None = None,
        regions: Path | None = None,
        tell: Tell = lambda stage, done, total: None,  # noqa: ARG005
        odd: Path | None = None,
    ) -> None:
        """Examine what `reader` serves on `split`.

        On `regions` (a folder, see `read_regions`) too where given, and on `odd`, a folder of pictures that the model
        should not know (see `core.evaluation.ood.of_folder`).
        """
        self.engine = CachingEngine(reader.engine)
        self.reader = Reader(reader.stored, self.engine)
        self.split, self.plan, self.regions, self.odd = split, plan or Plan(), regions, odd
        self._told, self._noted = tell, 0.0
        self._folder: Path | None = None
        self.stages: dict[str, Callable[[], Found]] = {
            "localisation": self._localisation,
            "masks": self._masks,
            "regions": self._regions,
            "faithfulness": self._faithfulness,
            "randomisation": self._randomisation,
            "stability": self._stability,
            "prediction": self._prediction,
            "trust": self._trust,
            "position_bias": self._position_bias,
            "ood": self._ood,
        }

    @property
    def key(self) -> str:
        """Hex digest of all that the result depends on."""
        names = [_names(folder) for folder in (self.regions, self.odd)]
        described = self.reader.model.model_dump_json(include={"points": {"1"}, "ood": True})  # one view is read
        facts = (FORMAT, described, self.reader.model.graph_key, self.reader.engine.name)
        text = repr((facts, self.split.fingerprint(), asdict(self.plan), names))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, cache: Path) -> Report:
        """The evidence report, JSON-ready; stages already under `cache` are not done again.

        Raises:
            OutputError: the cache cannot be written.
            ImportSourceError: a region cannot be read.
        """
        found, speeds = [], {}
        self._folder = cache / "evidence" / self.key
        for name, stage in self.stages.items():
            kept = self._folder / f"{name}.json"
            if kept.is_file():
                record = json.loads(kept.read_text(encoding="utf-8"))
            else:
                self.tell(name, 0, 1)
                began, passes = time.perf_counter(), self.engine.passes
                record = asdict(stage())
                seconds = time.perf_counter() - began
                record["speed"] = {"seconds": seconds, "passes": self.engine.passes - passes}
                write_text(kept, json.dumps(_plain(record)) + "\n")
            self.tell(name, 1, 1)
            found.append(record)
            speeds[name] = record["speed"]
        rows = [row for record in found for row in record["rows"]]
        report: Report = _plain(
            {
                "format": FORMAT,
                "model": {"name": self.reader.model.name, "identity": self.reader.model.identity},
                "engine": self.engine.name,
                "data": record_of(self.split).model_dump(mode="json"),
                "plan": asdict(self.plan),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "answer": [line._asdict() for line in answer_of(rows, MAIN)],
                "rows": rows,
                "paired": [row for record in found for row in record["paired"]],
                "curves": {name: curve for record in found for name, curve in record["curves"].items()},
                "speeds": speeds,
            }
        )
        return report

    def tell(self, stage: str, done: int, total: int) -> None:
        """Hand progress on, and keep it beside the stages at most once a second for who watches from elsewhere."""
        self._told(stage, done, total)
        if self._folder is not None and time.monotonic() > self._noted + 1:
            self._noted = time.monotonic()
            write_text(self._folder / PROGRESS, json.dumps({"stage": stage, "done": done, "total": total}))

    def progress(self, cache: Path) -> tuple[float, str]:
        """How far a run of the same examination is, in this process or another: share in [0, 1], and its stage."""
        folder = cache / "evidence" / self.key
        done = sum((folder / f"{name}.json").is_file() for name in self.stages)
        try:
            now = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return done / len(self.stages), ""
        return min((done + min(now["done"] / now["total"], 0.95)) / len(self.stages), 1.0), str(now["stage"])

    # What all stages share

    @cached_property
    def indices(self) -> NDArray[np.intp]:
        """Positions in the split that are examined, ascending; half of them tumour where there are enough."""
        generator = np.random.default_rng(self.plan.seed)
        kinds = [generator.permutation(np.flatnonzero(self.split.labels == label)) for label in (0, 1)]
        half = self.plan.sample // 2
        return np.sort(np.concatenate([kind[:half] for kind in kinds]))

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(n,) of the sample."""
        return self.split.labels[self.indices]

    def groups(self, chosen: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.str_] | None:
        """Slides of patches of the sample; None when unknown."""
        return None if self.split.slides is None else self.split.slides[self.indices][chosen]

    def some(self, stage: str) -> NDArray[np.intp]:
        """Places in the sample that a stage takes, ascending, drawn from both labels alike."""
        count = max(2, round(SHARES[stage] * len(self.indices)))
        return np.sort(np.random.default_rng((self.plan.seed, 1)).permutation(len(self.indices))[:count])

    def patches(self, places: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Patches of the sample by place."""
        return self.split.patches(self.indices[places])

    def chunks(self, places: NDArray[np.integer], stage: str) -> Iterator[NDArray[np.uint8]]:
        """Patches of the sample, some at a time."""
        for start in range(0, len(places), CHUNK):
            yield self.patches(places[start : start + CHUNK])
            self.tell(stage, min(start + CHUNK, len(places)), len(places))

    def explained(self, patches: NDArray[np.uint8], reader: Reader | None = None) -> dict[str, Readings]:
        """Readings of patches by every method, for the price of one forward pass where a method needs no gradient."""
        reader = reader or self.reader
        found = {}
        for name in self.plan.methods:
            method, layer = name.split("/")
            found[name] = reader.explain(patches, method, layer, MARGIN)
        return found

    def maps(self, images: NDArray[np.uint8], reader: Reader | None = None) -> Maps:
        """Maps of patches by every method."""
        return {name: readings.attribution for name, readings in self.explained(images, reader).items()}

    @cached_property
    def read(self) -> tuple[NDArray[np.float64], Maps]:
        """Probabilities (n,) of one view and maps of the whole sample."""
        pieces = [self.explained(chunk) for chunk in self.chunks(np.arange(len(self.indices)), "reading")]
        probability = np.concatenate([piece[self.plan.methods[0]].probability for piece in pieces])
        return probability, _joined([{name: r.attribution for name, r in piece.items()} for piece in pieces])

    def look(self, patches: NDArray[np.uint8]) -> Readings:
        """One view read with Grad-CAM."""
        return self.reader.read(patches)

    def margin(self, patches: NDArray[np.uint8]) -> NDArray[np.floating]:
        """The logit (n,) of one view."""
        return self.reader.read(patches).logit

    # Stages

    def _localisation(self) -> Found:
        """Mosaics, and the label's centre."""
        found = Found([], [], {})
        for side in (2, 3):
            name = f"mosaic{side}"
            count = max(2, round(SHARES[name] * len(self.indices)))
            try:
                plan, cells = localisation.mosaic_plan(self.labels, side, count, self.plan.seed)
            except ValueError:  # too few patches of a kind
                continue
            shares, hits = _Table(), _Table()
            for number in range(count):
                image = localisation.tiled(self.patches(plan[number])[None])
                maps = self._region(image)
                grid = maps[MAIN].shape[1:]
                for method, heatmap in {**maps, **localisation.baselines(image, grid, number)}.items():
                    pointing = localisation.cell_share(heatmap, cells[number : number + 1], side)
                    shares.add(method, pointing.share)
                    hits.add(method, pointing.hit)
                self.tell("localisation", number + 1, count)
            found.rows.extend([*shares.rows(name), *hits.rows(f"{name}_hit")])
            found.paired.extend(shares.paired(name))
            found.curves[name] = {"side": side, "cells": cells[:SHOWN], "patches": self.indices[plan[:SHOWN]]}
        probability, maps = self.read
        right = (probability >= self.reader.model.point(1).threshold) & (self.labels == 1)
        if right.any():
            shares = _Table()
            known = localisation.baselines(self.patches(np.flatnonzero(right)), (3, 3), self.plan.seed)
            for method, heatmaps in {**{name: m[right] for name, m in maps.items()}, **known}.items():
                shares.add(method, centre_share(heatmaps))
            groups = self.groups(right.nonzero()[0])
            found.rows.extend(shares.rows("centre_share", groups))
            found.paired.extend(shares.paired("centre_share", groups))
        return found

    def _masks(self) -> Found:
        """Pixel masks of the split's own patches, where it has them."""
        masks = self.split.masks(self.indices)
        if masks is None or not masks.any():
            return Found([], [], {})
        _, maps = self.read
        known = localisation.baselines(self.patches(np.arange(len(self.indices))), (12, 12), self.plan.seed)
        return Found(_pixel_rows("masks", {**maps, **known}, masks), [], {})

    def _regions(self) -> Found:
        """Regions with masks, read fully convolutionally."""
        if self.regions is None:
            return Found([], [], {})
        pieces: list[Maps] = []
        masks: list[NDArray[np.bool_]] = []
        count = len(region_files(self.regions))
        for number, region in enumerate(read_regions(self.regions), start=1):
            if masks and region.mask.shape != masks[0].shape:
                raise ImportSourceError(self.regions, f"'{region.name}' is not of the size of the regions before it")
            image = region.image[None]
            maps = self._region(image)
            pieces.append({**maps, **localisation.baselines(image, maps[MAIN].shape[1:], number)})
            masks.append(region.mask)
            self.tell("regions", number, count)
        return Found(_pixel_rows("regions", _joined(pieces), np.stack(masks)), [], {})

    def _region(self, image: NDArray[np.uint8]) -> Maps:
        found = {}
        for name in self.plan.methods:
            method, layer = name.split("/")
            found[name] = self.reader.region(image, method, layer, MARGIN)
        return found

    def _faithfulness(self) -> Found:
        """Deletion, insertion, ROAD, and evidence against the drop of each cell."""
        places = self.some("faithfulness")
        _, everything = self.read
        patches = self.patches(places)
        maps = {name: heatmaps[places] for name, heatmaps in everything.items()}
        maps |= localisation.baselines(patches, (3, 3), self.plan.seed)
        groups, found = self.groups(places), Found([], [], {"deletion": {}})
        point = self.reader.model.point(1)
        found.curves["replaced"] = {"decision": point.threshold_logit, "ways": {}}
        for way, replace in faithfulness.REPLACEMENTS.items():
            curves = faithfulness.curves(patches, maps, self.margin, replace)
            found.curves["replaced"]["ways"][way] = self._replaced(next(iter(curves.values())), places)
            gaps, areas = _Table(), {"deletion": _Table(), "insertion": _Table()}
            road = _Table()
            for method, curve in curves.items():
                area = curve.areas(normalised=False)
                gaps.add(method, area["gap"])
                for name, table in areas.items():
                    table.add(method, area[name])
                road.add(method, curve.road())
                if way == "blurred":
                    found.curves["deletion"][method] = {
                        "share": curve.share,
                        "deletion": curve.deletion.mean(axis=0),
                        "insertion": curve.insertion.mean(axis=0),
                    }
            found.rows.extend(gaps.rows(f"gap_{way}", groups))
            found.paired.extend(gaps.paired(f"gap_{way}", groups))
            if way == "blurred":
                for name, table in areas.items():
                    found.rows.extend(table.rows(name, groups, chance=table.mean("random")))
            else:
                found.rows.extend(road.rows("road", groups))
            self.tell("faithfulness", len(places), len(places))
        correlation = _Table()
        for grid in sorted({heatmaps.shape[1:] for heatmaps in maps.values()}):
            if grid[0] > 3:  # a fine cell blurred alone hardly moves the logit
                continue
            drops = faithfulness.cell_drops(patches, grid, self.margin, faithfulness.blurred)
            for method, heatmaps in maps.items():
                if heatmaps.shape[1:] == grid:
                    correlation.add(method, faithfulness.drop_correlation(heatmaps, drops)["spearman"])
        found.rows.extend(correlation.rows("drop_spearman", groups))
        return found

    def _replaced(self, curves: faithfulness.Curves, places: NDArray[np.intp]) -> dict[str, Any]:
        """Mean logit of patches as they are and wholly replaced, of all and by label; nothing of a label not there."""
        found: dict[str, Any] = {}
        labels = self.labels[places]
        for name, own in ((ALL, labels < 2), (TUMOUR, labels == 1), (NO_TUMOUR, labels == 0)):
            if own.any():
                means = {"as_is": curves.scores[own, 0, 0], "replaced": curves.scores[own, 0, -1]}
                found[name] = {"patches": int(own.sum())} | {
                    which: asdict_interval(mean_interval(logits, self.groups(places[own])))
                    for which, logits in means.items()
                }
        return found

    def _randomisation(self) -> Found:
        """Weights randomised from the head down."""
        places = self.some("randomisation")
        _, everything = self.read
        before = {name: heatmaps[places] for name, heatmaps in everything.items()}
        patches, found = self.patches(places), Found([], [], {"cascade": {}})
        last: Maps = {}
        names: list[str] = []
        for depth, name, reader in randomised(self.reader.stored, settings().threads, self.plan.seed):
            names.append(name)
            shared = caching_reader(reader)
            last = _joined([self.maps(patches[i : i + CHUNK], shared) for i in range(0, len(patches), CHUNK)])
            for method, heatmaps in last.items():
                curve = found.curves["cascade"].setdefault(method, {"spearman": [], "ssim": []})
                for kind, values in similarity(before[method], heatmaps).items():
                    curve[kind].append(asdict_interval(mean_interval(values)))
            self.tell("randomisation", depth, depth + 1)
        found.curves["cascade_layers"] = names
        table = _Table()
        for method, heatmaps in last.items():
            table.add(method, similarity(before[method], heatmaps)["spearman"])
            chance = unrelated(before[method])
            found.curves["cascade"][method]["unrelated"] = chance
            found.rows.extend(table.rows("after_randomising", self.groups(places), chance, only=method))
        return found

    def _stability(self) -> Found:
        """Flips and turns, and mild and rough changes; robustness of the prediction comes from the same readings."""
        places = self.some("stability")
        groups, labels = self.groups(places), self.labels[places]
        found = Found([], [], {})
        turned = stability.eight_views(self.chunks(places, "stability"), self.look)
        held = stability.stress(self.chunks(places, "stability"), self.look)
        mild = [held[name, MILD] for name in stability.PERTURBATIONS]
        for measure, values in {
            "turns_drift": turned.drift,
            "stress_drift": np.mean([one.drift for one in mild], axis=0),
            "moved_alone": mean_known(np.array([one.moved_alone for one in mild])),
        }.items():
            table = _Table()
            table.add(MAIN, values)
            found.rows.extend(table.rows(measure, groups))
        found.curves["drift"] = {
            name: {
                "title": one.title,
                "unit": one.unit,
                "levels": one.levels,
                "drift": [float(held[name, s].drift.mean()) for s in stability.STRENGTHS],
                "shift": [float(held[name, s].shift.mean()) for s in stability.STRENGTHS],
            }
            for name, one in stability.PERTURBATIONS.items()
        }
        curves = robustness(held, labels, self.reader.model.point(1), groups, resamples=200)
        found.curves["robustness"] = {
            name: {str(s): {k: asdict_interval(v) for k, v in figures.items()} for s, figures in by_strength.items()}
            for name, by_strength in curves.items()
        }
        found.rows.extend(self._agreement())
        return found

    def _agreement(self) -> list[dict[str, Any]]:
        _, maps = self.read
        places, table = self.some("stability"), _Table()
        for method, heatmaps in maps.items():
            pairs = zip(maps[MAIN][places], heatmaps[places], strict=True)
            values = [rank_correlation(a, b) for a, b in pairs]
            table.add(method, np.array([np.nan if value is None else value for value in values]))
        return [row for row in table.rows("agreement", self.groups(places)) if row["method"] != MAIN]

    def _prediction(self) -> Found:
        """The prediction that the maps explain: ROC, reliability, risk and coverage, what the refer band buys."""
        probability, _ = self.read
        point = self.reader.model.point(1)
        scored = Scored(probability, self.labels, point)
        risk = risk_coverage(probability, self.labels, point.threshold)
        every = max(1, len(risk.coverage) // 200)
        measured = with_intervals(scored, self.groups())
        return Found(
            [],
            [],
            {
                "figures": {k: asdict_interval(v) for k, v in measured.items()},
                "reliability": reliability(probability, self.labels)
                | {
                    "intervals": [
                        asdict_interval(one) for one in reliability_intervals(probability, self.labels, self.groups())
                    ]
                },
                "risk_coverage": {
                    "coverage": risk.coverage[::every],
                    "risk": risk.risk[::every],
                    "area": risk.area,
                    "chance": risk.chance,
                    "best": risk.best,
                },
                "referral": referral(probability, self.labels, point),
                "point": point.model_dump(mode="json"),
            }
            | self._roc(probability, measured.get("auc")),
        )

    def _roc(self, probability: NDArray[np.float64], auc: Interval | None) -> Report:
        """The ROC, which is none where all patches have one label."""
        if len(np.unique(self.labels)) < 2:
            return {}
        false_positive_rate, sensitivity, thresholds = roc_curve(self.labels, probability)
        return {
            "roc": {
                "false_positive_rate": false_positive_rate,
                "sensitivity": sensitivity,
                "thresholds": np.minimum(thresholds, 1.0),
                "auc": asdict_interval(auc),
            }
        }

    def _trust(self) -> Found:
        """How the figures of the trust card are spread over patches of the same verdict."""
        places = self.some("trust")
        return Found([], [], {"trust": reference(self.reader, self.chunks(places, "trust"))})

    def _position_bias(self) -> Found:
        """Why the map leans where it leans: true positives moved, mirrored and exchanged; and masks."""
        places = self.some("position_bias")
        labels = self.labels[places]
        called = self.read[0][places] >= self.reader.model.point(1).threshold
        right, normal = places[(labels == 1) & called], places[labels == 0]
        if len(right) < position_bias.LEAST or not len(normal):
            return Found([], [], {})
        donors = np.random.default_rng((self.plan.seed, 2)).choice(normal, len(right))
        pieces = [
            position_bias.measured(chunk, self.patches(donors[start : start + CHUNK]), self.look, self.reader.region)
            for start, chunk in zip(range(0, len(right), CHUNK), self.chunks(right, "position_bias"), strict=True)
        ]
        shares = _joined(pieces)
        curve = position_bias.summary(shares, self.groups(right))
        curve["windows"] = position_bias.by_mask(self._masked(), self.look)
        curve["finding"] = [line._asdict() for line in position_bias.finding(curve)]
        table = _Table()
        table.add(MAIN, shares["context"][:, 1, 1])
        return Found(table.rows("centre_context", self.groups(right)), [], {"position_bias": curve})

    def _ood(self) -> Found:
        """Whether what the model should not know is told from what it knows, where the bundle has a detector."""
        if self.reader.ood is None:
            return Found([], [], {})
        places = self.some("ood")
        slides = self.groups(places)
        own = ood.Kind("own", self.patches(places), places.astype(str) if slides is None else slides)
        kinds = [*ood.of_own(own), *ood.of_scikit_image()]
        if self.odd is not None:
            kinds += ood.of_folder(self.odd)
        curve = ood.measured(self.reader, own, kinds, lambda done, total: self.tell("ood", done, total))
        return Found([], [], {"ood": curve})

    def _masked(self) -> Iterator[position_bias.Masked]:
        """Patches with masks: windows of the regions where there are any, otherwise the sample's own."""
        if self.regions is not None:
            yield from position_bias.windows(read_regions(self.regions), self.plan.seed)
            return
        masks = self.split.masks(self.indices)
        if masks is not None:
            places = np.arange(len(self.indices))
            slides = self.groups()
            sources = places.astype(str) if slides is None else slides
            for start, chunk in zip(places[::CHUNK], self.chunks(places, "position_bias"), strict=True):
                part = slice(start, start + CHUNK)
                yield position_bias.Masked(chunk, masks[part], sources[part])


def chosen_methods(names: Sequence[str], layers: tuple[str, ...]) -> tuple[str, ...]:
    """Grad-CAM at the last layer and the named, once each, for a `Plan`.

    Args:
        names: `method/layer`.
        layers: the network's own layers.

    Raises:
        ExplanationError: no such method, or not at that layer.
    """
    for name in names:
        method, _, layer = name.partition("/")
        check_vocabulary(method, layer, MARGIN, layers)
    return tuple(dict.fromkeys((MAIN, *names)))


def _names(folder: Path | None) -> list[tuple[str, int]]:
    found = sorted(path for path in folder.glob("*") if not is_junk(path.name)) if folder else []
    return [(path.name, path.stat().st_size) for path in found]


class _Table:
    """Values (n,) of one measure by method."""

    def __init__(self) -> None:
        self._values: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, method: str, values: NDArray[np.floating]) -> None:
        self._values.setdefault(method, []).append(np.asarray(values, np.float64))

    def values(self, method: str) -> NDArray[np.float64]:
        return np.concatenate(self._values[method])

    def mean(self, method: str) -> float:
        return float(np.nanmean(self.values(method)))

    def rows(
        self,
        measure: str,
        groups: NDArray[np.str_] | None = None,
        chance: float | None = None,
        only: str | None = None,
    ) -> list[dict[str, Any]]:
        chance = MEASURES[measure].chance if chance is None else chance
        rows = []
        for method in [only] if only else self._values:
            values = self.values(method)
            interval = mean_interval(values, groups)
            if interval is not None:
                known = np.isfinite(values)
                units = None if groups is None else len(np.unique(groups[known]))
                rows.append(_row(measure, method, interval, chance, int(known.sum()), units))
        return rows

    def paired(self, measure: str, groups: NDArray[np.str_] | None = None) -> list[dict[str, Any]]:
        rows = []
        for method in self._values:
            if method != MAIN:
                interval = paired_difference(self.values(MAIN), self.values(method), groups)
                if interval is not None:
                    rows.append({"measure": measure, "method": MAIN, "against": method, **asdict_interval(interval)})
        return rows


def _pixel_rows(where: str, maps: Mapping[str, NDArray[np.float32]], masks: NDArray[Any]) -> list[dict[str, Any]]:
    """Rows of pixel figures; the IoU's threshold is chosen on every other image and judged on the rest."""
    rows = []
    fitted, judged = np.arange(0, len(masks), 2), np.arange(1, len(masks), 2)
    for method, heatmaps in maps.items():
        counts = localisation.pixel_counts(heatmaps, masks, localisation.levels(heatmaps))
        level = localisation.best_level(counts[fitted].sum(axis=0))
        found = _pixel_intervals(counts, None)
        overlap = {"iou": _pixel_intervals(counts[judged], level).get("iou")}
        share = float((np.asarray(masks) > 0).mean())
        chances = {"pixel_auc": 0.5, "average_precision": share, "iou": share}
        for name, chance in chances.items():
            interval = {**found, **overlap}.get(name)
            if interval is not None:
                rows.append(_row(f"{where}_{name}", method, interval, chance, len(masks)))
        hit, tumour = localisation.pointing_game(heatmaps, masks)
        interval = mean_interval(hit)
        if interval is not None:
            chance = float(tumour[np.isfinite(hit)].mean())
            rows.append(_row(f"{where}_hit", method, interval, chance, int(np.isfinite(hit).sum())))
    return rows


def _pixel_intervals(counts: NDArray[np.integer], level: int | None) -> dict[str, Interval]:
    return intervals(lambda drawn: localisation.pixel_figures(counts[drawn].sum(axis=0), level), len(counts))


def _row(
    measure: str, method: str, interval: Interval, chance: float | None, count: int, slides: int | None = None
) -> dict[str, Any]:
    """A row of the report; "units" are the patches, or the slides, that its interval draws from."""
    return {
        "measure": measure,
        "method": method,
        **asdict_interval(interval),
        "chance": chance,
        "patches": count,
        "units": count if slides is None else slides,
        "resampled_by": "patch" if slides is None else "slide",
        "baseline": method in BASELINES,
    }


def _joined(pieces: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _plain(value: Any) -> Any:
    """Arrays as lists, numbers of NumPy as Python's, and what is not finite as None: JSON knows neither."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
