"""Training for maps that point, on maps made by hand and on a network that learns where to look."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core.errors import TrainingConfigError
from core.evaluation.metrics import localisation
from core.explain.grid import centre_share
from core.inference import load_reader
from core.task import PCAM
from core.training.config import make_config
from core.training.distributed import ProcessGroup
from core.training.loop import fit
from core.training.losses.localisation import (
    background_evidence_loss,
    centre_alone,
    centre_cell_logits,
    of_patches,
    tiled,
)
from core.training.recipe import recipe_of
from core.training.runs import Run


class Fake(torch.nn.Module):
    """Maps are means over 32 px squares of the red and the green channel; the logits are their means."""

    def forward_features(self, patches):
        count, height, width, _ = patches.shape
        cells = patches[..., :2].float().reshape(count, height // 32, 32, width // 32, 32, 2).mean((2, 4))
        return cells.permute(0, 3, 1, 2)

    def forward_head(self, maps):
        return maps.mean((2, 3))

    def forward(self, patches):
        maps = self.forward_features(patches)
        return maps, self.forward_head(maps)


@pytest.fixture
def batch():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8))


def config(**changes):
    return make_config("smoke", cycles=[{"epochs": 1, "max_lr": 1e-2}], **changes)


def test_mosaics_are_those_that_maps_are_judged_on_and_come_apart_again(batch):
    mosaics = tiled(batch)
    whole = batch.numpy().reshape(2, 4, 96, 96, 3)
    np.testing.assert_array_equal(mosaics.numpy(), localisation.tiled(whole))
    apart = of_patches(mosaics.permute(0, 3, 1, 2))
    assert torch.equal(apart, batch.permute(0, 3, 1, 2))


def test_the_centre_alone_is_one_cell_of_nine():
    maps = torch.arange(18.0).reshape(1, 2, 3, 3)
    left = centre_alone(maps)
    assert left.flatten().nonzero().flatten().tolist() == [4, 13]
    assert left.sum() == 4 + 13


@pytest.mark.parametrize("step", [0, 1])
def test_what_is_judged_of_a_batch(batch, step):
    """A network of cells that see themselves alone says the same of a patch in a mosaic and by itself."""
    net = Fake()
    maps, both = centre_cell_logits(net, net, batch, config(centre_cell=0.5, mosaic_batches=True), step)
    expected = batch[..., :2].float()
    torch.testing.assert_close(both[0], expected.mean((1, 2)))
    torch.testing.assert_close(both[1], expected[:, 32:64, 32:64].mean((1, 2)) / 9)
    torch.testing.assert_close(maps, net.forward_features(batch))
    assert len(centre_cell_logits(net, net, batch, config(mosaic_batches=True), step)[1]) == 1


def test_odd_steps_read_mosaics(batch):
    seen = []
    net = Fake()
    net.forward_features = lambda patches: seen.append(tuple(patches.shape)) or Fake().forward_features(patches)
    for step in range(3):
        centre_cell_logits(net, net, batch, config(mosaic_batches=True), step)
    assert seen == [(8, 96, 96, 3), (2, 192, 192, 3), (8, 96, 96, 3)]


def test_evidence_for_tumour_counts_where_there_is_none():
    """Weights (1, -1) and (3, 1) make 2 a + 2 b of channels a and b; halves of a patch are of half a label."""
    net = SimpleNamespace(net=torch.nn.Module())
    head = torch.nn.Linear(2, 2)
    head.weight.data = torch.tensor([[1.0, -1.0], [3.0, 1.0]])
    net.net.get_classifier = lambda: head
    maps = torch.tensor([[[[1.0, -3.0]], [[2.0, 1.0]]], [[[4.0, 0.0]], [[0.0, 0.0]]]])
    for labels, expected in (([0.0, 1.0], 3 / 2), ([0.0, 0.5], (3 + 2) / 2), ([1.0, 1.0], 0.0)):
        assert float(background_evidence_loss(net, maps, torch.tensor(labels)).detach()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augmentation": {"cutmix": 0.2}, "batch": 31}, "multiple of 2"),
        ({"background_evidence": 0.5, "cycles": [{"epochs": 1, "max_lr": 1e-2, "side": 90}]}, "whole patches"),
        ({"centre_cell": 0.5, "cycles": [{"epochs": 1, "max_lr": 1e-2, "side": 64}]}, "whole patches"),
        ({"mosaic_batches": True, "cycles": [{"epochs": 1, "max_lr": 1e-2, "frozen": True}]}, "no frozen cycle"),
        ({"mosaic_batches": True, "batch": 30, "cycles": [{"epochs": 1, "max_lr": 1e-2}]}, "multiple of 4"),
    ],
)
def test_what_cannot_be_is_refused(changes, reason):
    with pytest.raises(TrainingConfigError, match=reason):
        make_config("smoke", **changes)


def test_the_card_says_that_the_centre_was_trained_for():
    local = recipe_of(make_config("local"))
    assert "0.5 of the loss on what the label's own cell says alone" in local
    assert "every other batch read as mosaics of four patches" in local
    assert "1 times the evidence for tumour in cells of patches without" in local
    assert "a head that starts from a prior of 0.2" in local
    assert "mosaics" not in recipe_of(make_config("default"))


def test_a_mosaic_is_not_shared_out_between_processes():
    with pytest.raises(TrainingConfigError, match="units of 4"):
        ProcessGroup(0, 3, torch.device("cpu")).shard(32, 4)
    assert ProcessGroup(1, 2, torch.device("cpu")).shard(16, 4) == slice(8, 16)


def test_the_evidence_moves_to_the_cell_that_decides(tmp_path, data_folder, open_split):
    shares = {}
    for weight in (0.0, 0.8):
        run = Run.create(
            tmp_path / f"run{weight}",
            make_config(
                "smoke",
                data=str(data_folder),
                train_split="train",
                cycles=[{"epochs": 12, "max_lr": 1e-2}],
                batch=8,
                augmentation={},
                precision="fp32",
                centre_cell=weight,
                mosaic_batches=bool(weight),
            ),
        )
        list(fit(run, open_split))
        split = open_split("train")
        readings = load_reader(run.model, "torch").read(split.patches(np.flatnonzero(split.labels)))
        shares[weight] = np.nanmean(centre_share(readings.attribution, PCAM))
    assert shares[0.8] > max(0.3, shares[0.0] + 0.1)
