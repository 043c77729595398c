"""Training from end to end on tiny networks: it learns, tells what it does, and goes on from wherever it was cut."""

import csv
import json
import resource
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3

from core.errors import NodeLensError, OutputError, RunBusyError, SplitNotFoundError, TrainingError
from core.inference import load_reader
from core.models.architectures import ARCHITECTURES
from core.models.nets import PatchNet
from core.models.store import StoredBundle, sha256_of
from core.training import precision, runs
from core.training.launch import opener
from core.training.loop import EMA_WARMUP, fit
from core.training.optimiser import layer_groups, make_optimiser
from core.training.runs import CHECKPOINT, Run
from core.training.validation import judge

ROOT = Path(__file__).resolve().parents[2]
PASSING = ("time", "speed")


@pytest.fixture
def run(tmp_path, config):
    return Run.create(tmp_path / "run", config)


@pytest.fixture
def train(open_split):
    """A function that trains a run to its end, or for so many steps."""

    def train(run, steps=None):
        asked = count()  # once while the maps of the frozen body are computed, then after every step
        return list(fit(run, open_split, lambda: next(asked) == steps))

    return train


def lasting(facts):
    return [{name: value for name, value in fact.items() if name not in PASSING} for fact in facts]


def weights(run):
    return torch.load(run.folder / CHECKPOINT, weights_only=True)


def identical(one, other):
    for part in ("net", "average"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(one[part][name], other[part][name]) for name in one[part])


@pytest.fixture
def finished(tmp_path, config, train):
    """A run that nothing interrupted."""
    whole = Run.create(tmp_path / "whole", config)
    train(whole)
    return whole


def test_it_learns_and_tells_what_it_does(run, train):
    facts = train(run)
    assert run.history() == facts
    assert run.status == "finished"
    told = [(fact["fact"], fact.get("cycle"), fact.get("step")) for fact in facts]
    assert told == [
        *[("step", 0, 5), ("epoch", 0, 5)],
        *[("step", 1, 5), ("epoch", 1, 5), ("step", 1, 10), ("epoch", 1, 10), ("step", 1, 15), ("epoch", 1, 15)],
        ("finished", None, None),
    ]
    steps = [fact for fact in facts if fact["fact"] == "step"]
    assert [fact["steps"] for fact in steps] == [5, 15, 15, 15]
    assert steps[0]["first_rate"] == steps[0]["rate"]  # the body is frozen
    assert steps[1]["first_rate"] == pytest.approx(steps[1]["rate"] / 2)
    epochs = [fact for fact in facts if fact["fact"] == "epoch"]
    assert [fact["epoch"] for fact in epochs] == [1, 1, 2, 3]
    assert epochs[-1]["train_loss"] < 0.5 < epochs[0]["train_loss"]
    assert train(run) == []  # there is nothing left to do


