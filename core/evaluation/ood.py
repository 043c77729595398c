"""What tells tissue that a network does not know: fitted on training patches, measured out of distribution.

Of two detectors that were measured on DenseNet169's features, Mahalanobis distance (AUROC 0.82 over all that is out of
distribution, 0.74 for tissue of other organs) beat the distance to the nearest training patches (Sun et al. 2022,
arXiv:2204.06507); it is the one that serves, see `core.models.ood`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data import corruptions
from core.data.archive import is_junk
from core.data.intake import picture_of
from core.data.pcam import Split
from core.data.sources import is_image
from core.errors import DataError, ImportSourceError, TooFewPatchesError
from core.evaluation.metrics.bootstrap import intervals, share_interval
from core.evaluation.metrics.classification import area_under_roc
from core.evaluation.report import CHUNK, Progress, record_of
from core.evaluation.schema import Figure
from core.inference.reader import Reader
from core.models.ood import Array, Features, Mahalanobis, save_detector
from core.models.schema import Bundle, DataRecord, OODRecord
from core.models.store import OOD_DETECTOR, OOD_DETECTOR_1, sha256_of, write_description
from core.task import Task

FALSE_ALARMS = 0.05
"""Share of validation patches that the limit calls strange."""
FEWEST = round(1 / FALSE_ALARMS)
"""Fewer patches cannot set a limit that this share of them exceeds."""
SAMPLE = 5000
"""Patches of either split, at most."""
VARIANCE_KEPT = (0.95, 0.999)
"""Of the training features' variance in the narrow and in the wide look: 3 and 44 directions for the DenseNet169."""
DIRECTIONS = 64
"""Kept at most. EfficientNet-Lite0 would need 789; with 64 and the third look as much is told, and a patch's
neighbours are more often of its label."""
PER_PICTURE = 8
"""Patches that are cut from one picture, at most: those of one picture are alike."""
CHANCE = 0.5
COLON = {
    "ADI": "colon, fat",
    "LYM": "colon, lymphocytes",
    "MUC": "colon, mucus",
    "MUS": "colon, muscle",
    "NORM": "colon, normal mucosa",
    "STR": "colon, stroma",
    "TUM": "colon, tumour",
}
"""Classes of CRC-VAL-HE-7K by their names there (Kather et al. 2019, doi:10.1371/journal.pmed.1002730)."""

Patches = NDArray[np.uint8]
Names = NDArray[np.str_]


class Kind(NamedTuple):
    """Out-of-distribution patches of one kind.

    Attributes:
        name: what they are.
        patches: uint8 (n, side, side, 3).
        sources: (n,) what each was cut from: those of one slide or picture are alike.
    """

    name: str
    patches: Patches
    sources: Names


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
    (known, fitted_on), (others, limit_on) = (_drawn(reader, split, progress) for split in (train, valid))
    detector = fit(known, others)
    folder, path = reader.stored.folder, reader.stored.folder / OOD_DETECTOR
    if reader.model.ood is not None:
        # Stopped between the two files, a bundle has no detector; it never names one that is gone.
        write_description(folder, reader.model.model_copy(update={"ood": None}))
    save_detector(path, detector)
    (folder / OOD_DETECTOR_1).unlink(missing_ok=True)
    record = OODRecord(
        sha256=sha256_of(path), directions=detector.whiten.shape[1], fitted_on=fitted_on, limit_on=limit_on
    )
    return bundle.model_copy(update={"ood": record})


def _drawn(reader: Reader, split: Split, progress: Progress) -> tuple[Array, DataRecord]:
    chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:SAMPLE])
    pieces = []
    for start in range(0, len(chosen), CHUNK):
        pieces.append(reader.features(split.patches(chosen[start : start + CHUNK])))
        progress(min(start + CHUNK, len(chosen)), len(chosen))
    return np.concatenate(pieces), record_of(split).model_copy(update={"patches": len(chosen)})


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
    units = [np.quantile(length, 1 - FALSE_ALARMS) for length in lengths]
    left_out = share[all_kept - 1] < VARIANCE_KEPT[-1]
    residual_scale = np.quantile(detector.left_out(features, coordinates), 1 - FALSE_ALARMS) if left_out else 0.0
    detector = _as_float32(mean, whiten, np.column_stack([[few, all_kept], units]), np.array([residual_scale]), unset)
    limit = alarm_threshold(detector, validation)
    return Mahalanobis(**(vars(detector) | {"limit": np.array([limit], np.float32)}))


def _as_float32(*arrays: NDArray[np.floating]) -> Mahalanobis:
    return Mahalanobis(*(array.astype(np.float32) for array in arrays))


