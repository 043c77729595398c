"""Files that are passed on hold names, and no path on the machine that made them."""

import shutil

import pytest
from PIL import Image

from core.errors import NodeLensError

WHO = "jane.doe"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder that is named after somebody, and the folder that commands run in."""
    home = tmp_path / WHO
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def assert_tells_nothing(folder):
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    for path in written:
        content = path.read_bytes()
        assert WHO.encode() not in content, path.name
        assert str(folder.parent).encode() not in content, path.name


def test_scores_and_their_refusals_name_no_folder(home, command, tiny_bundle, patches):
    folder = home / "slides"
    folder.mkdir()
    Image.fromarray(patches[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"")
    (folder / "c.png").symlink_to("/etc/hostname")
    out = home.parent / "out"
    (home / "again" / "slides").mkdir(parents=True)
    shutil.copy(folder / "a.png", home / "again" / "slides")
    folders = folder, home / "again" / "slides"
    code, _, err = command("score", *folders, "--model", tiny_bundle, "--out", out / "scores.csv")
    assert code == 0, err
    text = (out / "scores.csv").read_text()
    assert text.count("refused") >= 2
    assert_tells_nothing(out)


def test_an_explanation_and_a_report_name_no_folder(home, command, tiny_bundle, patches, labels, write_split):
    model = shutil.copytree(tiny_bundle, home / "models" / "tiny")
    data = write_split(home / "pcam", patches, labels)
    Image.fromarray(patches[0]).save(home / "a.png")
    out = home.parent / "out"
    for arguments in (
        ("explain", home / "a.png", "--model", model, "--out", out),
        ("evaluate", "--data", data, "--split", "valid", "--model", model, "--record", "--out", out / "report.json"),
    ):
        code, _, err = command(*arguments)
        assert code == 0, err
    shutil.copy(model / "bundle.json", out)
    shutil.copy(model / "CARD.md", out)
    assert_tells_nothing(out)


@pytest.mark.parametrize(
    ("told", "becomes"),
    [
        ("No split in /home/jane.doe/pcam: it holds none.", "No split in ~/pcam: it holds none."),
        ("'/home/jane.doe' holds nothing", "'~' holds nothing"),
        ("/home/jane.doe-old/x", "/home/jane.doe-old/x"),
        ("/backup/home/jane.doe/x", "/backup/home/jane.doe/x"),
        ("~/home/jane.doe", "~/home/jane.doe"),
    ],
)
def test_what_a_person_is_told_names_no_home_folder(told, becomes, monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane.doe/")
    assert str(NodeLensError(told)) == becomes


@pytest.mark.parametrize("home", ["", "/"])
def test_without_a_home_paths_stay(home, monkeypatch):
    monkeypatch.setenv("HOME", home)
    assert str(NodeLensError("/a/b is missing")) == "/a/b is missing"
