"""Who may do what on the pages: read-only hides and refuses, jobs wait in line, and what is another's asks again."""

import shutil
import time

import pytest
import streamlit as st

from core import jobs, line
from core.errors import LineFullError, NodeLensError, ReadOnlyError
from core.jobs import Job, jobs_in_line
from core.settings import settings
from core.training.config import make_config
from core.training.runs import Run, run_names
from pages.parts import access
from pages.parts.evidence import evidence
from pages.parts.train import managing, start, trials

PATIENCE = 120


@pytest.fixture
def run(runs, shipped_bundle):
    """A finished run with a model, stopped before its end so that it could go on."""
    made = Run.create(runs / "first", make_config("smoke"))
    made.append({"fact": "failed", "reason": "why"})
    shutil.copytree(shipped_bundle, made.folder / "model", ignore=shutil.ignore_patterns(".engine"))
    return made


@pytest.fixture
def busy(monkeypatch, tmp_path):
    """A job of another session that works, so that others wait; nothing that is started does real work."""
    monkeypatch.setattr(jobs, "COMMAND", ("/bin/sh", "-c", "exec sleep 600"))
    job = Job(tmp_path / "elsewhere", "training 'of a colleague'")
    job.start([])
    yield job
    for one in reversed(jobs_in_line()):
        end(one)


def end(job):
    job.stop()
    until = time.monotonic() + PATIENCE
    while job.running:
        assert time.monotonic() < until
        time.sleep(0.02)


def set_readonly(monkeypatch, value="1"):
    monkeypatch.setenv("NODELENS_READONLY", value)
    settings.cache_clear()


def labels(page):
    return {button.label for button in page.at.button}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.0.7", True),
        ("nodelens.hospital.example", True),
        ("localhost.example", True),
        ("unix:///run/nodelens.sock", True),
        ("", True),
        (None, True),
    ],
)
def test_pages_only_show_wherever_others_reach_the_server(monkeypatch, address, expected):
    monkeypatch.delenv("NODELENS_READONLY", raising=False)
    settings.cache_clear()
    monkeypatch.setattr(st, "get_option", lambda name: {"server.address": address}[name])
    assert access.readonly() is expected
    for value in ("0", "1"):
        set_readonly(monkeypatch, value)
        assert access.readonly() is (value == "1")


def test_the_container_is_read_only(request):
    assert "NODELENS_READONLY=1" in (request.config.rootpath / "Dockerfile").read_text()


def test_read_only_hides_what_changes_anything_on_train(screen, run, started, monkeypatch):
    set_readonly(monkeypatch)
    page = screen("train", run="first")
    assert not page.at.exception
    assert labels(page) <= {"Read with it"}
    assert page.at.text_area(key="note_first").disabled
    assert any(caption.value.startswith("This NodeLens is read-only: ") for caption in page.at.caption)
    assert "New run" not in page.at.get("button_group")[0].options
    assert "**first** failed" in page.at.get("progress")[0].proto.text  # what there is can be read
    for section in ("Learning-rate range", "Weight decay"):
        page = screen("train", section=section).calm()
        assert "read-only" in page.at.info[0].value
        assert labels(page) == set()
    page = screen("train", section="New run")  # from an old address
    assert not page.at.exception
    assert "Start training" not in labels(page)


def test_read_only_invites_nobody(screen, runs, monkeypatch):
    set_readonly(monkeypatch)
    page = screen("train").calm()
    assert labels(page) == set()
    assert page.at.info[0].value == "This NodeLens is read-only: no run can be started here."


def test_read_only_starts_no_examination(screen, started, monkeypatch):
    page = screen("evidence").calm()
    set_readonly(monkeypatch)
    page.press("Examine")  # drawn before, or forged
    assert started == []
    page = screen("evidence").calm()
    assert "Examine" not in labels(page)
    assert "This NodeLens is read-only: no examination can be started here." in [c.value for c in page.at.caption]


@pytest.mark.parametrize("label", ["Resume", "Delete for good", "Make it a model"])
def test_a_press_that_was_drawn_before_does_nothing(screen, run, started, monkeypatch, label):
    page = screen("train", run="first")
    assert label in labels(page)
    set_readonly(monkeypatch)
    page.press(label)
    assert not page.at.exception
    assert started == []
    assert run_names(run.folder.parent) == ["first"]


def test_a_note_that_comes_to_a_read_only_page_is_refused(screen, run, monkeypatch):
    page = screen("train", run="first")
    set_readonly(monkeypatch)
    page.at.text_area(key="note_first").set_value("forged").run()
    assert run.note == ""
    assert page.at.error[0].value == str(ReadOnlyError())


