"""Compare: two to four readings side by side, under one set of controls."""

import streamlit as st

from pages.parts import frame
from pages.parts.choices import choose_scale, choose_signs, choose_views
from pages.parts.compare.comparing import choose_count, choose_panels, correlations, light_table_panels
from pages.parts.components.light_table import light_table

frame.require()
table = st.container()
one, two, three, four, five = st.columns(5, vertical_alignment="bottom")
with one:
    count = choose_count()
with two:
    views = choose_views()
with three:
    own = choose_scale()
with four:
    only_for = choose_signs()
with five:
    with_differences = st.toggle("Show differences", key="difference", bind="query-params")
compared = choose_panels(count, views, only_for)

with table:
    if compared:
        light_table(light_table_panels(compared, with_differences, own), key="compare_table")
        st.markdown(correlations(compared))
    else:
        st.info("Choose a patch for each panel below, or tick patches on Browse.")
