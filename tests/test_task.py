"""A task is a definition: what is left out has a sensible default, and what cannot be is named."""

import json

import pytest
from pydantic import ValidationError

from core.errors import TaskError
from core.task import PCAM, TASK, Task, read_task, task_json, task_of

TOY = {
    "name": "toy", "side": 64, "um_per_px": None, "classes": ["a", "b"], "positive": "b", "label_region": None,
    "stain": None, "words": {},
}  # fmt: skip


def test_pcam_is_one_instance():
    assert (PCAM.side, PCAM.um_per_px, PCAM.label_region, PCAM.stain) == (96, 0.97, 32, "H&E")
    assert (PCAM.negative, PCAM.positive) == PCAM.classes == ("no tumour", "tumour")
    assert PCAM.label_box == slice(32, 64)
    assert PCAM.label_share == pytest.approx(1 / 9)
    assert PCAM.label_place == "in the centre 32 x 32 px"
    assert list(PCAM.targets) == ["tumour minus normal", "predicted", "tumour", "normal"]
    assert (PCAM.headline("tumour"), PCAM.headline("no tumour")) == ("Tumour likely", "Tumour unlikely")
    assert any("Half of PCam" in limit for limit in PCAM.limits)


def test_a_toy_task_speaks_of_nothing_else():
    toy = Task.model_validate(TOY)
    assert (toy.side, toy.label_share, toy.label_box) == (64, None, slice(0, 64))
    assert list(toy.targets) == ["b minus a", "predicted", "b", "a"]
    assert (toy.headline("b"), toy.headline("a"), toy.headline("refer")) == ("b likely", "b unlikely", "refer")
    said = " ".join([*toy.limits, *toy.targets.values(), toy.label_place, toy.size, toy.subject]).casefold()
    assert not any(word in said for word in ("tumour", "hospital", "32 x 32", "lymph", "h&e", "0.97"))


def test_what_is_left_out_has_a_default():
    task = Task.model_validate({"name": "two", "classes": ["no", "yes"]})
    assert (task.side, task.um_per_px, task.positive, task.label_region, task.stain) == (96, None, "yes", None, None)


def test_a_label_of_the_whole_patch_is_said_in_one_way():
    assert Task.model_validate(TOY | {"label_region": 64}) == Task.model_validate(TOY)
    assert Task.model_validate({"name": "two", "classes": ["no", "yes"], "label_region": 96}).label_region is None


def test_names_and_words_make_no_other_task():
    toy = Task.model_validate(TOY)
    assert toy.difference(Task.model_validate(TOY | {"name": "other", "words": {"subject": "a drawing"}})) is None
    assert toy.difference(Task.model_validate(TOY | {"side": 96})) == ("patch side in px", "64", "96")


def test_the_positive_class_may_be_named_first():
    task = Task.model_validate(TOY | {"positive": "a"})
    assert (task.positive, task.negative, task.margin) == ("a", "b", "a minus b")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"side": 65}, "side"),
        ({"side": 16}, "side"),
        ({"um_per_px": 0}, "um_per_px"),
        ({"classes": ["a"]}, "classes"),
        ({"classes": ["a", "A"], "positive": "a"}, "different names"),
        ({"classes": ["cell_type 1", "Cell-Type  1"], "positive": "Cell-Type  1"}, "different names"),
        ({"classes": ["b", "b"]}, "different names"),
        ({"words": {"other": "B"}}, "different names, in words.other too"),
        ({"classes": ["Refer", "b"]}, "'refer' cannot be a class"),
        ({"words": {"other": "predicted"}}, "'predicted' cannot be a class"),
        ({"positive": "c"}, "'c', which is none of a and b"),
        ({"label_region": 80}, "cannot lie in the middle"),
        ({"label_region": 31}, "cannot lie in the middle"),
        ({"stain": "Giemsa"}, "stain"),
        ({"name": "two\nlines"}, "name"),
        ({"extra": 1}, "extra"),
        ({"words": {"unknown": "x"}}, "words.unknown"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, change, said):
    path = tmp_path / TASK
    path.write_text(json.dumps(TOY | change))
    with pytest.raises(TaskError, match=said):
        read_task(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "9" * 70_000, "\ud800".encode("utf-8", "surrogatepass")])
def test_a_file_that_is_no_task_is_refused(tmp_path, text):
    path = tmp_path / TASK
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TaskError):
        read_task(path)
    with pytest.raises(TaskError):
        read_task(tmp_path / "missing.json")


def test_a_folder_without_a_task_is_pcams(tmp_path):
    assert task_of(tmp_path) == PCAM
    (tmp_path / TASK).write_text(task_json(Task.model_validate(TOY)))
    assert task_of(tmp_path) == Task.model_validate(TOY)
    with pytest.raises(ValidationError):
        task_of(tmp_path).side = 96
