"""Read: one patch, its prediction and the reason, at one glance."""

import json
from io import BytesIO

import numpy as np
import streamlit as st

from core import service
from core.explain.registry import METHODS
from core.view.export import as_picture, as_record, scale_of
from core.view.overlay import png
from pages.parts import choices, frame, library
from pages.parts.choices import OWN, SCALE_NOTES, choose_explanation, choose_scale, choose_views
from pages.parts.components.light_table import Panel, light_table
from pages.parts.read.choose import choose_patch
from pages.parts.read.reliability import reliability_panels
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
    left, middle, right = st.columns([4, 1, 1])
    with left:
        explanation = choose_explanation(model)
    with middle:
        views = choose_views()
    with right:
        scale = choose_scale()
    downloads = st.container(horizontal=True)
with intake:
    chosen, files = choose_patch(task)

if chosen is None:
    table.info("Drop a patch below, or choose another patch: none that can be read is on the table.")
else:
    e = explanation
    patch, notes = chosen.patch, chosen.notes
    readings = library.explain(model, patch, e.method, e.layer, e.target, views)
    heatmap = readings.attribution[0]
    with table:
        pictures, words = st.columns([2, 1], gap="medium")
        with pictures:
            light_table(
                [
                    Panel(chosen.name, chosen.patch, task, colour=True, caption=" ".join(chosen.notes)),
                    Panel(
                        "Why",
                        chosen.patch,
                        task,
                        heatmap=heatmap,
                        scale=scale_of(readings, 0, own=scale == OWN),
                        unit=METHODS[e.method].unit,
                        scale_note=f"positive evidence, {SCALE_NOTES[scale if readings.scale else OWN]}",
                        caption=readings.explained,
                    ),
                ],
                label_box=True,
                key="light_table",
            )
        with words:
            choices.synthetic_badge(chosen.synthetic)
            show_verdict(readings, 0, chosen.label)
    with panels:
        reliability_panels(model, chosen.patch, readings, e, views)
    with downloads:
        stem = "".join(c if c.isalnum() else "-" for c in chosen.name)[:60]
        record = as_record(readings, 0, chosen.name, chosen.notes)
        array = BytesIO()
        np.save(array, heatmap)
        st.download_button(
            "Picture (PNG)",
            lambda: png(as_picture(patch, readings, 0, notes=notes, own=scale == OWN)),
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
