"""What the process holds for everybody: loaded once, and nobody's to empty."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from core import service
from core.data.pcam import Split, file_of
from core.data.sources import Item
from core.errors import IntakeError, ModelNotFoundError, OutputError
from core.inference.scores import ScoreStore
from core.models.store import read_description
from core.settings import settings
from core.task import PCAM, task_json

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


def test_what_a_model_reads_is_read_again_when_it_was_replaced(model, monkeypatch):
    name, _ = model
    read: list[str] = []
    monkeypatch.setattr(
        service, "read_description", lambda folder: read.append(folder.name) or read_description(folder)
    )
    assert service.task(name) is service.task(name)
    assert read == [name]
    description = settings().models / name / "bundle.json"
    status = description.stat()
    os.utime(description, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    service.task(name)
    assert read == [name, name]


def test_a_model_that_is_not_there_is_said_to_be_missing(model):
    with pytest.raises(ModelNotFoundError):
        service.reader("nobody")


def test_a_split_is_opened_once():
    assert service.open_split(DEMO, "demo") is service.open_split(DEMO, "demo")
    service.forget()


@pytest.mark.parametrize("changed", ["rows.csv", "camelyonpatch_level_2_split_valid_meta.csv", "task.json", "y.h5"])
def test_a_split_is_opened_anew_when_any_of_its_files_changed(split, changed):
    service.forget()
    before = service.open_split(split.folder, "valid")
    if changed == "rows.csv":
        (split.folder / changed).write_text("split,row\n" + "".join(f"valid,{row}\n" for row in range(50, 62)))
    elif changed == "task.json":
        (split.folder / changed).write_text(task_json(PCAM.model_copy(update={"label_region": None})))
    elif changed == "y.h5":
        path = file_of(split.folder, "valid", "y.h5")
        path.unlink()
        with h5py.File(path, "w") as file:
            file.create_dataset("y", data=1 - before.labels.reshape(-1, 1, 1, 1))
    else:
        (split.folder / changed).write_text("wsi\n" + "slide\n" * 12)
    after = service.open_split(split.folder, "valid")
    assert after is service.open_split(split.folder, "valid")
    assert {
        "rows.csv": after.rows[0] == 50,
        "task.json": after.task.label_region is None,
        "y.h5": (after.labels == 1 - before.labels).all(),
    }.get(changed, after.slides is not None and set(after.slides) == {"slide"})
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


def test_one_job_computes_at_a_time_and_who_waits_can_leave(tiny_reader, tmp_path, monkeypatch):
    go, at_work = threading.Event(), []

    def wait(self, stop):
        at_work.append(self)
        go.wait(20)
        yield 400

    monkeypatch.setattr(ScoreStore, "compute", wait)
    first, second, third = (ScoreStore(tmp_path / name, tiny_reader, Split.open(DEMO, "demo")) for name in "abc")
    jobs = [service.scoring_job(one) for one in (first, second, third)]
    assert [job.before for job in jobs] == [0, 1, 2]
    service.stop_scoring(second)
    jobs[1].end()
    assert [job.before for job in jobs] == [0, 0, 1]
    assert not service.starts_unasked(second)  # somebody has stopped it
    assert service.starts_unasked(third)
    go.set()
    for job in jobs:
        job._thread.join(20)
    assert at_work == [first, third]
    service.scoring_job(second).end()
    assert service.starts_unasked(second)  # somebody has said so
    service.forget()


def test_what_is_read_unasked_is_little(store, monkeypatch):
    assert service.starts_unasked(store)
    monkeypatch.setattr(service, "UNASKED", 399)
    assert not service.starts_unasked(store)


def test_an_estimate_is_the_time_that_was_measured(store, monkeypatch):
    clock = SimpleNamespace(monotonic=iter(np.arange(0.0, 100.0, 0.5)).__next__)
    monkeypatch.setattr("core.service.time", clock)
    assert service.seconds_to_score(store) == 0.5 * 400 / store.reader.engine.batch
    assert store.scores().done == 0  # nothing of the split was read for it
    service._note_speed(store, 100, 2.0)
    assert service.seconds_to_score(store) == 8


def test_pictures_are_scored_in_batches_in_their_order(tiny_reader, patches):
    kinds = [
        Item("a", patches[0]),
        Item("b", None, IntakeError("no")),
        *(Item(str(i), patches[1]) for i in range(40)),
    ]
    found = list(service.score(tiny_reader, kinds))
    assert [one.item.id for one in found] == [item.id for item in kinds]
    assert found[1].readings is None
    one, other = tiny_reader.read(patches[0]), tiny_reader.read(patches[1])
    assert found[0].readings.logit[found[0].place] == pytest.approx(one.logit[0], abs=1e-3)
    logits = [read.readings.logit[read.place] for read in found[2:]]
    assert logits == pytest.approx([other.logit[0]] * 40, abs=1e-3)
    assert abs(one.logit[0] - other.logit[0]) > 0.01
