"""Untrusted input of any kind: one sentence of ours, in bounded memory, nothing else read, run or left behind."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import re
import selectors
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from core import cli
from core.errors import ModelNotFoundError, NodeLensError, printable
from core.models.store import bundle_folder
from tests.adversarial.corpus import CASES, EITHER, ONE, PREFIX, READ, family, patch_png

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20  # seconds until a case counts as hung; honest answers take a fraction of one
MEMORY = 500 * 2**20
LIBTIFF = re.compile(
    r"(tempfile\.tif|TIFF\w+|JPEG\w*|Fax\w+|(LZW|ZIP|LogLuv|LERC)\w*): [ -~]*\n"
)  # it speaks for itself

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and opened files are watched the Linux way")


class Watch:
    """Tells whether anybody, HDF5's C library included, opened a file (inotify)."""

    OPENED = 0x01 | 0x02 | 0x20  # IN_ACCESS, IN_MODIFY, IN_OPEN

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self.handle, os.fsencode(path), self.OPENED) >= 0, os.strerror(ctypes.get_errno())

    def touched(self) -> bool:
        try:
            return bool(os.read(self.handle, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.handle)


class Warden:
    """The child process that opens untrusted files, replaced when one of them hangs or kills it."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.stderr = (folder / "stderr").open("a+b")
        self.child: subprocess.Popen[bytes] | None = None

    def ask(self, entry: str, offered: Path, out: Path) -> dict:
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("warden.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )
            self._exchange("ready", Path(), Path(), 60)
        self.stderr.truncate(0)
        answer = self._exchange(entry, offered, out, PATIENCE)
        self.stderr.seek(0)
        return answer | {"stderr": self.stderr.read().decode(errors="replace")}

    def _exchange(self, entry: str, offered: Path, out: Path, seconds: float) -> dict:
        assert self.child is not None
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps({"entry": entry, "offered": str(offered), "out": str(out)}).encode() + b"\n")
        self.child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            line = self.child.stdout.readline() if selector.select(seconds) else b""
        if not line:
            self.stop()
            return {"outcome": "hung or killed", "said": "", "seen": [], "grown": 0}
        return json.loads(line)

    def stop(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None


@pytest.fixture(scope="module")
def warden(tmp_path_factory):
    warden = Warden(tmp_path_factory.mktemp("warden"))
    yield warden
    warden.stop()
    warden.stderr.close()


def everything(folder):
    """Every path below `folder` and its content."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def canary(tmp_path):
    """A file that nobody offers: a patch and a split, so that whoever follows a link to it finds what they want."""
    path = tmp_path / "canary" / "secret"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((4, 96, 96, 3), np.uint8))
        file.create_dataset("y", data=np.zeros((4, 1, 1, 1), np.uint8))
    return path


@pytest.fixture
def check(warden, canary, tmp_path):
    """A function that offers a case and asserts everything that is promised of untrusted input."""

    def check(case):
        inside, out = tmp_path / "in", tmp_path / "out"
        inside.mkdir()
        offered = case.make(inside, canary)
        before, secret = everything(inside), everything(canary.parent)
        with closing(Watch(canary)) as watch:
            answer = warden.ask(case.entry, offered, out)
            assert not watch.touched(), "it opened a file that nobody offered"

        outcome, said = answer["outcome"], answer["said"]
        assert outcome in ("read", "refused"), said or outcome
        if case.expected == READ:
            assert outcome == "read", said
        elif case.expected != EITHER:
            assert outcome == "refused"
            assert re.search(case.expected, said), said
        if outcome == "refused":
            assert 10 < len(said) < 700
            assert all(character.isprintable() for character in said), said
            assert not out.exists() or not list(out.rglob("*"))
        assert answer["grown"] < MEMORY, f"{answer['grown'] / 2**20:.0f} MB"
        assert LIBTIFF.sub("", answer["stderr"]) == ""
        assert everything(inside) == before
        assert everything(canary.parent) == secret
        assert list(warden.temporary.iterdir()) == []
        allowed = (inside, out, warden.temporary)
        for event, name in answer["seen"]:
            assert event in ("open", "os.rename", "os.remove", "os.mkdir"), (event, name)
            assert any(Path(name).is_relative_to(place) for place in allowed), (event, name)
            assert case.entry not in ("picture", "sweep"), (event, name)

    return check


def cases(name):
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in family(name)])


@cases("cut")
def test_files_cut_short(case, check):
    check(case)


@cases("flipped")
def test_files_with_flipped_bits(case, check):
    check(case)


@cases("foreign")
def test_files_of_another_kind(case, check):
    check(case)


@cases("strange")
def test_pictures_of_strange_kinds(case, check):
    check(case)


@cases("bombs")
def test_files_that_are_larger_inside(case, check):
    check(case)


@cases("links")
def test_hdf5_that_points_elsewhere(case, check):
    check(case)


@cases("datasets")
def test_hdf5_of_other_layouts(case, check):
    check(case)


@cases("tables")
def test_tables_beside_a_split(case, check):
    check(case)


@cases("zips")
def test_zips(case, check):
    check(case)


@cases("folders")
def test_folders(case, check):
    check(case)


@cases("bundles")
def test_bundles(case, check):
    check(case)


def test_the_corpus_is_large_and_its_names_are_unique():
    assert len(CASES) >= 200
    assert len({(case.family, case.id) for case in CASES}) == len(CASES)


# The watch itself -------------------------------------------------------------------------------------------------


