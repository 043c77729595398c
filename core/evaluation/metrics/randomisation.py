"""Do maps depend on what the network learned? Its weights are randomised from the head down, and the maps compared.

A map that stays alike when nothing learned is left shows the picture, not the network (Adebayo et al. 2018,
arXiv:1810.03292).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
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
    flat = (rankdata(np.asarray(m, np.float64).reshape(len(m), -1), axis=1) for m in (maps, others))
    ours, theirs = (enlarge((_levelled(m) + 1) / 2, SSIM_SIDE, smooth=True) for m in (maps, others))
    alike = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return {"spearman": pearson(*flat), "ssim": np.asarray(alike, np.float64)}


def unrelated(maps: Maps) -> float:
    """Mean rank correlation of all pairs of maps (n, h, w), n >= 2: what 'destroyed' is to be judged by.

    In [-1, 1], above 0 where maps have a shape in common. Even maps have no ranks and are left out.
    """
    ranks = rankdata(np.asarray(maps, np.float64).reshape(len(maps), -1), axis=1)
    one, other = np.triu_indices(len(maps), 1)
    return float(np.nanmean(pearson(ranks[one], ranks[other])))


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
    import torch

    from core.inference.engines.torch_engine import TorchEngine, load_net
    from core.models.nets import PatchNet, state_groups

    description = stored.description
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = PatchNet(description.architecture, description.mean, description.std)
    groups = state_groups(load_net(stored))
    new = {name: tensor.numpy() for name, tensor in fresh.net.state_dict().items()}
    forgotten: dict[str, NDArray[Any]] = {}
    for depth, names in enumerate(reversed(groups), start=1):
        forgotten |= {name: new[name] for name in names}
        altered = _Altered(stored, forgotten, f"{depth} {seed}")
        yield depth, names[0].rpartition(".")[0], Reader(altered, TorchEngine(altered, threads))


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
