"""Two processes learn what one does: the same batches, the same statistics, the same weights."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from core.errors import TrainingConfigError
from core.training import distributed
from core.training.distributed import ProcessGroup
from core.training.runs import CHECKPOINT, Run

ROOT = Path(__file__).resolve().parents[2]


def test_parts_cover_a_batch_and_uneven_ones_are_refused():
    groups = [ProcessGroup(rank, 3, torch.device("cpu")) for rank in range(3)]
    assert [group.shard(12) for group in groups] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert [group.is_main for group in groups] == [True, False, False]
    with pytest.raises(TrainingConfigError, match="a batch of 13 cannot be shared evenly by 3 processes"):
        groups[0].shard(13)


def test_one_alone_shares_with_nobody():
    alone = ProcessGroup(0, 1, torch.device("cpu"))
    net = nn.Linear(1, 1)
    assert alone.wrap(net) is net
    assert alone.broadcast("x") == "x"
    assert (alone.any(True), alone.any(False)) == (True, False)
    assert float(alone.mean(torch.tensor(3.0))) == 3


def test_a_gpu_is_fed_by_its_share_of_the_cores_and_a_processor_by_none(monkeypatch):
    monkeypatch.setattr(distributed, "settings", lambda: SimpleNamespace(threads=16))
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert [ProcessGroup(0, size, cuda).workers for size in (1, 2, 16)] == [15, 7, 1]
    assert ProcessGroup(0, 1, cpu).workers == 0


def test_normalisation_over_a_process_group_is_that_of_the_whole_batch(monkeypatch):
    """Two threads stand for two processes: what `all_reduce` sums, they sum, within one graph."""
    torch.manual_seed(0)
    whole = torch.randn(6, 4, 5, 5) * 3 + 2
    target = torch.randn(6, 4, 5, 5)
    alone = nn.BatchNorm2d(4, momentum=0.3)
    with torch.no_grad():
        alone.weight.uniform_(0.5, 2)
        alone.bias.uniform_(-1, 1)
    members = [nn.BatchNorm2d(4, momentum=0.3) for _ in range(2)]
    for member in members:
        member.load_state_dict(alone.state_dict())
    inputs = whole.clone().requires_grad_()
    expected = alone(inputs)
    (expected * target).sum().backward()

    meeting, offered = threading.Barrier(2), {}

    def all_reduce(value):
        offered[threading.get_ident()] = value
        meeting.wait(60)
        total = sum(offered.values())
        meeting.wait(60)
        return total

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    halves = [half.clone().requires_grad_() for half in whole.split(3)]
    answers = [None, None]

    def work(rank):
        answers[rank] = distributed._normalise_together(members[rank], None, halves[rank])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.testing.assert_close(torch.cat(answers), expected, rtol=1e-4, atol=1e-5)
    (torch.cat(answers) * target).sum().backward()
    torch.testing.assert_close(torch.cat([half.grad for half in halves]), inputs.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sum(m.weight.grad for m in members), alone.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sum(m.bias.grad for m in members), alone.bias.grad, rtol=1e-4, atol=1e-4)
    for member in members:
        torch.testing.assert_close(member.state_dict(), alone.state_dict(), rtol=1e-4, atol=1e-5)


def test_two_processes_equal_one(tmp_path, config):
    """`torchrun` on this machine, the frozen cycle on cached maps and the full one; only the first process writes."""
    config = config.model_copy(
        update={"cycles": (config.cycles[0], config.cycles[1].model_copy(update={"epochs": 1.0}))}
    )
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    several = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    for name, launcher in (("one", []), ("two", [*several, "--master-port", str(port)])):
        done = subprocess.run(
            [sys.executable, *launcher, "-m", "core", "train", str(file), "--out", str(tmp_path / name)],
            cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("valid loss") == 2
        assert done.stdout.count("finished") == 1
    one, two = (Run.open(tmp_path / name) for name in ("one", "two"))
    assert (one.environment["processes"], two.environment["processes"]) == (1, 2)
    for single, double in zip(one.history(), two.history(), strict=True):
        assert single["fact"] == double["fact"]
        figures = single.keys() - {"fact", "time", "speed"}
        assert [double[name] for name in figures] == pytest.approx(
            [single[name] for name in figures], rel=1e-3, abs=1e-3
        )
    nets = [torch.load(run.folder / CHECKPOINT, weights_only=True)["net"] for run in (one, two)]
    for name, value in nets[0].items():
        torch.testing.assert_close(nets[1][name], value, rtol=1e-3, atol=2e-3)
    assert sorted(path.name for path in two.folder.iterdir() if "tfevents" not in path.name) == sorted(
        path.name for path in one.folder.iterdir() if "tfevents" not in path.name
    )
    assert len(list(two.folder.glob("events.out.tfevents.*"))) == 1
