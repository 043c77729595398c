"""What tells tissue that a network does not know: fitted on training patches, measured out of distribution.

What serves was chosen on half of the pictures of colon and mouth (`ood_kinds.part_of`), with DenseNet169 on PCam, each
at the limit that keeps the same promise (5 % of valid at the upper end). Share found of the other half, as the pictures
come and brought to 0.97 um/px; and share flagged of lymph nodes of five hospitals (CAMELYON17), which is a fault. The
sets of numbers were first tried on all pictures, and the promise of 4 % and the weight of the features were settled
with both halves and the figures of test in sight: these figures flatter the detector.

| judged by | as they come | at 0.97 um/px | lymph nodes | of test |
|---|---|---|---|---|
| features alone | 0.21 | 0.08 | 0.00 | 0.029 |
| nine numbers, no sharpness | 0.16 | 0.18 | 0.59 | 0.064 |
| ten numbers, sharpness of 1 px | 0.83 | 0.38 | 0.59 | 0.063 |
| twelve, sharpness of 1, 2 and 4 px | 1.00 | 0.87 | 0.82 | 0.045 |

So what tells tissue of other organs is above all how sharp a picture is at three scales, which is as much the scanner's
doing as the tissue's: where training patches are blurred and re-encoded at random before they are learned, twelve
numbers find 0.3 of either, and from those lymph nodes they do not tell colon at the same pixel size (AUROC 0.41; the
features 0.76). Of the features Mahalanobis distance beat that to the nearest training patches (Sun et al. 2022,
arXiv:2204.06507).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.data.flags import flags
from core.data.pcam import Split
from core.data.picture_statistics import picture_statistics
from core.errors import DataError, TooFewPatchesError
from core.evaluation.metrics.bootstrap import LEVEL, intervals, share_interval
from core.evaluation.metrics.classification import area_under_roc
from core.evaluation.ood_kinds import Kind, Names
from core.evaluation.report import CHUNK, Progress, record_of
from core.evaluation.schema import Figure
from core.inference.reader import Reader
from core.models.ood import Array, Detector, Features, Mahalanobis, PictureGaussian, save_detector
from core.models.schema import Bundle, DataRecord, OODRecord
from core.models.store import OOD_DETECTOR, OOD_DETECTOR_1, sha256_of, write_description
from core.task import NOT_READ, REFER

FALSE_ALARMS = 0.04
"""Share of validation patches that may be called strange, at the upper end of its interval over slides."""
UNIT = 0.05
"""Share of patches that lie beyond the unit of a distance."""
FEATURES_UNIT = 0.01
"""The same of the features beside the picture's numbers: they tell less, so they speak only of what is rarer."""
FEWEST = round(1 / UNIT)
"""Fewer patches cannot set a unit that this share of them exceeds."""
SAMPLE = 5000
"""Patches of either split, at most."""
VARIANCE_KEPT = (0.95, 0.999)
"""Of the training features' variance in the narrow and in the wide look: 3 and 44 directions for the DenseNet169."""
DIRECTIONS = 64
"""Kept at most. EfficientNet-Lite0 would need 789; with 64 and the third look as much is told, and a patch's
neighbours are more often of its label."""
PSEUDO_SLIDES = 20
"""Clusters of colour that stand for slides where those are not named."""
PER_PSEUDO_SLIDE = 20
"""Patches of each at least, on average; of fewer there are fewer clusters."""
COLOURS = slice(0, 6)
"""Of the picture's numbers: means and spreads of red, green and blue."""
DRAWS = 1000
CHANCE = 0.5
_LEAST_VARIANCE = 1e-6  # of a number that is a sum of others


# Fitting


def fit_ood_detector(reader: Reader, bundle: Bundle, valid: Split, progress: Progress) -> Bundle:
    """Learn what training tissue looks like, and write it beside the weights.

    Args:
        reader: serves the bundle.
        bundle: its description, as it is to be written next.
        valid: validation patches; the split 'train' lies in the same folder.
        progress: called with patches done and patches in all, for each of two passes.

    Returns:
        The description that names the new file; writing it is the caller's.

    Raises:
        DataError: there is no train split beside it, it is damaged, or either has too few patches.
        OutputError: the disk is full.
    """
    train = Split.open(valid.folder, "train")
    for split in (train, valid):
        split.require(reader.task)
        if len(split) < FEWEST:
            raise TooFewPatchesError(split.name, len(split), "tell what is unlike them")
    known, others = (_drawn(reader, split, progress) for split in (train, valid))
    detector = fit_detector(known, others)
    folder, path = reader.stored.folder, reader.stored.folder / OOD_DETECTOR
    if reader.model.ood is not None:
        # Stopped between the two files, a bundle has no detector; it never names one that is gone.
        write_description(folder, reader.model.model_copy(update={"ood": None}))
    save_detector(path, detector)
    (folder / OOD_DETECTOR_1).unlink(missing_ok=True)
    record = OODRecord(
        sha256=sha256_of(path),
        directions=detector.features.whiten.shape[1],
        fitted_on=known.record,
        limit_on=others.record,
        picture=True,
    )
    return bundle.model_copy(update={"ood": record})