def alarm_threshold(detector: Mahalanobis, features: Features) -> float:
    """Distance above which a patch is out of distribution: exceeded by FALSE_ALARMS of validation features (n, k)."""
    return float(np.quantile(detector.distance(features), 1 - FALSE_ALARMS))


# Measuring


def recognised(
    near: NDArray[np.floating], far: NDArray[np.floating], limit: float, own: Names, sources: Names
) -> dict[str, Any]:
    """How well out-of-distribution patches are told from the detector's own kind.

    Args:
        near: (n,) distances of patches of the kind it knows.
        far: (m,) distances of out-of-distribution patches.
        limit: what lies beyond is called strange.
        own: (n,) slide or patch that each of the first comes from.
        sources: (m,) the same of the others; a name that is in both is drawn with both.

    Returns:
        "auroc" in [0, 1] with its 95 % interval, chance 0.5; "found", the share of those beyond the limit.
    """
    distances, labels = np.concatenate([near, far]), np.repeat([0, 1], [len(near), len(far)])
    groups = np.concatenate([own, sources])
    found = intervals(lambda drawn: {"auroc": area_under_roc(distances[drawn], labels[drawn])}, len(groups), groups)
    return {"auroc": Figure.of(found["auroc"]), "found": float((far > limit).mean())}


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
    detector = reader.ood
    assert detector is not None
    limit = float(detector.limit[0])
    near = detector.distance(reader.features(own.patches))
    found: dict[str, Any] = {
        "patches": len(near),
        "false_alarms": Figure.of(share_interval(near > limit, own.sources)),
        "kinds": [],
    }
    for number, kind in enumerate(kinds, start=1):
        far = detector.distance(reader.features(kind.patches))
        record = {"name": kind.name, "patches": len(far), "sources": len(np.unique(kind.sources))}
        found["kinds"].append(record | recognised(near, far, limit, own.sources, kind.sources))
        tell(number, len(kinds))
    return found


# Out-of-distribution patches


def of_own(own: Kind) -> Iterator[Kind]:
    """One's own patches, magnified, reduced or blurred: as a wrong pixel size or a bad focus would."""
    for factor in (0.5, 2.0, 4.0):
        yield Kind(f"scale {factor:g}x", corruptions.scale(own.patches, factor), own.sources)
    yield Kind("blur, 2 px", corruptions.blur(own.patches, 2.0), own.sources)


def of_scikit_image(side: int) -> Iterator[Kind]:
    """Pictures in colour that lie in scikit-image's own folder; nothing is fetched."""
    import skimage

    tissue: list[tuple[str, Patches]] = []
    others: list[tuple[str, Patches]] = []
    for path in sorted((Path(skimage.__file__).parent / "data").glob("*.*")):
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                if image.mode == "RGB":
                    (tissue if path.stem == "ihc" else others).append((path.stem, np.asarray(image)))
    for name, pictures in (("immunohistochemistry", tissue), ("photographs", others)):
        if pictures:
            yield _cut(f"{name} (scikit-image)", pictures, side)


def of_folder(folder: Path, task: Task) -> Iterator[Kind]:
    """Pictures of a folder, read as an upload would be: a kind for each first part of their names where all share one.

    Raises:
        ImportSourceError: no picture in it, or one that cannot be read.
    """
    paths = sorted(path for path in folder.glob("*") if is_image(path.name) and not is_junk(path.name))
    if not paths:
        raise ImportSourceError(folder, "it holds no pictures")
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(re.split("[_-]", path.stem)[0], []).append(path)
    if len(kinds) == 1 or min(map(len, kinds.values())) == 1:
        kinds = {f"pictures of {folder.name}": paths}
    for name, files in kinds.items():
        yield _cut(COLON.get(name, name), [(path.name, picture_of(path, task=task)) for path in files], task.side)


def _cut(name: str, pictures: Sequence[tuple[str, Patches]], side: int) -> Kind:
    """Patches of `side` px side by side out of pictures, evenly chosen where there are too many."""
    patches, sources = [], []
    for source, pixels in pictures:
        tops, lefts = (range(0, length - side + 1, side) for length in pixels.shape[:2])
        corners = [(top, left) for top in tops for left in lefts]
        for place in np.unique(np.linspace(0, len(corners) - 1, PER_PICTURE).astype(int)) if corners else []:
            top, left = corners[place]
            patches.append(pixels[top : top + side, left : left + side])
            sources.append(f"{name}: {source}")
    return Kind(name, np.stack(patches), np.array(sources))
