"""Jobs: processes that outlive who starts them, wait for one another, and are not taken for alive when dead."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import jobs, line
from core.errors import LineFullError, NodeLensError, OutputError
from core.jobs import Job, jobs_in_line
from core.locks import holder
from core.settings import ROOT, settings

PATIENCE = 120
OTHER_SERVER = """
import sys
from pathlib import Path
from core import jobs
jobs.COMMAND = ("/bin/sh", "-c", sys.argv[2])
jobs.Job(Path(sys.argv[1]), "of another server").start([])
"""


@pytest.fixture(autouse=True)
def _line(tmp_path, monkeypatch):
    monkeypatch.setenv("NODELENS_CACHE", str(tmp_path / "cache"))
    settings.cache_clear()
    yield
    for job in reversed(jobs_in_line()):
        job.stop()
        wait_for(lambda job=job: not job.running)
    settings.cache_clear()


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A function that starts a shell line as a job and returns the job; what still runs is ended."""

    def start(words, name="work"):
        monkeypatch.setattr(jobs, "COMMAND", ("/bin/sh", "-c", words))
        job = Job(tmp_path / "folder" / name, f"doing {name}")
        job.start(["anything"])
        return job

    return start


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
    assert job.error_message == ""
    assert job.stop()
    wait_for(lambda: not job.running)
    assert not job.stop()
    assert job.error_message == ""


def test_a_killed_job_is_not_taken_for_alive(started):
    job = started("exec sleep 600")
    os.kill(holder(job._lock), signal.SIGKILL)
    wait_for(lambda: not job.running)


def test_it_has_a_session_of_its_own(started):
    job = started("exec sleep 600")
    wait_for(lambda: holder(job._lock))
    assert os.getsid(holder(job._lock)) == holder(job._lock) != os.getsid(0)


def test_its_last_sentence_is_kept(started):
    job = started("echo first; echo 'nodelens: There is no such split.' >&2; exit 2")
    wait_for(lambda: not job.running)
    assert job.error_message == "There is no such split."
    assert job.log.read_text().startswith("first\n")


def test_a_bug_is_named_as_one(started):
    job = started("echo 'Traceback (most recent call last):'; echo 'ValueError: broken'; exit 1")
    wait_for(lambda: not job.running)
    assert job.error_message == "It ended with an error of NodeLens itself: ValueError: broken"


def test_what_ended_well_has_no_error_message(started):
    job = started("echo done")
    wait_for(lambda: not job.running)
    assert job.error_message == ""
    assert Job(job.path.with_name("never")).error_message == ""
    assert not Job(job.path.with_name("never")).running


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Job(tmp_path / "file" / "work").start(["anything"])


def test_a_system_that_hands_no_locked_files_on_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fork")  # as on Windows
    with pytest.raises(NodeLensError, match="`python -m core`"):
        Job(tmp_path / "work").start(["anything"])
    assert list(tmp_path.iterdir()) == []


def test_a_refused_second_start_leaves_the_log_as_it_is(started):
    job = started("echo said; exec sleep 600")
    wait_for(lambda: job.log.read_text() == "said\n")
    with pytest.raises(NodeLensError, match="running already"):
        job.start(["anything"])
    assert job.log.read_text() == "said\n"


def test_a_start_that_the_line_has_no_room_for_leaves_the_log_as_it_is(started, monkeypatch):
    ended = started("echo said", "ended")
    wait_for(lambda: not ended.running)
    started("exec sleep 600", "first")
    monkeypatch.setattr(line, "LONGEST", 1)
    with pytest.raises(LineFullError, match="The line is full: 1 jobs"):
        ended.start(["anything"])
    assert ended.log.read_text() == "said\n"
    assert not ended.running


def test_one_works_and_the_others_wait_for_their_turn(started, tmp_path):
    first = started("echo first; exec sleep 600", "first")
    second = started("echo second; exec sleep 600", "second")
    third = started("echo third; exec sleep 600", "third")
    wait_for(lambda: first.log.read_text() == "first\n")
    assert [job.running for job in (first, second, third)] == [True] * 3
    assert [job.before for job in (first, second, third)] == [0, 1, 2]
    assert [job.what for job in jobs_in_line()] == ["doing first", "doing second", "doing third"]
    assert second.log.read_text() == ""
    first.stop()
    wait_for(lambda: second.log.read_text() == "second\n")  # nobody has looked, or asked it to
    assert [job.before for job in (second, third)] == [0, 1]
    assert third.log.read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_is_ended_while_it_waits_has_left_the_line(started, number):
    first = started("exec sleep 600", "first")
    second = started("echo second", "second")
    third = started("echo third; exec sleep 600", "third")
    os.kill(holder(second._lock), number)
    wait_for(lambda: not second.running)
    assert [job.before for job in (first, third)] == [0, 1]
    assert third.log.read_text() == ""
    os.kill(holder(first._lock), signal.SIGKILL)
    wait_for(lambda: third.log.read_text() == "third\n")
    assert "second" not in second.log.read_text()


def test_two_servers_have_one_line(started, tmp_path):
    first = started("exec sleep 600", "first")
    other = Job(tmp_path / "elsewhere" / "work")
    words = [sys.executable, "-c", OTHER_SERVER, str(other.path), "echo other; exec sleep 600"]
    subprocess.run(words, cwd=ROOT, check=True, timeout=PATIENCE)  # that server has ended; its job waits
    assert other.running
    assert other.before == 1
    assert [job.what for job in jobs_in_line()] == ["doing first", "of another server"]
    first.stop()
    wait_for(lambda: other.log.read_text() == "other\n")


def test_who_waits_has_loaded_nothing(started):
    started("exec sleep 600", "first")
    waiting = started("true", "second")
    told = Path("/proc") / str(holder(waiting._lock))
    if not told.is_dir():
        pytest.skip("this system does not say what a process has loaded")
    wait_for(lambda: b"core.line" in (told / "cmdline").read_bytes())
    assert not {"torch", "numpy", "h5py"} & set(re.split(r"[/\n]", (told / "maps").read_text()))


def test_dead_tickets_are_swept_and_numbers_go_on(started, tmp_path):
    folder = tmp_path / "cache" / "line"
    folder.mkdir(parents=True)
    (folder / "7.ticket").write_text(json.dumps({"path": "/nowhere", "what": "dead"}))
    (folder / "x.ticket").write_text("nobody's")
    assert jobs_in_line() == []
    started("exec sleep 600", "first")
    started("exec sleep 600", "second")
    assert sorted(path.name for path in folder.glob("*.ticket")) == ["1.ticket", "2.ticket", "x.ticket"]


def test_a_killed_job_is_told_of(started):
    job = started("echo busy; kill -9 $$")
    wait_for(lambda: job.error_message)
    assert job.error_message == jobs.KILLED.format(9)


def test_another_process_of_the_same_number_is_left_alone(started, monkeypatch):
    """The one who signed has died, its child keeps the file open, and the system gave the number away again."""
    job = started("exec sleep 600")
    signed = job._lock.read_text()
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        job._lock.write_text(f"{bystander.pid} 1")  # began one tick after the machine did
        assert job.running
        assert holder(job._lock) is None
        assert not job.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        job._lock.write_text(signed)
