"""Under the pictures of Read, worked out when asked for: the trust card and the what-if panel."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.inference import Readings
from pages.parts.choices import Explanation


def reliability_panels(model: str, patch: NDArray[np.uint8], readings: Readings, explanation: Explanation) -> None:
    """Both, folded up. Their modules bring SciPy's statistics in: a second that the first look does not wait for."""
    card = st.expander("Can this reading be leaned on?", key="trust_card", on_change="rerun", bind="query-params")
    if card.open:
        from pages.parts.read.trust import trust_card

        with card:
            trust_card(model, patch, readings)
    panel = st.expander("What if the patch were another?", key="what_if", on_change="rerun", bind="query-params")
    if panel.open:
        from pages.parts.read.whatif import what_if

        with panel:
            what_if(model, patch, readings, explanation)
