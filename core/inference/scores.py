"""Readings of a whole split, kept on disk: computed once per model, resumable, never in memory at once.

A store is one memory-mapped NumPy file per (model, split, views) under the cache folder. A patch whose logit is NaN is
not read yet; its logit is written last, so a killed process leaves nothing half-true, and two processes that score the
same split write the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.flags import bits_of, flag_bits
from core.data.pcam import Split
from core.errors import OutputError
from core.files import atomic_path
from core.inference.reader import Reader
from core.inference.verdict import verdicts
from core.models.schema import OperatingPoint

CHUNK = 64
"""Patches between two writes."""


@dataclass(frozen=True)
class Scores:
    """What is known of a split so far; arrays over its patches, NaN where not read yet.

    Attributes:
        logits: (n, views) float32, positive minus negative class of each view.
        probability: (n,) float64, calibrated; NaN where not read yet.
        verdict: (n,) words; of no meaning where not read yet.
        attribution: (n, h, w) float32, Grad-CAM of the margin at the last layer.
        flag_bits: (n,) uint8, one bit per name of FLAGS, in order.
        coordinates: (n, d) float16, see `Readings`; of no meaning where not read yet.
        point: the operating point behind probability and verdict.
    """

    logits: NDArray[np.float32]
    probability: NDArray[np.float64]
    verdict: NDArray[np.str_]
    attribution: NDArray[np.float32]
    flag_bits: NDArray[np.uint8]
    coordinates: NDArray[np.float16]
    point: OperatingPoint

    @property
    def done(self) -> int:
        """Patches read so far."""
        return int(np.isfinite(self.probability).sum())

    def has_flag(self, name: str) -> NDArray[np.bool_]:
        """(n,) whether the patch carries that flag."""
        return np.asarray((self.flag_bits & flag_bits((name,))) > 0)


class ScoreStore:
    """The kept readings of one split by one model through one pipeline."""

    def __init__(self, cache: Path, reader: Reader, split: Split, views: int = 1) -> None:
        """Name the store; nothing is read or written yet."""
        self.reader, self.model, self.split, self.views = reader, reader.model, split, views
        # The engine too: what is kept shall have the bits of what is read.
        key = f"{self.model.graph_key}-{split.fingerprint()[:16]}-{views}-{reader.engine.name}"
        if self.model.task.stain is None:
            key += "-unstained"  # its flags say nothing of stain
        if self.model.ood is not None:
            key += f"-{self.model.ood.sha256[:8]}"
        self.path = cache / "scores" / f"{self.model.name}-{split.name}-{key}.npy"

    def scores(self) -> Scores:
        """What is there now."""
        table = self._open("r") if self.path.is_file() else self._empty()
        point = self.model.point(self.views)
        probability = point.probability(table["logits"])
        return Scores(
            logits=table["logits"],
            probability=probability,
            verdict=verdicts(probability, point, self.model.task, table["flags"]),
            attribution=table["attribution"],
            flag_bits=table["flags"],
            coordinates=table["coordinates"] if self._directions else np.zeros((len(self.split), 0), np.float16),
            point=point,
        )

    def compute(self, stop: Callable[[], bool] = lambda: False) -> Iterator[int]:
        """Read what is missing, yielding the number of patches done after each write.

        Raises:
            OutputError: the cache folder is full or read-only.
        """
        if not self.path.is_file():
            with atomic_path(self.path) as part, part.open("wb") as handle:
                np.save(handle, self._empty())
        table = self._open("r+")
        missing = np.flatnonzero(np.isnan(table["logits"]).any(axis=1))
        for start in range(0, len(missing), CHUNK):
            if stop():
                return
            indices = missing[start : start + CHUNK]
            readings = self.reader.read(self.split.patches(indices), views=self.views, synthetic=self.split.synthetic)
            table["attribution"][indices] = readings.attribution
            table["flags"][indices] = bits_of(readings.flags)
            if self._directions:
                table["coordinates"][indices] = readings.coordinates
            table["logits"][indices] = readings.view_logits
            table.flush()
            yield len(self.split) - len(missing) + start + len(indices)

    def _empty(self) -> NDArray[np.void]:
        table = np.zeros(len(self.split), dtype=self._dtype)
        table["logits"] = np.nan
        return table

    @property
    def _header(self) -> bytes:
        """What stands before the rows in the NumPy file."""
        header = BytesIO()
        descr = np.lib.format.dtype_to_descr(self._dtype)
        facts = {"descr": descr, "fortran_order": False, "shape": (len(self.split),)}
        np.lib.format.write_array_header_1_0(header, facts)
        return header.getvalue()

    @property
    def _dtype(self) -> np.dtype[np.void]:
        cells = self.model.net.grid(self.model.task.side)
        kept: list[Any] = [("logits", "<f4", (self.views,)), ("attribution", "<f4", (cells, cells)), ("flags", "u1")]
        if self._directions:
            kept.append(("coordinates", "<f2", (self._directions,)))
        return np.dtype(kept, align=True)

    @property
    def _directions(self) -> int:
        return self.model.ood.directions if self.model.ood else 0

    def _open(self, mode: str) -> np.memmap[Any, np.dtype[np.void]]:
        # The header is known to the byte, so it is compared, not parsed; and NumPy would lengthen a short file.
        header = self._header
        try:
            with self.path.open("rb") as handle:
                whole = handle.read(len(header)) == header
            if not whole or self.path.stat().st_size != len(header) + len(self.split) * self._dtype.itemsize:
                raise OutputError(self.path, "the stored scores are damaged; delete the file")
            return np.memmap(self.path, self._dtype, mode, offset=len(header), shape=(len(self.split),))  # type: ignore[call-overload, no-any-return]
        except OSError as error:
            raise OutputError(self.path, "the stored scores cannot be opened") from error
