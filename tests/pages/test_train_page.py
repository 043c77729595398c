"""Train: runs on disk are shown with their numbers; nothing is lost or started by mistake."""

import json
import re
import shutil
from unittest.mock import patch

import pytest

from core.training.config import make_config
from core.training.runs import Run, run_names


def made_up(runs, name, auc=0.9, finished=False):
    """A run of the smoke preset that stopped in its second cycle."""
    run = Run.create(runs / name, make_config("smoke"))
    for cycle, steps in ((0, 10), (1, 60)):
        for step in range(10, steps + 1, 10):
            run.append(
                {
                    "fact": "step", "cycle": cycle, "step": step, "steps": steps, "epoch": step / 10, "rate": 2e-3,
                    "first_rate": 4e-4, "momentum": 0.875, "loss": 0.7 - 0.01 * step, "speed": 32.0,
                }
            )  # fmt: skip
            judged = {"train_loss": 0.5, "valid_loss": 0.3125, "accuracy": 0.75, "auc": auc}
            run.append({"fact": "epoch", "cycle": cycle, "step": step, "epoch": step / 10, **judged})
            if (cycle, step, finished) == (1, 30, False):
                return run
    run.append({"fact": "finished"})
    return run


def numbers(page):
    return dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", page.html))


def charts(page):
    return [json.loads(chart.proto.spec) for chart in page.at.get("plotly_chart")]


def test_the_first_visit_invites_a_smoke_run(screen, runs, started):
    page = screen("train").calm()
    assert [heading.value for heading in page.at.subheader] == ["Nothing has been trained here yet"]
    assert not page.at.selectbox  # neither a model nor a split is chosen here
    page.press("Start a smoke run").calm()
    assert run_names(runs) == ["smoke-1"]
    assert started == [(runs / "smoke-1" / "log", ["train", "--out", str(runs / "smoke-1")])]
    assert Run.open(runs / "smoke-1").config.train_split == "demo"
    assert page.at.multiselect(key="run").value == ["smoke-1"]
    assert "**smoke-1** not started" in page.at.get("progress")[0].proto.text


def test_a_run_is_shown_with_its_numbers(screen, runs):
    run = made_up(runs, "first", auc=0.9375)
    run.append({"fact": "failed", "reason": "The loss is not a number any more."})
    page = screen("train", run="first")
    assert not page.at.exception
    assert [error.value for error in page.at.error] == ["The loss is not a number any more."]
    progress = page.at.get("progress")[0].proto
    assert progress.value == round(100 * 4 / 7)
    assert progress.text == "**first** failed, cycle 2 of 2, epoch 3.0 of 6"
    shown = numbers(page)
    assert shown["AUC"] == "0.938 (best 0.938)"
    assert shown["validation loss"] == "0.3125"
    assert shown["learning rate"] == "2.00e-03 (first layers 4.0e-04)"
    assert shown["momentum"] == "0.875"
    assert shown["speed"] == "32 patches/s"
    losses, scores, _ = charts(page)
    assert losses["data"][1]["x"] == [1.0, 2.0, 3.0, 4.0]  # the second cycle goes on where the first ended
    assert scores["data"][0]["y"] == [0.9375] * 4
    table = page.at.dataframe[0].value
    assert table["run"].tolist() == ["first"]
    assert table["best AUC"].tolist() == [0.9375]
    assert {"Resume"} <= {button.label for button in page.at.button}


def test_several_runs_are_overlaid(screen, runs):
    made_up(runs, "one", auc=0.8)
    made_up(runs, "two", auc=0.9)
    page = screen("train").calm()
    page.at.multiselect(key="run").set_value(["one", "two"]).run()
    losses, scores, rates = charts(page.calm())
    assert [trace["name"] for trace in losses["data"]] == ["one", "one, validation", "two", "two, validation"]
    assert [trace["y"][0] for trace in scores["data"]] == [0.8, 0.75, 0.9, 0.75]
    assert [trace["name"] for trace in rates["data"]] == ["one", "two"]
    assert not page.at.text_area


