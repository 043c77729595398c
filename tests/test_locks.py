"""Locked files where the system has `flock`, and where it has not."""

import subprocess
import sys
from pathlib import Path

import pytest

from core import locks
from core.locks import grasp, holder, is_held, outlast, sign

ROOT = Path(__file__).resolve().parents[1]
PARTS = sorted(path.relative_to(ROOT) for path in (ROOT / "pages" / "parts").rglob("*.py"))
WITHOUT = """
import importlib, os, sys

def load():
    for name in sys.argv[1:]:
        importlib.import_module(name)

load()  # the libraries, which take this system for what it is
for name in [name for name in sys.modules if name.split(".")[0] in ("core", "pages")]:
    del sys.modules[name]
sys.modules["fcntl"] = None
del os.register_at_fork
load()
from core import locks
assert locks.fcntl is None
"""
HOLDER = """
import os, sys, time
from pathlib import Path
from core.locks import grasp, sign
file = Path(sys.argv[1]).open("a+", encoding="utf-8")
assert grasp(file, 0)
sign(file, os.getpid())
print("held", flush=True)
time.sleep(600)
"""


def module_of(path):
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def test_reading_loads_where_files_are_locked_in_another_way_and_nothing_forks():
    """Windows has neither `fcntl` nor `os.register_at_fork`."""
    names = ["core.inference", "core.service", "core.jobs", *map(module_of, PARTS)]
    assert len(names) > 20
    done = subprocess.run([sys.executable, "-c", WITHOUT, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["flock", "without flock"])
def system(request, monkeypatch):
    if request.param == "without flock":
        monkeypatch.setattr(locks, "fcntl", None)
    return request.param


def test_a_held_file_is_told_from_one_that_nobody_holds(system, tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert is_held(path)
        assert holder(path) == process.pid
        with path.open("a+", encoding="utf-8") as file:
            assert not grasp(file, 0)
        process.kill()
        outlast(path)  # comes back, since the system lets go
        assert not is_held(path)
        assert holder(path) is None
    with path.open("a+", encoding="utf-8") as file:
        assert grasp(file, 0)
        sign(file, 1)
        assert is_held(path)


def test_those_who_look_are_not_in_each_others_way(tmp_path):
    pytest.importorskip("fcntl", reason="needs flock")
    path = tmp_path / "lock"
    path.touch()
    with path.open(encoding="utf-8") as looking:
        assert locks._share(looking, patient=False)
        assert not is_held(path)


def test_there_is_nothing_to_outlast_where_no_file_is(system, tmp_path):
    outlast(tmp_path / "lock")
