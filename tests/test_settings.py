"""The environment is read once and checked; a value that cannot be used is named."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import ROOT, Settings


def test_defaults_lie_in_the_repository():
    found = Settings.from_environment({})
    assert (found.data, found.models, found.cache) == (ROOT / "data/pcam", ROOT / "models", ROOT / ".cache")
    assert (found.model, found.engine) == ("densenet169", "auto")
    assert found.threads >= 1
    assert (ROOT / "core" / "settings.py").is_file()


def test_the_environment_is_heard(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Settings.from_environment(
        {
            "NODELENS_DATA": str(tmp_path / "a"),
            "NODELENS_MODELS": "else/where",
            "NODELENS_CACHE": "~/b",
            "NODELENS_MODEL": "mine",
            "NODELENS_ENGINE": "torch",
            "NODELENS_THREADS": "3",
        }
    )
    assert found.data == (tmp_path / "a").resolve()
    assert found.models == ROOT / "else" / "where"
    assert found.cache == (Path(tmp_path) / "b").resolve()
    assert (found.model, found.engine, found.threads) == ("mine", "torch", 3)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NODELENS_ENGINE", "tensorrt"),
        ("NODELENS_ENGINE", ""),
        ("NODELENS_THREADS", "-1"),
        ("NODELENS_THREADS", "two"),
        ("NODELENS_THREADS", "1.5"),
        ("NODELENS_THREADS", "1025"),
        ("NODELENS_READONLY", "yes"),
        ("NODELENS_DATA", __file__),
        ("NODELENS_MODELS", __file__),
        ("NODELENS_CACHE", __file__),
    ],
)
def test_what_cannot_be_used_is_named(variable, value):
    with pytest.raises(SettingsError, match=variable) as caught:
        Settings.from_environment({variable: value})
    assert caught.value.variable == variable


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("0", False), ("", None)])
def test_read_only_is_said_or_left_open(value, meant):
    assert Settings.from_environment({"NODELENS_READONLY": value}).readonly is meant
    assert Settings.from_environment({}).readonly is None


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Settings.from_environment({}).engine = "torch"


def test_names_by_which_others_may_call_the_app():
    found = Settings.from_environment(
        {"NODELENS_HOSTS": " Lens.example.org, *.clinic.example ,192.0.2.7,[2001:db8::1],"}
    )
    assert found.hosts == ("lens.example.org", "*.clinic.example", "192.0.2.7", "[2001:db8::1]")
    assert Settings.from_environment({}).hosts == ()


@pytest.mark.parametrize("names", ["*", "https://lens.example.org", "lens.example.org:8501", "a b", "a/..", "*.*.org"])
def test_a_host_name_is_a_name(names):
    with pytest.raises(SettingsError, match="NODELENS_HOSTS names"):
        Settings.from_environment({"NODELENS_HOSTS": names})
