"""The maps of a frozen body, computed once: a cycle that trains the head alone then costs seconds."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.transforms import VIEWS
from core.errors import OutputError
from core.models.nets import PatchNet
from core.training.data import Batch, Batches, centre_crop, turned

CHUNK = 64


class FrozenFeatures:
    """Pooled maps of every training patch in some of its flips and turns, in a file that has no name.

    A head of one linear layer sees the mean of the maps over positions and nothing else, so that is what is kept:
    float32 (patches, views, k). Batches are those of `Batches`, varied by these views alone.
    """

    def __init__(
        self, net: PatchNet, batches: Batches, folder: Path, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Compute the maps with the body as it is served; the file lies in `folder` and goes when the cycle ends.

        `whole` tells whether they were all computed, or `stopped` asked for an end.

        Raises:
            OutputError: the disk has no room for them.
        """
        self.batches, self.whole = batches, False
        config, cycle, count = batches.config, batches.cycle, len(batches.train)
        generator = np.random.default_rng((config.seed, 4, batches.number))
        order = generator.permuted(np.tile(np.arange(VIEWS), (count, 1)), axis=1)
        self.views = order[:, : cycle.cached_views]
        shape = (count, cycle.cached_views, net.net.num_features)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:  # the map keeps it when it is closed
                if hasattr(os, "posix_fallocate"):  # a map over a hole in a full disk would kill the process
                    os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
                self.features: NDArray[np.float32] = np.memmap(file, np.float32, "w+", shape=shape)
        except OSError as error:
            raise OutputError(folder, os.strerror(error.errno or 0).lower()) from error
        device = next(net.parameters()).device
        net.eval()
        with torch.inference_mode():
            for start in range(0, count, CHUNK):
                if stopped():
                    return
                patches = batches.train.patches(slice(start, start + CHUNK))
                for place in range(cycle.cached_views):
                    whole = turned(patches, self.views[start : start + CHUNK, place])
                    seen = centre_crop(whole, cycle.side or whole.shape[1])
                    maps = net.forward_features(torch.from_numpy(np.ascontiguousarray(seen)).to(device))
                    self.features[start : start + CHUNK, place] = maps.mean((2, 3)).cpu().numpy()
        self.whole = True

    def places(self, step: int, count: int) -> NDArray[np.int64]:
        """Which of its views each patch of a step is seen in, (count,)."""
        config, number = self.batches.config, self.batches.number
        generator = np.random.default_rng((config.seed, 5, number, step))
        return generator.integers(self.features.shape[1], size=count)

    def stream(self, start: int, part: slice = slice(None), _workers: int = 0) -> Iterator[Batch]:
        """Batches from step `start` to the end of the cycle; there is nothing to prepare for processes."""
        side = self.batches.config.task.side
        for step in range(start, self.batches.steps):
            positions = self.batches.positions(step)
            places = self.places(step, len(positions))[part]
            positions = positions[part]
            labels = self.batches.train.labels[positions].astype(np.float32)
            yield Batch(self.features[positions, places], labels, np.empty((0, side, side, 3), np.uint8))
