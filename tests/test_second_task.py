"""A task that is not PCam walks the command line from a folder of pictures to a page of evidence.

Its pictures are drawn textures in folders a/ and b/, its label is about the whole patch, and it knows neither stain
nor pixel size. No word of PCam may be said of it.
"""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from core import cli
from core.data.pcam import Split
from core.evaluation.explanations import donors, randomisation
from core.evaluation.schema import read_report
from core.explain.registry import METHODS
from core.models.store import CARD, WEIGHTS, read_description
from core.settings import settings
from core.task import PCAM, TASK, Task, read_task, task_of
from core.view.report import as_page

PCAMS_WORDS = (
    *("tumour", "tumor", "metasta", "hospital", "dutch", "lymph", "pathology", "hematoxylin"),
    *("32 x 32", "h&e", "h&amp;e", "h\\u0026e"),
)
TOY = {"name": "toy", "side": 64, "classes": ["a", "b"]}
TASKS = {
    "positive first": {"name": "first", "side": 64, "classes": ["b", "a"], "positive": "b"},
    "labelled box": {"name": "boxed", "side": 96, "classes": ["a", "b"], "label_region": 32},
}


def texture(positive, side, generator):
    """Fine grain for a, coarse blots and darker ones for b; uint8 (side, side, 3)."""
    block = 16 if positive else 2
    coarse = generator.integers(0, 90, (side // block, side // block, 3)).repeat(block, 0).repeat(block, 1)
    return np.clip(coarse + (60 if positive else 150) + generator.integers(-9, 9, (side, side, 3)), 0, 255)


def draw(folder, side, counts):
    """Pictures in SPLIT/CLASS/."""
    generator = np.random.default_rng(17)
    for split, count in counts.items():
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = texture(name == "b", side, generator).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:02}.png")


class Desk:
    """A folder to work in, with a task and drawn pictures, and the command line."""

    def __init__(self, folder, task):
        self.folder, self.data = folder, folder / "data"
        (folder / "task.json").write_text(json.dumps(task))
        draw(folder / "pictures", task["side"], {"train": 36, "valid": 20})

    def run(self, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["nodelens", *map(str, arguments)])
            patch.setenv("NODELENS_MODELS", str(self.folder / "models"))
            patch.setenv("NODELENS_CACHE", str(self.folder / "cache"))
            settings.cache_clear()
            try:
                with pytest.raises(SystemExit) as ended:
                    cli.main()
            finally:
                settings.cache_clear()
        assert not ended.value.code, arguments

    def make_a_model(self):
        """Import, train, promote."""
        self.run("data", "import", self.folder / "pictures", "--task", self.folder / "task.json", "--out", self.data)
        run, name = self.folder / "run", self.model.name
        small = ("--set", f"data={self.data}", "--set", "train_split=train", "--set", "cycles.1.epochs=5")
        self.run("train", "--preset", "smoke", *small, "--out", run)
        self.run("model", "promote", run, "--name", name, "--data", self.data, "--split", "valid")

    @property
    def model(self):
        return self.folder / "models" / "second"

    @property
    def patch(self):
        return self.folder / "pictures" / "valid" / "b" / "03.png"

    def scores(self):
        out = self.folder / "scores.csv"
        self.run("score", self.folder / "pictures" / "valid", "--model", self.model, "--out", out)
        return out

    def explain(self, method):
        out = self.folder / "explained" / method
        self.run("explain", self.patch, "--model", self.model, "--method", method, "--target", "b", "--out", out)
        return json.loads((out / "explanation.json").read_text())


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("toy"), TOY)
    desk.make_a_model()
    return desk


def values_in(record):
    """All values of a record, and the names that are chosen by data; field names are those of the format."""
    if isinstance(record, dict):
        return [text for value in record.values() for text in values_in(value)]
    if isinstance(record, list):
        return [text for value in record for text in values_in(value)]
    return [str(record)]


def assert_says_nothing_of_pcam(text):
    said = text.casefold()
    assert not [word for word in PCAMS_WORDS if word in said]


