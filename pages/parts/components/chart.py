"""Charts as all pages show them."""

from __future__ import annotations

from typing import Any

import streamlit as st


def chart(figure: Any, name: str) -> None:
    """A chart that can be kept as PNG; its name is the file's."""
    options = {"format": "png", "filename": name[:80], "scale": 2}
    st.plotly_chart(
        figure,
        key=f"chart_{name}",
        config={
            "displaylogo": False,
            "toImageButtonOptions": options,
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        },
    )
