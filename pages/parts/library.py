"""The pages' way to what the process holds for all (`core.service`), and to what is kept for one reader's session.

Nothing is kept in `st.cache_data` or `st.cache_resource`: any client may empty those for everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from math import inf
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core import service
from core.explain.registry import LAST, METHODS
from core.inference import Reader, Readings
from core.inference.scores import ScoreStore
from core.kept import Kept, digest

Value = TypeVar("Value")

LOADING = "Loading the model (the first time on a machine takes about half a minute) ..."
KEPT, KEPT_BYTES = 256, 4 * 2**20
"""Readings kept for a session, and bytes of them: a map at the pixels has 36 KB, and 64 files are on the table."""
FEW_PASSES = 8
"""A method that asks the network oftener than this shows how far it is."""


def reader(name: str) -> Reader:
    """The one Reader of a model, by name or path; loaded anew when the model was replaced."""
    with nullcontext() if service.has_reader(name) else st.spinner(LOADING):
        return service.reader(name)


def kept(
    shelf: Kept[Value], key: Hashable, make: Callable[[], Value], words: str = "", stamp: Hashable = None
) -> Value:
    """What is kept on a shelf under a key; while it is made, `words` stand on the page."""
    with st.spinner(words) if words and not shelf.has(key, stamp) else nullcontext():
        return shelf.get(key, make, stamp)


def own(name: str, most: int, most_bytes: float = inf, size: Callable[[Any], int] | None = None) -> Kept[Any]:
    """A shelf of this reader's session, gone with it; see `Kept`."""
    shelf: Kept[Any] = st.session_state.setdefault(f"kept_{name}", Kept(most, most_bytes, size))
    return shelf


def pictures() -> Kept[str]:
    """Encoded pictures of what this reader looks at: some 80 patches with their maps."""
    return own("pictures", 1024, 4 * 2**20, len)


def explain(
    model: str,
    patch: NDArray[np.uint8],
    method: str,
    layer: str,
    target: str,
    views: int,
    synthetic: bool = False,
    surroundings: NDArray[np.uint8] | None = None,
) -> Readings:
    """Read and explain one patch (side, side, 3); kept for this reader's session, so drawing it again infers nothing.

    A method that asks the network many times shows how far it is. `synthetic` says that the patch is drawn;
    `surroundings` are the patch amid the tissue about it, see `Reader.explain`.
    """
    place = st.empty()

    def infer() -> Readings:
        served, title = reader(model), METHODS[method].title

        def tell(done: int, total: int) -> None:
            place.progress(done / total, f"{title}: {done:,} of {total:,} passes through the network")

        dear = METHODS[method].passes_at(layer, patch.shape[0]) > FEW_PASSES
        with nullcontext() if dear else st.spinner("Reading the patch ..."):
            found = served.explain(
                *(patch, method, layer, target, views, tell if dear else None, synthetic),
                around=True,
                surroundings=surroundings,
            )
        place.empty()
        return found

    read = (model, service.changed(model), digest(patch), views, synthetic)
    found = _readings("explained").get((*read, method, layer, target, _mark(surroundings)), infer)
    _readings("read").get(read, lambda: found)
    return found


def predict(model: str, patch: NDArray[np.uint8], views: int, synthetic: bool = False) -> Readings:
    """A reading of one patch, however it is explained: one that is here, else the one that costs least."""
    read = (model, service.changed(model), digest(patch), views, synthetic)
    margin = service.task(model).margin
    return _readings("read").get(read, lambda: explain(model, patch, "gradcam", LAST, margin, views, synthetic))


def known(model: str, patch: NDArray[np.uint8], views: int) -> Readings | None:
    """A reading that is here already, however it is explained; the network is not asked."""
    read = (model, service.changed(model), digest(patch), views, False)
    shelf = _readings("read")
    return predict(model, patch, views) if shelf.has(read) else None


def explain_later(model: str) -> Callable[..., Readings]:
    """`explain` for a thread that has no page, as a download's: what is kept for this session, else read in silence.

    A method that asks the network many times is left to the page: what it has not explained is explained by Grad-CAM.
    """
    shelf, served, stamp = _readings("explained"), reader(model), service.changed(model)
    margin = service.task(model).margin

    def read(
        patch: NDArray[np.uint8],
        method: str,
        layer: str,
        target: str,
        views: int,
        synthetic: bool = False,
        surroundings: NDArray[np.uint8] | None = None,
    ) -> Readings:
        of = (model, stamp, digest(patch), views, synthetic)
        dear = METHODS[method].passes_at(layer, patch.shape[0]) > FEW_PASSES
        if dear and not shelf.has((*of, method, layer, target, b"")):
            method, layer, target = "gradcam", LAST, margin
        return shelf.get(
            (*of, method, layer, target, _mark(surroundings)),
            lambda: served.explain(
                patch, method, layer, target, views, None, synthetic, around=True, surroundings=surroundings
            ),
        )

    return read


def _mark(surroundings: NDArray[np.uint8] | None) -> bytes:
    return b"" if surroundings is None else digest(surroundings)


def _readings(name: str) -> Kept[Readings]:
    return own(name, KEPT, KEPT_BYTES, attrgetter("nbytes"))


def store(model: str, split_name: str) -> ScoreStore:
    """Where the one-view readings of a split are kept; raises OtherTaskError."""
    service.split(split_name).require(service.task(model))
    reader(model)  # with words on the page while it is loaded
    return service.store(model, split_name)
