"""A teacher that is asked once: what it said is kept, mixed as labels are, and learned from."""

import json

import numpy as np
import pytest
import torch

from core.data.pcam import Split
from core.errors import TrainingConfigError
from core.inference import load_reader
from core.models.nets import PatchNet
from core.training.config import Augmentation, Distillation, make_config
from core.training.data import Batches, Subset
from core.training.loop import fit
from core.training.losses.objective import Objective, loss_of
from core.training.optimiser import freeze, set_training
from core.training.recipe import recipe_of
from core.training.runs import Run
from core.training.teacher import KEPT, kept_answers

MEAN, STD = (120.0,) * 3, (60.0,) * 3
CPU = torch.device("cpu")


@pytest.fixture
def train(data_folder):
    return Subset(Split.open(data_folder, "train"), np.arange(1, 47))


def test_answers_are_the_teachers_of_the_patches_as_they_are(teacher_folder, train, tmp_path):
    margins = kept_answers(Distillation(teacher=str(teacher_folder), once=True), train, tmp_path, CPU)
    logits = load_reader(str(teacher_folder)).engine.forward(train.patches(slice(None)))[1]
    np.testing.assert_allclose(margins, logits[:, 1] - logits[:, 0], atol=1e-5)
    eight = kept_answers(Distillation(teacher=str(teacher_folder), once=True, views=8), train, tmp_path, CPU)
    np.testing.assert_array_equal(eight, margins)  # of another start: what is kept is taken
    (tmp_path / KEPT).unlink()
    eight = kept_answers(Distillation(teacher=str(teacher_folder), once=True, views=8), train, tmp_path, CPU)
    read = load_reader(str(teacher_folder)).read(train.patches(slice(None)), views=8)
    np.testing.assert_allclose(eight, read.logit, atol=1e-5)
    (tmp_path / KEPT).unlink()
    assert (
        kept_answers(Distillation(teacher=str(teacher_folder), once=True), train, tmp_path, CPU, lambda: True) is None
    )
    assert not (tmp_path / KEPT).exists()


def test_answers_follow_the_box_as_labels_do(train, config):
    config = config.model_copy(update={"augmentation": Augmentation(cutmix=0.5)})
    answers = np.where(train.labels, 3.0, -1.0).astype(np.float32)
    for step in range(4):
        batch = Batches(train, config, 1, answers).batch(step)
        np.testing.assert_allclose(batch.answers, 4 * batch.labels - 1, atol=1e-6)
    assert Batches(train, config, 1).batch(0).answers is None


def test_the_step_learns_from_them(train):
    config = make_config("smoke", batch=8, cycles=[{"epochs": 1, "max_lr": 1e-2}], distillation={"teacher": "t"})
    net = PatchNet("tiny_resnet", MEAN, STD).eval()
    batch = Batches(train, config, 0, np.linspace(-4, 4, len(train), dtype=np.float32)).batch(0)
    with torch.no_grad():
        found = Objective(config, net, None, torch.device("cpu"), False)(net, config.cycles[0], batch, 0)
        logits = net(torch.from_numpy(batch.inputs))[1]
    teacher = torch.tensor([[0.0, margin] for margin in batch.answers])
    torch.testing.assert_close(found, loss_of(logits, torch.from_numpy(batch.labels), teacher, config))


def test_a_run_asks_once_and_goes_on_without(teacher_folder, tmp_path, config, open_split):
    once = Distillation(teacher=str(teacher_folder), once=True)
    run = Run.create(tmp_path / "run", config.model_copy(update={"distillation": once}))
    assert [fact["fact"] for fact in fit(run, open_split)][-1] == "finished"
    kept = np.load(run.folder / KEPT)
    assert kept.shape == (json.loads((run.folder / "environment.json").read_text())["train"]["patches"],)
    assert "asked once about each patch as it is" in recipe_of(run.config)


def test_frozen_groups_stay_as_they_are_statistics_and_all(train):
    """The stem and the first stage of an EfficientNet, and the head's bias; all else learns."""
    config = make_config(
        "unpadded", batch=8, cycles=[{"epochs": 1, "max_lr": 1e-2, "frozen_groups": 2, "frozen_bias": True}]
    )
    torch.manual_seed(0)
    net = PatchNet(config.architecture, MEAN, STD)
    before = {name: value.clone() for name, value in net.net.state_dict().items()}
    cycle = config.cycles[0]
    freeze(net, cycle)
    set_training(net, cycle)
    net(torch.from_numpy(train.patches(slice(0, 8))))[1].sum().backward()
    learning = [parameter for parameter in net.parameters() if parameter.grad is not None]
    torch.optim.SGD(learning, lr=0.1).step()
    same = {name for name, value in net.net.state_dict().items() if torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith(("conv_stem.", "bn1.", "blocks.0.", "classifier.bias"))}
    assert frozen <= same
    assert not {name for name in same - frozen if name.endswith(("conv_pw.weight", "running_mean"))}
    assert "classifier.weight" not in same
    assert "the head's bias frozen, the first 2 layer groups frozen" in recipe_of(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mosaic_batches": True}, "for padded networks"),
        ({"centre_cell": 0.5}, "for padded networks"),
        ({"distillation": {"teacher": "t", "maps": 1}}, "padded layers"),
        ({"architecture": "densenet169", "distillation": {"teacher": "t", "maps": 1, "once": True}}, "every step"),
        ({"background_evidence": 0, "cycles": [{"epochs": 1, "max_lr": 1e-2, "side": 64}]}, "no room for the window"),
    ],
)
def test_what_an_unpadded_network_cannot_learn_from_is_refused(changes, reason):
    with pytest.raises(TrainingConfigError, match=reason):
        make_config("unpadded", **changes)
