"""What is gone through on Read: the reader's files, the list that Browse handed on, or a few examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core import service
from core.data.pcam import Split
from core.inference import Readings
from core.kept import Kept, digest
from core.view.selection import Filter, as_address, from_address, in_words, select
from core.view.verdict import in_words as verdict_in_words
from core.view.worklist import Example, Opinion, teaching, thumbnail_url
from pages.parts import library
from pages.parts.components.worklist import Thumb
from pages.parts.read import uploads
from pages.parts.read.opinions import opinion_of

EXAMPLES, BROWSED = "examples", "from Browse"
EXAMPLES_DRAWN = 6
EXAMPLES_SEED = 20
"""Draws of the demo six that no shipped model takes for other tissue, as it does a fifth of what is drawn."""
ADDRESS = "list"
"""Name of the parameter of the URL that holds Browse's filter, order, split and model."""

Known = Callable[[NDArray[np.uint8]], Readings | None]
"""A reading of a patch that is here already; None where the network would have to be asked."""

_thumbs: Kept[str] = Kept(most=4096, most_bytes=16 * 2**20, size=len)
"""Small pictures of patches of splits, for all readers."""


class Files:
    """The reader's uploads, in the order they came."""

    title = "Your files"

    def __init__(self) -> None:
        """As they are now."""
        self.held = list(uploads.kept().values())
        opened = uploads.opened()
        self.at = None if opened is None else next(i for i, one in enumerate(self.held) if one.key == opened.key)

    def __len__(self) -> int:
        return len(self.held)

    def id(self, place: int) -> str:
        """What events and opinions call the entry at a place."""
        return f"file/{self.held[place].key}"

    def open(self, entry: str) -> None:
        """Put the entry of that id on the table, if it is of this list."""
        key = entry.removeprefix("file/")
        if entry.startswith("file/") and key in uploads.kept():
            uploads.open_upload(key)

    def has(self, entry: str) -> bool:
        """Whether an id is of this list."""
        return any(self.id(place) == entry for place in range(len(self)))

    def thumbs(self, places: range, identity: str, known: Known) -> list[Thumb]:
        """Small pictures of the entries at some places, with opinions and what is known of them already."""
        return [self._thumb(place, identity, known) for place in places]

    def _thumb(self, place: int, identity: str, known: Known) -> Thumb:
        upload, entry = self.held[place], self.id(place)
        opinion = opinion_of(entry, identity)
        if upload.patch is None:
            return Thumb(entry, "", upload.name, "refused", upload.refusal)
        patch = upload.patch
        own: Kept[str] = library.own("thumbs", 2 * uploads.MAX_FILES)
        picture = own.get(digest(patch), lambda: thumbnail_url(patch))
        readings = known(patch)
        words = "" if readings is None else verdict_in_words(str(readings.verdict[0]), readings.flags[0])
        return Thumb(entry, picture, upload.name, words, "", opinion.agreement, opinion.note)


@dataclass(frozen=True)
class Patches:
    """Patches of a split, in an order.

    Attributes:
        title: what they are: 'Browse: most wrong'.
        split: that they are of.
        indices: (n,) their places in it.
        words: of some of them, for under their picture.
        at: the place in the list of the one that is open, if it is of the list.
    """

    title: str
    split: Split
    indices: NDArray[np.int64]
    words: tuple[str, ...] = ()
    at: int | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def id(self, place: int) -> str:
        """What events and opinions call the entry at a place."""
        return entry_of(self.split, int(self.indices[place]))

    def open(self, entry: str) -> None:
        """Put the entry of that id on the table, if it is of this list."""
        if self.has(entry):
            st.session_state["patch"] = int(entry.rpartition("/")[2])

    def has(self, entry: str) -> bool:
        """Whether an id is of this list."""
        _, _, index = entry.rpartition("/")
        known = index.isascii() and index.isdecimal() and len(index) < 10 and int(index) in self.indices
        return known and entry == entry_of(self.split, int(index))

    def thumbs(self, places: range, identity: str, known: Known) -> list[Thumb]:  # noqa: ARG002 - as of Files
        """Small pictures of the entries at some places, with opinions; only what is not kept is read from the split."""
        ids = [self.id(place) for place in places]
        missing = [place for place, entry in zip(places, ids, strict=True) if not _thumbs.has(entry)]
        patches = dict(zip(missing, self.split.patches(self.indices[missing]) if missing else (), strict=True))
        found = []
        for place, entry in zip(places, ids, strict=True):
            index, opinion = int(self.indices[place]), opinion_of(entry, identity)
            patch = patches.get(place)
            picture = _thumbs.get(entry, partial(self._picture, index, patch))
            words = self.words[place] if self.words else str(index)
            found.append(Thumb(entry, picture, self.split.title(index), words, "", opinion.agreement, opinion.note))
        return found

    def _picture(self, index: int, patch: NDArray[np.uint8] | None) -> str:
        return thumbnail_url(self.split.patches([index])[0] if patch is None else patch)


