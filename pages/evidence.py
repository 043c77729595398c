"""Evidence: how far a model's maps can be believed, with chance and baselines."""

import streamlit as st

from core.view.charts.evidence import PREDICTION
from pages.parts import choices, frame
from pages.parts.evidence.evidence import (
    choose_group,
    choose_other,
    compare_answers,
    downloads,
    drawn_mosaics,
    examine,
    invite,
    say_where_from,
    show_answer,
    show_charts,
    show_decision,
    show_table,
)
from pages.parts.evidence.reports import kept_report, report_of

frame.require()
model, split = choices.model(), choices.split()
report = report_of(model, split) or kept_report(model)
if report is None:
    invite(model, split)
    examine(model, split)
else:
    other = choose_other(model, split)
    if other is None:
        say_where_from(report, split)
        choices.synthetic_badge("synthetic" in report.data.note)
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
