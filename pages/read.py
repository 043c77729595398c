"""Read: one patch, its prediction and the reason, at one glance."""

import json
from io import BytesIO

import numpy as np
import streamlit as st

from core import service
from core.view.export import as_picture, as_record
from core.view.overlay import png
from pages.parts import choices, frame, library
from pages.parts.components.evidence_panel import evidence_panel
from pages.parts.components.light_table import Panel, light_table
from pages.parts.read.choose import choose_patch
from pages.parts.read.reliability import lean_line, reliability_panels
from pages.parts.read.upload_table import show_table
from pages.parts.read.verdict import show_verdict

frame.require()
model = choices.model()
task = service.task(model)
table = st.container(key="read_table")
controls = st.container()
panels = st.container()
intake = st.container()

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
    downloads = st.container(horizontal=True)
with intake:
    chosen, files = choose_patch(task)

if chosen is None:
    table.info("Drop a patch below, or choose another patch: none that can be read is on the table.")
else:
    patch, notes = chosen.patch, chosen.notes
    readings = library.explain(model, patch, e.method, e.layer, e.target, e.views, chosen.synthetic)
    with table:
        pictures, words = st.columns([2, 1], gap="medium")
        with pictures:
            light_table(
                [
                    Panel(chosen.name, chosen.patch, task, colour=True, caption=" ".join(chosen.notes)),
                    evidence_panel("Why", patch, readings, own=own, only_for=e.only_for),
                ],
                label_box=True,
                key="light_table",
            )
        with words:
            choices.synthetic_badge(chosen.synthetic)
            choices.synthetic_model_badge(readings.model)
            leaning = lean_line(model, patch, readings)
            show_verdict(readings, 0, chosen.label, chosen.provenance(readings.model), leaning)
    with panels:
        reliability_panels(model, patch, readings, e)
    with downloads:
        stem = "".join(c if c.isalnum() else "-" for c in chosen.name)[:60]
        record = as_record(readings, 0, chosen.name, chosen.notes)
        array = BytesIO()
        np.save(array, readings.attribution[0])
        st.download_button(
            "Picture (PNG)",
            lambda: png(as_picture(patch, readings, 0, notes=notes, own=own, only_for=e.only_for)),
            f"{stem}.png",
            "image/png",
            on_click="ignore",
        )
        st.download_button(
            "Reading (JSON)", json.dumps(record, indent=2), f"{stem}.json", "application/json", on_click="ignore"
        )
        st.download_button("Map (NumPy)", array.getvalue(), f"{stem}.npy", on_click="ignore")
with files:
    show_table(model, task, views)
