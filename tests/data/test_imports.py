"""Zips and folders of labelled images become official files, or nothing does."""

import csv
import io
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from core.data import imports
from core.data.imports import MAX_IMAGE_BYTES, Imported, find_sources, import_all
from core.data.pcam import Split, file_of, split_names
from core.errors import ImportSourceError, OutputError, SplitNotFoundError
from core.task import PCAM

ROOT = Path(__file__).resolve().parents[2]


def encode(pixels, format="PNG"):
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, format)
        return file.getvalue()


def table(entries):
    return "row,label,file\n" + "".join(f"{row},{label},{file}\n" for row, label, file in entries)


@pytest.fixture
def members(patches, labels):
    """Twelve patches under scattered row numbers, listed in no order."""
    rows = [(7 * i + 3) % 101 for i in range(12)]
    files = {f"images/{row:07d}.png": encode(patches[i]) for i, row in enumerate(rows)}
    listed = [(row, labels[i], f"images/{row:07d}.png") for i, row in enumerate(rows)]
    return {"labels.csv": table(listed).encode(), **files}


def as_zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def as_folder(path, members):
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def take(source, out, **how):
    """Import without watching."""
    return import_all(source, out, lambda *_: None, **how)


@pytest.mark.parametrize("make", [as_zip, as_folder])
def test_a_source_becomes_an_official_split_in_row_order(tmp_path, members, patches, labels, make):
    source = make(tmp_path / ("train.zip" if make is as_zip else "train"), members)
    seen = []
    found = import_all(source, tmp_path / "out", lambda *now: seen.append(now))
    order = np.argsort([(7 * i + 3) % 101 for i in range(12)])
    split = Split.open(tmp_path / "out", "train")
    assert found == [Imported("train", 12, ())]
    assert split.rows.tolist() == sorted((7 * i + 3) % 101 for i in range(12))
    assert seen == [("train", i, 12) for i in range(1, 13)]
    np.testing.assert_array_equal(split.patches(slice(None)), patches[order])
    assert split.labels.tolist() == labels[order].tolist()
    assert left_in(tmp_path / "out") == [f"camelyonpatch_level_2_split_train_{kind}.h5" for kind in "xy"]


def test_imports_into_one_folder_leave_each_other_alone(tmp_path, members, patches):
    few = {"labels.csv": table([(5, 1, "a.bmp"), (2, 0, "b.bmp")]).encode()}
    few |= {"a.bmp": encode(patches[0], "BMP"), "b.bmp": encode(patches[1], "BMP")}
    as_zip(tmp_path / "one" / "train.zip", members)
    as_folder(tmp_path / "one" / "test", few)
    as_zip(tmp_path / "two" / "valid.zip", few)
    out = tmp_path / "out"
    assert take(tmp_path / "one", out) == [Imported("train", 12, ()), Imported("test", 2, ())]
    assert take(tmp_path / "two", out) == [Imported("valid", 2, ())]
    assert take(tmp_path / "one" / "test", out) == [Imported("test", 2, ())]
    for name, first in (("train", 3), ("test", 2), ("valid", 2)):
        assert Split.open(out, name).rows[0] == first


def test_sources_are_found_or_their_absence_is_said(tmp_path, members):
    with pytest.raises(ImportSourceError, match="no zip and no labelled pictures; expected is a table of labels"):
        find_sources(tmp_path, PCAM)
    with pytest.raises(ImportSourceError, match="no zip and no folder of that name"):
        find_sources(tmp_path / "nowhere", PCAM)
    source = as_folder(tmp_path / "train", members)
    assert find_sources(source, PCAM) == [source]
    assert find_sources(tmp_path, PCAM) == [tmp_path]
    archive = as_zip(tmp_path / "other.zip", members)
    as_zip(tmp_path / "._other.zip", {})
    assert find_sources(tmp_path, PCAM) == [archive, tmp_path]
    assert find_sources(archive, PCAM) == [archive]


def test_zips_beside_tables_of_something_else_are_all_that_is_imported(tmp_path, members):
    archive = as_zip(tmp_path / "valid.zip", members)
    as_folder(tmp_path, {"rows.csv": b"split,row\nvalid,1\n", "seen.png": b"no"})
    assert find_sources(tmp_path, PCAM) == [archive]


def test_two_sources_of_one_split_are_refused(tmp_path, members):
    as_zip(tmp_path / "valid.zip", members)
    as_folder(tmp_path / "valid", members)
    with pytest.raises(ImportSourceError, match="'valid' was imported from another source"):
        take(tmp_path, tmp_path / "out")


def png(**changes):
    return {"labels.csv": table([(1, 0, "a.png")]).encode(), "a.png": encode(np.zeros((96, 96, 3), np.uint8))} | changes


def labels_csv(text):
    return png(**{"labels.csv": text.encode()})


