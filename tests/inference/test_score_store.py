"""Scores of a split on disk: resumable, equal to a direct read, and never half-true."""

import re
import threading
from copy import copy
from types import SimpleNamespace

import numpy as np
import pytest

from core.data.flags import FLAGS
from core.data.pcam import Split
from core.errors import OutputError
from core.inference import scores
from core.inference.reader import Reader
from core.inference.scores import ScoreStore
from core.service import ScoringJob
from core.task import PCAM


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(scores, "CHUNK", 5)


class Counting(Reader):
    """The tiny reader, which remembers how many patches it was asked for."""

    def __init__(self, reader):
        super().__init__(reader.stored, reader.engine)
        self.asked = []

    def read(self, patches, views=1, synthetic=False):
        self.asked.append(len(patches))
        return super().read(patches, views, synthetic)


@pytest.fixture
def reader(tiny_reader):
    return Counting(tiny_reader)


@pytest.fixture
def store(tmp_path, reader, split):
    return ScoreStore(tmp_path / "cache", reader, split)


def described(reader, **changes):
    """The same reader of a bundle with another description."""
    other = copy(reader)
    other.model = reader.model.model_copy(update=changes)
    other.model.__dict__.pop("graph_key", None)
    return other


@pytest.mark.parametrize("views", [1, 8])
def test_a_store_equals_a_direct_read(tmp_path, reader, tiny_reader, split, patches, views):
    store = ScoreStore(tmp_path / "cache", reader, split, views)
    assert store.scores().done == 0
    assert not store.path.exists()  # asking writes nothing
    assert list(store.compute()) == [5, 10, 12]
    kept, direct = store.scores(), tiny_reader.read(patches, views)
    assert kept.done == 12
    assert kept.logits.tobytes() == direct.view_logits.tobytes()
    assert kept.probability.tobytes() == direct.probability.tobytes()
    assert kept.attribution.tobytes() == direct.attribution.tobytes()
    assert kept.verdict.tolist() == direct.verdict.tolist()
    assert kept.point == direct.point
    for name in FLAGS:
        assert kept.has_flag(name).tolist() == [name in names for names in direct.flags]
    assert {name for names in direct.flags for name in names}  # or the line above says nothing


def test_a_store_keeps_where_patches_lie(tmp_path, tiny_reader, ood_reader, split, patches):
    plain = ScoreStore(tmp_path / "cache", tiny_reader, split)
    store = ScoreStore(tmp_path / "cache", ood_reader, split)
    assert store.path != plain.path  # or flags that nobody judged would be served
    list(store.compute())
    kept, direct = store.scores(), ood_reader.read(patches)
    assert kept.coordinates.dtype == np.float16
    assert kept.coordinates.tobytes() == direct.coordinates.astype(np.float16).tobytes()
    assert kept.has_flag("unlike training tissue").tolist() == ["unlike training tissue" in f for f in direct.flags]
    list(plain.compute())
    assert plain.scores().coordinates.shape == (12, 0)
    assert plain.scores().logits.tobytes() == kept.logits.tobytes()
    assert plain.path.stat().st_size < store.path.stat().st_size


def test_another_detector_keeps_another_store(tmp_path, ood_reader, split):
    strangers = ood_reader.model.ood.model_copy(update={"sha256": "0" * 64})
    other = described(ood_reader, ood=strangers)
    assert ScoreStore(tmp_path, other, split).path != ScoreStore(tmp_path, ood_reader, split).path


def test_a_stopped_run_goes_on_where_it_was(store, reader):
    halves = iter([False, True])
    assert list(store.compute(lambda: next(halves))) == [5]
    assert store.scores().done == 5
    assert np.isnan(store.scores().probability[5:]).all()
    assert list(store.compute()) == [10, 12]
    assert reader.asked == [5, 5, 2]
    assert list(store.compute()) == []
    assert reader.asked == [5, 5, 2]