def test_a_note_is_kept_in_the_run(screen, runs):
    run = made_up(runs, "first")
    page = screen("train", run="first").calm()
    page.at.text_area(key="note_first").set_value("No stain augmentation.").run()
    assert Run.open(run.folder).note == "No stain augmentation."
    page = screen("train", run="first").calm()
    assert page.at.text_area(key="note_first").value == "No stain augmentation."
    assert page.at.dataframe[0].value["note"].tolist() == ["No stain augmentation."]


def test_the_list_shows_the_first_line_of_a_note(screen, runs):
    made_up(runs, "one").note = "\nWhat came of it\nand why"
    made_up(runs, "two").note = "x" * 4000
    notes = screen("train", run="one").calm().at.dataframe[0].value.set_index("run")["note"]
    assert notes["one"] == "What came of it"
    assert notes["two"] == "x" * 116 + " ..."


def test_a_note_that_is_too_long_is_cut(screen, runs):
    run = made_up(runs, "first")
    page = screen("train", run="first").calm()
    page.at.text_area(key="note_first").set_value("x" * 5000).run()
    page.calm()
    assert Run.open(run.folder).note == "x" * 4000


def test_deleting_needs_a_second_press(screen, runs):
    made_up(runs, "kept")
    made_up(runs, "gone")
    page = screen("train", run="gone").calm()
    assert set(run_names(runs)) == {"gone", "kept"}
    page.press("Delete for good").calm()
    assert run_names(runs) == ["kept"]
    assert page.at.multiselect(key="run").value == []


def test_stop_signals_and_resume_starts_the_same_command(screen, runs, started):
    run = made_up(runs, "first")
    page = screen("train", run="first").calm()
    page.press("Resume").calm()
    assert started == [(run.folder / "log", ["train", "--out", str(run.folder)])]
    with run.held():
        page = screen("train", run="first").calm()
        assert "**first** running" in page.at.get("progress")[0].proto.text
        assert "Resume" not in {button.label for button in page.at.button}
        with patch.object(Run, "stop", return_value=True) as stop:
            assert "This run was started elsewhere" in page.markdown
            page.press("Stop all the same").calm()
        stop.assert_called_once_with()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda at: at.number_input(key="new_smoke_batch").set_value(1), "batch: Input should be greater than"),
        (
            lambda at: at.number_input(key="new_smoke_1_max_lr").set_value(-1.0),
            "cycles.1.max_lr: Input should be greater",
        ),
        (lambda at: at.text_input(key="new_name_smoke").set_value("../up"), "is no name for a run"),
        (lambda at: at.text_input(key="new_name_smoke").set_value("taken"), "there is a run 'taken' already"),
        (lambda at: at.text_area(key="new_smoke_rest").set_value("{"), "the other values are not JSON"),
        (lambda at: at.text_area(key="new_smoke_rest").set_value("[]"), "must be a JSON object"),
        (lambda at: at.text_input(key="new_name_smoke").set_value("Taken"), "there is a run 'taken' already"),
        (lambda at: at.text_input(key="new_name_smoke").set_value("x" * 5000), "is no name for a run"),
        (lambda at: at.text_area(key="new_smoke_rest").set_value("[" * 100_000), "the other values are not JSON"),
        (lambda at: with_rest(at, seed=10**4000), "seed: "),
        (lambda at: with_rest(at, limit=10**40), "limit: "),
        (lambda at: with_rest(at, clip=float("nan")), "clip: Input should be"),
        (lambda at: with_rest(at, clip=float("inf")), "clip: Input should be"),
        (
            lambda at: with_rest(at, cycles=[{"epochs": 1, "max_lr": 1e-3}] * 30),
            "cycles: Tuple should have at most 20 items",
        ),
        (lambda at: with_rest(at, distillation={"teacher": "/etc"}), "'/etc' is no name of a model to learn from"),
        (lambda at: at.number_input(key="new_smoke_batch").set_value(-5), "batch: Input should be greater than"),
        (lambda at: at.number_input(key="new_smoke_batch").set_value(10**15), "batch: Input should be less than"),
        (lambda at: at.number_input(key="new_smoke_1_max_lr").set_value(-1e300), "cycles.1.max_lr: Input should be"),
        (lambda at: at.number_input(key="new_smoke_1_epochs").set_value(1e300), "cycles.1.epochs: Input should be"),
    ],
)
def test_start_refuses_what_cannot_be(screen, runs, started, change, sentence):
    made_up(runs, "taken")
    page = screen("train", section="New run").calm()
    page.choose("new_preset", "smoke").calm()
    change(page.at)
    page.press("Start training")
    (error,) = page.at.error
    assert error.value.startswith("This cannot be trained: ")
    assert sentence in error.value
    assert not page.at.exception
    assert started == []
    assert run_names(runs) == ["taken"]
    assert [path.name for path in runs.parent.glob("*/config.json")] == []


