"""What is logged is one JSON object a line, whoever says it, and names nobody's file."""

import json
import logging
import subprocess
import sys

import pytest

from core import logs
from core.errors import SettingsError
from core.settings import ROOT, Settings


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    root, core = logging.getLogger(), logging.getLogger("core")
    before, level = list(root.handlers), core.level
    root.handlers = [handler for handler in before if not isinstance(handler, logs.Stderr)]
    yield
    root.handlers, core.level = before, level


def told(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail_over(name):
    try:
        raise KeyError(name)
    except KeyError as error:
        raise ValueError(f"a\n{name}") from error


def log_a_failure(name="Doe_Jane.png"):
    try:
        fail_over(name)
    except ValueError:
        logging.getLogger("core.x").exception("it \n failed")


def test_a_line_is_one_json_object_on_stderr(capsys):
    logs.configure("info")
    log_a_failure()
    (line,) = told(capsys)
    assert (line["level"], line["logger"], line["message"]) == ("error", "core.x", "it \n failed")
    assert line["error"] == "ValueError from KeyError"
    assert [place.rpartition(":")[0] for place in line["places"]] == ["tests/test_logs.py"] * 2
    assert [place.rpartition(" ")[2] for place in line["places"]] == ["log_a_failure", "fail_over"]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_the_text_of_an_exception_may_name_a_file_and_is_kept_back(level, capsys):
    logs.configure(level)
    log_a_failure()
    assert "Doe_Jane" not in capsys.readouterr().err


def test_at_debug_the_text_is_told(capsys):
    logs.configure("debug")
    log_a_failure()
    assert told(capsys)[0]["text"] == "a\nDoe_Jane.png"


def test_the_systems_words_are_told(capsys):
    logs.configure("warning")
    try:
        open("/nowhere/Doe_Jane.png")  # noqa: PTH123, SIM115
    except OSError:
        logging.getLogger("core.x").exception("lost")
    assert told(capsys)[0]["error"] == "FileNotFoundError (No such file or directory)"


def test_configuring_twice_logs_once_and_changes_the_level(capsys):
    logs.configure("debug")
    logs.configure("warning")
    logging.getLogger("core.x").info("quiet")
    logging.getLogger("core.x").warning("loud")
    assert [line["message"] for line in told(capsys)] == ["loud"]


def test_a_library_that_has_a_handler_of_its_own_speaks_through_ours(capsys):
    logs.configure("info")
    own = logging.getLogger("a_library")
    own.propagate = False
    own.addHandler(logging.StreamHandler(sys.stderr))
    logs.hand_over(own)
    own.warning("once")
    assert [line["message"] for line in told(capsys)] == ["once"]


SERVER = """
import logging, sys, threading, warnings
logging.getLogger("early").addHandler(logging.StreamHandler())
from core import logs
logs.configure("warning")
logs.take_over()
logging.getLogger("early").warning("a\\nb")
warnings.warn("beware")
class Unlucky:
    def __del__(self): raise OSError("Doe_Jane")
Unlucky()
def fail(): raise ValueError("Doe_Jane")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_nothing_in_a_server_writes_anything_else():
    done = subprocess.run([sys.executable, "-c", SERVER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["early", "py.warnings", "core", "core", "core"]
    assert [line.get("error") for line in lines[2:]] == ["OSError", "ValueError", "ValueError"]
    assert [line["message"] for line in lines[2:]] == [
        "an error could not be raised", "a thread ended", "the process ended",
    ]  # fmt: skip
    assert "Doe_Jane" not in done.stderr


STREAMLIT = """
from pages.parts.logs import speak_json
from streamlit.error_util import handle_uncaught_app_exception
speak_json()
try:
    {}["Doe_Jane.png"]
except KeyError as error:
    handle_uncaught_app_exception(error)
from streamlit.logger import get_logger
get_logger("streamlit.made.later").error("later")
get_logger("uvicorn.error").warning("served")
get_logger("uvicorn.access").error("GET /_stcore/upload_file/SECRET")
"""


def test_streamlits_tracebacks_are_json_lines_too():
    done = subprocess.run([sys.executable, "-c", STREAMLIT], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = {line["logger"]: line for line in map(json.loads, done.stderr.splitlines())}
    assert lines["streamlit.error_util"]["error"] == "KeyError"
    assert {"streamlit.made.later", "uvicorn.error"} <= lines.keys()
    assert "Doe_Jane" not in done.stderr
    assert "SECRET" not in done.stderr
    assert "Traceback" not in done.stdout


def test_an_unknown_level_is_refused():
    with pytest.raises(SettingsError, match="NODELENS_LOG"):
        Settings.from_environment({"NODELENS_LOG": "loud"})
