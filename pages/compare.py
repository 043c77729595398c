"""Compare: two to four readings side by side, under one set of controls."""

import streamlit as st

from core.view.glossary import meaning
from pages.parts import frame
from pages.parts.choices import choose_scale, choose_signs, choose_views
from pages.parts.compare.comparing import choose_count, choose_panels, correlations, light_table_panels
from pages.parts.components.light_table import light_table

frame.require()
with st.container(key="compare_bar"):
    one, two, three, four, five = st.columns(5, vertical_alignment="bottom")
with one:
    count = choose_count()
with two:
    views = choose_views()
with three:
    only_for = choose_signs()
with four:
    own = choose_scale()
with five:
    with_differences = st.toggle(
        "Differences",
        key="difference",
        bind="query-params",
        help="Right minus left, where both maps are of one patch and explain one target in logits by the same cells.",
    )
compared = choose_panels(count, views, only_for)
if compared:
    light_table(light_table_panels(compared, with_differences, own), key="compare_table", controls_first=True)
    st.markdown(correlations(compared, with_differences), help=meaning("rank correlation"))
else:
    st.info("Choose a patch for each panel above, or tick patches on Browse.")