def rows_of(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_data_carry_their_task(toy):
    task = read_task(toy.data / TASK)
    assert (task.name, task.side, task.positive, task.um_per_px, task.stain) == ("toy", 64, "b", None, None)
    valid = Split.open(toy.data, "valid")
    assert (valid.task, len(valid), int(valid.labels.sum())) == (task, 40, 20)
    assert valid.patches([0]).shape == (1, 64, 64, 3)


def test_the_model_carries_it_on(toy):
    described = read_description(toy.model)
    assert described.task == read_task(toy.data / TASK)
    assert described.training.config["task"]["name"] == "toy"
    card = (toy.model / CARD).read_text()
    assert "Input: 64 x 64 px RGB" in card
    assert "Output: two logits, a and b." in card
    assert_says_nothing_of_pcam(card)


def test_scores(toy):
    out = toy.scores()
    rows = rows_of(out)
    assert len(rows) == 40
    right = [(row["verdict"] == "b") == row["id"].startswith("b/") for row in rows if row["verdict"] != "refer"]
    assert sum(right) >= 0.9 * len(right) > 0
    assert {row["verdict"] for row in rows} <= {"a", "b", "refer"}
    assert not any(row["notes"] for row in rows)  # neither rescaled nor assumed to have a size
    assert_says_nothing_of_pcam(out.read_text())


@pytest.mark.parametrize("method", METHODS)
def test_explanations(toy, method):
    record = toy.explain(method)
    explained = record["explanation"]
    grid = (2, 2) if METHODS[method].kind == "cam" else (4, 4) if method == "occlusion" else (64, 64)
    assert tuple(explained["grid"]) == np.shape(explained["map"]) == grid
    assert np.any(explained["map"])
    assert (explained["target"], explained["centre_share"], explained["centre_share_chance"]) == ("b", None, None)
    assert set(record["logits"]) == {"a", "b"}
    assert_says_nothing_of_pcam(json.dumps(record))


def test_figures(toy):
    out = toy.folder / "report.json"
    toy.run("evaluate", "--data", toy.data, "--split", "valid", "--model", toy.model, "--record", "--out", out)
    report = json.loads(out.read_text())
    assert report["figures"]["auc"]["value"] > 0.9
    assert_says_nothing_of_pcam(json.dumps(report))
    assert "of the patches in valid that it was measured on, 50%" in (toy.model / CARD).read_text().casefold()
    assert_says_nothing_of_pcam((toy.model / CARD).read_text())


def test_evidence(toy, monkeypatch):
    monkeypatch.setattr(donors, "MOST", 2)
    monkeypatch.setattr(randomisation, "SEEDS", 3)
    out = toy.folder / "evidence.json"
    sample = ("--sample", 24, "--split", "valid")
    toy.run("evidence", "--data", toy.data, *sample, "--model", toy.model, "--out", out)
    report = read_report(out)
    assert report.task.name == "toy"
    measured = {row.measure for row in report.rows}
    assert {"mosaic2", "gap_blurred", "after_randomising", "turns_drift", "agreement"} <= measured
    assert not {"centre_share", "centre_context"} & measured  # the label is about the whole patch
    assert "stain" not in report.curves.drift
    assert_says_nothing_of_pcam("\n".join(values_in(json.loads(out.read_text()))))
    from plotly.offline import get_plotlyjs

    page = as_page(report)
    assert get_plotlyjs() in page
    assert_says_nothing_of_pcam(page.replace(get_plotlyjs(), ""))


def test_weights_from_elsewhere_get_the_task(toy):
    weights = toy.folder / "run" / "model" / WEIGHTS
    named = ("--name", "again", "--architecture", "tiny_resnet", "--recipe", "Elsewhere.")
    toy.run("model", "import", weights, *named, "--task", toy.folder / "task.json")
    assert read_description(toy.folder / "models" / "again").task.name == "toy"


@pytest.mark.parametrize("task", TASKS)
def test_other_tasks(tmp_path, task):
    desk = Desk(tmp_path, TASKS[task])
    desk.make_a_model()
    rows = rows_of(desk.scores())
    high = {name: np.mean([float(r["logit"]) for r in rows if r["id"].startswith(name)]) for name in ("a", "b")}
    assert high["b"] > high["a"]
    assert {row["verdict"] for row in rows} <= {"a", "b", "refer"}
    record = desk.explain("gradcam")
    described = read_description(desk.model)
    assert next(iter(described.task.targets)) == "b minus a"
    shares = {"positive first": (None, None), "labelled box": (pytest.approx(1 / 9), "in the centre 32 x 32 px")}
    chance, place = shares[task]
    assert record["explanation"]["centre_share_chance"] == chance
    assert (place or "in the patch") in (desk.model / CARD).read_text()


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [("evaluate",), ("evidence",), ("model", "calibrate")])
def test_data_of_another_task_are_refused(toy, tiny_bundle, command, asked, tmp_path):
    named = (tiny_bundle,) if asked[0] == "model" else ("--model", tiny_bundle, "--out", tmp_path / "out.json")
    code, _, err = command(*asked, *named, "--data", toy.data, "--split", "valid")
    assert code == 2
    said = "'valid' holds data of another task than the model's: its patch side in px is 64, the model's is 96."
    assert err == f"nodelens: {said}\n"
    assert not (tmp_path / "out.json").exists()