BAD = {
    "missing image": (labels_csv("row,label,file\n1,0,b.png\n"), "'b.png' is missing"),
    "damaged image": (png(**{"a.png": encode(np.zeros((96, 96, 3), np.uint8))[:-40]}), "'a.png': .*damaged"),
    "not an image": (png(**{"a.png": b"hello"}), "'a.png': .*not a PNG"),
    "another size": (png(**{"a.png": encode(np.zeros((97, 96, 3), np.uint8))}), "got 96 x 97"),
    "huge member": (png(**{"a.png": bytes(MAX_IMAGE_BYTES + 1)}), "larger than"),
    "climbing name": (labels_csv("row,label,file\n1,0,../a.png\n"), r"'\.\./a\.png' lies outside"),
    "absolute name": (labels_csv("row,label,file\n1,0,/etc/hostname\n"), "lies outside"),
    "label 2": (labels_csv("row,label,file\n1,2,a.png\n"), "line 2 has the label '2'; labels must be 0 or 1"),
    "row twice": (labels_csv("row,label,file\n1,0,a.png\n1,0,a.png\n"), "names a row twice: 1"),
    "no rows": (labels_csv("row,label,file\n"), "names no patch"),
    "no such column": (
        labels_csv("row,label\n1,0\n"),
        "'labels.csv': column 'file' or .* is missing; it has row, label;",
    ),
    "no label": (labels_csv("row,file\n1,a.png\n"), "'labels.csv': column 'label' is missing; .* expected is a table"),
    "not a number": (labels_csv("row,label,file\none,0,a.png\n"), "line 2 has the row 'one'; .* whole numbers"),
    "not text": (png(**{"labels.csv": b"\xff\xfe\x00"}), "neither UTF-8 nor UTF-16"),
    "no table": ({"a.png": b""}, "no labelled pictures; expected is"),
}