def with_rest(at, **values):
    box = at.text_area(key="new_smoke_rest")
    box.set_value(json.dumps(json.loads(box.value) | values))


def test_start_takes_what_was_entered(screen, runs, started):
    page = screen("train", section="New run").calm()
    page.choose("new_preset", "smoke")
    page.at.text_input(key="new_name_smoke").set_value("mine")
    page.at.number_input(key="new_smoke_batch").set_value(16)
    page.at.number_input(key="new_smoke_1_epochs").set_value(2.5)
    page.at.number_input(key="new_smoke_1_max_lr").set_value(3e-3)
    page.press("Start training").calm()
    config = Run.open(runs / "mine").config
    expected = make_config("smoke", batch=16)
    cycle = expected.cycles[1].model_copy(update={"epochs": 2.5, "max_lr": 3e-3})
    assert config.cycles == (expected.cycles[0], cycle)
    assert config.model_copy(update={"cycles": expected.cycles, "valid_split": "valid"}) == expected
    assert len(started) == 1
    assert page.at.multiselect(key="run").value == ["mine"]


def test_a_process_that_fails_at_once_shows_its_sentence(screen, runs):
    run = Run.create(runs / "first", make_config("smoke"))
    (run.folder / "log.txt").write_text("nodelens: No split 'demo' in /nowhere: it holds no PCam split.\n")
    page = screen("train", run="first")
    assert [error.value for error in page.at.error] == ["No split 'demo' in /nowhere: it holds no PCam split."]


def test_a_run_that_cannot_be_read_does_not_hide_the_others(screen, runs):
    made_up(runs, "good")
    (runs / "bad").mkdir()
    (runs / "bad" / "config.json").write_text("{")
    page = screen("train", run="good").calm()
    table = page.at.dataframe[0].value.set_index("run")
    assert table.loc["bad", "status"] == "cannot be read"
    assert table.loc["good", "status"] == "stopped"


def curve(decay, ended):
    return {
        "weight_decay": decay, "rates": [1e-3, 1e-2, 1e-1], "losses": [0.7, 0.5, 0.9], "smoothed": [0.7, 0.6, 0.8],
        "ended": ended, "steepest": 1e-3 if ended else None, "valley": 1e-2 if ended else None,
    }  # fmt: skip


def write_trial(runs, name, curves, finished=True):
    config = make_config("smoke")
    (runs / ".trials").mkdir(parents=True, exist_ok=True)
    (runs / ".trials" / f"{name}.config").write_text(config.model_dump_json())
    record = {
        "config": config.model_dump(mode="json"), "decays": [c["weight_decay"] for c in curves], "steps": 100,
        "finished": finished, "curves": curves,
    }  # fmt: skip
    (runs / ".trials" / f"{name}.json").write_text(json.dumps(record))


def test_a_range_test_shows_its_suggestions(screen, runs):
    write_trial(runs, "range-2", [curve(1e-2, "diverged")])
    page = screen("train", section="Learning-rate range").calm()
    assert "The loss ran away. Suggested peak rates: valley 1.0e-02, steepest 1.0e-03." in page.markdown
    (figure,) = charts(page)
    assert figure["data"][1]["y"] == [0.7, 0.6, 0.8]
    assert page.at.selectbox(key="range").value == "range-2"
    page.press("Use 1.0e-02 in a new run").calm()
    assert page.at.segmented_control(key="section").value == "New run"
    assert page.at.selectbox(key="new_preset").value == "smoke"
    assert page.at.number_input(key="new_smoke_0_max_lr").value == 1e-2
    assert page.at.selectbox(key="new_smoke_architecture").value == make_config("smoke").architecture
    assert not list(runs.glob("new*"))  # nothing is started