def test_the_watch_sees_what_a_c_library_opens(canary, tmp_path):
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(canary), "x")
    with closing(Watch(canary)) as watch, h5py.File(tmp_path / "link.h5") as file:
        assert not watch.touched()
        _ = file["x"].shape
        assert watch.touched()


@pytest.mark.parametrize(
    ("body", "event"),
    [
        ("open('/etc/hostname').close()", "open"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import pickle; pickle.loads(b'cos\\nsystem\\n.')", "pickle.find_class"),
        ("import this_module_is_not_there", "import"),
    ],
)
def test_the_warden_sees_what_python_does(body, event):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import warden\n"
        f"sys.addaudithook(warden.watch); warden.armed = True\n"
        f"try:\n    {body}\nexcept Exception: pass\n"
        f"warden.armed = False; print({event!r} in [name for name, _ in warden.seen])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"


def test_the_warden_measures_memory():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import warden\n"
        "warden.forget_peak(); before = warden.memory('VmRSS'); kept = bytearray(300 * 2**20); del kept\n"
        "print(warden.memory('VmHWM') - before > 290 * 2**20)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"


# The command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys, tiny_reader):
    """A function that runs a command in this process, with the tiny model at hand: exit code and stderr."""

    def run(*arguments):
        monkeypatch.setattr("core.inference.load_reader", lambda *_: tiny_reader)
        monkeypatch.setattr(sys, "argv", ["nodelens", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


AT_THE_COMMAND_LINE = [
    case
    for case in CASES
    if (case.family in ("zips", "folders") and case.expected not in (READ, EITHER) and "GB" not in case.id)
    and not any(word in case.id for word in ("2,000,000", "600,000"))
]


@pytest.mark.parametrize("case", AT_THE_COMMAND_LINE, ids=[case.id for case in AT_THE_COMMAND_LINE])
def test_commands_refuse_in_one_line(case, run, tmp_path, canary):
    (tmp_path / "in").mkdir()
    offered = case.make(tmp_path / "in", canary)
    command = ["score", offered, "--out", tmp_path / "out" / "scores.csv"]
    code, said = run(*(command if case.entry == "score" else ["data", "import", offered, "--out", tmp_path / "out"]))
    assert code == 2
    assert said.startswith("nodelens: ")
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert not [path for path in tmp_path.joinpath("out").rglob("*") if path.is_file()]


NAMES = {
    "ordinary-1_a.png": "ordinary-1_a",
    "two\nlines.png": r"two\nlines",
    'quo"te,comma;.png': 'quo"te,comma;',
    "🧬👩‍🔬.png": "🧬👩‍🔬",
    "\u202egnp.exe.png": r"\u202egnp.exe",
    "\x1b[31mred\x07.png": r"\x1b[31mred\x07",
    "=HYPERLINK(1).png": "'=HYPERLINK(1)",
    "+1.png": "'+1",
    "-1.png": "'-1",
    "@SUM(A1).png": "'@SUM(A1)",
    "\t=1.png": r"\t=1",
    "a=1.png": "a=1",
    os.fsdecode(b"\xff.png"): r"\udcff",
}


def test_untrusted_names_are_ids_that_neither_steer_nor_compute(run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(patch_png())
    assert run("score", folder, "--out", tmp_path / "scores.csv") == (0, "")
    text = (tmp_path / "scores.csv").read_text(encoding="utf-8")
    assert text.count("\n") == len(NAMES) + 1
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as handle:
        ids = [row["id"] for row in csv.DictReader(handle)]
    assert sorted(ids) == sorted(NAMES.values())


def test_a_refusal_names_an_untrusted_file_without_obeying_it(run, tmp_path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x1b[2J\r\nok.png", b"no")
        archive.writestr("fine.png", patch_png())
    code, said = run("score", path, "--out", tmp_path / "scores.csv")
    assert code == 0
    assert r"1 of 2 refused; first: \x1b[2J\r\nok: The file" in said
    assert said.count("\n") == 1


def test_an_import_that_fails_half_way_leaves_the_earlier_split(run, tmp_path):
    source, out = tmp_path / "valid.zip", tmp_path / "out"
    for table, expected in ((ONE["labels.csv"], 0), (ONE["labels.csv"] + b"1,0,gone.png\n", 2)):
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("labels.csv", table)
            archive.writestr("a.png", ONE["a.png"])
        assert run("data", "import", source, "--out", out)[0] == expected
        if not expected:
            whole = everything(out)
    assert everything(out) == whole
    assert {path.name for path in whole} == {f"{PREFIX}x.h5", f"{PREFIX}y.h5"}


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["densenet169/../../etc", "../../../etc/passwd", "/etc", "\x1b[2J\n", "a" * 5000, "\ud800"]
)
def test_a_model_name_leads_nowhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError) as caught:
        bundle_folder(name, ROOT / "models")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain text, with µ, 細胞 and ’", "plain text, with µ, 細胞 and ’"),
        ("a\nb\rc\td\0e\x7f\x9b", r"a\nb\rc\td\x00e\x7f\x9b"),
        ("\u202eabc\u2066\u200f\ufeff\u2028", r"\u202eabc\u2066\u200f\ufeff\u2028"),
        ("\ud800", r"\ud800"),
        ("👩‍🔬", "👩‍🔬"),
        ("", ""),
    ],
)
def test_text_that_steers_is_written_out(text, printed):
    assert printable(text) == printed
    assert str(NodeLensError(text)) == printed


def test_long_messages_are_cut_in_the_middle():
    said = str(NodeLensError("begin" + "x" * 10_000 + "end"))
    assert len(said) < 700
    assert said.startswith("begin")
    assert said.endswith("end")
    assert " ... " in said
