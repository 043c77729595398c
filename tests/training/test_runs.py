"""Runs on disk: what they say of themselves, whoever writes, dies or looks on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import RunBusyError, RunNotFoundError, TrainingConfigError, TrainingError
from core.training import runs
from core.training.config import make_config
from core.training.runs import HISTORY, LOCK, Run, run_names

ROOT = Path(__file__).resolve().parents[2]
STEP = {"fact": "step", "step": 1, "loss": 0.5}
HOLDER = """
import signal, sys, time
from pathlib import Path
from core.training.runs import Run
with Run.open(Path(sys.argv[1])).held():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", make_config("smoke"))


@pytest.fixture
def holder(run):
    """A process that holds the run."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, run.folder], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(runs, "LOCK_PATIENCE", 0.1)


def test_status_is_told_by_the_lock_and_the_last_fact(run):
    assert run.status == run.settled == "new"
    with run.held():
        assert run.status == "running"
        assert run.holder == os.getpid()
        run.append(STEP)
        assert run.settled == "stopped"
    assert run.status == "stopped"
    run.append({"fact": "failed", "reason": "why"})
    assert run.status == "failed"
    run.append({"fact": "finished"})
    assert run.status == "finished"
    with run.held():
        assert run.status == "running"


def test_a_killed_process_drops_its_lock(run, holder, impatient):
    assert run.holder == holder.pid
    with pytest.raises(RunBusyError), run.held():
        pass
    assert run.status == "running"
    with pytest.raises(RunBusyError):
        run.delete()
    assert run.folder.is_dir()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert run.holder is None
    assert run.status == "new"
    with run.held():
        assert (run.folder / LOCK).read_text().split()[0] == str(os.getpid())


def test_stop_asks_the_one_who_trains(run, holder):
    assert run.stop()
    assert holder.wait(timeout=60) == 0
    assert not run.stop()


def test_a_start_waits_for_somebody_who_only_looks(run, monkeypatch):
    """`holder` takes a shared lock for a moment; that must not send a start away."""
    import fcntl
    import threading

    monkeypatch.setattr(runs, "LOCK_PATIENCE", 30.0)
    with run.held():
        pass
    with (run.folder / LOCK).open("r+") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.3, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        began = time.monotonic()
        with run.held():
            assert time.monotonic() - began > 0.2


def test_what_a_killed_process_left_half_written_is_swept_away(run):
    half = run.folder / ".checkpoint.pt.abc.part"
    half.write_bytes(b"half")
    other = run.folder / ".note.txt.abc.part"
    other.write_bytes(b"somebody is writing")
    with run.held():
        assert not half.exists()
        assert other.exists()


def test_history_keeps_facts_in_order_and_leaves_half_a_line_for_later(run):
    facts = [STEP | {"step": step} for step in range(5)]
    for fact in facts:
        run.append(fact)
    assert run.history() == facts
    assert run.history(3) == facts[3:]
    with (run.folder / HISTORY).open("ab") as handle:
        handle.write(b'{"fact": "step", "st')
    assert run.history() == facts
    assert run.settled == "stopped"


def test_history_is_rewound_to_a_size(run):
    run.append(STEP)
    size = run.history_size()
    run.append(STEP | {"step": 2})
    with (run.folder / HISTORY).open("ab") as handle:
        handle.write(b'{"half')
    run.rewind_history(size)
    assert run.history() == [STEP]
    run.rewind_history(size + 1000)  # never grows
    assert run.history_size() == size
    run.append(STEP | {"step": 3})
    assert [fact["step"] for fact in run.history()] == [1, 3]


def test_notes(run):
    assert run.note == ""
    run.note = "Flächig besser — 2. Versuch\nnächste Zeile"
    assert Run.open(run.folder).note == "Flächig besser — 2. Versuch\nnächste Zeile"


def test_a_note_has_an_end(run):
    with pytest.raises(TrainingError, match="at most 4,000 characters; this one has 4,001"):
        run.note = "x" * 4001
    assert run.note == ""
    run.note = "ü" * 4000
    assert run.note == "ü" * 4000
    (run.folder / "note.txt").write_bytes(b"\xff" + b"x" * 20_000_000)  # kept by an earlier version, and damaged
    assert run.note == "\ufffd" + "x" * 3999


def test_capitals_tell_no_run_from_another(run):
    with pytest.raises(TrainingConfigError, match="there is a run 'run' already"):
        Run.create(run.folder.with_name("Run"), run.config)
    assert not run.folder.with_name("Run").exists() or run.folder.samefile(run.folder.with_name("Run"))


def test_when_it_began(run):
    os.utime(run.folder / "config.json", (1.7e9, 1.7e9))
    assert run.began.isoformat() == "2023-11-14T22:13:20+00:00"
    run.write_environment({"started": "2024-01-02T03:04:05+00:00"})
    assert run.began.isoformat() == "2024-01-02T03:04:05+00:00"


def test_the_last_fact_is_found_without_reading_a_long_history(run):
    run.append({"fact": "failed", "reason": "early"})
    with (run.folder / HISTORY).open("ab") as handle:
        handle.write((json.dumps(STEP) + "\n").encode() * 20_000)
    assert run.settled == "stopped"
    run.append({"fact": "finished"})
    with (run.folder / HISTORY).open("ab") as handle:
        handle.write(b'{"half')
    assert run.settled == "finished"


def test_create_open_and_names(run, tmp_path):
    again = Run.create(run.folder, run.config)
    assert again.config == run.config
    with pytest.raises(TrainingError, match="another configuration"):
        Run.create(run.folder, make_config("smoke", seed=5))
    with pytest.raises(RunNotFoundError):
        Run.open(tmp_path / "nothing")
    for name in ("..", ".hidden", "a b", "x" * 65, "ü"):
        with pytest.raises(TrainingConfigError):
            Run.create(tmp_path / name, run.config)
    later = Run.create(tmp_path / "later", run.config)
    os.utime(later.folder / "config.json", (2e9, 2e9))
    (tmp_path / "no-run").mkdir()
    assert run_names(tmp_path) == ["later", "run"]
    assert run_names(tmp_path / "nowhere") == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cycles": 1}', '{"unknown": 1}'])
def test_a_damaged_configuration_is_one_sentence(text, run):
    (run.folder / "config.json").write_text(text)
    with pytest.raises(TrainingConfigError) as caught:
        Run.open(run.folder)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_yet(run):
    assert run.model is None
    assert run.environment == {}
    run.write_environment({"python": "3"})
    assert run.environment == {"python": "3"}
    assert json.loads((run.folder / "environment.json").read_text()) == {"python": "3"}


def test_delete(run, tmp_path):
    run.append(STEP)
    run.delete()
    assert not run.folder.exists()
    assert run_names(tmp_path) == []