def test_a_curve_that_never_fell_offers_no_rate(screen, runs):
    write_trial(runs, "range-1", [curve(1e-2, "diverged") | {"steepest": None, "valley": None}])
    page = screen("train", section="Learning-rate range").calm()
    assert "It never fell: nothing to suggest." in page.markdown
    assert not any("in a new run" in button.label for button in page.at.button)


def test_decays_are_shown_together(screen, runs):
    write_trial(runs, "decay-1", [curve(1e-2, "complete"), curve(1e-6, "")], finished=False)
    page = screen("train", section="Weight decay").calm()
    (figure,) = charts(page)
    assert [trace["name"] for trace in figure["data"]] == ["weight decay 0.01", "weight decay 1e-06"]
    assert [info.value for info in page.at.info] == ["This test was stopped before its end."]


def test_a_trial_is_started_as_a_command(screen, runs, started):
    page = screen("train", section="Weight decay").calm()
    page.choose("decay_preset", "smoke")
    page.at.text_input(key="decays").set_value("0.1 1e-3")
    page.press("Start").calm()
    ((path, arguments),) = started
    assert path == runs / ".trials" / "decay-1"
    assert arguments == [
        "compare-decay", f"{path}.config", "--decay", "0.1", "--decay", "1e-3", "--out", f"{path}.json",
    ]  # fmt: skip
    assert json.loads((runs / ".trials" / "decay-1.config").read_text())["architecture"] == "tiny_resnet"


def test_a_weight_decay_that_is_no_number_is_refused(screen, runs, started):
    page = screen("train", section="Weight decay").calm()
    page.at.text_input(key="decays").set_value("0.1, much")
    page.press("Start")
    assert "'much' is no weight decay" in page.at.error[0].value
    assert started == []


def test_a_finished_run_can_be_promoted_and_shows_the_studys_figures(screen, runs, started, shipped_bundle):
    run = made_up(runs, "first", finished=True)
    (run.folder / "model").mkdir()
    for name in ("bundle.json", "weights.safetensors"):
        shutil.copy(shipped_bundle / name, run.folder / "model" / name)
    rows = ["index,label,probability", "0,0,0.1", "1,1,0.8", "2,1,0.3", "3,0,0.6", "4,1,0.9"]
    (run.folder / "predictions.csv").write_text("\n".join(rows))
    page = screen("train", run="first", figures="true").calm()
    assert "This run is the model **densenet169**." in page.markdown  # the same weights are installed
    drawn = charts(page)
    (matrix,) = [c for c in drawn if c["data"][0]["type"] == "heatmap"]
    assert matrix["data"][0]["text"] == [["1<br>50%", "1<br>50%"], ["1<br>33%", "2<br>67%"]]
    assert any(c["data"][0].get("name") == "AUC 0.833" for c in drawn)
    page.at.text_input(key="promote_first").set_value("second")
    assert started == []
    assert "Make the run 'first' a model that every page offers? This run was started elsewhere, on" in page.markdown
    page.press("Make it a model").calm()
    ((path, arguments),) = started
    assert path == run.folder / "promote"
    assert arguments[:5] == ["model", "promote", str(run.folder), "--name", "second"]
    assert arguments[-1] == "demo"


def test_the_list_holds_no_formula_for_a_spreadsheet(screen, runs):
    run = made_up(runs, "first")
    run.note = '=HYPERLINK("http://x")'
    shutil.copytree(run.folder, runs / "@first")
    listed = screen("train").calm().at.dataframe[0].value
    assert sorted(listed["run"]) == ["'@first", "first"]
    assert set(listed["note"]) == {'\'=HYPERLINK("http://x")'}
