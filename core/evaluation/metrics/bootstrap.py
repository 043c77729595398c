"""The one bootstrap: 95 % intervals of any figure, over slides where they are known and over patches otherwise.

Patches of one slide are alike, so whole slides are drawn (Efron & Tibshirani 1993; cluster bootstrap, Field & Welsh
2007). Two methods that read the same patches are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from core.models.schema import Interval

RESAMPLES = 1000
LEVEL = (0.025, 0.975)
_AT_ONCE = 100

Indices = NDArray[np.intp]
Groups = NDArray[np.str_] | None


def intervals(
    figures: Callable[[Indices], dict[str, float]],
    count: int,
    groups: Groups = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Each figure with the 2.5 and 97.5 percentiles of a bootstrap; a figure that is undefined (nan) is left out.

    Args:
        figures: indices of the patches that were drawn -> figures by name.
        count: number of patches.
        groups: (count,) slide of each patch, or None.
        resamples: number of draws.
        seed: of the draws.
    """
    drawn: dict[str, list[float]] = {}
    for indices in _draws(count, groups, resamples, seed):
        for name, value in figures(indices).items():
            drawn.setdefault(name, []).append(value)
    return {
        name: _interval(value, np.asarray(drawn[name]))
        for name, value in figures(np.arange(count)).items()
        if np.isfinite(value)
    }


def mean_interval(values: NDArray[np.floating], groups: Groups = None, resamples: int = RESAMPLES) -> Interval | None:
    """Mean over patches (n,) with its interval; nan values are left out, None when nothing else is there."""
    known = np.isfinite(values)
    if not known.any():
        return None
    unit = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(unit, weights=np.where(known, values, 0.0))
    counts = np.bincount(unit, weights=known)
    generator = np.random.default_rng(0)
    means = []
    for start in range(0, resamples, _AT_ONCE):  # each draw as how often it takes each unit: memory stays flat
        size = min(_AT_ONCE, resamples - start)
        taken = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=size)
        with np.errstate(invalid="ignore"):
            means.append((taken @ sums) / (taken @ counts))
    return _interval(float(sums.sum() / counts.sum()), np.concatenate(means))


def paired_difference(
    first: NDArray[np.floating], second: NDArray[np.floating], groups: Groups = None
) -> Interval | None:
    """Mean of `first` - `second`, two measures (n,) of the same patches, with its interval.

    The difference is told from nothing when its interval leaves zero out. Patches where either is nan are left out.
    """
    return mean_interval(np.asarray(first, np.float64) - np.asarray(second, np.float64), groups)


def share_interval(
    hits: NDArray[np.bool_] | NDArray[np.floating], groups: Groups = None, resamples: int = RESAMPLES
) -> Interval:
    """Share of `hits` (n,), one or more, with its interval; ties may be parts of a hit, and nan values are left out.

    Where all agree a bootstrap knows no spread: there it is Wilson's (1927, doi:10.1080/01621459.1927.10502953), over
    slides where they are known and over patches otherwise.
    """
    values = np.asarray(hits, np.float64)
    found = mean_interval(values, groups, resamples)
    assert found is not None
    if 0 < found.value < 1:
        return found
    known = np.isfinite(values)
    units = int(known.sum()) if groups is None else len(np.unique(groups[known]))
    wilson = binomtest(round(found.value * units), units).proportion_ci(method="wilson")
    return Interval(value=found.value, low=float(wilson.low), high=float(wilson.high))


def _draws(count: int, groups: Groups, resamples: int, seed: int) -> Iterator[Indices]:
    generator = np.random.default_rng(seed)
    if groups is None:
        for _ in range(resamples):
            yield generator.integers(count, size=count)
        return
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    for _ in range(resamples):
        yield np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])


def _interval(value: float, drawn: NDArray[np.floating]) -> Interval:
    low, high = np.nanquantile(drawn, LEVEL)
    return Interval(value=value, low=float(low), high=float(high))