def opinion_on(found: Files | Patches | str, identity: str) -> Opinion:
    """What the reader thinks of the entry that is open, as the model of that identity reads it."""
    if isinstance(found, str) or found.at is None:
        return Opinion()
    return opinion_of(found.id(found.at), identity)


def entry_of(split: Split, index: int) -> str:
    """The id of a patch of a split."""
    return f"{split.name}-{split.fingerprint()[:8]}/{index}"


def name_of(split: Split, index: int) -> str:
    """What a patch of a split is called on the screen and in files."""
    return f"demo {index}" if split.synthetic else f"{split.name}, {split.title(index)}"


def hand_on(split: Split, model: str, wanted: Filter, order: str, found: NDArray[np.int64]) -> str:
    """Keep Browse's list for Read, as it is now; returns what stands in the URL for it."""
    address = f"{as_address(wanted, order)}&{urlencode({'split': split.name, 'model': model})}"
    st.session_state["browsed"] = address, found
    return address


def browsed(split: Split) -> Patches | str:
    """Browse's list that the URL names, as it was handed on, else made again; or why there is none, in a sentence."""
    address = st.query_params.get(ADDRESS) or st.session_state.get("browsed", ("", None))[0]
    told = {name: values[0] for name, values in parse_qs(address[:1000]).items()}
    name, model = told.get("split", ""), told.get("model", "")
    if not address:
        return "Open a patch in Browse, and its list is gone through here."
    if name not in service.split_names() or model not in service.model_names():
        return "The list in this link is of a model or of data that is not here. Open a patch in Browse."
    if name != split.name:
        return f"The list that Browse handed on is of '{name}'. Choose that data above, or open a patch in Browse."
    wanted, order = from_address(address)
    kept, found = st.session_state.get("browsed", ("", None))
    if kept != address or found is None:
        scores = library.store(model, name).scores()
        found = select(scores, split.labels, wanted, order)
        st.session_state["browsed"] = address, found
    by = "" if model == st.session_state.get("model") else f", as read with {model}"
    return Patches(f"Browse: {in_words(wanted, order, split.task)}{by}", split, found)


def example_list(model: str, split: Split) -> Patches:
    """Three patches that teach where the model has read the split to its end, else some of either label."""
    found = teaching_examples(model, split)
    if found:
        indices = np.array([example.index for example in found])
        words = tuple(example.words for example in found)
        return Patches("Examples that teach", split, indices, words)
    indices = np.array(examples(split))
    words = tuple(f"labelled {split.task.label(split.labels[i])}" for i in indices)
    return Patches("Examples of either label", split, indices, words)


def teaching_examples(model: str, split: Split) -> Sequence[Example]:
    """Those of a split that this model has read to its end; none where it has not."""
    if split.task.difference(service.task(model)):
        return ()
    store = library.store(model, split.name)
    shelf: Kept[Sequence[Example]] = library.own("examples", 4)

    def choose() -> Sequence[Example]:
        scores = store.scores()
        return teaching(scores, split.labels, split.task) if scores.done == len(split) else ()

    return shelf.get((model, split.name), choose, (store.path, _changed(store.path)))


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def examples(split: Split) -> list[int]:
    """Three patches of either label by turns, positive first; the same for everybody."""
    draw = np.random.default_rng(EXAMPLES_SEED)
    half = EXAMPLES_DRAWN // 2
    picks = [draw.permutation(np.flatnonzero(split.labels == label))[:half] for label in (1, 0)]
    return [int(index) for pair in zip(*picks, strict=False) for index in pair] or [0]


def place_of(patches: Patches, index: int) -> int | None:
    """Where a patch stands in a list; None where it does not."""
    found = np.flatnonzero(patches.indices == index)
    return int(found[0]) if len(found) else None
