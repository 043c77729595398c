"""What the benches time is what the app does, and what they time beside it is the same network."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import browse, explain, measure, slides
from core.slides.slide import Slide
from core.view.selection import Filter


def test_scores_for_browsing_are_complete():
    made, labels = browse.scores(200)
    assert made.done == len(labels) == 200
    found = browse.select(made, labels, Filter(probability=(0.0, 0.5)), "most wrong")
    assert 0 < len(found) < 200
    assert (made.probability[found] <= 0.5).all()


def test_peers_are_given_the_same_network(shipped_reader, patches):
    model, images = explain.peers_view(shipped_reader.stored, patches[:3])
    with torch.no_grad():
        logits = model(images).numpy()
    np.testing.assert_allclose(logits, shipped_reader.engine.forward(patches[:3])[1], atol=1e-3)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_tasks_take_turns(monkeypatch):
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: None)
    calls = []
    found = measure.interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, 8)
    turns = ["".join(calls[start : start + 3]) for start in range(0, 27, 3)]
    assert turns[0] == "abc"  # to warm up
    assert all(sorted(turn) == list("abc") for turn in turns)
    assert len(set(turns[1:])) > 3
    assert all(seconds >= 0 for seconds in found.values())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted as Linux tells it")
def test_memory_is_told_of_this_process_of_another_and_of_one_that_has_ended():
    here = measure.resources()
    assert here.peak_mib >= here.rss_mib > measure.peak_mib("this") > 1
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert measure.resources(Path(f"/proc/{child.pid}")).rss_mib == 0
    child.wait()


def test_a_made_slide_holds_the_tissue_it_is_said_to(tmp_path):
    with Slide.open(slides.make_slide(tmp_path / "made.tif", 5)) as slide:
        assert slide.width * slide.height * slides.FINE**2 / 1e6 == pytest.approx(5, rel=0.1)
        assert len(slide.levels) == len(slides.LEVELS)
        assert slide.um_per_px == pytest.approx((slides.FINE,) * 2, rel=1e-3)
        fine, coarse = slide.region(900, 700, 256, 256, 0.97), slide.region(225, 175, 64, 64, 3.88)
    assert fine.std() > 20
    assert np.abs(fine.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3)) - coarse).mean() < 6  # levels lie over each other
    rows = slides.viewing(tmp_path / "made.tif")
    first = next(rows)
    rows.close()
    assert first["batch"] == 1
    assert 0 < first["p50_ms"] <= first["p95_ms"]
