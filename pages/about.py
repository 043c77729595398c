"""About: what this is and how its maps are read; the model, the data and the limits, from what is installed."""

import platform
from importlib import metadata

import streamlit as st

from core import __version__, service
from core.evaluation.card import model_card
from core.view.words import on_screen
from pages.parts import choices, frame, library
from pages.parts.about.telling import how_to_cite, how_to_read, show_glossary, show_keys, what_it_is
from pages.parts.evidence.evidence import show_answer
from pages.parts.evidence.reports import kept_report

frame.require()
reader, report = library.reader(choices.model()), kept_report(choices.model())
st.markdown(what_it_is(reader.model.task))
st.subheader("How to read a map")
how_to_read(choices.model(), reader.model, report)
st.subheader("Glossary")
show_glossary()
left, right = st.columns([2, 1], gap="large")
with right:
    st.subheader("Keys")
    show_keys()
    st.subheader("How to cite")
    how_to_cite(reader)
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
    # The page has its own heading.
    st.markdown(on_screen(model_card(reader.model).replace("# ", "## ", 1)))
    if report is not None:
        show_answer(report)
