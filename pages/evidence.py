"""Evidence: how far a model's maps can be believed, with chance and baselines."""

import streamlit as st

from core.view.evidence_figures import PREDICTION
from pages.parts import choices, frame
from pages.parts.evidence import (
    choose_group,
    choose_other,
    compare_answers,
    downloads,
    drawn_mosaics,
    examine,
    invite,
    report_of,
    show_answer,
    show_charts,
    show_decision,
    show_table,
)

frame.require()
model, split = choices.model(), choices.split()
report = report_of(model, split)
if report is None:
    invite(model, split)
    examine(model, split)
else:
    other = choose_other(model, split)
    if other is None:
        choices.synthetic_badge(split.synthetic)
        show_answer(report)
    else:
        compare_answers(report, other)
    group = choose_group(report)
    drawn = drawn_mosaics(report, model, split)
    if group == PREDICTION:
        show_decision(report)
    else:
        show_table(report, other, group)
    show_charts(report, other, group, drawn)
    downloads(report, drawn)
    st.divider()
    examine(model, split)
