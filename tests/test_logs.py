import json
import logging

import pytest

from core import logs
from core.errors import SettingsError
from core.settings import Settings


@pytest.fixture(autouse=True)
def _core_logger_as_it_was():
    logger = logging.getLogger("core")
    before = logger.level, logger.propagate, list(logger.handlers)
    logger.handlers = [handler for handler in before[2] if not isinstance(handler.formatter, logs.JsonLines)]
    yield
    logger.level, logger.propagate, logger.handlers = before


def test_a_line_is_one_json_object_on_stderr(capsys):
    logs.configure("info")
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("core.x").exception("it \n failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert line["level"] == "error"
    assert line["logger"] == "core.x"
    assert line["error"] == "ValueError: a\nb"


def test_configuring_twice_logs_once_and_changes_the_level(capsys):
    logs.configure("debug")
    logs.configure("warning")
    logging.getLogger("core.x").info("quiet")
    logging.getLogger("core.x").warning("loud")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_an_unknown_level_is_refused():
    with pytest.raises(SettingsError, match="NODELENS_LOG"):
        Settings.from_environment({"NODELENS_LOG": "loud"})
