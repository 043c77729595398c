"""What is drawn as one in a bootstrap: slides where they are known, else places of tissue, else clusters of colour.

Patches of one slide, and regions cut from one place, are alike, so they are drawn together (cluster bootstrap, Field &
Welsh 2007). Where slides are not known, patches of like colour stand for them: not the truth, but a measure of how far
an interval by patch depends on their being independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.data.corruptions import optical_density
from core.evaluation.metrics.bootstrap import mean_interval
from core.models.schema import Interval

Patches = NDArray[np.uint8]

COUNTS = (8, 16, 32)
"""Pseudo-slides that patches are laid into, one number after another."""
CONTINUES = 0.4
"""Correlation along two edges from which on the tissue of one picture goes on in the other. Of the 32 CAMELYON regions
that this was chosen on (edges of 512 px), 14 pairs have 0.56 to 0.77 and all others at most 0.27. Of much shorter
edges some are joined by chance, which widens intervals."""
_FINE = 16
"""Pixels along an edge: what changes more slowly, as from tissue to glass, is alike in pictures of any place."""


def places(images: Sequence[Patches]) -> NDArray[np.str_]:
    """Which pictures lie side by side on a slide: the place (n,) of each, named "0" upwards.

    Two pictures are of one place where they are `neighbours`, and so is whatever joins on to either. Pictures that
    overlap, or lie a gap apart, are not found: there are at most as many independent places as this returns.

    Args:
        images: n of uint8 (h, w, 3), of any sizes.
    """
    below, beside = neighbours(images)
    return _connected(below | beside)


def neighbours(images: Sequence[Patches]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pictures follow one another: (n, n) whether the second lies right below the first, and right beside it.

    The lower edge of one is the next line of pixels to the upper edge of the other, or the right edge to the left.

    Args:
        images: n of uint8 (h, w, 3), of any sizes.
    """
    grey = [image.mean(axis=2) for image in images]
    found = np.zeros((2, len(images), len(images)), bool)
    sides = ([(one[-1], one[0]) for one in grey], [(one[:, -1], one[:, 0]) for one in grey])
    for joined, ends in zip(found, sides, strict=True):
        last, first = ([_fine(pair[end]) for pair in ends] for end in (0, 1))
        for i, edge in enumerate(last):
            for j, other in enumerate(first):
                joined[i, j] = i != j and len(edge) == len(other) and float(edge @ other) >= CONTINUES
    return found[0], found[1]


def pseudo_slides(patches: Patches, count: int, seed: int = 0) -> NDArray[np.str_]:
    """Patches (n, h, w, 3) in `count` clusters of like colour, (n,), see `colour_clusters`."""
    return colour_clusters(mean_density(patches), count, seed)


def mean_density(patches: Patches) -> NDArray[np.float64]:
    """Mean optical density by channel, (n, 3), of patches (n, h, w, 3)."""
    return np.stack([optical_density(patch).mean(axis=(0, 1)) for patch in patches]).astype(np.float64)


def colour_clusters(colour: NDArray[np.float64], count: int, seed: int = 0) -> NDArray[np.str_]:
    """Patches of mean density (n, 3) in `count` clusters, (n,), by k-means.

    Stain and scanner make most of a patch's mean colour, and they are the slide's. There are fewer clusters where there
    are not twice as many patches of different colour.
    """
    from sklearn.cluster import KMeans

    most = max(1, len(np.unique(colour, axis=0)) // 2)
    found = KMeans(min(count, most), n_init=10, random_state=seed).fit_predict(colour)
    return np.asarray(found).astype(str)


def sensitivity(
    values: NDArray[np.floating], patches: Patches, counts: Sequence[int] = COUNTS, seed: int = 0
) -> dict[int, Interval]:
    """The mean of values (n,) with its interval over pseudo-slides of patches (n, h, w, 3), by their number.

    To stand beside the interval by patch: one that is much wider says that patches of like colour have like values.
    Of few clusters a bootstrap is too narrow still. Nothing where no value is known; nan values are left out.
    """
    if not np.isfinite(values).any():
        return {}
    found = {count: mean_interval(values, pseudo_slides(patches, count, seed)) for count in counts}
    return {count: interval for count, interval in found.items() if interval is not None}


def _fine(edge: NDArray[np.floating]) -> NDArray[np.float64]:
    """An edge (n,) less its running mean, of length 1; nought where it is even."""
    from scipy.ndimage import uniform_filter1d

    fine = np.asarray(edge - uniform_filter1d(edge, _FINE), np.float64)
    fine -= fine.mean()
    size = np.linalg.norm(fine)
    return fine / size if size > 1e-6 else np.zeros_like(fine)


def _connected(joined: NDArray[np.bool_]) -> NDArray[np.str_]:
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(joined, directed=False)[1]).astype(str)
