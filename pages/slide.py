"""Slide: a whole slide, what the network sees where on it, and the patch under any spot."""

import streamlit as st

from pages.parts import choices, frame, library
from pages.parts.components.evidence_panel import evidence_panel
from pages.parts.components.light_table import light_table
from pages.parts.read.reliability import lean_line
from pages.parts.read.verdict import show_verdict
from pages.parts.slide import sent, slides

frame.require()
model = choices.model()
served = library.reader(model)
if served.task.um_per_px is None:
    st.info("A slide is read at a pixel size, and this model's task has none. Choose another model.")
    st.stop()
with st.container(key="intake", horizontal=True, vertical_alignment="center"):
    sent.drop_slide()
    path = slides.choose_slide()
sent.say_refusal()
slides.say_missing()
drawn = slides.is_drawn(path)
choices.synthetic_badge(drawn)
table = slides.open_slide(path, served)
if table is not None:
    with st.container(key="slide_table"):
        wide, narrow = st.columns([7, 3], gap="medium")
    with wide:
        slides.show_slide(table, served)
    with narrow:
        clicked = slides.patch_at(table)
        if clicked is None:
            st.caption("Click anywhere on the slide to read the patch there, or press Enter for its middle.")
        else:
            patch, surroundings = clicked
            readings = library.explain(model, patch, "gradcam", "last", served.task.margin, 8, drawn, surroundings)
            slides.patch_heading(table)
            show_verdict(readings, 0, leaning=lean_line(model, patch, readings, drawn))
            slides.open_in_read(table, patch, served.task)
            light_table([evidence_panel("Why", patch, readings, inset=True)], key="slide_patch")
