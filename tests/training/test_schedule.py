"""Schedules: fastai's own, step by step (recorded by `python -m bench.fastai_schedule`), and their corners by hand."""

import json
from pathlib import Path

import pytest

from core.training.schedule import cosine, one_cycle, one_cycle_momentum, spread

CYCLES = json.loads((Path(__file__).parent / "fastai_schedule.json").read_text())["cycles"]


@pytest.mark.parametrize("name", ["plain", "frozen", "discriminative"])
def test_equal_to_fastai_over_500_steps(name):
    cycle = CYCLES[name]
    rates, momentum = cycle["rates"], cycle["momentum"]
    assert len(rates) == len(momentum) == 500
    peaks = spread(cycle["min_group_lr"] or cycle["max_lr"], cycle["max_lr"], len(rates[0]))
    assert len(peaks) == (3 if name == "discriminative" else 1)
    for step in range(500):
        assert [one_cycle(step / 500, peak) / peak for peak in peaks] == pytest.approx(
            [rate / peak for rate, peak in zip(rates[step], peaks, strict=True)], abs=1e-6
        )
        assert one_cycle_momentum(step / 500) == pytest.approx(momentum[step], abs=1e-6)


def test_corners_by_hand():
    assert cosine(2, 6, 0) == 2
    assert cosine(2, 6, 0.5) == pytest.approx(4)
    assert cosine(2, 6, 1) == pytest.approx(6)
    assert one_cycle(0, 1.0) == pytest.approx(1 / 25)
    assert one_cycle(0.125, 1.0) == pytest.approx((1 / 25 + 1) / 2)
    assert one_cycle(0.25, 1.0) == pytest.approx(1)
    assert one_cycle(0.625, 1.0) == pytest.approx((1 + 1e-5) / 2)
    assert one_cycle(1, 1.0) == pytest.approx(1e-5)
    assert [one_cycle_momentum(p) for p in (0, 0.25, 1)] == pytest.approx([0.95, 0.85, 0.95])


def test_spread_is_geometric():
    assert spread(1e-4, 1e-2, 3) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert spread(1e-4, 1e-2, 1) == [1e-2]
    assert spread(0.5, 0.5, 4) == [0.5] * 4