def test_a_folder_holds_one_task(toy, command):
    code, _, err = command("data", "import", toy.folder / "pictures" / "valid", "--out", toy.data, "--split", "more")
    assert (code, err) == (0, "")  # without --task, that of the folder
    other = toy.folder / "other.json"
    other.write_text(json.dumps(TOY | {"classes": ["a", "c"]}))
    code, _, err = command("data", "import", toy.folder / "pictures", "--out", toy.data, "--task", other)
    assert code == 2
    assert "it holds data of the task 'toy'; choose another folder" in err
    for of_pcam in ("fetch", "demo"):
        code, _, err = command("data", of_pcam, "--out", toy.data)
        assert code == 2
        assert "it holds data of another task; choose another folder" in err


def test_a_folder_takes_its_task_in_other_words(toy, command, tmp_path):
    said = TOY | {"name": "renamed", "words": {"subject": "a drawing"}}
    (tmp_path / "task.json").write_text(json.dumps(said))
    for task in (toy.folder / "task.json", tmp_path / "task.json"):
        asked = ("--out", tmp_path / "out", "--split", "more", "--task", task)
        code, _, err = command("data", "import", toy.folder / "pictures" / "valid", *asked)
        assert (code, err) == (0, "")
    assert task_of(tmp_path / "out") == Task.model_validate(said)


def test_what_cannot_be_imported_leaves_no_task_behind(toy, command, tmp_path):
    (tmp_path / "from" / "x").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "from" / "x" / "0.png")
    asked = ("--task", toy.folder / "task.json", "--out", tmp_path / "out")
    code, _, err = command("data", "import", tmp_path / "from", *asked)
    assert code == 2
    assert "folders 0 and 1, or a and b" in err
    (tmp_path / "from" / "labels.csv").write_text("id,label\n0,c\n")
    assert (
        "labels.csv': line 2 has the label 'c'; labels must be 0 or 1, or a or b"
        in command("data", "import", tmp_path / "from", *asked)[2]
    )
    (tmp_path / "from" / "labels.csv").write_text("id,class\n0,a\n")
    assert "column 'label' is missing; it has id, class" in command("data", "import", tmp_path / "from", *asked)[2]
    assert not (tmp_path / "out" / TASK).exists()


def test_pixels_without_a_size_are_given_none(toy, command, tmp_path):
    asked = ("score", toy.patch, "--model", toy.model, "--out", tmp_path / "scores.csv", "--um-per-px", 0.5)
    code, _, err = command(*asked)
    assert code == 2
    assert "pixels of the task 'toy' have no size; leave --um-per-px out" in err
    assert not (tmp_path / "scores.csv").exists()


def test_a_class_of_another_task_is_no_target(toy, command, tmp_path):
    asked = ("explain", toy.patch, "--model", toy.model, "--out", tmp_path / "out", "--target", PCAM.positive)
    code, _, err = command(*asked)
    assert code == 2
    assert "Unknown target 'tumour'. Known: b minus a, predicted, b, a." in err
