"""How far a run is, by hand; and what it said of its patches."""

import numpy as np
import pytest

from core.errors import TrainingError
from core.training.config import make_config
from core.training.watch import Progress, progress_of, read_predictions

CONFIG = make_config("smoke", batch=32)  # one epoch, then six


def step(cycle, number, steps, epoch):
    return {
        "fact": "step", "cycle": cycle, "step": number, "steps": steps, "epoch": epoch, "rate": 2e-3,
        "first_rate": 4e-4, "momentum": 0.9, "loss": 0.5, "speed": 64.0,
    }  # fmt: skip


def test_a_run_that_has_said_nothing():
    assert progress_of(CONFIG, []) == Progress()


def test_progress_by_hand():
    judged = {"fact": "epoch", "cycle": 0, "step": 10, "epoch": 1.0, "auc": 0.8}
    facts = [step(0, 10, 10, 1.0), judged, judged | {"cycle": 1, "auc": 0.7}, step(1, 30, 60, 3.0)]
    progress = progress_of(CONFIG, facts)
    assert progress.share == pytest.approx(4 / 7)
    assert (progress.cycle, progress.epoch, progress.best_auc) == (2, 3.0, 0.8)
    assert progress.seconds_left == pytest.approx(3 * 10 * 32 / 64)  # three epochs of ten batches of 32
    assert (progress.rate, progress.first_rate, progress.momentum, progress.loss) == (2e-3, 4e-4, 0.9, 0.5)
    done = progress_of(CONFIG, [*facts, {"fact": "finished"}])
    assert (done.share, done.seconds_left) == (1.0, 0.0)


def test_later_cycles_count_in_the_time_left():
    progress = progress_of(CONFIG, [step(0, 5, 10, 0.5)])
    assert progress.share == pytest.approx(0.5 / 7)
    assert progress.seconds_left == pytest.approx(6.5 * 10 * 32 / 64)


def test_predictions_and_their_confusion(tmp_path):
    (tmp_path / "predictions.csv").write_text(
        "index,label,probability\n7,0,0.2\n9,1,0.5\n11,1,0.4\n12,0,0.9\n13,0,0.1\n"
    )
    predictions = read_predictions(tmp_path)
    assert predictions.index.tolist() == [7, 9, 11, 12, 13]
    assert predictions.confusion().tolist() == [[2, 1], [1, 1]]
    assert predictions.confusion(0.95).tolist() == [[3, 0], [2, 0]]
    assert np.allclose(predictions.probability, [0.2, 0.5, 0.4, 0.9, 0.1])


@pytest.mark.parametrize(
    "text", [None, "a,b\n1,2\n", "index,label,probability\n1,1,high\n", "index,label,probability\n1\n"]
)
def test_damaged_predictions_are_one_sentence(tmp_path, text):
    if text is not None:
        (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_predictions(tmp_path)