def test_what_a_run_leaves(finished, open_split):
    run = finished
    with (run.folder / "predictions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    split = open_split("train")
    indices = [int(row["index"]) for row in rows]
    assert [int(row["label"]) for row in rows] == split.labels[indices].tolist()
    stored = StoredBundle.open(run.model)
    assert stored.description.training.config == run.config.model_dump(mode="json")
    trained, judged = stored.description.training.data
    assert (trained.patches, judged.patches) == (43, len(rows)) == (43, 5)
    assert run.environment["train"]["fingerprint"] == split.fingerprint()
    assert run.environment["libraries"]["torch"] == torch.__version__.split("+")[0]
    read = load_reader(run.model, "torch").read(split.patches(indices)).logit
    expected = [np.log(p / (1 - p)) for p in (float(row["probability"]) for row in rows)]
    np.testing.assert_allclose(read, expected, rtol=0.02, atol=0.02)  # the bundle holds halves
    last = [fact for fact in run.history() if fact["fact"] == "epoch"][-1]
    hits = [(float(row["probability"]) >= 0.5) == (row["label"] == "1") for row in rows]
    assert last["accuracy"] == pytest.approx(np.mean(hits))
    assert not list(run.folder.glob(".*"))


@pytest.mark.parametrize("steps", [2, 5, 12], ids=["in the frozen cycle", "after it", "in an epoch of the second"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(steps, run, train, finished):
    told = train(run, steps)
    state = weights(run)
    assert (state["taken"], state["cycle"], state["step"]) == {2: (2, 0, 2), 5: (5, 0, 5), 12: (12, 1, 7)}[steps]
    assert run.status == ("stopped" if told else "new")
    assert run.model is None
    train(run)
    identical(weights(run), weights(finished))
    assert sha256_of(run.model / "weights.safetensors") == sha256_of(finished.model / "weights.safetensors")
    assert lasting(run.history()) == lasting(finished.history())


def test_the_arithmetic_is_found_out_once_for_a_run(config, tmp_path, open_split, monkeypatch):
    found = []
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: found.append(1) or True)
    run = Run.create(tmp_path / "auto", config.model_copy(update={"precision": "auto"}))
    halt = iter([False, True])
    list(fit(run, open_split, lambda: next(halt, True)))
    assert run.environment["bf16"] is True
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: pytest.fail("a run that goes on keeps its arithmetic"))
    list(fit(run, open_split))
    assert len(found) == 1
    assert run.model is not None


def test_a_run_that_never_kept_its_arithmetic_goes_on(run, train):
    train(run, 5)
    environment = run.environment
    del environment["bf16"]
    run.write_environment(environment)
    train(run)
    assert run.model is not None


def test_finding_out_the_arithmetic_leaves_the_draws_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert precision.bf16_is_faster.__wrapped__() in (True, False)
    assert torch.equal(torch.rand(4), expected)


def test_the_same_configuration_gives_the_same_weights_and_another_seed_others(tmp_path, config, train, finished):
    other = Run.create(tmp_path / "other", config.model_copy(update={"seed": 1}))
    train(other)
    assert sha256_of(other.model / "weights.safetensors") != sha256_of(finished.model / "weights.safetensors")


def test_twenty_kills_change_nothing(tmp_path, config):
    """SIGKILL at random moments, half of them aimed at the writing of a checkpoint."""
    cycles = (config.cycles[0], config.cycles[1].model_copy(update={"epochs": 10.0}))
    config = config.model_copy(update={"cycles": cycles, "checkpoint_every": 1})
    killed, whole = (Run.create(tmp_path / name, config) for name in ("killed", "whole"))
    counts = []
    for run, kills in ((whole, "0"), (killed, "20")):
        done = subprocess.run(
            [sys.executable, "-m", "tests.training.killing", str(run.folder), kills, "7"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        counts.append([int(word) for word in done.stdout.split()])
    assert counts[0] == [0, 0]
    assert counts[1][0] == 20
    assert counts[1][1] >= 3
    assert killed.status == whole.status == "finished"
    assert sha256_of(killed.model / "weights.safetensors") == sha256_of(whole.model / "weights.safetensors")
    identical(weights(killed), weights(whole))
    assert lasting(killed.history()) == lasting(whole.history())
    assert not list(killed.folder.glob(".*.part"))


@pytest.mark.parametrize("damage", ["empty", "garbage", "short", "other"])
def test_a_damaged_checkpoint_is_one_sentence_and_stays(damage, run, train):
    train(run, 1)
    path = run.folder / CHECKPOINT
    content = path.read_bytes()
    if damage == "other":
        torch.save([1, 2], path)
    else:
        path.write_bytes(
            {"empty": b"", "garbage": b"no checkpoint" * 99, "short": content[: len(content) // 2]}[damage]
        )
    before = path.read_bytes()
    with pytest.raises(TrainingError, match="checkpoint of 'run' is damaged"):
        train(run)
    assert path.read_bytes() == before
    assert run.status == "failed"
    path.write_bytes(content)
    train(run)
    assert run.status == "finished"


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, config, train):
    run = Run.create(tmp_path / "run", config.model_copy(update={"std": (1e-38, 1e-38, 1e-38)}))
    with pytest.raises(TrainingError, match="not a number any more at step 1 of cycle 1"):
        train(run)
    assert run.status == "failed"
    assert run.history()[-1]["reason"].endswith("Train with a lower peak learning rate.")


def test_answers_that_are_no_numbers_are_not_judged():
    with pytest.raises(TrainingError, match="no numbers"):
        judge(np.array([[np.nan, 0], [0, 1]], np.float32), np.array([0, 1], np.uint8))


@pytest.mark.parametrize("room", [10_000, 400_000], ids=["no room for maps", "no room for a checkpoint"])
def test_a_full_disk_is_one_sentence_and_loses_nothing(room, run, train, finished):
    with largest_file(room), pytest.raises(OutputError, match=r"Cannot write .*: file too large\."):
        train(run)
    assert run.status in ("new", "stopped")
    train(run)
    identical(weights(run), weights(finished))
    assert lasting(run.history()) == lasting(finished.history())


@contextmanager
def largest_file(size):
    """No file may grow beyond `size` bytes: the nearest a test comes to a full disk."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


def test_missing_data(tmp_path, config):
    config = config.model_copy(update={"data": str(tmp_path / "nowhere")})
    run = Run.create(tmp_path / "run", config)
    with pytest.raises(SplitNotFoundError):
        deque(fit(run, opener(config)))
    assert run.status == "new"


def test_a_second_process_is_sent_away(run, train, monkeypatch):
    monkeypatch.setattr(runs, "LOCK_PATIENCE", 0.0)
    with run.held(), pytest.raises(RunBusyError):
        train(run)
    assert run.history() == []
    train(run, 1)


def test_each_mistake_is_one_sentence(run, train):
    """None of the errors above runs over several lines."""
    (run.folder / CHECKPOINT).write_bytes(b"")
    with pytest.raises(NodeLensError) as caught:
        train(run)
    assert "\n" not in str(caught.value)


class TestPieces:
    def test_average_follows_with_a_short_memory_first(self):
        nets = [PatchNet("tiny_resnet", (0, 0, 0), (1, 1, 1)) for _ in range(2)]
        name = "net.fc.bias"
        with torch.no_grad():
            for net, value in zip(nets, (0.0, 1.0), strict=True):
                net.state_dict()[name].fill_(value)
                net.state_dict()["net.bn1.num_batches_tracked"].fill_(int(value) * 7)
        for decay, taken, expected in ((0.999, 1, 9 / 11), (0.9, 10_000, 0.1)):
            ema = ModelEmaV3(nets[0], decay, **EMA_WARMUP)
            ema.update(nets[1], step=taken + 2)
            assert float(ema.module.state_dict()[name][0]) == pytest.approx(expected)
            assert int(ema.module.state_dict()["net.bn1.num_batches_tracked"]) == 7

    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_layer_groups_hold_every_parameter_once_and_end_with_the_head(self, name):
        with torch.device("meta"):
            net = PatchNet(name, (0, 0, 0), (1, 1, 1))
        groups = layer_groups(net)
        held = [id(parameter) for group in groups for parameter in group]
        assert sorted(held) == sorted(id(parameter) for parameter in net.parameters())
        assert [id(p) for p in groups[-1]] == [id(p) for p in net.net.get_classifier().parameters()]
        assert len(groups) >= 3
        first = next(iter(net.parameters()))
        assert any(parameter is first for parameter in groups[0])

    def test_only_weights_of_layers_are_decayed(self, config):
        net = PatchNet("tiny_resnet", (0, 0, 0), (1, 1, 1))
        optimiser, peaks = make_optimiser(net, config.cycles[1], config)
        assert len(peaks) == len(optimiser.param_groups)
        assert (peaks[0], peaks[-1]) == (config.cycles[1].min_group_lr, config.cycles[1].max_lr)
        decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
        for parameter in net.parameters():
            assert decays[id(parameter)] == (config.weight_decay if parameter.ndim > 1 else 0)


def test_the_facts_stand_in_event_files_too(run, train):
    """Read back as TensorBoard would: a start hides what earlier files hold from its first step on."""
    train(run, 6)
    saved = (run.folder / CHECKPOINT).read_bytes()
    train(run, 6)
    (run.folder / CHECKPOINT).write_bytes(saved)  # as if it had been killed before the next
    train(run)
    events = [event for file in sorted(run.folder.glob("events.out.tfevents.*")) for event in events_in(file)]
    seen, starts = {}, []
    for event in events:
        if event.HasField("session_log"):
            starts.append(event.step)
            seen = {key: value for key, value in seen.items() if key[0] < event.step}
        seen |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
    facts = run.history()
    assert starts == [5, 10, 10]
    assert {step for step, tag in seen} == {5, 10, 15, 20}
    assert [seen[step, "loss"] for step in (5, 10, 15, 20)] == pytest.approx(
        [fact["loss"] for fact in facts if fact["fact"] == "step"]
    )
    assert [seen[step, "auc"] for step in (5, 10, 15, 20)] == pytest.approx(
        [fact["auc"] for fact in facts if fact["fact"] == "epoch"]
    )
    assert json.dumps(facts).count("auc") == 4


def events_in(file):
    """Events of a file: length (8 bytes), its checksum (4), the event, its checksum (4), and so on."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:
        length = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
