"""The strip of thumbnails of what is gone through, with its keys: next, previous, agreement, note.

Of a long list the browser is sent a window around the open entry. It marks and moves at once and tells the server
after; opinions are told all together each time, so that none is lost when two messages meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from core.view.worklist import AGREEMENTS, MAX_NOTE

ASSETS = Path(__file__).parents[3] / "assets"
WINDOW = 31
"""Thumbnails sent at most."""
KEYS = (
    ("J, arrow right", "next"),
    ("K, arrow left", "previous"),
    ("H", "hide the heatmap while held"),
    ("1, 2, 3", "agree, unsure, disagree; once more takes it back"),
    ("N", "write a note; Enter keeps it, Esc leaves it as it was"),
    ("?", "the sheet of keys"),
)
HTML = f"""
<section class="worklist" data-testid="worklist" aria-label="Worklist">
  <div class="bar">
    <p class="where"><b data-testid="worklist-title"></b> <span data-testid="worklist-place" role="status"></span></p>
    <div class="opinion" role="group" aria-label="What you think of this reading">
      <button type="button" data-agreement="agree" data-testid="agree" aria-pressed="false">Agree <kbd>1</kbd></button>
      <button type="button" data-agreement="unsure" data-testid="unsure" aria-pressed="false">Unsure
        <kbd>2</kbd></button>
      <button type="button" data-agreement="disagree" data-testid="disagree" aria-pressed="false">Disagree
        <kbd>3</kbd></button>
      <label class="note">Note <kbd>N</kbd>
        <input type="text" maxlength="{MAX_NOTE}" data-testid="note" autocomplete="off"></label>
    </div>
    <button type="button" data-testid="keys" aria-haspopup="dialog">Keys <kbd>?</kbd></button>
  </div>
  <div class="line">
    <button type="button" data-testid="previous">Previous <kbd>K</kbd></button>
    <ol></ol>
    <button type="button" data-testid="next">Next <kbd>J</kbd></button>
  </div>
  <template><li><button type="button" data-testid="thumb"><img alt="" decoding="sync"><span class="refusal"></span>
    <span class="words"></span><span class="mark"></span></button></li></template>
  <dialog aria-label="Keys" data-testid="key-sheet">
    <dl>{"".join(f"<div><dt>{key}</dt><dd>{meaning}</dd></div>" for key, meaning in KEYS)}</dl>
    <button type="button" data-testid="close-keys">Close</button>
  </dialog>
</section>
"""

_component = st.components.v2.component(
    "nodelens_worklist",
    html=HTML,
    css=(ASSETS / "worklist.css").read_text(encoding="utf-8"),
    js=(ASSETS / "worklist.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Thumb:
    """One entry of the strip.

    Attributes:
        id: what an event names it by; unique in the list.
        picture: address of a small picture; "" for a file that was refused.
        name: in full, for the pointer and for screen readers.
        words: a few, under the picture.
        refusal: why there is no picture.
        agreement: as in `Opinion`.
        note: likewise.
    """

    id: str
    picture: str
    name: str
    words: str = ""
    refusal: str = ""
    agreement: str = ""
    note: str = ""


def window(at: int | None, total: int) -> range:
    """Places of the entries that are sent: around the open one, from the start where none is open."""
    first = min(max((at or 0) - WINDOW // 2, 0), max(total - WINDOW, 0))
    return range(first, min(first + WINDOW, total))


def worklist(
    thumbs: Sequence[Thumb],
    *,
    first: int,
    total: int,
    at: int | None,
    title: str,
    readable: bool,
    scope: str,
    key: str,
    on_open: Callable[[str], None],
    on_opinion: Callable[[str, str, str], None],
) -> None:
    """Show the strip. Both callbacks run before the page's next rerun.

    Args:
        thumbs: those of the `window`.
        first: place of the first of them in the list.
        total: entries of the list.
        at: place of the open entry; None when what is on the table is not of the list.
        title: what is gone through: 'Browse: most wrong'.
        readable: whether there is a reading on the table that can be agreed with.
        scope: what opinions belong to: the model. Those of another are not heard.
        key: Streamlit's key for this strip.
        on_open: told an id; it need not be of the list, as a browser may say anything.
        on_opinion: told an id, likewise, one of AGREEMENTS or "", and a note.
    """

    def opened() -> None:
        match st.session_state.get(key):
            case {"opened": str(name)}:
                on_open(name)

    def judged() -> None:
        match st.session_state.get(key):
            case {"opinions": {"scope": said, "of": dict(opinions)}} if said == scope:
                for name, opinion in opinions.items():
                    match opinion:
                        case {"agreement": agreement, "note": str(note)} if agreement in ("", *AGREEMENTS):
                            on_opinion(str(name), agreement, note)

    _component(
        key=key,
        data={
            "thumbs": [asdict(thumb) for thumb in thumbs],
            "first": first,
            "total": total,
            "at": at,
            "title": title,
            "readable": readable,
            "scope": scope,
        },
        on_opened_change=opened,
        on_opinions_change=judged,
    )
