"""How large a slide's pixels are: what the file says, or a person, who is shown what there is to judge by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data.pixel_size import MAX_UM_PER_PX, MIN_UM_PER_PX, is_plausible
from core.slides.slide import Slide
from core.view.overlay import data_url
from core.view.words import on_screen
from pages.parts.slide.remembered import remembered

SHOWN_PX = 256
"""Of the slide, shown pixel by pixel for its nuclei to be seen."""
NUCLEUS_UM = 7
"""Across a small, round nucleus, as of a resting white blood cell."""
LEAST_COLOUR = 20
"""Grey levels between the channels of what is tissue from afar."""
USUAL = {"40x": 0.25, "20x": 0.5, "10x": 1.0}
"""um/px that scanners write for these objectives: roughly, and for a person to judge by alone."""


def stated(path: Path) -> float | None:
    """What this session's reader stated."""
    return remembered(path).um_per_px


def state(path: Path, um_per_px: float | None) -> None:
    """Keep what the reader states of a slide; None takes it back."""
    remembered(path).um_per_px = um_per_px


def ask_pixel_size(slide: Slide) -> None:
    """The question, with the evidence that is there."""
    st.warning("The file does not say how large its pixels are, and nothing is guessed. State it to have it read.")
    words, crop = st.columns([3, 2])
    with words:
        _form(slide, None)
        st.markdown("\n".join(f"- {on_screen(one)}" for one in _evidence(slide)))
    with crop:
        pixels = _nuclei(slide)
        nuclei = ", ".join(f"{NUCLEUS_UM / um:.0f} px at {um:g} um/px" for um in USUAL.values())
        st.html(
            f'<img alt="A piece of the slide, {pixels.shape[1]} px across" src="{data_url(pixels)}" '
            f'style="width: {2 * pixels.shape[1]}px; max-width: 100%">'
        )
        st.caption(
            on_screen(
                f"The slide's own pixels, {pixels.shape[1]} px across, where it is bluest. The smallest round "
                f"nuclei are about {NUCLEUS_UM} um across: {nuclei}."
            )
        )


def change_pixel_size(slide: Slide) -> None:
    """The pixel size in force, who said so, and another in its place."""
    assert slide.um_per_px is not None
    across, down = slide.um_per_px
    size = f"{across:.4g}" if np.isclose(across, down, rtol=1e-3) else f"{across:.4g} x {down:.4g}"
    by = "you" if slide.told_by == "a person" else slide.told_by
    with st.container(horizontal=True, vertical_alignment="center", key="slide_facts"):
        st.caption(
            on_screen(
                f"{size} um/px, said by {by}; {slide.width:,} x {slide.height:,} px, "
                f"{slide.width * across / 1000:.2f} x {slide.height * down / 1000:.2f} mm."
                + (
                    " Its colours are shown by the file's ICC profile, and read as they are stored."
                    if slide.icc
                    else ""
                )
            ),
            width="content",
        )
        with st.popover("Another pixel size", type="tertiary"):
            _form(slide, across)
            if stated(slide.path) is not None:
                st.button("Take back what I stated", on_click=state, args=(slide.path, None), key="slide_um_back")


def _form(slide: Slide, value: float | None) -> None:
    with st.form("slide_um_form", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        um = st.number_input(
            on_screen("Pixel size (um/px)"),
            MIN_UM_PER_PX,
            MAX_UM_PER_PX,
            value=value if value is not None and is_plausible(value) else None,
            step=0.001,
            format="%.4g",
            key=f"slide_um_{hash(slide.path)}",
            help="From the scanner's settings, or measured on the slide. It is recorded that a person said so.",
            width=220,
        )
        if st.form_submit_button("Use it") and um is not None:
            state(slide.path, float(um))
            st.rerun()


def _evidence(slide: Slide) -> list[str]:
    sizes = "; ".join(
        f"{slide.width * um / 1000:.2f} x {slide.height * um / 1000:.2f} mm at {um:g} um/px (usual for {name})"
        for name, um in USUAL.items()
    )
    said = slide.hints or ("The file names no objective and no resolution that a microscope has.",)
    return [*said, f"The slide has {slide.width:,} x {slide.height:,} px. It would be {sizes}."]


def _nuclei(slide: Slide) -> NDArray[np.uint8]:
    """A piece of the slide's own pixels, where it is most blue from afar and coloured at all: uint8 (h, w, 3)."""
    afar = slide.overview(64).astype(float)
    blue = np.where(np.ptp(afar, axis=2) > LEAST_COLOUR, afar[..., 2] - afar[..., 0], -np.inf)
    row, column = np.unravel_index(blue.argmax(), blue.shape)
    left, top = (
        max(0, min(round((place + 0.5) / count * whole - SHOWN_PX / 2), whole - SHOWN_PX))
        for place, count, whole in ((column, afar.shape[1], slide.width), (row, afar.shape[0], slide.height))
    )
    right, bottom = min(left + SHOWN_PX, slide.width), min(top + SHOWN_PX, slide.height)
    return np.asarray(slide.picture(left, top, right, bottom, 1.0))
