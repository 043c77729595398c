"""Do maps depend on what the network learned? Its weights are randomised from the head down, and the maps compared.

A map that stays alike when nothing learned is left shows the picture, not the network (Adebayo et al. 2018,
arXiv:1810.03292).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache, cached_property
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.metrics import structural_similarity

from core.evaluation.metrics.faithfulness import pearson
from core.explain.grid import enlarge
from core.inference.reader import Reader
from core.models.schema import Bundle
from core.models.store import StoredBundle

Maps = NDArray[np.floating]

EXACT_CELLS = 9
"""Cells whose orders can all be gone through; of more, DRAWS are drawn."""
DRAWS = 20_000
SSIM_SIDE = 96
"""Pixels that maps are enlarged to before their structure is compared."""


def similarity(maps: Maps, others: Maps) -> dict[str, NDArray[np.float64]]:
    """How alike signed maps of the same patches are.

    Args:
        maps: (n, h, w).
        others: (n, h, w).

    Returns:
        "spearman", (n,) in [-1, 1]: rank correlation of the cells, nan where a map is even; unrelated maps give 0 only
        when maps have no common shape, so compare with `unrelated`.
        "ssim", (n,) in [-1, 1]: structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861; Gaussian window,
        sigma 1.5) of the maps enlarged to 96 px, each divided by its own largest magnitude and laid on 0..1 with no
        evidence in the middle, since the measure is made for light: sign counts, size does not.
    """
    ours, theirs = (enlarge((_levelled(m) + 1) / 2, SSIM_SIDE, smooth=True) for m in (maps, others))
    alike = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return {"spearman": spearman(maps, others), "ssim": np.asarray(alike, np.float64)}


def spearman(maps: Maps, others: Maps) -> NDArray[np.float64]:
    """Rank correlation (n,) in [-1, 1] of the cells of maps (n, h, w) with those of others; nan where one is even."""
    flat = (rankdata(np.asarray(m, np.float64).reshape(len(m), -1), axis=1) for m in (maps, others))
    return pearson(*flat)


def unrelated(maps: Maps) -> float:
    """Mean rank correlation of all pairs of maps (n, h, w), n >= 2: what 'destroyed' is to be judged by.

    In [-1, 1], above 0 where maps have a shape in common. Even maps have no ranks and are left out.
    """
    ranks = rankdata(np.asarray(maps, np.float64).reshape(len(maps), -1), axis=1)
    one, other = np.triu_indices(len(maps), 1)
    return float(np.nanmean(pearson(ranks[one], ranks[other])))


@cache
def magnitude_of_unrelated(cells: int) -> float:
    """Mean |rank correlation| of a map of so many different cells with itself in every other order, in [0, 1].

    What a map that has nothing to do with another gets: 0.29 of 9 cells, and less the more there are. From all orders
    of up to EXACT_CELLS, from DRAWS of more. One cell has no order: 1.
    """
    if cells < 2:
        return 1.0
    ranks = np.arange(cells) - (cells - 1) / 2
    if cells <= EXACT_CELLS:
        orders = np.array(list(permutations(range(cells))))
    else:
        orders = np.random.default_rng(0).permuted(np.tile(np.arange(cells), (DRAWS, 1)), axis=1)
    return float(np.abs(ranks[orders] @ ranks).mean() / (ranks @ ranks))


def forgotten(stored: StoredBundle, threads: int, seed: int) -> Reader:
    """The network with nothing learned left: every weight drawn anew; see `randomised`, whose last this is."""
    from core.inference.engines.torch_engine import TorchEngine

    new = _fresh_weights(stored, seed)
    altered = _Altered(stored, new, f"all {seed}")
    return Reader(altered, TorchEngine(altered, threads))


def randomised(stored: StoredBundle, threads: int, seed: int = 0) -> Iterator[tuple[int, str, Reader]]:
    """The network with ever more of it forgotten: the head, then the layer group below it, down to the stem.

    Weights, and what batch normalisation has counted, are drawn anew as for training from scratch; the rest stays.

    Args:
        stored: the trained network.
        threads: of one inference, as `settings().threads`.
        seed: of the new weights.

    Yields:
        depth (1 = the head alone), the name of the deepest layer that was forgotten, and a Reader by torch. One network
        is in memory at a time if the caller lets go of the last.
    """
    from core.inference.engines.torch_engine import TorchEngine, load_net
    from core.models.nets import state_groups

    groups = state_groups(load_net(stored))
    new = _fresh_weights(stored, seed)
    gone: dict[str, NDArray[Any]] = {}
    for depth, names in enumerate(reversed(groups), start=1):
        gone |= {name: new[name] for name in names}
        altered = _Altered(stored, gone, f"{depth} {seed}")
        yield depth, names[0].rpartition(".")[0], Reader(altered, TorchEngine(altered, threads))


def _fresh_weights(stored: StoredBundle, seed: int) -> dict[str, NDArray[Any]]:
    import torch

    from core.models.nets import PatchNet

    description = stored.description
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = PatchNet(description.architecture, description.mean, description.std)
    return {name: tensor.numpy() for name, tensor in fresh.net.state_dict().items()}


class _Altered(StoredBundle):
    """A bundle with some weights in memory in place of those on disk; its hash is not that of the file."""

    def __init__(self, stored: StoredBundle, weights: dict[str, NDArray[Any]], mark: str) -> None:
        description = stored.description
        altered = hashlib.sha256(f"{description.weights_sha256} {mark}".encode()).hexdigest()
        # Validated anew: a copy would keep what the description has worked out from the old hash.
        # What the trained network's features were like says nothing of these.
        changed = {"weights_sha256": altered, "ood": None}
        super().__init__(stored.folder, Bundle(**(description.model_dump() | changed)))
        self._weights = dict(weights)

    @cached_property
    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        prefix = self.description.net.head
        weight, bias = (self._weights[f"{prefix}.{part}"].astype(np.float32) for part in ("weight", "bias"))
        return weight, bias

    def tensors(self) -> dict[str, NDArray[Any]]:
        return super().tensors() | self._weights


def _levelled(maps: Maps) -> NDArray[np.float64]:
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, largest, out=np.zeros(maps.shape), where=largest > 0))