class Drawn(NamedTuple):
    """What a detector is made of: patches of a split that the flag can be raised for, those with tissue in them.

    Attributes:
        features: (n, k) pooled.
        statistics: (n, 12) numbers of the picture.
        slides: (n,) names, or None.
        record: of the split and all patches drawn of it.
    """

    features: Array
    statistics: NDArray[np.float64]
    slides: Names | None
    record: DataRecord


def _drawn(reader: Reader, split: Split, progress: Progress) -> Drawn:
    chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:SAMPLE])
    features, statistics, kept = [], [], []
    for start in range(0, len(chosen), CHUNK):
        indices = chosen[start : start + CHUNK]
        patches = split.patches(indices)
        judged = np.array(["nearly blank" not in names for names in flags(patches, reader.task)], bool)
        features.append(reader.features(patches[judged]))
        statistics.append(picture_statistics(patches[judged]))
        kept.append(indices[judged])
        progress(min(start + CHUNK, len(chosen)), len(chosen))
    places = np.concatenate(kept)
    if len(places) < FEWEST:
        raise TooFewPatchesError(split.name, len(places), "tell what is unlike them")
    slides = None if split.slides is None else split.slides[places]
    record = record_of(split).model_copy(update={"patches": len(chosen)})
    return Drawn(np.concatenate(features), np.concatenate(statistics), slides, record)


def fit_detector(known: Drawn, others: Drawn) -> Detector:
    """Fit both distances on training patches, and set their limits on validation patches.

    Either is taken in units of what a share of the validation patches exceed (UNIT, FEATURES_UNIT). The limit of the
    larger keeps a promise: slides are drawn anew, and in 97.5 % of the draws at most FALSE_ALARMS of the patches lie
    beyond it.

    Raises:
        DataError: the features of all training patches are the same.
    """
    features, picture = fit(known.features, others.features), fit_picture(known.statistics, others.statistics)
    distance = Detector(features, picture).distance(others.features, others.statistics)
    slides = pseudo_slides(others.statistics) if others.slides is None else others.slides
    return Detector(features, picture).relaxed(promised_limit(distance, slides))


def fit_picture(statistics: Features, validation: Features) -> PictureGaussian:
    """The Gaussian of training pictures' numbers (n, p), with its limit on validation pictures' (m, p).

    Numbers are brought to variance 1 before their covariance is shrunk (Ledoit & Wolf 2004), so that none counts for
    its unit.
    """
    from sklearn.covariance import ledoit_wolf

    mean, scale = statistics.mean(axis=0), statistics.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(ledoit_wolf((statistics - mean) / scale, assume_centered=True)[0])
    whiten = vectors / np.sqrt(np.maximum(values, _LEAST_VARIANCE)) / scale[:, None]
    unset = PictureGaussian(mean.astype(np.float32), whiten.astype(np.float32), np.ones(1, np.float32))
    limit = np.quantile(unset.distance(validation), 1 - UNIT)
    return PictureGaussian(unset.mean, unset.whiten, np.array([limit], np.float32))


