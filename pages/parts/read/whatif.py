"""What if the patch were stained, lit, focused or cut otherwise: the reading again, beside the first."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.data import corruptions
from core.data.flags import SYNTHETIC
from core.evaluation.metrics.agreement import rank_correlation
from core.evaluation.metrics.faithfulness import blurred
from core.inference import Readings
from core.task import Task
from core.view.export import scale_of
from core.view.verdict import in_words, probability_words
from pages.parts import library
from pages.parts.choices import Explanation
from pages.parts.components.evidence_panel import evidence_panel
from pages.parts.components.light_table import light_table

NOTHING, CENTRE, SURROUND = "nothing", "the centre", "the surround"
KEYS: dict[str, Any] = {"stain": 0, "brightness": 0, "blur": 0.0, "jpeg": 100, "mask": NOTHING}


def what_if(model: str, patch: NDArray[np.uint8], before: Readings, explanation: Explanation) -> None:
    """Controls, the changed patch with its map beside the first, and both probabilities."""
    controls, pictures = st.columns([1, 3], gap="medium")
    with controls:
        changed = _changed(patch, before.model.task)
    e, drawn = explanation, SYNTHETIC not in before.flags[0]
    after = library.explain(model, changed, e.method, e.layer, e.target, e.views, drawn)
    with pictures:
        light_table(
            [
                evidence_panel(
                    title,
                    tissue,
                    one,
                    only_for=e.only_for,
                    scale=scale_of(before, 0),
                    note="" if before.scale else "scale of the first map",
                    caption=f"{probability_words(one, 0).capitalize()}; {in_words(str(one.verdict[0]), one.flags[0])}.",
                    inset=True,
                )
                for title, tissue, one in (("As it is", patch, before), ("Changed", changed, after))
            ],
            key="what_if_table",
            label_box=True,
        )
    with controls:
        _outcome(before, after)


def _changed(patch: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    stain = 0
    if task.stain:
        stain = st.slider("Stain: % more hematoxylin, less eosin", -40, 40, KEYS["stain"], key="what_stain")
    brightness = st.slider("Brightness: grey levels", -60, 60, KEYS["brightness"], key="what_brightness")
    sigma = st.slider("Blur: sigma in px", 0.0, 4.0, KEYS["blur"], 0.25, key="what_blur")
    quality = st.slider("JPEG quality (100: not coded)", 5, 100, KEYS["jpeg"], 5, key="what_jpeg")
    mask = NOTHING if task.label_share is None else _mask(task)
    changed = patch[None]
    if stain:
        share = stain / 100
        changed = corruptions.stain(changed, [[1 + share, 1 - share, 1.0]])
    changed = corruptions.jpeg(
        corruptions.blur(corruptions.tone(changed, brightness), sigma), 0 if quality == 100 else quality
    )
    if mask in (CENTRE, SURROUND):
        gone = np.full((task.side, task.side), mask == SURROUND)
        gone[task.label_box, task.label_box] = mask == CENTRE
        changed = blurred(changed, gone)
    st.button("Put everything back", on_click=_back)
    return np.ascontiguousarray(changed[0])


def _mask(task: Task) -> str:
    return st.segmented_control(
        "Blur away", [NOTHING, CENTRE, SURROUND], default=NOTHING, required=True, key="what_mask",
        help=f"The centre {task.label_region} x {task.label_region} px, which the label is about, or all the rest.",
    )  # fmt: skip


def _back() -> None:
    for name, value in KEYS.items():
        st.session_state[f"what_{name}"] = value


def _outcome(before: Readings, after: Readings) -> None:
    alike = rank_correlation(before.attribution[0], after.attribution[0])
    words = "no rank correlation: a map is even" if alike is None else f"rank correlation {alike:.2f} with the first"
    st.html(
        f'<p class="nl-number" data-testid="what-if">{after.probability[0]:.2f} '
        f"<small>probability of {escape(after.model.task.positive)}, was {before.probability[0]:.2f}</small></p>"
        f'<p class="nl-why">Map: {words}.</p>'
    )
