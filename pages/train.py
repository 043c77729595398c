"""Train: start a run, watch it, hold it against others, and make a model of it."""

import streamlit as st

from core.settings import settings
from core.training.runs import run_names
from pages.parts import frame
from pages.parts.train.managing import manage
from pages.parts.train.runs import choose_runs, invite, open_runs, show_overlay, show_run
from pages.parts.train.start import DECAY, NEW, RANGE, RUNS, choose_section, start_run
from pages.parts.train.study import study_figures
from pages.parts.train.trials import trials
from pages.parts.train.waiting import show_line

frame.require()
section = choose_section()
show_line()

if section == RUNS:
    names = run_names(settings().runs)
    if not names:
        invite()
    else:
        chosen = open_runs(choose_runs(names))
        if len(chosen) == 1:
            show_run(chosen[0])
            manage(chosen[0])
            if chosen[0].model:
                study_figures(chosen[0])
        elif chosen:
            show_overlay(chosen)
        else:
            st.info("Choose a run above to watch it, or several to lay their curves over one another.")
elif section == NEW:
    start_run()
elif section == RANGE:
    trials(
        "range",
        "lr-range",
        "A fresh network meets a higher learning rate with every batch, from 1e-7 to 10, until its loss runs away. "
        "Choose a peak rate where the loss still falls steeply, well before it turns up.",
    )
elif section == DECAY:
    trials(
        "decay",
        "compare-decay",
        "The same test for several weight decays, each on a fresh network and the same batches. "
        "The best decay is the largest that still lets the loss fall low and early.",
    )
