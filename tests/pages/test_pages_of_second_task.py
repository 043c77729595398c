"""A second task, 64 px with its label on the whole patch: every page opens, and none speaks of PCam's."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image

from core import service
from core.data.intake import open_picture
from core.data.pcam import Split
from core.evaluation.explanations.runner import Examination
from core.evaluation.schema import EVIDENCE, Plan
from core.inference import load_reader
from core.inference.scores import ScoreStore
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.settings import settings
from core.task import TASK, Task, task_json
from core.view.report import groups
from pages.parts.evidence.reports import kept_report
from pages.parts.read import uploads

ROOT = Path(__file__).resolve().parents[2]
TOY = Task(name="toy", side=64, classes=("a", "b"))
FORBIDDEN = ("tumour", "hospital", "32 x 32", "h&e", "lymph", "metasta", "0.97 um", "96 x 96", "96, 96")
METHODS = ("gradcam/last",)
COUNT = 24


@pytest.fixture(scope="module")
def toy(tmp_path_factory, write_split):
    """A machine whose one model has random weights, with a split of stripes (b) and of blots (a), and a report."""
    root = tmp_path_factory.mktemp("toy")
    draw = np.random.default_rng(3)
    labels = np.arange(COUNT) % 2
    blots = draw.integers(0, 256, (COUNT, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    stripes = draw.integers(0, 256, (COUNT, 16, 1, 3)).repeat(4, axis=1).repeat(64, axis=2)
    patches = np.where(labels[:, None, None, None] == 1, stripes, blots).astype(np.uint8)
    write_split(root / "data", patches, labels.astype(np.uint8))
    write_split(root / "data", patches, labels.astype(np.uint8), name="train")
    (root / "data" / TASK).write_text(task_json(TOY))
    grey = (128.0, 128.0, 128.0), (64.0, 64.0, 64.0)
    net = PatchNet("tiny_resnet", *grey)
    about = {"version": "1.0", "mean": grey[0], "std": grey[1], "training": Training(recipe="Elsewhere."), "task": TOY}
    folder = save_bundle(net.eval(), root / "models" / "toy", **about)
    reader, split = load_reader(folder, "openvino-fp32"), Split.open(root / "data", "valid")
    for _ in ScoreStore(root / "cache", reader, split).compute():
        pass
    report = Examination(reader, split, Plan(sample=COUNT, methods=METHODS)).run(root / "cache")
    (folder / EVIDENCE).write_text(report.model_dump_json())
    return root, reader, split


@pytest.fixture(autouse=True)
def _toy_machine(toy, monkeypatch, tmp_path, _machine):
    root, reader, _ = toy
    for name in ("data", "models", "cache"):
        monkeypatch.setenv(f"NODELENS_{name.upper()}", str(root / name))
    monkeypatch.setenv("NODELENS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NODELENS_MODEL", "toy")
    monkeypatch.setattr(service, "load_reader", lambda name: reader)
    settings.cache_clear()


def said(page):
    """All that the server sent to the browser, but for the bytes of pictures."""

    def words(block):
        for child in block.children.values():
            yield str(child.proto)
            if hasattr(child, "children"):
                yield from words(child)

    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", "\n".join(words(page.at._tree))).casefold()


def assert_of_no_other_task(page):
    text = said(page)
    assert not page.at.exception
    assert "toy" in text
    assert [word for word in FORBIDDEN if word in text] == []


def picture(width, height):
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_read(screen, toy):
    _, reader, split = toy
    page = screen("read", patch=3, views=1, trust_card="true", what_if="true").calm()
    assert_of_no_other_task(page)
    reading = reader.read(split.patches([3]))
    assert page.probability == f"{reading.probability[0]:.2f}"
    assert page.verdict in ("B likely", "B unlikely")
    assert "probability of b, not calibrated" in page.html
    assert page.fact["Label"] == "b in the patch"
    assert "In the centre" not in page.fact
    table = page.component("light_table")
    assert table["boxes"] == ""
    assert np.array(table["panels"][1]["values"]).shape == (2, 2)


def test_a_dropped_file_is_cut_to_the_tasks_patch(screen, toy):
    page = screen("read", source="your files", views=1).upload(large_png=picture(100, 80)).calm()
    assert_of_no_other_task(page)
    assert not [field for field in page.at.number_input if field.label.startswith("Pixel size")]
    assert "left 18, top 8 of 100 x 80" in page.files["notes"][0]
    page.upload(small_png=picture(40, 40))
    assert [word for word in FORBIDDEN if word in said(page)] == []
    (error,) = page.at.error
    assert error.value == "small.png: Expected a 64 x 64 RGB patch, got 40 x 40. Crop it; it is not resized for you."


def test_browse(screen):
    page = screen("browse", label="b", order="most positive").calm()
    assert_of_no_other_task(page)
    assert f"{COUNT // 2} of {COUNT} patches" in page.markdown
    assert page.at.selectbox(key="flag").options == [
        "any",
        "none",
        "unlike training tissue",
        "trained on synthetic pictures",
    ]


@pytest.mark.parametrize("section", ["Runs", "New run", "Learning-rate range", "Weight decay"])
def test_train(screen, section):
    assert_of_no_other_task(screen("train", section=section).calm())


@pytest.mark.parametrize("page", ["compare", "evidence", "about"])
def test_other_pages(screen, page):
    assert_of_no_other_task(screen(page).calm())


def test_every_question_of_the_report(screen, toy):
    page = screen("evidence").calm()
    report = kept_report("toy")
    for group in groups(report):
        page.at.session_state["question"] = group
        page.at.run()
        assert_of_no_other_task(page.calm())


@pytest.fixture
def _both_tasks(toy, shipped_reader, monkeypatch, tmp_path):
    """The machine has a model of PCam's task too."""
    _, reader, _ = toy
    readers = {"toy": reader, "densenet169": shipped_reader}
    (tmp_path / "models").mkdir()
    for name, one in readers.items():
        (tmp_path / "models" / name).symlink_to(one.stored.folder)
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(service, "load_reader", readers.__getitem__)
    settings.cache_clear()


