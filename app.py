"""NodeLens: the table of contents, and the server's doors before it.

Streamlit runs this file twice over: it imports it once for the server, and runs it as the page of each visitor.
"""

from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from pages.parts import choices, frame, logs, server
from pages.parts.slide.routes import routes

ROOT = Path(__file__).resolve().parent
PAGES = ("Read", "Slide", "Browse", "Compare", "Train", "Evidence", "About")

if __name__ == "__main__":
    st.set_page_config(page_title="NodeLens", page_icon=ROOT / "assets" / "icon.svg", layout="wide")
    st.logo(ROOT / "assets" / "logo.svg")
    page = st.navigation(
        [st.Page(ROOT / "pages" / f"{title.lower()}.py", title=title, default=title == "Read") for title in PAGES],
        position="top",
    )
    st.set_page_config(page_title=f"{page.title} \u00b7 NodeLens")
    with frame.around(page.title):
        if page.title == "Read":
            frame.open_intake()
        # On every page the same menus, drawn from here: Streamlit takes off the address what a page's own are bound to
        # when it is left. On Compare each panel, on Train each run has choices of its own.
        if page.title not in ("Compare", "Train"):
            choices.choose_model_and_split()
        page.run()
else:
    PagesManager.uses_pages_directory = False  # or the first visitor sees the folder's files as pages
    logs.speak_json()
    app = st.App(__file__, middleware=server.doors(), lifespan=server.lifespan, routes=routes())
