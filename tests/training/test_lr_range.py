"""The range test: its rates, its smoothing, when it ends, what it suggests, and what it leaves alone."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from core.training import lr_range
from core.training.config import make_config
from core.training.losses.objective import loss_of
from core.training.lr_range import (
    compare_decay,
    has_fallen,
    ran_away,
    range_test,
    read_between,
    record,
    smooth,
    steepest,
    valley,
)
from core.training.start import starting_net


@pytest.fixture
def config():
    return make_config("smoke", train_split="valid", valid_split="valid", holdout="split", batch=4)


@pytest.fixture
def open_split(split):
    return lambda name: split


def last(stream):
    *_, final = stream
    return final


def test_smoothing_by_hand():
    assert smooth([]) == []
    assert smooth([2.0, 4.0, 8.0], beta=0.5) == pytest.approx([2.0, (1 + 4) / 1.5 / 1 * 1.0, (0.5 + 2 + 8) / 1.75])
    assert smooth([3.0] * 40) == pytest.approx([3.0] * 40)  # no bias towards zero at the start
    weights = 0.98 ** np.arange(29, -1, -1)
    losses = np.random.default_rng(0).random(30)
    assert smooth(losses)[-1] == pytest.approx((weights * losses).sum() / weights.sum())


def test_a_loss_has_run_away_beyond_four_times_the_best():
    assert not ran_away([])
    assert not ran_away([1.0, 0.5, 2.0])
    assert ran_away([1.0, 0.5, 2.0001])
    assert not ran_away([1.0, 0.2, 5.0, 0.7])  # the last counts


def test_steepest_on_curves_with_a_known_answer():
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert steepest(rates, [1.0, 0.9, 0.4, 0.3, 0.9]) == 1e-3  # where the fall of 0.5 begins
    assert steepest([1.0, 2.0, 8.0], [3.0, 2.0, 0.5]) == 1.0  # 1 / log 2 is steeper than 1.5 / log 4
    assert steepest(rates, [0.1, 0.2, 0.3, 0.4, 0.5]) is None
    assert steepest(rates, [0.1] * 5) is None
    assert steepest(rates, [1.0, 0.7, 0.6, 3.0, 0.9]) == 1e-4  # a fall after the curve broke is no suggestion
    assert steepest([1.0], [1.0]) is None
    assert steepest([], []) is None


def test_valley_on_curves_with_a_known_answer():
    rates = np.geomspace(1e-5, 1e-1, 21).tolist()
    # Flat for three, down for thirteen, up for five: the longest fall is 14 long and ends at place 15. It starts at
    # place 1, a third of it is 4.67, so the suggestion stands at 1 + 4 + 2 = 7.
    falls = [1.0] * 3 + [1 - 0.05 * i for i in range(1, 14)] + [0.5, 0.6, 0.7, 0.8, 0.9]
    assert valley(rates, falls) == rates[7]
    assert valley(rates, [0.1 * i for i in range(21)]) is None
    assert valley([1.0], [1.0]) is None
    assert valley([], []) is None


def valley_as_fastai_writes_it(rates, losses):
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(0, i):
            if (losses[i] < losses[j]) and (lds[i] < lds[j] + 1):
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return rates[max_start + int(sections) + int(sections / 2)]


@pytest.mark.parametrize("seed", range(10))
def test_suggestions_equal_fastais_on_noisy_curves(seed):
    generator = np.random.default_rng(seed)
    position = np.linspace(0, 1, 85)
    losses = (0.7 - 0.5 * np.exp(-((position - 0.7) ** 2) / 0.02) + generator.normal(0, 0.02, 85)).tolist()
    rates = np.geomspace(1e-6, 4.0, 85)
    assert valley(rates.tolist(), losses) == valley_as_fastai_writes_it(rates.tolist(), losses)
    slopes = (np.array(losses)[1:] - np.array(losses)[:-1]) / (np.log(rates[1:]) - np.log(rates[:-1]))
    slopes = slopes[: np.argmin(losses)]
    assert steepest(rates.tolist(), losses) == rates[slopes.argmin()]


def test_the_first_tenth_and_the_last_five_are_not_read():
    rates, losses = read_between(list(range(100)), list(range(100)), 100)
    assert (rates[0], rates[-1], len(losses)) == (10, 94, 85)
    assert read_between([1.0, 2.0], [1.0, 2.0], 100) == ([], [])


@pytest.mark.parametrize(
    ("losses", "fell"),
    [([0.69, 0.68, 0.70, 0.67, 2.0], False), ([0.69, 0.9, 2.0], False), ([0.69, 0.7, 0.5, 3.0], True), ([], False)],
)
def test_a_curve_that_wavers_has_not_fallen(losses, fell):
    assert has_fallen(losses) is fell


def test_rates_rise_from_1e_minus_7_to_10(config, open_split):
    curves = list(range_test(config, open_split, steps=12))
    final = curves[-1]
    assert [len(curve.rates) for curve in curves] == list(range(1, len(curves) + 1))
    assert all(curve.ended == "" for curve in curves[:-1])
    assert final.ended in ("complete", "diverged")
    expected = 10.0 ** np.linspace(-7, 1, 12)
    assert final.rates == pytest.approx(expected[: len(final.rates)])
    assert final.smoothed == pytest.approx(smooth(final.losses))
    assert len(final.rates) > 6


def test_a_given_network_stays_bit_identical(config, open_split):
    net = starting_net(config)
    before = copy.deepcopy(net.state_dict())
    unfrozen = config.model_copy(update={"cycles": config.cycles[1:]})
    curve = last(range_test(unfrozen, open_split, net=net, steps=8))
    assert len(curve.losses) > 2
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_the_loss_is_that_of_the_network_that_learns(config, open_split):
    """Its first loss is the fresh network's; a rate of ten breaks what all layers had learned."""
    config = config.model_copy(update={"cycles": config.cycles[1:]})
    first, *_, final = range_test(config, open_split, steps=12)
    again = next(range_test(config, open_split, net=starting_net(config), steps=12))
    assert first.losses == again.losses
    assert abs(first.losses[0] - math.log(2)) < 0.7
    assert final.ended == "diverged" or abs(final.losses[-1] - first.losses[0]) > 0.5


def test_it_ends_when_the_loss_is_no_number(config, open_split, monkeypatch):
    real = loss_of
    calls = []

    def poisoned(*args):
        calls.append(1)
        return real(*args) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(lr_range, "loss_of", poisoned)
    curve = last(range_test(config, open_split, steps=30))
    assert (curve.ended, len(curve.losses)) == ("diverged", 3)
    json.loads(json.dumps(record(config, [1e-2], [curve]), allow_nan=False))


def test_decays_are_compared_on_fresh_networks_and_the_same_batches(config, open_split):
    curves = last(compare_decay(config, open_split, (0.5, 0.0), steps=10))
    assert [curve.weight_decay for curve in curves] == [0.5, 0.0]
    alone = last(range_test(config.model_copy(update={"weight_decay": 0.0}), open_split, steps=10))
    assert curves[1] == alone  # the first left nothing behind
    assert curves[0].losses[0] == curves[1].losses[0]
    assert curves[0].losses != curves[1].losses


def test_a_record_says_when_it_is_finished(config, open_split):
    records = [record(config, (0.5, 0.0), curves) for curves in compare_decay(config, open_split, (0.5, 0.0), steps=4)]
    assert [entry["finished"] for entry in records] == [False] * (len(records) - 1) + [True]
    assert records[-1]["curves"][1]["weight_decay"] == 0.0
    assert records[-1]["config"]["architecture"] == "tiny_resnet"
