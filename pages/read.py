"""Read: one patch, its prediction and the reason, at one glance."""

import streamlit as st

from core import service
from pages.parts import choices, frame, library
from pages.parts.read import uploads
from pages.parts.read.choose import choose_patch
from pages.parts.read.downloads import case_of, show_downloads
from pages.parts.read.exporting import export_buttons
from pages.parts.read.lists import Files, opinion_on
from pages.parts.read.pictures import show_pictures
from pages.parts.read.reliability import lean_line, reliability_panels
from pages.parts.read.second_opinion import show_second_opinion
from pages.parts.read.strip import show_file, show_files, show_nothing, show_strip
from pages.parts.read.verdict import show_verdict

frame.require()
bar = frame.intake()
model = choices.model()
task = service.task(model)
table = st.container(key="read_table")
controls = st.container()
files = st.container()
panels = st.container()

with bar:
    uploads.drop_bar(task)
    chosen, found = choose_patch(task, model)
with controls:
    left, *rest = st.columns([4, 1, 1, 1])
    with rest[0]:
        views = choices.choose_views()
    with rest[1]:
        only_for = choices.choose_signs()
    with left:
        e = choices.choose_explanation(model, views, only_for)
    with rest[2]:
        own = choices.choose_scale(model, e)
    downloads, of_the_list = st.container(horizontal=True), st.container(horizontal=True)
with table:
    pictures, words = st.columns([2, 1], gap="medium")
with pictures:
    on_table = st.container(key="on_table")
    with st.container(key="strip"):
        waiting = st.empty()
        strip, own_file = st.container(), st.container()

if chosen is None:
    with on_table:
        show_nothing(found)
else:
    patch = chosen.patch
    readings = library.explain(model, patch, e.method, e.layer, e.target, e.views, chosen.synthetic)
    with on_table:
        show_pictures(chosen, readings, own=own, only_for=e.only_for)
    with words:
        choices.synthetic_badge(chosen.synthetic)
        choices.synthetic_model_badge(readings.model)
        leaning = lean_line(model, patch, readings, chosen.synthetic)
        show_verdict(readings, 0, chosen.label, chosen.provenance(readings.model), leaning)
        beside = st.container(key="beside")
    with panels:
        reliability_panels(model, patch, readings, e, chosen.synthetic)
    with downloads:
        opinion = opinion_on(found, readings.model.identity)
        show_downloads(case_of(chosen, readings, opinion, leaning), own=own, only_for=e.only_for)
with of_the_list:
    export_buttons(found, model, e, own)
with strip:
    show_strip(found, model, views, readable=chosen is not None)
if isinstance(found, Files):
    with own_file:
        show_file(readable=chosen is not None)
    with files:
        show_files(model, task, views, waiting)
if chosen is not None:
    with beside:
        show_second_opinion(model, chosen, views)
