"""Charts of training carry the run's own numbers."""

import numpy as np
import pytest

from core.evaluation.metrics.classification import area_under_roc
from core.view.charts import training as figures


def step(cycle, number, epoch, loss, rate=1e-3, first=1e-3):
    return {
        "fact": "step", "cycle": cycle, "step": number, "steps": 20, "epoch": epoch, "loss": loss, "rate": rate,
        "first_rate": first, "momentum": 0.9, "speed": 50.0,
    }  # fmt: skip


def epoch(cycle, at, loss, accuracy, auc):
    judged = {"train_loss": loss, "valid_loss": loss + 0.1, "accuracy": accuracy, "auc": auc}
    return {"fact": "epoch", "cycle": cycle, "step": 10, "epoch": at, **judged}


FACTS = [
    step(0, 10, 0.5, 0.7),
    step(0, 20, 1.5, 0.6),
    epoch(0, 1.5, 0.65, 0.6, 0.7),
    step(1, 10, 1.0, 0.5, rate=2e-3, first=1e-4),
    epoch(1, 1.0, 0.5, 0.8, 0.9),
    {"fact": "finished"},
]


def traces(figure):
    return {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}


def test_losses_count_epochs_on_from_cycle_to_cycle():
    assert figures.epochs_before(FACTS) == [0.0, 1.5, 2.5]
    drawn = traces(figures.losses({"a": FACTS}))
    assert drawn["training"] == ([0.5, 1.5, 2.5], [0.7, 0.6, 0.5])
    assert drawn["validation"] == ([1.5, 2.5], [0.75, 0.6])
    (line,) = figures.losses({"a": FACTS}).layout.shapes
    assert line.x0 == 1.5


def test_one_cycle_alone_counts_from_its_own_start():
    drawn = traces(figures.losses({"a": FACTS}, 1))
    assert drawn["training"] == ([1.0], [0.5])
    assert drawn["validation"] == ([1.0], [0.6])
    assert not figures.losses({"a": FACTS}, 1).layout.shapes


def test_several_runs_differ_in_colour_and_what_is_drawn_in_dash():
    figure = figures.losses({"a": FACTS, "b": FACTS[:3]})
    assert [trace.name for trace in figure.data] == ["a", "a, validation", "b", "b, validation"]
    assert figure.data[0].line.color == figure.data[1].line.color != figure.data[2].line.color
    assert figure.data[0].line.dash != figure.data[1].line.dash
    assert not figure.layout.shapes


def test_scores():
    drawn = traces(figures.scores({"a": FACTS}))
    assert drawn == {"AUC": ([1.5, 2.5], [0.7, 0.9]), "accuracy": ([1.5, 2.5], [0.6, 0.8])}


def test_rates_show_the_first_layers_only_where_they_differ():
    drawn = traces(figures.rates({"a": FACTS}))
    assert drawn["learning rate"] == ([0.5, 1.5, 2.5], [1e-3, 1e-3, 2e-3])
    assert drawn["of the first layers"][1] == [1e-3, 1e-3, 1e-4]
    assert drawn["momentum (right)"][1] == [0.9] * 3
    assert "of the first layers" not in traces(figures.rates({"a": FACTS}, 0))
    assert list(traces(figures.rates({"a": FACTS, "b": FACTS}))) == ["a", "b"]


def test_charts_of_a_run_that_has_said_nothing_are_empty():
    for figure in (figures.losses({"a": []}), figures.scores({"a": []}), figures.rates({"a": []})):
        assert all(len(trace.x) == 0 for trace in figure.data)


CURVE = {
    "weight_decay": 1e-4, "rates": [1e-4, 1e-3, 1e-2, 1e-1], "losses": [0.7, 0.5, 0.6, 9.0],
    "smoothed": [0.7, 0.6, 0.55, 3.0], "ended": "diverged", "steepest": 1e-4, "valley": 1e-3,
}  # fmt: skip


def test_range_test_marks_its_suggestions_on_the_smoothed_curve():
    figure = figures.range_test(CURVE)
    drawn = traces(figure)
    assert drawn["each batch"] == (CURVE["rates"], CURVE["losses"])
    assert drawn["steepest: 1.0e-04"] == ([1e-4], [0.7])
    assert drawn["valley: 1.0e-03"] == ([1e-3], [0.6])
    assert figure.layout.xaxis.type == "log"
    low, high = figure.layout.yaxis.range
    assert low < 0.55
    assert 0.7 < high < 3.0  # what ran away is out of sight
    assert len(figures.range_test(CURVE | {"steepest": None, "valley": None}).data) == 2


def test_decays_are_told_apart_without_colour_too():
    figure = figures.decay_comparison([CURVE, CURVE | {"weight_decay": 1e-6, "smoothed": [0.7, 0.6, 0.5, 0.4]}])
    assert traces(figure)["weight decay 1e-06"][1] == [0.7, 0.6, 0.5, 0.4]
    assert len({trace.line.dash for trace in figure.data}) == 2
    assert not figures.decay_comparison([]).data


def test_confusion_says_counts_and_shares_of_each_label():
    (drawn,) = figures.confusion(np.array([[30, 10], [0, 1200]]), ("no", "yes")).data
    assert [list(row) for row in drawn.text] == [["30<br>75%", "10<br>25%"], ["0<br>0%", "1,200<br>100%"]]
    assert np.allclose(drawn.z, [[0.75, 0.25], [0, 1]])


@pytest.mark.parametrize("levels", [1000, 7])
def test_roc_equals_sklearns(levels):
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, 300)
    probability = np.round(np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1) * levels) / levels
    curve, chance = figures.roc(probability, labels, 0.75).data
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(area_under_roc(probability, labels))
    assert (curve.name, chance.name) == ("AUC 0.750", "chance")


def test_a_long_run_is_drawn_with_a_thousand_points():
    facts = [{"fact": "step", "cycle": 0, "epoch": step / 1000, "loss": float(step)} for step in range(5001)]
    (training, _) = figures.losses({"long": facts}).data
    assert len(training.x) == figures.MOST_POINTS
    assert (training.x[0], training.x[-1], training.y[-1]) == (0.0, 5.0, 5000.0)
