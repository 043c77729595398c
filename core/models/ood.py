"""Is this patch like those the network was trained on? Its distance from training patches, by picture and by features.

Mahalanobis distance to one Gaussian each, of twelve numbers of the picture (`core.data.picture_statistics`) and of the
network's pooled features (Lee et al. 2018, arXiv:1807.03888), as plain arrays in safetensors: what a bundle may carry
and the Reader consults. `core.evaluation.ood` fits it and measures what it tells.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.errors import BundleError
from core.files import atomic_path

Features = NDArray[np.floating]
Array = NDArray[np.float32]

_NAMES_1 = {"looks": "subspaces", "rest": "residual_scale"}
"""Arrays of detectors that were written with bundles of format 1."""
NUMBERS = 12
"""Of a picture that its Gaussian knows."""
_PICTURE = "picture_"
"""Before the names of the picture's arrays; a detector that was written before there were any has none."""


@dataclass(frozen=True)
class Mahalanobis:
    """One Gaussian, looked at twice: along the few directions that vary most, and along all that are kept.

    A picture of something else mostly lies far along the few, tissue of another organ off them. Where the directions
    kept leave much of the variance out, a third look takes the share of a patch's deviation from the mean that lies off
    them all. The largest counts, each in units of what one training patch in twenty exceeds.

    Attributes:
        mean: (k,) of the training features.
        whiten: (k, d) directions, those of largest variance first, scaled so that training features have variance 1.
        subspaces: (2, 2), for either look the number of directions and the distance that is its unit.
        residual_scale: (1,) the share that is the third look's unit; 0 without a third look.
        limit: (1,) the distance above which a patch is called out of distribution.
    """

    mean: Array
    whiten: Array
    subspaces: Array
    residual_scale: Array
    limit: Array

    def coordinates(self, features: Features) -> Array:
        """Whitened coordinates (n, d) float32 of pooled features (n, k); training patches have mean 0, variance 1."""
        # Patch by patch, so that a patch has the same bits whatever it is read along with.
        return np.asarray((features - self.mean)[:, None, :] @ self.whiten, np.float32)[:, 0]

    def distance(self, features: Features, coordinates: Array | None = None) -> NDArray[np.float64]:
        """How far features (n, k) lie from training patches, (n,): above 1 lie 5 % of those, or a few more.

        Args:
            features: (n, k) pooled features.
            coordinates: (n, d), theirs, where they are known.
        """
        coordinates = self.coordinates(features) if coordinates is None else coordinates
        exact = coordinates.astype(np.float64)
        far = [np.linalg.norm(exact[:, : int(depth)], axis=1) / unit for depth, unit in self.subspaces.tolist()]
        if self.residual_scale[0] > 0:
            far.append(self.left_out(features, coordinates) / float(self.residual_scale[0]))
        return np.asarray(np.max(far, axis=0))

    def left_out(self, features: Features, coordinates: Array) -> NDArray[np.float64]:
        """Share (n,) in [0, 1] of each deviation from the mean that lies off all directions kept.

        Args:
            features: (n, k) pooled features.
            coordinates: (n, d), theirs.
        """
        whole = np.square(features - self.mean, dtype=np.float64).sum(axis=1)
        projected = coordinates / np.linalg.norm(self.whiten, axis=0)
        along = np.square(projected, dtype=np.float64).sum(axis=1)
        share = np.divide(whole - along, whole, out=np.zeros_like(whole), where=whole > 0)
        return np.asarray(np.sqrt(np.maximum(share, 0)))


@dataclass(frozen=True)
class PictureGaussian:
    """One Gaussian of the picture's numbers.

    Attributes:
        mean: (p,) of training patches.
        whiten: (p, p) columns that give training patches variance 1 and no correlation.
        limit: (1,) the distance above which a patch is called out of distribution.
    """

    mean: Array
    whiten: Array
    limit: Array

    def distance(self, statistics: Features) -> NDArray[np.float64]:
        """How many standard deviations numbers (n, p) lie from the mean of training patches, (n,)."""
        # Patch by patch, as features are placed.
        return np.asarray(np.linalg.norm(((statistics - self.mean)[:, None, :] @ self.whiten)[:, 0], axis=1))


