"""What the process holds for everybody: loaded once, and nobody's to empty."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from core import service
from core.data.pcam import Split
from core.errors import ModelNotFoundError, OutputError
from core.inference.scores import ScoreStore
from core.settings import settings

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"


@pytest.fixture
def model(tiny_reader, monkeypatch):
    """The name of the one model there is, and how often it was loaded."""
    loads: list[str] = []
    monkeypatch.setenv("NODELENS_MODELS", str(tiny_reader.stored.folder.parent))
    monkeypatch.setattr(service, "load_reader", lambda name: loads.append(name) or tiny_reader)
    settings.cache_clear()
    service.forget()
    yield tiny_reader.stored.folder.name, loads
    service.forget()
    settings.cache_clear()


def test_a_model_is_loaded_once_and_again_when_it_was_replaced(model, tiny_reader):
    name, loads = model
    assert not service.has_reader(name)
    assert service.reader(name) is service.reader(name) is tiny_reader
    assert service.has_reader(name)
    assert loads == [name]
    description = tiny_reader.stored.folder / "bundle.json"
    status = description.stat()
    os.utime(description, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert not service.has_reader(name)
    service.reader(name)
    assert loads == [name, name]


def test_a_model_that_is_not_there_is_said_to_be_missing(model):
    with pytest.raises(ModelNotFoundError):
        service.reader("nobody")


def test_a_split_is_opened_once():
    assert service.split(DEMO, "demo") is service.split(DEMO, "demo")
    service.forget()


@pytest.fixture
def store(tiny_reader, tmp_path):
    yield ScoreStore(tmp_path, tiny_reader, Split.open(DEMO, "demo"))
    service.forget()


def test_a_store_has_one_job_at_a_time(store, monkeypatch):
    go = threading.Event()

    def wait(self, stop):
        go.wait(20)
        yield 400

    monkeypatch.setattr(ScoreStore, "compute", wait)
    job = service.scoring_job(store)
    assert service.scoring_job(store) is job
    assert service.is_scoring(store)
    go.set()
    job.end()
    assert not service.is_scoring(store)
    assert service.scoring_job(store) is not job


def test_what_stopped_a_job_is_said_once(store, monkeypatch):
    def full(self, stop):
        raise OutputError(self.path, "no space left on device")
        yield

    monkeypatch.setattr(ScoreStore, "compute", full)
    service.scoring_job(store).end()
    with pytest.raises(OutputError, match="no space left"):
        service.scoring_job(store)
    service.scoring_job(store).end()
