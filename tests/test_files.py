"""A file is there whole, or as it was before."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import OutputError
from core.files import atomic_path, publish, write_text

ROOT = Path(__file__).resolve().parents[1]


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "first, longer")
    write_text(path, "zweite µ")
    assert path.read_text(encoding="utf-8") == "zweite µ"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stands_until_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as part:
        part.write_text("new")
        assert part.parent == path.parent
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_goes_wrong_inside_leaves_the_old_file_and_passes_on(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with atomic_path(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_is_an_output_error(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError, match=r"(?i)a\.txt: no space left") as caught, atomic_path(path):
        raise OSError(28, "No space left on device")
    assert caught.value.path == path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file/a.txt", "folder", "n" * 300])
def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path, where):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError):
        write_text(tmp_path / where, "text")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from core.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert done.returncode == -9
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.fixture
def on_disk(monkeypatch):
    """What is asked of the disk, in order: ("sync", name) and ("name", old, new)."""
    asked = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle):
        asked.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def watched_replace(path, target):
        asked.append(("name", path.name, Path(target).name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    return asked


def test_a_file_is_on_the_disk_before_it_takes_the_name_and_the_name_after(tmp_path, on_disk):
    with atomic_path(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert on_disk == [("sync", part.name), ("name", part.name, "a.txt"), ("sync", tmp_path.name)]


def test_a_folder_is_on_the_disk_with_all_it_holds_before_it_takes_the_name(tmp_path, on_disk):
    part = tmp_path / ".part"
    (part / "in").mkdir(parents=True)
    (part / "in" / "b.bin").write_bytes(b"b")
    publish(part, tmp_path / "graph")
    assert on_disk[-2:] == [("name", ".part", "graph"), ("sync", tmp_path.name)]
    assert sorted(on_disk[:-2]) == [("sync", ".part"), ("sync", "b.bin"), ("sync", "in")]


def test_a_disk_that_fails_late_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fails(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OutputError, match="input/output error"):
        write_text(path, "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_nothing_takes_a_name_past_the_disk():
    """Every file and folder of ours that takes a name does so by `publish`, but for what is moved out of the way."""
    renames = re.compile(r"(?:\bpart|temporary|made|staged)\.(?:replace|rename)\(|os\.(?:replace|rename)\(")
    found = {path.name for path in (ROOT / "core").rglob("*.py") if renames.search(path.read_text(encoding="utf-8"))}
    assert found == {"files.py"}
