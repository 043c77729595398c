"""What a step minimises: each part by hand, and all of them together as their weighted sum."""

import numpy as np
import pytest
import torch

from core.models.nets import PatchNet
from core.training.config import make_config
from core.training.data import Batch
from core.training.losses.localisation import background_evidence_loss, centre_alone
from core.training.losses.objective import Objective, loss_of
from core.training.teacher import TeacherOutput

CPU = torch.device("cpu")


LOGITS = torch.tensor([[0.0, 0.0], [0.0, np.log(3.0)]])
LABELS = torch.tensor([0, 1])


def test_cross_entropy_by_hand():
    config = make_config("smoke")
    expected = (np.log(2) + np.log(4 / 3)) / 2
    assert float(loss_of(LOGITS, LABELS, None, config)) == pytest.approx(expected)
    smooth = make_config("smoke", label_smoothing=0.2)
    second = -0.9 * np.log(3 / 4) - 0.1 * np.log(1 / 4)
    assert float(loss_of(LOGITS, LABELS, None, smooth)) == pytest.approx((np.log(2) + second) / 2)


def test_cross_entropy_of_a_blend_by_hand():
    labels = torch.tensor([0.25, 1.0])
    found = loss_of(LOGITS[[1, 1]], labels, None, make_config("smoke"))
    blend = 0.25 * np.log(4 / 3) + 0.75 * np.log(4)
    assert float(found) == pytest.approx((blend + np.log(4 / 3)) / 2)


def test_distillation_by_hand():
    """At temperature 2 a teacher's logits (0, 2 ln 3) are odds of 1 : 3, the network's (0, 0) even: KL, times 4."""
    teacher_output = {"teacher": "t", "weight": 0.25, "temperature": 2.0}
    config = make_config("smoke", distillation=teacher_output)
    teacher_logits = torch.tensor([[0.0, 2 * np.log(3.0)]])
    divergence = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    expected = 0.75 * np.log(2) + 0.25 * 4 * divergence
    assert float(loss_of(LOGITS[:1], LABELS[:1], teacher_logits, config)) == pytest.approx(expected)
    agreed = loss_of(LOGITS, LABELS, LOGITS, config)
    assert float(agreed) == pytest.approx(0.75 * float(loss_of(LOGITS, LABELS, None, config)))


class Doubtful:
    """A teacher that says even odds of everything, and whose maps are one away from all maps."""

    def output(self, patches, device):
        return TeacherOutput(torch.zeros(len(patches), 2), torch.zeros(len(patches), 1, 3, 3))

    def loss_of_maps(self, maps, teacher_output):
        return torch.tensor(1.0)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return PatchNet("tiny_resnet", (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)).eval()


@pytest.fixture
def batch(patches, labels):
    return Batch(patches, labels.astype(np.float32), patches)


def test_all_parts_add_up(net, batch):
    teacher_output = {"teacher": "t", "weight": 0.25, "temperature": 2.0, "maps": 1.0}
    config = make_config(
        "smoke",
        cycles=[{"epochs": 1, "max_lr": 1e-2}],
        batch=12,
        distillation=teacher_output,
        centre_cell=0.25,
        background_evidence=3.0,
    )
    (cycle,) = config.cycles
    found = Objective(config, net, Doubtful(), CPU, bf16=False)(net, cycle, batch, 0)
    labels, teacher_logits = torch.from_numpy(batch.labels), torch.zeros(len(batch.labels), 2)
    maps, logits = net(torch.from_numpy(batch.inputs))
    alone = net.forward_head(centre_alone(maps))
    of_all, of_centre = (loss_of(one, labels, teacher_logits, config) for one in (logits, alone))
    expected = 0.75 * of_all + 0.25 * of_centre + 3 * background_evidence_loss(net, maps, labels) + 1
    torch.testing.assert_close(found, expected)


def test_a_fixed_body_learns_from_labels_alone(net, batch):
    """Its pooled maps are what the head is given; no teacher looks at flips and turns that were computed once."""
    config = make_config("smoke", batch=12, distillation={"teacher": "t"})
    cycle = config.cycles[0]
    assert cycle.fixed
    pooled = np.random.default_rng(0).random((len(batch.labels), net.net.num_features), np.float32)
    given = Batch(pooled, batch.labels, batch.whole)
    head = net.net.get_classifier()
    found = Objective(config, net, None, CPU, bf16=False)(head, cycle, given, 0)
    expected = loss_of(head(torch.from_numpy(pooled)), torch.from_numpy(batch.labels), None, config)
    torch.testing.assert_close(found, expected)


def test_crops_are_taught_no_maps(net, batch):
    config = make_config("smoke", cycles=[{"epochs": 1, "max_lr": 1e-2, "side": 64}], batch=12)
    given = Batch(np.ascontiguousarray(batch.inputs[:, 16:80, 16:80]), batch.labels, batch.whole)
    one, other = (
        Objective(config, net, teacher, CPU, bf16=False)(net, config.cycles[0], given, 0)
        for teacher in (None, Doubtful())
    )
    torch.testing.assert_close(one, other)  # without a weight of its logits, nothing of the teacher is left
