"""NodeLens: the table of contents."""

import streamlit as st

from pages.parts import choices, frame

st.set_page_config(page_title="NodeLens", page_icon="assets/icon.svg", layout="wide")
st.logo("assets/logo.svg")
page = st.navigation(
    [
        st.Page("pages/read.py", title="Read", default=True),
        st.Page("pages/browse.py", title="Browse"),
        st.Page("pages/compare.py", title="Compare"),
        st.Page("pages/train.py", title="Train"),
        st.Page("pages/evidence.py", title="Evidence"),
        st.Page("pages/about.py", title="About"),
    ],
    position="top",
)
with frame.around():
    if page.title not in ("Compare", "Train"):  # where each panel, or each run, has choices of its own
        choices.choose_model_and_split()
    page.run()
