"""Slides that a reader sent: held for their tab alone, and gone with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import streamlit as st

from core.errors import FullError, SlideError
from core.slides.held import SENT_TYPES, HeldSlide
from core.view.words import on_screen
from pages.parts.budget import HELD, Reservation, take
from pages.parts.read.uploads import plain, shown
from pages.parts.slide.remembered import forget

YOURS = " (yours)"
"""After the name of a slide that the reader sent."""
KEY = "yours-{}"
"""What stands in the address for it: proxies log addresses, and a name may tell of a person."""
MOST = 4
"""Slides that one tab may hold."""
HELD_HERE = (
    "A slide that you send is held for this tab alone, not sent on, and gone when you remove it or within about a "
    "minute of the tab's being closed, with all that was read of it; a reload of the tab forgets it. On Linux it is "
    "held in memory, elsewhere in a folder of the server's user. Larger slides, and those of several files (MRXS, VMS, "
    "a DICOM pyramid), lie in the folder that the server's owner names by NODELENS_SLIDES."
)


@dataclass(frozen=True, eq=False)
class Sent:
    """A slide, the name it is listed under, and what it takes of the process's byte budget."""

    slide: HeldSlide
    name: str
    place: Reservation = field(repr=False)


def sent() -> dict[str, Sent]:
    """The session's slides by the key that stands for them in the address."""
    slides: dict[str, Sent] = st.session_state.setdefault("slides_sent", {})
    return slides


def drop_slide() -> None:
    """One line to drop or choose a slide; it is put on the table, and the line is empty again."""
    generation = st.session_state.setdefault("slide_drop", 0)
    with st.container(key="drop_bar"):
        file = st.file_uploader(
            f"Drop a slide, at most {st.get_option('server.maxUploadSize')} MB: SVS, NDPI, TIFF, OME-TIFF, "
            "SCN, BIF, DICOM, JPEG, PNG",
            type=list(SENT_TYPES),
            key=f"slide_drop_{generation}",
            help=HELD_HERE,
        )
    if file is not None:
        put_slide(file.name, take(file))
        st.session_state["slide_drop"] = generation + 1
        st.rerun()


def say_refusal() -> None:
    """Why the slide that was sent last is not on the table."""
    if refusal := st.session_state.pop("slide_refused", ""):
        st.error(on_screen(plain(refusal)))


def is_key(words: str) -> bool:
    """Whether an address names a slide that somebody sent."""
    return re.fullmatch(KEY.format(r"\d+"), words) is not None


def put_slide(name: str, data: bytes) -> str | None:
    """Hold a slide and choose it; its key, or None where it is refused, which the page then says."""
    held, listed = sent(), shown(name) + YOURS
    for key in [key for key, one in held.items() if one.name == listed]:
        remove_slide(key)
    if len(held) >= MOST:
        st.session_state["slide_refused"] = f"{shown(name)}: you hold {MOST} slides already. Remove one first."
        return None
    try:
        place = HELD.reserve(len(data))
        slide = HeldSlide(name, data)
        HELD.resize(place, slide.size)
    except (SlideError, FullError) as error:
        st.session_state["slide_refused"] = str(error)
        return None
    number = st.session_state["slides_came"] = st.session_state.get("slides_came", 0) + 1
    key = KEY.format(number)
    held[key] = Sent(slide, listed, place)
    st.session_state["slide_wanted"] = key
    return key


def remove_slide(key: str) -> None:
    """Let go of a slide, and of what is kept of it."""
    gone = sent().pop(key, None)
    if gone is not None:
        gone.place.release()
        forget(gone.slide.path)