def test_gaps_are_filled_and_nothing_else_is_touched(store, reader):
    list(store.compute())
    whole = store.path.read_bytes()
    table = np.load(store.path, mmap_mode="r+")
    table["logits"][[2, 9, 11]] = np.nan
    table["attribution"][9] = 7  # written before the logit when a process died
    table.flush()
    assert store.scores().done == 9
    reader.asked.clear()
    assert list(store.compute()) == [12]
    assert reader.asked == [3]
    assert store.path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"no numpy file" * 9,
        lambda data: b"PK\x03\x04" + data[4:],
        lambda data: data[:20] + b"(((" + data[23:],
        lambda data: data[:20] + b"\xff" + data[21:],
        lambda data: data.replace(b"<f4", b"|O "),
    ],
    ids=["empty", "half", "text", "zip", "header", "not ascii", "objects"],
)
def test_a_damaged_store_is_said_in_one_sentence(store, reader, damage):
    list(store.compute())
    store.path.write_bytes(damage(store.path.read_bytes()))
    for use in (store.scores, lambda: list(store.compute())):
        with pytest.raises(OutputError, match="delete the file") as caught:
            use()
        assert re.fullmatch(r"Cannot write \S+: [^.\n]+\.", str(caught.value))


def test_a_store_of_another_layout_is_refused(store, reader, tmp_path):
    store.path.parent.mkdir(parents=True)
    np.save(store.path, np.zeros(12))
    with pytest.raises(OutputError, match="delete the file"):
        store.scores()


def test_other_readings_have_another_store(tmp_path, tiny_reader, split, write_split, patches, labels):
    other_weights = described(tiny_reader, weights_sha256="0" * 64)
    unstained = described(tiny_reader, task=PCAM.model_copy(update={"stain": None}))  # fewer flags
    rounded = copy(tiny_reader)
    rounded.engine = SimpleNamespace(name="openvino-bf16")
    other = Split.open(write_split(tmp_path / "other", patches[::-1], labels), "valid")
    stores = [
        ScoreStore(tmp_path, tiny_reader, split),
        ScoreStore(tmp_path, tiny_reader, split, views=8),
        ScoreStore(tmp_path, other_weights, split),
        ScoreStore(tmp_path, unstained, split),
        ScoreStore(tmp_path, tiny_reader, other),
        ScoreStore(tmp_path, rounded, split),
    ]
    assert len({store.path for store in stores}) == 6
    # A new calibration re-uses the logits: it changes what they mean, not what they are.
    assert ScoreStore(tmp_path, described(tiny_reader, points={}), split).path == stores[0].path


def test_a_new_calibration_speaks_through_the_kept_logits(store, reader, split, tmp_path):
    list(store.compute())
    again = ScoreStore(tmp_path / "cache", described(reader, points={}), split).scores()
    expected = 1 / (1 + np.exp(-store.scores().logits[:, 0].astype(float)))
    np.testing.assert_allclose(again.probability, expected)


def test_a_place_that_cannot_be_written(tmp_path, reader, split):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(OutputError):
        list(ScoreStore(tmp_path / "cache", reader, split).compute())


# In a thread of its own -------------------------------------------------------------------------------------------


def finished(job):
    job._thread.join(60)
    assert not job.running
    return job


def test_a_job_scores_everything(store, reader):
    job = finished(ScoringJob(store))
    assert (job.done, job.total, job.error) == (12, 12, None)
    assert store.scores().done == 12


def test_a_job_starts_from_what_is_there_and_stops_after_a_write(store, reader):
    list(zip(range(1), store.compute(), strict=False))
    reading, go_on = threading.Event(), threading.Event()

    class Waiting(Counting):
        def read(self, patches, views=1, synthetic=False):
            reading.set()
            assert go_on.wait(60)
            return super().read(patches, views, synthetic)

    store.reader = Waiting(reader)
    job = ScoringJob(store)
    assert reading.wait(60)
    assert job.running
    assert job.done == 5
    job.stop()
    go_on.set()
    finished(job)
    assert job.done == store.scores().done == 10


def test_a_job_reports_its_error(store, reader):
    list(zip(range(1), store.compute(), strict=False))

    class Broken(Counting):
        def read(self, patches, views=1, synthetic=False):
            raise OutputError(store.path, "the disk is full")

    store.reader = Broken(reader)
    job = finished(ScoringJob(store))
    assert isinstance(job.error, OutputError)
    assert job.done == 5