def pseudo_slides(statistics: Features) -> Names:
    """Clusters (n,) of the colours of pictures' numbers (n, 12), to stand for slides: one stain and scanner each."""
    from sklearn.cluster import KMeans

    colours = statistics[:, COLOURS]
    scale = colours.std(axis=0)
    wanted = int(np.clip(len(colours) // PER_PSEUDO_SLIDE, 1, PSEUDO_SLIDES))
    count = min(wanted, len(np.unique(colours, axis=0)))
    standard = (colours - colours.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    return np.asarray(KMeans(count, n_init=4, random_state=0).fit_predict(standard).astype(str))


def promised_limit(distance: NDArray[np.floating], slides: Names) -> float:
    """The limit beyond which at most FALSE_ALARMS of patches lie, in 97.5 % of the draws of whole slides.

    Args:
        distance: (n,) of validation patches.
        slides: (n,) theirs; of a single one it is the quantile itself.
    """
    places = [np.flatnonzero(slides == name) for name in np.unique(slides)]
    generator = np.random.default_rng(0)
    limits = [
        np.quantile(distance[np.concatenate([places[i] for i in drawn])], 1 - FALSE_ALARMS)
        for drawn in generator.integers(len(places), size=(DRAWS, len(places)))
    ]
    return float(np.quantile(limits, LEVEL[1]))


def fit(features: Features, validation: Features) -> Mahalanobis:
    """Fit on training features (n, k), and set the limit on validation features (m, k).

    Variances are shrunk (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4).

    Raises:
        DataError: the features of all training patches are the same.
    """
    from sklearn.covariance import ledoit_wolf

    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    _, scales, vectors = np.linalg.svd(centred, full_matrices=False)
    if not scales.any():
        raise DataError("The network says the same of every training patch.")
    share = np.cumsum(scales**2) / np.square(scales).sum()
    few, all_kept = np.minimum(np.searchsorted(share, VARIANCE_KEPT) + 1, DIRECTIONS)
    vectors = vectors[:all_kept].T
    spread = np.diag(ledoit_wolf(centred @ vectors, assume_centered=True)[0])
    whiten = vectors / np.sqrt(spread)
    unset = np.zeros(1)
    # Every look in units of 1 and no limit; then the units from the training patches, then the limit.
    detector = _as_float32(mean, whiten, np.array([[few, 1], [all_kept, 1]]), unset, unset)
    coordinates = detector.coordinates(features)
    lengths = [np.linalg.norm(coordinates[:, :depth], axis=1) for depth in (few, all_kept)]
    units = [np.quantile(length, 1 - UNIT) for length in lengths]
    left_out = share[all_kept - 1] < VARIANCE_KEPT[-1]
    residual_scale = np.quantile(detector.left_out(features, coordinates), 1 - UNIT) if left_out else 0.0
    detector = _as_float32(mean, whiten, np.column_stack([[few, all_kept], units]), np.array([residual_scale]), unset)
    limit = alarm_threshold(detector, validation)
    return Mahalanobis(**(vars(detector) | {"limit": np.array([limit], np.float32)}))


def _as_float32(*arrays: NDArray[np.floating]) -> Mahalanobis:
    return Mahalanobis(*(array.astype(np.float32) for array in arrays))


def alarm_threshold(detector: Mahalanobis, features: Features) -> float:
    """Distance above which a patch is out of distribution: exceeded by FEATURES_UNIT of validation features (n, k)."""
    return float(np.quantile(detector.distance(features), 1 - FEATURES_UNIT))


# Measuring


def recognised(near: NDArray[np.floating], far: NDArray[np.floating], own: Names, sources: Names) -> dict[str, Any]:
    """How well out-of-distribution patches are told from the detector's own kind.

    Args:
        near: (n,) distances of patches of the kind it knows, in units of the limit.
        far: (m,) distances of out-of-distribution patches.
        own: (n,) slide or patch that each of the first comes from.
        sources: (m,) the same of the others; a name that is in both is drawn with both.

    Returns:
        "auroc" in [0, 1] with its 95 % interval, chance 0.5; "found", the share of the others beyond the limit.
    """
    distances, labels = np.concatenate([near, far]), np.repeat([0, 1], [len(near), len(far)])
    groups = np.concatenate([own, sources])
    found = intervals(lambda drawn: {"auroc": area_under_roc(distances[drawn], labels[drawn])}, len(groups), groups)
    return {"auroc": Figure.of(found["auroc"]), "found": float((far > 1).mean())}


def measured(
    reader: Reader,
    own: Kind,
    kinds: Sequence[Kind],
    tell: Progress = lambda done, total: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Each out-of-distribution kind against one's own patches: see `schema.OODFigures`.

    Args:
        reader: of a bundle with a detector.
        own: patches of the kind that the detector knows.
        kinds: out of distribution.
        tell: told kinds done and kinds in all.
    """
    near = reader.distance(own.patches)
    found: dict[str, Any] = {
        "patches": len(near),
        "false_alarms": Figure.of(share_interval(near > 1, own.sources)),
        "undecided": undecided(reader, own),
        "kinds": [],
    }
    for number, kind in enumerate(kinds, start=1):
        far = reader.distance(kind.patches)
        record = {"name": kind.name, "patches": len(far), "sources": len(np.unique(kind.sources))}
        told = recognised(near, far, own.sources, kind.sources) | {"undecided": undecided(reader, kind)}
        found["kinds"].append(record | told)
        tell(number, len(kinds))
    return found


def undecided(reader: Reader, kind: Kind) -> Figure:
    """Share of patches that get no class: referred or not read, by any gate or by the refer band."""
    return Figure.of(share_interval(np.isin(reader.read(kind.patches).verdict, (REFER, NOT_READ)), kind.sources))
