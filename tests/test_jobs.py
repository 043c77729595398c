"""Jobs: processes that outlive who starts them, and that nobody takes for alive when they are dead."""

import os
import signal
import time

import pytest

from core import jobs
from core.errors import NodeLensError, OutputError
from core.jobs import Job

PATIENCE = 120


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A function that starts a shell line as a job and returns the job; what still runs is ended."""
    made = []

    def start(line):
        script = tmp_path / "fake-python"
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
        monkeypatch.setattr(jobs.sys, "executable", str(script))
        job = Job(tmp_path / "folder" / "work")
        job.start(["anything"])
        made.append(job)
        return job

    yield start
    for job in made:
        job.stop()


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_job_runs_until_it_is_stopped(started):
    job = started("exec sleep 600")
    assert job.running
    with pytest.raises(NodeLensError, match="running already"):
        job.start(["anything"])
    assert job.complaint == ""
    assert job.stop()
    wait_for(lambda: not job.running)
    assert not job.stop()
    assert job.complaint == ""


def test_a_killed_job_is_not_taken_for_alive(started):
    job = started("exec sleep 600")
    os.kill(jobs.holder(job._lock), signal.SIGKILL)
    wait_for(lambda: not job.running)


def test_it_has_a_session_of_its_own(started):
    job = started("exec sleep 600")
    assert os.getsid(jobs.holder(job._lock)) == jobs.holder(job._lock) != os.getsid(0)


def test_its_last_sentence_is_kept(started):
    job = started("echo first; echo 'nodelens: There is no such split.' >&2; exit 2")
    wait_for(lambda: not job.running)
    assert job.complaint == "There is no such split."
    assert job.log.read_text().startswith("first\n")


def test_a_bug_is_named_as_one(started):
    job = started("echo 'Traceback (most recent call last):'; echo 'ValueError: broken'; exit 1")
    wait_for(lambda: not job.running)
    assert job.complaint == "It ended with an error of NodeLens itself: ValueError: broken"


def test_what_ended_well_has_no_complaint(started):
    job = started("echo done")
    wait_for(lambda: not job.running)
    assert job.complaint == ""
    assert Job(job.path.with_name("never")).complaint == ""
    assert not Job(job.path.with_name("never")).running


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Job(tmp_path / "file" / "work").start(["anything"])
