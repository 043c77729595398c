"""Who may do what: where strangers reach NodeLens it only shows, and others' jobs are ended on purpose alone.

There are no accounts. What can be told is which jobs this tab started, and when those of others were. The reading of a
split is nobody's: Browse stops it at a press, since what has been read is kept and the rest can be asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import streamlit as st

from core.errors import NodeLensError, ReadOnlyError
from core.jobs import Job
from core.service import ScoringJob
from core.settings import settings, without_paths

READ_ONLY = "This NodeLens is read-only: "
"""Begins the sentence on every page that lacks its controls."""


def readonly() -> bool:
    """Whether pages only show: as NODELENS_READONLY says, else wherever other machines reach the server."""
    chosen = settings().readonly
    return not _own_machine(st.get_option("server.address")) if chosen is None else chosen


def require_writable() -> None:
    """Raise ReadOnlyError where pages only show: a button that is not drawn can be pressed all the same."""
    if readonly():
        raise ReadOnlyError


def attempt(act: Callable[..., Any], *arguments: Any) -> bool:
    """Do what a button asks for, where that is allowed; an error of ours is told. Whether it was done."""
    try:
        require_writable()
        act(*arguments)
    except NodeLensError as error:
        st.error(without_paths(str(error)))
        return False
    return True


def start(job: Job, arguments: Sequence[str]) -> None:
    """Put a job in line, as this tab's; raises ReadOnlyError and what `Job.start` raises."""
    require_writable()
    job.start(arguments)
    _started_here()[job.path] = job.since


def is_own(job: Job) -> bool:
    """Whether this tab started a job, and no other did since."""
    started = _started_here()
    return job.path in started and started[job.path] == job.since


def whose(job: Job, what: str, when: datetime | None) -> str:
    """A sentence on who started something, and when."""
    date = f", on {when:%Y-%m-%d at %H:%M} UTC" if when else ""
    return (
        f"You started {what} in this tab{date}." if is_own(job) else f"{what.capitalize()} was started elsewhere{date}."
    )


def stop_button(job: Job, what: str, key: str, stop: Callable[[], Any] | None = None, help: str | None = None) -> None:
    """A button that ends a job, or takes it out of the line; it asks again when another tab started it.

    Args:
        job: that runs.
        what: it is called, as in "this run".
        key: of the button.
        stop: does it; the job's own `stop` when None.
        help: says what is kept when it has begun to work.
    """
    if readonly():
        return
    word, help = ("Take out of the line", None) if job.before else ("Stop", help)
    if is_own(job):
        pressed = st.button(word, key=key, help=help)
    else:
        with st.popover(word, help=help):
            st.markdown(whose(job, what, job.since))
            pressed = st.button(f"{word} all the same", key=key)
    if pressed:
        attempt(stop or job.stop)


def waits(job: Job | ScoringJob) -> str:
    """Where in line a job is, in words; empty when its turn has come."""
    before = job.before
    return f"waits: {before} {'job' if before == 1 else 'jobs'} before it" if before else ""


def _started_here() -> dict[Path, datetime | None]:
    found: dict[Path, datetime | None] = st.session_state.setdefault("started_here", {})
    return found


def _own_machine(address: str | None) -> bool:
    try:
        return address == "localhost" or ip_address(address or "").is_loopback
    except ValueError:
        return False
