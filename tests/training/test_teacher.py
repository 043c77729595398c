"""Learning from a teacher's maps: the distance by hand, and a network that comes to tell them."""

import numpy as np
import pytest
import torch

from core.data.transforms import dihedral
from core.errors import TrainingConfigError
from core.inference import load_reader
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.models.store import StoredBundle
from core.task import Task
from core.training.config import Distillation, make_config
from core.training.loop import fit
from core.training.optimiser import layer_groups
from core.training.runs import CHECKPOINT, MODEL, Run
from core.training.teacher import Teacher, _asked, _turned_back, _views, distance

MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)


@pytest.fixture
def learner():
    torch.manual_seed(4)
    return PatchNet("tiny_resnet", MEAN, STD)


@pytest.fixture
def taught(config, teacher_folder):
    """A run's configuration, short, with a teacher of maps."""
    teacher_output = Distillation(teacher=str(teacher_folder), weight=0.5, maps=1)
    cycles = (config.cycles[1].model_copy(update={"side": None}),)
    return config.model_copy(update={"distillation": teacher_output, "cycles": cycles})


def test_distance_by_hand():
    """Per patch: (1 + 4) / (1 + 4) and 2^2 / (3^2 + 4^2); maps that are nothing have no distance to nothing."""
    maps = torch.tensor([[[[0.0, 0.0]]], [[[3.0, 2.0]]]])
    right = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    assert float(distance(maps, right)) == pytest.approx((1 + 4 / 25) / 2)
    assert float(distance(right, right)) == 0
    assert float(distance(100 * maps, 100 * right)) == pytest.approx((1 + 4 / 25) / 2)
    assert float(distance(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))) == 0


def test_a_lesson_is_what_the_model_says_when_it_is_served(teacher_folder, learner, patches):
    teacher = Teacher(Distillation(teacher=str(teacher_folder), maps=2), learner)
    teacher_output = teacher.output(patches, torch.device("cpu"))
    maps, logits = load_reader(str(teacher_folder)).engine.forward(patches)
    np.testing.assert_array_equal(teacher_output.maps.numpy(), maps)
    np.testing.assert_array_equal(teacher_output.logits.numpy(), logits)
    own = learner.eval().forward_features(torch.from_numpy(patches))
    assert float(teacher.loss_of_maps(own, teacher_output).detach()) == pytest.approx(2), "at first it says nothing"
    torch.nn.init.normal_(learner.feature_projection.weight)
    torch.testing.assert_close(
        teacher.loss_of_maps(own, teacher_output), 2 * distance(learner.feature_projection(own), teacher_output.maps)
    )


def test_a_lesson_of_several_views_is_their_mean_turned_back(teacher_folder, learner, patches):
    cpu = torch.device("cpu")
    four, one = (Teacher(Distillation(teacher=str(teacher_folder), views=views, maps=1), learner) for views in (4, 1))
    teacher_output = four.output(patches, cpu)
    singles = [one.output(np.rot90(patches, turns, axes=(1, 2)).copy(), cpu) for turns in range(4)]
    turned_back = [single.maps.rot90(-turns, (2, 3)) for turns, single in enumerate(singles)]
    torch.testing.assert_close(teacher_output.maps, torch.stack(turned_back).mean(0))
    torch.testing.assert_close(teacher_output.logits, torch.stack([single.logits for single in singles]).mean(0))
    turned = four.output(np.rot90(patches, 1, axes=(1, 2)).copy(), cpu)
    torch.testing.assert_close(turned.logits, teacher_output.logits)
    assert float((singles[1].logits - singles[0].logits).abs().max()) > 1e-3


def test_several_teachers_answer_with_the_mean_of_their_logits(teacher_folder, tmp_path, learner, patches):
    other = save_bundle(learner, tmp_path / "other", version="1", mean=MEAN, std=STD, training=Training(recipe="."))
    cpu = torch.device("cpu")
    names = [str(teacher_folder), str(other)]
    both, *alone = (
        Teacher(Distillation(teacher=name, views=2), learner).output(patches, cpu).logits
        for name in (", ".join(names), *names)
    )
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    assert float((alone[0] - alone[1]).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("values", "words"), [({"teacher": " , "}, "no model is named"), ({"teacher": "a,b", "maps": 1}, "of one teacher")]
)
def test_teachers_that_cannot_be_asked_are_refused(values, words):
    with pytest.raises(TrainingConfigError, match=words):
        make_config("smoke", distillation=values)