@pytest.mark.parametrize("make", [as_zip, as_folder])
@pytest.mark.parametrize(("members", "reason"), BAD.values(), ids=BAD)
def test_a_source_with_a_fault_is_refused_and_leaves_nothing(tmp_path, make, members, reason):
    source = make(tmp_path / ("valid.zip" if make is as_zip else "valid"), members)
    with pytest.raises(ImportSourceError, match=reason):
        take(source, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    source = as_folder(tmp_path / "valid", png())
    (tmp_path / "secret.png").write_bytes((source / "a.png").read_bytes())
    (source / "a.png").unlink()
    (source / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImportSourceError, match="link to a file outside"):
        take(source, tmp_path / "out")


def test_zips_damaged_anywhere_are_refused_in_our_words(tmp_path, patches):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.csv", table([(1, 0, "a.bmp"), (2, 1, "b.bmp")]))
        archive.writestr("a.bmp", encode(patches[0] // 64 * 64, "BMP"))
        archive.writestr("b.bmp", encode(patches[1] // 64 * 64, "BMP"))
    generator, path, refused = np.random.default_rng(0), tmp_path / "valid.zip", 0
    for _ in range(150):
        data = np.frombuffer(whole.getvalue(), np.uint8).copy()
        for position in generator.integers(0, len(data), 4):
            data[position] = generator.integers(256)
        path.write_bytes(data[: generator.integers(len(data) // 2, 2 * len(data))].tobytes())
        try:
            take(path, tmp_path / "out")
        except ImportSourceError:
            refused += 1
    assert refused > 100
    path.write_bytes(b"PK not a zip")
    with pytest.raises(ImportSourceError, match="not a readable zip"):
        take(path, tmp_path / "out")


# Writing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path, members):
    """A folder that holds an earlier import of the split, and what it is made of."""
    source = as_zip(tmp_path / "valid.zip", members)
    take(source, tmp_path / "out")
    return source, tmp_path / "out", {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_a_disk_that_fills_up_leaves_what_was_there(earlier, monkeypatch):
    source, out, before = earlier
    read, seen = imports._read, []

    def full_after_three(files, name, um_per_px, task):
        seen.append(name)
        if len(seen) > 3:
            raise OSError(28, "No space left on device")
        return read(files, name, um_per_px, task)

    monkeypatch.setattr(imports, "_read", full_after_three)
    with pytest.raises(OutputError, match=r"(?i)split_valid_x\.h5: no space left"):
        take(source, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_hdf5_failing_as_it_closes_is_an_output_error(earlier, monkeypatch):
    source, out, before = earlier

    class Fails(h5py.File):
        def close(self):
            if self.id.valid:
                super().close()
                raise RuntimeError("Can't decrement id ref count (file write failed)")

    monkeypatch.setattr(h5py, "File", Fails)
    with pytest.raises(OutputError, match="disk is full"):
        take(source, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_too_little_room_is_noticed_before_writing(earlier, monkeypatch):
    source, out, before = earlier
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6, 12 * 96 * 96 * 3 - 1))
    with pytest.raises(OutputError, match="no room for 12 patches"):
        take(source, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_file_where_the_folder_should_be(tmp_path, members):
    source = as_zip(tmp_path / "valid.zip", members)
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(OutputError):
        take(source, tmp_path / "out")


def other(members):
    """The same rows with other labels and other pixels, the picture of one row left out."""
    flipped = {name: data for name, data in members.items() if name != "images/0000003.png"}
    black = encode(np.zeros((96, 96, 3), np.uint8))
    flipped = {name: black if name.endswith("png") else data for name, data in flipped.items()}
    lines = members["labels.csv"].decode().splitlines()
    kept = [line for line in lines[1:] if not line.startswith("3,")]
    flipped["labels.csv"] = "\n".join([lines[0], *(line.replace(",1,", ",0,") for line in kept)]).encode()
    return flipped


def what(out):
    """What the split 'valid' is: rows, labels and darkness; None when it is not there."""
    if "valid" not in split_names(out):
        return None
    split = Split.open(out, "valid")
    return split.rows.tolist(), split.labels.tolist(), bool(split.patches(slice(None)).max() == 0)


def test_a_damaged_zip_leaves_its_split_and_the_one_before_it_is_whole(tmp_path, members):
    out = tmp_path / "out"
    for name in ("test", "valid"):
        as_zip(tmp_path / "in" / f"{name}.zip", members)
    take(tmp_path / "in", out)
    before = what(out)
    as_zip(tmp_path / "in" / "test.zip", other(members))
    path = tmp_path / "in" / "valid.zip"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImportSourceError, match=r"valid\.zip"):
        take(tmp_path / "in", out)
    assert what(out) == before
    test = Split.open(out, "test")
    assert (len(test), test.labels.sum(), test.patches(slice(None)).max()) == (11, 0, 0)
    assert 3 not in test.rows


@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 11, 12, 13])
def test_a_process_killed_at_any_step_leaves_a_whole_split_or_none(earlier, members, step):
    """Killed before what changes a name: removals (2 to 4, 9, 13), renamings (7, 11), and waiting for the disk."""
    source, out, _ = earlier
    old = what(out)
    as_zip(source, other(members))
    code = (
        "import os, signal, sys; from pathlib import Path; from core.data.imports import import_all\n"
        "left = int(sys.argv[3])\n"
        "def dying(step):\n"
        "    def count(*a, **k):\n"
        "        global left; left -= 1\n"
        "        if not left: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return step(*a, **k)\n"
        "    return count\n"
        "Path.replace, Path.unlink, os.fsync = map(dying, (Path.replace, Path.unlink, os.fsync))\n"
        "import_all(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: None)"
    )
    done = subprocess.run([sys.executable, "-c", code, source, out, str(step)], cwd=ROOT)
    assert done.returncode == -9
    found = what(out)
    new = (old[0][1:], [0] * 11, True)
    assert found in (old, new, None)
    assert found == (old if step < 3 else None if step < 12 else new)
    if found is None:
        with pytest.raises(SplitNotFoundError, match=r"y\.h5 is missing"):
            Split.open(out, "valid")
    take(source, out)
    assert what(out) == new


def test_masks_and_slides_of_other_patches_go_with_them(earlier, members):
    source, out, _ = earlier
    for kind in ("mask.h5", "meta.csv"):
        file_of(out, "valid", kind).write_text("of other patches")
        file_of(out, "test", kind).write_text("not touched")
    take(source, out)
    split = Split.open(out, "valid")
    assert split.masks([0]) is None
    assert split.slides is None
    assert file_of(out, "test", "mask.h5").is_file()


def test_row_numbers_of_an_import_by_an_older_version_are_read(earlier):
    source, out, _ = earlier
    rows = Split.open(out, "valid").rows.tolist()
    with h5py.File(file_of(out, "valid", "x.h5")) as file:
        pixels = file["x"][:]
    file_of(out, "valid", "x.h5").unlink()
    with h5py.File(file_of(out, "valid", "x.h5"), "w") as file:
        file["x"] = pixels
    (out / "rows.csv").write_text("split,index,row\n" + "".join(f"valid,{i},{row}\n" for i, row in enumerate(rows)))
    assert Split.open(out, "valid").rows.tolist() == rows
    take(source, out)
    (out / "rows.csv").write_text("split,index,row\nvalid,0,77\n")
    assert Split.open(out, "valid").rows.tolist() == rows


# Real patches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("valid", 3000), ("test", 1500)])
def test_real_patches_arrive_pixel_by_pixel(shared, pcam_folder, name, count):
    split = Split.open(pcam_folder, name)
    assert len(split) == count
    assert split.labels.sum() == count // 2
    assert file_of(pcam_folder, name, "x.h5").stat().st_size < count * 96 * 96 * 3 * 1.05
    with zipfile.ZipFile(shared / "pcam" / f"{name}.zip") as archive:
        listed = sorted(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())), key=lambda e: int(e["row"]))
        assert split.rows.tolist() == [int(entry["row"]) for entry in listed]
        some = np.arange(0, count, 37)
        for index, patch in zip(some, split.patches(some), strict=True):
            assert int(listed[index]["label"]) == split.labels[index]
            with Image.open(io.BytesIO(archive.read(listed[index]["file"]))) as image:
                np.testing.assert_array_equal(patch, np.asarray(image.convert("RGB")))
