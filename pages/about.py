"""About: the model, the data and the limits, rendered from what is installed."""

import platform
from importlib import metadata

import streamlit as st

from core import __version__, service
from core.evaluation.card import model_card
from pages.parts import choices, frame, library
from pages.parts.evidence.evidence import show_answer
from pages.parts.evidence.reports import kept_report

frame.require()
left, right = st.columns([2, 1], gap="large")
with right:
    reader = library.reader(choices.model())
    st.subheader("Data in use")
    for name in service.split_names():
        split = service.split(name)
        kind = "synthetic, not tissue" if split.synthetic else f"files as {split.task.name}'s"
        slides = f", {len(set(split.slides))} slides" if split.slides is not None else ""
        st.markdown(
            f"**{name}** ({kind}): {len(split):,} patches, {int(split.labels.sum()):,} positive{slides}. "
            f"Fingerprint {split.fingerprint()[:8]}."
        )
    st.subheader("Versions")
    names = ("streamlit", "openvino", "torch", "timm", "numpy", "pillow", "plotly")
    st.markdown(
        f"NodeLens {__version__}, engine {reader.engine.name}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in names)
        + "."
    )
with left:
    st.markdown("Research use only. Not a medical device.")
    st.markdown(model_card(reader.model).replace("# ", "## ", 1))  # the page has its heading
    report = kept_report(choices.model())
    if report is not None:
        show_answer(report)