def test_eight_views_are_those_of_the_transforms(patches):
    """Whichever device computes them, they are the one home's, and maps are turned back as there."""
    stacked = _views(torch.from_numpy(patches), 8).unflatten(0, (8, -1)).numpy()
    for index, view in enumerate(stacked):
        np.testing.assert_array_equal(view, dihedral(patches, index))
        maps = torch.from_numpy(view.copy()).permute(0, 3, 1, 2)
        np.testing.assert_array_equal(_turned_back(maps, index).permute(0, 2, 3, 1).numpy(), patches)


def test_off_the_processor_the_network_itself_is_asked(teacher_folder, patches):
    """On the meta device nothing is computed, and so nothing is fetched: shapes tell that the network answered."""
    ask = _asked(str(teacher_folder), torch.device("meta"))
    maps, logits = ask(torch.empty(patches.shape, dtype=torch.uint8, device="meta"))
    assert (maps.device.type, logits.shape) == ("meta", (len(patches), 2))
    assert maps.dtype == logits.dtype == torch.float32


def test_the_feature_projection_is_trained_by_the_head_and_belongs_to_no_bundle(teacher_folder, learner, tmp_path):
    before = [len(group) for group in layer_groups(learner)]
    Teacher(Distillation(teacher=str(teacher_folder), maps=1), learner)
    after = layer_groups(learner)
    assert [len(group) for group in after] == [*before[:-1], before[-1] + 2]
    assert any(parameter is learner.feature_projection.weight for parameter in after[-1])
    stored = save_bundle(learner, tmp_path / "b", version="1", mean=MEAN, std=STD, training=Training(recipe="."))
    assert StoredBundle.open(stored).description.architecture == "tiny_resnet"
    load_reader(str(stored))


def test_without_a_weight_maps_teach_nothing(teacher_folder, learner, patches):
    teacher = Teacher(Distillation(teacher=str(teacher_folder)), learner)
    teacher_output = teacher.output(patches, torch.device("cpu"))
    assert teacher_output.maps is None
    assert teacher.loss_of_maps(torch.ones(1), teacher_output) == 0
    assert not hasattr(learner, "feature_projection")


def test_a_teacher_of_another_task_is_refused_before_anything_is_read(taught, tmp_path):
    """As of a run of other patches that keeps the preset's teacher; a run that was made before is refused as well."""
    other = taught.model_copy(update={"task": Task(name="toy", side=64, classes=("a", "b"))})
    words = "the teacher '.*' is a model of another task: its patch side in px is 96, the run's is 64"
    with pytest.raises(TrainingConfigError, match=words):
        Run.create(tmp_path / "run", other)
    assert not (tmp_path / "run").exists()
    made = Run.create(tmp_path / "made", taught)
    with pytest.raises(TrainingConfigError, match=words):
        list(fit(Run(made.folder, other), lambda name: pytest.fail(f"{name} is read")))
    assert made.settled == "failed"


def test_a_run_comes_to_tell_the_teachers_maps(taught, open_split, tmp_path):
    run = Run.create(tmp_path / "run", taught.model_copy(update={"ema_decay": 0.0}))
    list(fit(run, open_split))
    saved = torch.load(run.folder / CHECKPOINT, weights_only=True)["net"]
    net = PatchNet("tiny_resnet", MEAN, STD)
    teacher = Teacher(taught.distillation, net)
    inputs = open_split("train").patches(slice(0, 16))
    teacher_output = teacher.output(inputs, torch.device("cpu"))

    def loss():
        return float(
            teacher.loss_of_maps(net.eval().forward_features(torch.from_numpy(inputs)), teacher_output).detach()
        )

    first = loss()
    net.load_state_dict(saved)
    assert loss() < 0.5 * first
    assert "distance to its maps" in StoredBundle.open(run.folder / MODEL).description.training.recipe


def test_crops_teach_no_maps(taught, open_split, tmp_path):
    cycles = tuple(cycle.model_copy(update={"side": 64}) for cycle in taught.cycles)
    run = Run.create(tmp_path / "run", taught.model_copy(update={"cycles": cycles}))
    assert list(fit(run, open_split))[-1]["fact"] == "finished"
    assert not torch.load(run.folder / CHECKPOINT, weights_only=True)["net"]["feature_projection.weight"].any()


def test_a_run_that_was_cut_goes_on_to_the_same_feature_projection(taught, open_split, tmp_path):
    whole, cut = (Run.create(tmp_path / name, taught) for name in ("whole", "cut"))
    list(fit(whole, open_split))
    steps = iter(range(100))
    list(fit(cut, open_split, lambda: next(steps) == 6))
    list(fit(cut, open_split))
    one, other = (torch.load(run.folder / CHECKPOINT, weights_only=True)["average"] for run in (whole, cut))
    assert "feature_projection.weight" in one
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
