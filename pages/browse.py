"""Browse: a split as the model reads it."""

import streamlit as st

from core.view.selection import select
from pages.parts import choices, frame, library
from pages.parts.browse.browsing import choose_filter, choose_preset, histogram, patch_gallery, wait_for_scores

frame.require()
model, split = choices.model(), choices.split()
narrow, wide = st.columns([1, 5], gap="medium")
with narrow:
    wanted, order = choose_filter(split.task)
with wide:
    choices.synthetic_badge(split.synthetic)
    scores = wait_for_scores(library.store(model, split.name), model)
    histogram(scores, split)
    choose_preset()
    patch_gallery(scores, split, model, wanted, order, select(scores, split.labels, wanted, order))