@pytest.mark.usefixtures("_both_tasks")
def test_a_file_is_decoded_again_for_a_model_of_another_task(screen):
    page = screen("read", source="your files", views=1).upload(own_png=picture(128, 96)).calm()
    assert "left 32, top 16 of 128 x 96" in page.files["notes"][0]
    page.at.session_state["split"], page.at.session_state["model"] = "demo", "densenet169"
    page.at.run()
    page.calm()
    assert "left 16, top 0 of 128 x 96" in page.files["notes"][0]
    assert page.component("light_table")["boxes"] == "centre 32 x 32"


@pytest.mark.usefixtures("_both_tasks")
def test_panels_of_two_tasks_decode_a_file_once_and_leave_its_window_alone(screen, monkeypatch):
    opened = []
    monkeypatch.setattr(uploads, "open_picture", lambda *a, **more: opened.append(a) or open_picture(*a, **more))
    page = screen("read", source="your files", views=1).drop(
        ("own.png", picture(128, 96)), ("another.png", picture(130, 99))
    )
    (own, _) = page.at.session_state["uploads"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(st, "session_state", {"uploads": page.at.session_state["uploads"]})
        uploads.move_window(own, 3, 5)
    page.calm().go("compare").choose("split1", "your files").choose("split2", "your files").choose("model1", "toy")
    page.choose("model2", "densenet169").choose("file1", own).choose("file2", own).calm()
    captions = [panel["caption"] for panel in page.component("compare_table")["panels"]]
    assert ["left 3, top 5 of 128 x 96" in captions[0], "left 16, top 0 of 128 x 96" in captions[1]] == [True, True]
    before = len(opened)
    page.at.run()
    assert len(opened) == before
    assert page.at.session_state["uploads"][own].corner == (3, 5)


@pytest.mark.parametrize("page", ["read", "browse", "evidence"])
def test_a_model_and_data_of_two_tasks_are_told_apart_in_a_sentence(screen, page):
    at = screen(page, split="demo").at
    assert not at.exception
    (error,) = at.error
    assert error.value.startswith("'demo' holds data of another task than the model's: its patch side in px is 96, ")


def test_the_source_of_the_pages_holds_no_words_of_one_task():
    """PCam's name may stand where its download is offered, where layers are named by its patches, and in a module's."""
    allowed = (
        "core.data.pcam",
        "`python -m core data fetch` brings PCam's there",
        "where there is PCam, else the demo",
        "named by their cells in a PCam patch",
    )
    files = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "assets").glob("*.js")]
    assert len(files) > 30
    for path in files:
        text = path.read_text(encoding="utf-8")
        for words in allowed:
            text = text.replace(words, "")
        found = [word for word in (*FORBIDDEN, "pcam") if word in text.casefold()]
        assert found == [], path