def test_whatever_starts_something_refuses_by_itself(run, started, demo, monkeypatch):
    set_readonly(monkeypatch)
    for act, arguments in (
        (start.start, ("second", run.config)),
        (start.go_on, (run,)),
        (managing._start_promotion, (run, "second", "demo")),
        (trials._start, ("range", "lr-range", run.config, [])),
        (evidence._start, (Job(run.folder / "x"), "densenet169", demo, 100)),
        (access.start, (Job(run.folder / "x"), [])),
    ):
        with pytest.raises(ReadOnlyError):
            act(*arguments)
    assert started == []
    assert run_names(run.folder.parent) == ["first"]
    assert not (run.folder.parent / ".trials").exists()


def test_a_second_job_waits_and_can_be_taken_out(screen, runs, busy):
    page = screen("train").calm().press("Start a smoke run").calm()
    assert page.at.get("progress")[0].proto.text == "**smoke-1** waits: 1 job before it"
    assert page.at.dataframe[0].value["status"].tolist() == ["waiting"]
    assert page.at.expander[0].label == "In line: 1 works, 1 waits"
    said = [markdown.value for markdown in page.at.expander[0].markdown]
    assert said[0].startswith("Works: training 'of a colleague', asked for on 2")
    assert said[1].startswith("Waits: training 'smoke-1', asked for on 2")
    assert [button.key for button in page.at.button if str(runs) in str(button.key)] == []
    job = start.training(Run.open(runs / "smoke-1"))
    assert job.before == 1
    page.at.button(key="stop_run").click().run()  # this tab's own: not asked again
    end(job)
    assert busy.running
    assert "**smoke-1** not started" in screen("train").calm().at.get("progress")[0].proto.text


def test_it_starts_when_its_turn_comes(screen, runs, busy):
    screen("train").calm().press("Start a smoke run").calm()
    end(busy)
    page = screen("train").calm()
    assert "**smoke-1** starting" in page.at.get("progress")[0].proto.text
    assert "Stop" not in labels(page)  # another tab
    (said,) = [m.value for m in page.at.markdown if "was started elsewhere, on" in m.value and "Delete" not in m.value]
    assert said.startswith("This run was started elsewhere, on 2")
    page.press("Stop all the same")
    end(start.training(Run.open(runs / "smoke-1")))


def test_a_waiting_run_cannot_be_deleted(run, busy):
    start.training(run).start([])
    with pytest.raises(NodeLensError, match="in the hands of another process"):
        run.delete()
    assert run.folder.is_dir()


def test_a_full_line_leaves_nothing_behind(screen, runs, busy, monkeypatch):
    monkeypatch.setattr(line, "LONGEST", 1)
    page = screen("train").press("Start a smoke run")
    assert [error.value for error in page.at.error] == [str(LineFullError(1))]
    assert run_names(runs) == []
    page = screen("train", section="Learning-rate range").calm().press("Start")
    assert [error.value for error in page.at.error] == [str(LineFullError(1))]
    assert not list((runs / ".trials").glob("*"))


def test_an_examination_waits_too(screen, busy):
    page = screen("evidence").calm().press("Examine").calm()
    (said,) = [info.value for info in page.at.info if "waits" in info.value]
    assert said.startswith("The examination of densenet169 waits: 1 job before it.")
    page.press("Take out of the line")
    end(jobs_in_line()[-1])


@pytest.mark.parametrize(
    "query",
    [
        {"section": "<b>nothing</b>"},
        {"section": ""},
        {"run": "../../etc"},
        {"run": "first,first"},
        {"run": "x" * 5000},
        {"section": "Learning-rate range", "range": "../x"},
        {"section": "Weight decay", "decay": "decay-99999999999999999999"},
        {"run": "first", "figures": "maybe", "grid": "none"},
        {"unknown": "1e400"},
    ],
    ids=str,
)
def test_a_forged_address_ends_in_a_page(screen, run, query):
    page = screen("train", **query)
    assert not page.at.exception
    assert page.at.get("button_group")


def test_no_sentence_tells_where_folders_lie(screen, runs, tmp_path):
    run = Run.create(runs / "first", make_config("smoke"))
    (run.folder / "log.txt").write_text(f"nodelens: No split 'demo' in {settings().data}: it holds no PCam split.\n")
    page = screen("train", run="first")
    assert [error.value for error in page.at.error] == ["No split 'demo' in data: it holds no PCam split."]
    page = screen("train", section="New run").calm()
    helps = [box.help for box in page.at.selectbox if "training split" in box.help]
    assert len(helps) == 1
    assert str(tmp_path) not in helps[0]
