"""Many readers, one processor: who computes when.

Every inference of the process, whichever model it is for, takes its turn under one lock, so that cores are never
oversubscribed. Callers who wait meanwhile are served together: whoever gets the turn runs the oldest requests of its
engine as one batch, its own or not. There is no thread of its own to start, stop or leak.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BusyError

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
Patches = NDArray[np.uint8]

MOST_WAITING = 2048
"""Patches that may wait for one engine; beyond that a caller is turned away rather than kept for minutes."""

COMPUTE_LOCK = threading.RLock()
"""Held while computing."""


@dataclass(eq=False)
class _Request:
    patches: Patches
    outputs: Outputs | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class MicroBatcher:
    """Turns a forward function that is not safe between threads into one that is, and batches across callers.

    A batch gives each patch the same bits whatever it is batched with; that is the engine's to hold.
    """

    def __init__(self, forward: Callable[[Patches], Outputs], batch: int) -> None:
        """Share `forward`, which maps patches (n, h, w, 3) to maps and logits, in batches of about `batch`."""
        self._forward = forward
        self._batch = batch
        self._waiting: deque[_Request] = deque()
        self._guard = threading.Lock()

    def __call__(self, patches: Patches) -> Outputs:
        """Compute, alone or together with others.

        Raises:
            BusyError: too many patches are waiting already.
        """
        request = _Request(patches)
        with self._guard:
            if self._waiting and sum(len(r.patches) for r in self._waiting) + len(patches) > MOST_WAITING:
                raise BusyError
            self._waiting.append(request)
        try:
            while not request.done:
                with COMPUTE_LOCK:
                    if not request.done:
                        self._serve()
        finally:
            with self._guard:
                if request in self._waiting:  # interrupted: nobody wants it any more
                    self._waiting.remove(request)
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _serve(self) -> None:
        """Run the oldest waiting requests of one size that fit one batch; at least one."""
        with self._guard:
            served = [self._waiting.popleft()]
            count = len(served[0].patches)
            size = served[0].patches.shape[1:]
            while (
                self._waiting
                and count + len(self._waiting[0].patches) <= self._batch
                and self._waiting[0].patches.shape[1:] == size
            ):
                served.append(self._waiting.popleft())
                count += len(served[-1].patches)
        try:
            maps, logits = self._forward(np.concatenate([request.patches for request in served]))
        except Exception as error:  # noqa: BLE001 - told to everybody whose patches were in the batch
            for request in served:
                request.error = error
            return
        except BaseException:  # this caller was interrupted; the others are served by the next one
            with self._guard:
                self._waiting.extendleft(reversed(served))
            raise
        start = 0
        for request in served:
            stop = start + len(request.patches)
            request.outputs = (maps[start:stop], logits[start:stop])
            start = stop
