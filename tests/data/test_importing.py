"""Zips and folders of labelled images become official files, or nothing does."""

import csv
import io
import zipfile
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from core.data import importing
from core.data.importing import MAX_IMAGE_BYTES, find_sources, import_all, import_source
from core.data.pcam import Split, file_of
from core.errors import ImportSourceError, OutputError, SplitFormatError


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


@pytest.mark.parametrize("make", [as_zip, as_folder])
def test_a_source_becomes_an_official_split_in_row_order(tmp_path, members, patches, labels, make):
    source = make(tmp_path / ("train.zip" if make is as_zip else "train"), members)
    seen = []
    name, rows = import_source(source, tmp_path / "out", lambda done, total: seen.append((done, total)))
    order = np.argsort([(7 * i + 3) % 101 for i in range(12)])
    split = Split.open(tmp_path / "out", "train")
    assert name == "train"
    assert rows == sorted((7 * i + 3) % 101 for i in range(12))
    assert seen == [(i, 12) for i in range(1, 13)]
    np.testing.assert_array_equal(split.patches(slice(None)), patches[order])
    assert split.labels.tolist() == labels[order].tolist()


def test_imports_into_one_folder_keep_each_others_rows(tmp_path, members, patches):
    few = {"labels.csv": table([(5, 1, "a.bmp"), (2, 0, "b.bmp")]).encode()}
    few |= {"a.bmp": encode(patches[0], "BMP"), "b.bmp": encode(patches[1], "BMP")}
    as_zip(tmp_path / "one" / "train.zip", members)
    as_folder(tmp_path / "one" / "test", few)
    as_zip(tmp_path / "two" / "valid.zip", few)
    out = tmp_path / "out"
    seen = set()
    assert import_all(tmp_path / "one", out, lambda name, done, total: seen.add((name, total))) == {
        "train": 12,
        "test": 2,
    }
    assert seen == {("train", 12), ("test", 2)}
    assert import_all(tmp_path / "two", out, lambda *_: None) == {"train": 12, "test": 2, "valid": 2}
    assert import_all(tmp_path / "one" / "test", out, lambda *_: None) == {"train": 12, "test": 2, "valid": 2}
    with (out / "rows.csv").open(newline="") as handle:
        listed = list(csv.reader(handle))
    assert listed[0] == ["split", "index", "row"]
    assert len(listed) == 1 + 12 + 2 + 2
    assert ["valid", "1", "5"] in listed
    for name, first in (("train", 3), ("test", 2), ("valid", 2)):
        assert Split.open(out, name).rows[0] == first


def test_sources_are_found_or_their_absence_is_said(tmp_path, members):
    with pytest.raises(ImportSourceError, match="no zip and no folder"):
        find_sources(tmp_path)
    with pytest.raises(ImportSourceError, match="no zip and no folder"):
        find_sources(tmp_path / "nowhere")
    source = as_folder(tmp_path / "train", members)
    assert find_sources(source) == [source]
    assert find_sources(tmp_path) == [source]


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
    "label 2": (labels_csv("row,label,file\n1,2,a.png\n"), "labels must be 0 or 1"),
    "row twice": (labels_csv("row,label,file\n1,0,a.png\n1,0,a.png\n"), "names a row twice"),
    "no rows": (labels_csv("row,label,file\n"), "names no patch"),
    "no such column": (labels_csv("row,label\n1,0\n"), "row,label,file"),
    "not a number": (labels_csv("row,label,file\none,0,a.png\n"), "whole numbers"),
    "not text": (png(**{"labels.csv": b"\xff\xfe\x00"}), "row,label,file"),
    "no table": ({"a.png": b""}, r"labels\.csv"),
}


@pytest.mark.parametrize("make", [as_zip, as_folder])
@pytest.mark.parametrize(("members", "reason"), BAD.values(), ids=BAD)
def test_a_source_with_a_fault_is_refused_and_leaves_nothing(tmp_path, make, members, reason):
    source = make(tmp_path / ("valid.zip" if make is as_zip else "valid"), members)
    with pytest.raises(ImportSourceError, match=reason):
        import_all(source, tmp_path / "out", lambda *_: None)
    assert left_in(tmp_path / "out") == []


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    source = as_folder(tmp_path / "valid", png())
    (tmp_path / "secret.png").write_bytes((source / "a.png").read_bytes())
    (source / "a.png").unlink()
    (source / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImportSourceError, match="lies outside"):
        import_source(source, tmp_path / "out")


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
            import_source(path, tmp_path / "out")
        except ImportSourceError:
            refused += 1
    assert refused > 100
    path.write_bytes(b"PK not a zip")
    with pytest.raises(ImportSourceError, match="not a readable zip"):
        import_source(path, tmp_path / "out")


# Writing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path, members):
    """A folder that holds an earlier import of the split, and what it is made of."""
    source = as_zip(tmp_path / "valid.zip", members)
    import_all(source, tmp_path / "out", lambda *_: None)
    return source, tmp_path / "out", {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_a_disk_that_fills_up_leaves_what_was_there(earlier, monkeypatch):
    source, out, before = earlier
    read, seen = importing._patch, []

    def full_after_three(source, name):
        seen.append(name)
        if len(seen) > 3:
            raise OSError(28, "No space left on device")
        return read(source, name)

    monkeypatch.setattr(importing, "_patch", full_after_three)
    with pytest.raises(OutputError, match=r"(?i)split_valid_x\.h5: no space left"):
        import_all(source, out, lambda *_: None)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_hdf5_failing_as_it_closes_is_an_output_error(earlier, monkeypatch):
    source, out, before = earlier

    class Fails(importing.h5py.File):
        def close(self):
            if self.id.valid:
                super().close()
                raise RuntimeError("Can't decrement id ref count (file write failed)")

    monkeypatch.setattr(importing.h5py, "File", Fails)
    with pytest.raises(OutputError, match="disk is full"):
        import_source(source, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_too_little_room_is_noticed_before_writing(earlier, monkeypatch):
    source, out, before = earlier
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(importing.shutil, "disk_usage", lambda path: usage(10**6, 10**6, 12 * 96 * 96 * 3 - 1))
    with pytest.raises(OutputError, match="no room for 12 patches"):
        import_source(source, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_file_where_the_folder_should_be(tmp_path, members):
    source = as_zip(tmp_path / "valid.zip", members)
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(OutputError):
        import_source(source, tmp_path / "out")


def test_rows_that_cannot_be_read_are_not_thrown_away(earlier):
    source, out, _ = earlier
    (out / "rows.csv").write_text("split;row\nvalid;x\n")
    with pytest.raises(SplitFormatError, match=r"rows\.csv"):
        import_all(source, out, lambda *_: None)
    assert (out / "rows.csv").read_text() == "split;row\nvalid;x\n"


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
