"""Is this picture like what the network was trained on? Distance of a patch's pooled features from training patches.

Two detectors of one interface: Mahalanobis distance to one Gaussian (Lee et al. 2018, arXiv:1807.03888), which told
more strangers from lymph node when both were measured, and distance to the k-th nearest neighbour (Sun et al. 2022,
arXiv:2204.06507), which also shows the training patches that are most alike. Both are plain arrays in safetensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.errors import BundleError
from core.evaluation.scores import area_under_roc
from core.files import atomic_path

Features = NDArray[np.floating]
Array = NDArray[np.float32]

FALSE_ALARMS = 0.05
"""Share of validation patches that a threshold calls strange."""
VARIANCE_KEPT = (0.95, 0.999)
"""Of the training features' variance in the narrow and in the wide look: 3 and 44 directions for the DenseNet169."""
NEIGHBOURS = 10
_CHUNK = 256


class Detector(Protocol):
    """Tells how strange a patch is from its pooled features."""

    def distance(self, features: Features) -> NDArray[np.float64]:
        """(n, k) pooled features -> (n,) distance from training patches, larger = stranger."""
        ...


@dataclass(frozen=True)
class Mahalanobis:
    """One Gaussian, looked at twice: along the few directions that vary most, and along nearly all that vary at all.

    A picture of something else mostly lies far along the few, tissue of another organ off them; the larger distance
    counts, each in units of what one training patch in twenty exceeds. Variances are shrunk (Ledoit & Wolf 2004).

    Attributes:
        mean: (k,) of the training features.
        whiten: (k, d) directions, those of largest variance first, scaled so that training features have variance 1.
        looks: (2, 2), for either look the number of directions and the distance that is its unit.
    """

    mean: Array
    whiten: Array
    looks: Array

    @classmethod
    def fit(cls, features: Features) -> Mahalanobis:
        """Fit on training features (n, k)."""
        from sklearn.covariance import ledoit_wolf
        from sklearn.decomposition import PCA

        features = np.asarray(features, np.float64)
        pca = PCA(VARIANCE_KEPT[-1], svd_solver="full").fit(features)
        spread = np.diag(ledoit_wolf(pca.transform(features), assume_centered=True)[0])
        whiten = pca.components_.T / np.sqrt(spread)
        depths = np.searchsorted(np.cumsum(pca.explained_variance_ratio_), VARIANCE_KEPT[:-1]) + 1
        far = _lengths((features - pca.mean_) @ whiten, [*depths, len(spread)])
        units = np.quantile(far, 1 - FALSE_ALARMS, axis=0)
        looks = np.column_stack([[*depths, len(spread)], units])
        return cls(pca.mean_.astype(np.float32), whiten.astype(np.float32), looks.astype(np.float32))

    def distance(self, features: Features) -> NDArray[np.float64]:
        """How far features (n, k) lie, (n,): above 1 lies at most one training patch in ten."""
        depths, units = self.looks.astype(np.float64).T
        far = _lengths((features - self.mean) @ self.whiten, [int(depth) for depth in depths])
        return np.asarray((far / units).max(axis=1))


def _lengths(directions: NDArray[np.floating], depths: Sequence[int]) -> NDArray[np.float64]:
    """Length (n, looks) of the first so many coordinates."""
    return np.stack([np.linalg.norm(directions[:, :depth], axis=1) for depth in depths], axis=1)


@dataclass(frozen=True)
class Neighbours:
    """Distance to the tenth nearest training patch among features of unit length, in [0, 2].

    Attributes:
        known: (m, k) training features of unit length.
    """

    known: Array

    @classmethod
    def fit(cls, features: Features) -> Neighbours:
        """Keep training features (m, k)."""
        return cls(_unit(features))

    def distance(self, features: Features) -> NDArray[np.float64]:
        """Distance (n,) of features (n, k)."""
        return self.nearest(features, NEIGHBOURS)[1][:, -1]

    def nearest(self, features: Features, count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The nearest training patches: positions (n, count) among those fitted, and their distances, nearest first."""
        count = min(count, len(self.known))
        found, far = [], []
        for start in range(0, len(features), _CHUNK):
            likeness = _unit(features[start : start + _CHUNK]) @ self.known.T
            index = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
            found.append(index)
            far.append(np.sqrt(np.maximum(2 - 2 * np.take_along_axis(likeness, index, axis=1).astype(np.float64), 0)))
        empty = np.zeros((0, count))
        return np.concatenate([empty.astype(np.intp), *found]), np.concatenate([empty, *far])


DETECTORS: dict[str, type[Mahalanobis] | type[Neighbours]] = {"mahalanobis": Mahalanobis, "neighbours": Neighbours}


def alarm_threshold(detector: Detector, features: Features, false_alarms: float = FALSE_ALARMS) -> float:
    """Distance above which a patch is called a stranger: exceeded by that share of validation features (n, k)."""
    return float(np.quantile(detector.distance(features), 1 - false_alarms))


def recognised(detector: Detector, own: Features, strange: Features, threshold: float) -> dict[str, float]:
    """How well strangers are told from the detector's own kind.

    Args:
        detector: fitted on training patches.
        own: (n, k) features of patches of the kind it knows, not those the threshold was set on.
        strange: (m, k) features of strangers.
        threshold: see `alarm_threshold`.

    Returns:
        "auroc" in [0, 1], chance 0.5; "found", the share of strangers above the threshold; "false_alarms", the share of
        `own` above it.
    """
    near, far = detector.distance(own), detector.distance(strange)
    labels = np.repeat([0, 1], [len(near), len(far)])
    return {
        "auroc": area_under_roc(np.concatenate([near, far]), labels),
        "found": float((far > threshold).mean()),
        "false_alarms": float((near > threshold).mean()),
    }


def save_detector(path: Path, detector: Mahalanobis | Neighbours, threshold: float) -> None:
    """Write a detector and its threshold as safetensors, whole or not at all."""
    kind = next(name for name, known in DETECTORS.items() if isinstance(detector, known))
    precision = np.float16 if isinstance(detector, Neighbours) else np.float32
    tensors = {name: array.astype(precision) for name, array in vars(detector).items()}
    with atomic_path(path) as part:
        save_file({**tensors, f"threshold.{kind}": np.array([threshold], np.float64)}, part)


def load_detector(path: Path) -> tuple[Mahalanobis | Neighbours, float]:
    """Read a detector and its threshold; nothing is unpickled.

    Raises:
        BundleError: not such a file.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(path, "it is not a safetensors file") from error
    for kind, detector in DETECTORS.items():
        threshold = tensors.pop(f"threshold.{kind}", None)
        if threshold is not None and set(tensors) == {field.name for field in fields(detector)}:
            arrays = {name: array.astype(np.float32) for name, array in tensors.items()}
            return detector(**arrays), float(threshold[0])
    raise BundleError(path, "it holds no detector of strangers")


def _unit(features: Features) -> Array:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)