@dataclass(frozen=True)
class Detector:
    """What a bundle judges patches by: the network's features, and the picture itself where it was learned too.

    Attributes:
        features: of the pooled features; its directions are the coordinates of a reading.
        picture: of the picture's numbers; None in bundles that were made before there were any.
    """

    features: Mahalanobis
    picture: PictureGaussian | None = None

    def place(self, features: Features, statistics: Features | None) -> tuple[Array, NDArray[np.bool_]]:
        """Whitened coordinates (n, d), and which patches lie beyond a limit, (n,); see `distance`."""
        coordinates = self.features.coordinates(features)
        return coordinates, self._distance(features, statistics, coordinates) > 1

    def distance(self, features: Features, statistics: Features | None) -> NDArray[np.float64]:
        """The larger of both distances (n,), each in units of its own limit: above 1 a patch is out of distribution.

        Args:
            features: (n, k) pooled features.
            statistics: (n, p) of `picture_statistics`; not asked for without `picture`.
        """
        return self._distance(features, statistics, self.features.coordinates(features))

    def relaxed(self, factor: float) -> Detector:
        """The same with both limits `factor` times as far off."""
        features = replace(self.features, limit=self.features.limit * np.float32(factor))
        picture = self.picture and replace(self.picture, limit=self.picture.limit * np.float32(factor))
        return Detector(features, picture)

    def _distance(self, features: Features, statistics: Features | None, coordinates: Array) -> NDArray[np.float64]:
        far = self.features.distance(features, coordinates) / float(self.features.limit[0])
        if self.picture is None:
            return far
        assert statistics is not None
        return np.maximum(far, self.picture.distance(statistics) / float(self.picture.limit[0]))


def save_detector(path: Path, detector: Detector) -> None:
    """Write a detector as safetensors, whole or not at all."""
    arrays = dict(vars(detector.features))
    if detector.picture is not None:
        arrays |= {_PICTURE + name: array for name, array in vars(detector.picture).items()}
    with atomic_path(path) as part:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)


def load_detector(path: Path) -> Detector:
    """Read a detector; nothing is unpickled.

    Raises:
        BundleError: not such a file.
    """
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(path.parent, f"{path.name} is not a safetensors file") from error
    arrays = {_NAMES_1.get(name, name): array for name, array in arrays.items()}
    picture = {name.removeprefix(_PICTURE): arrays.pop(name) for name in [*arrays] if name.startswith(_PICTURE)}
    if not (_sound(arrays) and (not picture or _sound_picture(picture))):
        raise BundleError(path.parent, f"{path.name} holds no out-of-distribution detector")
    return Detector(Mahalanobis(**arrays), PictureGaussian(**picture) if picture else None)


def _sound(arrays: dict[str, Array]) -> bool:
    """Whether these are the arrays of the features: names, types, shapes, and units that can be divided by."""
    if not _are_of(Mahalanobis, arrays):
        return False
    mean, whiten, subspaces, residual_scale, limit = (arrays[field.name] for field in fields(Mahalanobis))
    shapes = (mean.shape, subspaces.shape, residual_scale.shape, limit.shape)
    if whiten.ndim != 2 or not whiten.any(axis=0).all() or shapes != (whiten.shape[:1], (2, 2), (1,), (1,)):
        return False
    depths, units = subspaces.T
    return bool((depths >= 1).all() and (depths <= whiten.shape[1]).all() and (units > 0).all() and limit[0] > 0)


def _sound_picture(arrays: dict[str, Array]) -> bool:
    """Whether these are the arrays of the picture's numbers of today."""
    if not _are_of(PictureGaussian, arrays):
        return False
    mean, whiten, limit = (arrays[field.name] for field in fields(PictureGaussian))
    return (mean.shape, whiten.shape, limit.shape) == ((NUMBERS,), (NUMBERS, NUMBERS), (1,)) and bool(limit[0] > 0)


def _are_of(kind: type[Mahalanobis | PictureGaussian], arrays: dict[str, Array]) -> bool:
    if set(arrays) != {field.name for field in fields(kind)}:
        return False
    return all(array.dtype == np.float32 and bool(np.isfinite(array).all()) for array in arrays.values())
