"""The line of long jobs on the page: what works, what waits, and a way out for each that waits."""

from __future__ import annotations

from hashlib import blake2b

import streamlit as st

from core.jobs import Job, jobs_in_line
from pages.parts import access

EVERY = 4.0


def show_line() -> None:
    """The line, when anything waits."""
    jobs = jobs_in_line()
    if len(jobs) > 1:
        st.fragment(_line, run_every=EVERY)(len(jobs))


def _line(drawn: int) -> None:
    jobs = jobs_in_line()
    if len(jobs) != drawn:
        st.rerun()
    with st.expander(f"In line: 1 works, {drawn - 1} {'waits' if drawn == 2 else 'wait'}"):
        st.caption("One long job works at a time. The next starts by itself when it ends, also when nobody looks.")
        for place, job in enumerate(jobs):
            _place(place, job)


def _place(place: int, job: Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        since = f", asked for on {job.since:%Y-%m-%d at %H:%M} UTC" if job.since else ""
        st.markdown(f"{'Waits' if place else 'Works'}: {job.what}{since}")
        if place:
            # The key of a button reaches the browser; where folders lie does not.
            name = blake2b(bytes(job.path), digest_size=8).hexdigest()
            access.stop_button(job, "this job", f"leave_{name}")
