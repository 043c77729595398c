"""A cluster of two processes reads what one process reads, also when one of them is killed in the middle."""

import os
import signal
import threading
import time
from copy import copy
from types import SimpleNamespace

import numpy as np
import pytest

from core.slides.batch import Batch, read_slides
from core.view.slide_map import overview_picture

distributed = pytest.importorskip("distributed", reason="dask and distributed are an extra")
from distributed.scheduler import KilledWorker  # noqa: E402 - after what it needs

from core.slides.cluster import read_on_cluster  # noqa: E402

UM = 0.97


@pytest.fixture
def folder(write_slide, tmp_path):
    (tmp_path / "in").mkdir()
    generator = np.random.default_rng(9)
    for name in ("a", "b"):
        tissue = np.array([190, 110, 170]) + generator.normal(0, 25, (120, 120, 1))
        write_slide(tissue.clip(0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1), UM, f"in/{name}.tif")
    (tmp_path / "in" / "c.svs").write_text("no slide")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_plain_main")
def test_a_killed_worker_loses_nothing(folder, unpadded_reader):
    paths = [folder / "in" / name for name in ("a.tif", "b.tif", "c.svs")]
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        first = next(iter(client.run(os.getpid).values()))

        def kill():
            scans = folder / "many" / "scans"
            while not list(scans.glob("*/*.npy")):
                time.sleep(0.05)
            os.kill(first, signal.SIGKILL)

        killing = threading.Thread(target=kill, daemon=True)
        killing.start()
        found = list(read_on_cluster(client, Batch(paths, unpadded_reader, folder / "many", overview_picture)))
        killing.join()
    assert [one.status for one in found] == ["read", "read", "refused"]
    alone = list(read_slides(Batch(paths, unpadded_reader, folder / "one", overview_picture)))
    assert [one.areas for one in found] == [one.areas for one in alone]
    for name in ("a", "b"):
        many, one = (np.load(folder / how / name / "heatmap.npz")["probability"] for how in ("many", "one"))
        np.testing.assert_array_equal(many, one)


def test_a_slide_whose_workers_are_lost_waits(folder, darkness):
    class Doomed:
        """A client all of whose workers die."""

        def nthreads(self):
            return {"a": 1}

        def submit(self, *_, **__):
            return SimpleNamespace(done=lambda: True)

        def gather(self, tasks):
            raise KilledWorker("read_chunk", None, 3)

    reader = copy(darkness)
    reader.stored = SimpleNamespace(folder=folder)
    batch = Batch([folder / "in" / "a.tif"], reader, folder / "out", overview_picture)
    (found,) = read_on_cluster(Doomed(), batch)
    assert (found.status, found.reason) == ("waiting", "Workers that read it were lost, one after another.")
    assert "waiting" in (folder / "out" / "slides.csv").read_text()
