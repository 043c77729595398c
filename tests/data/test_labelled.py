"""Labelled pictures as people keep them: tables of many kinds, class folders, and what is wrong with them in words."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from core.data.archive import opened
from core.data.imports import Imported, import_all
from core.data.labelled import label_of, labelled_sets
from core.data.pcam import Split
from core.errors import ImportSourceError
from core.task import PCAM

IDS = ["f8cf", "05d6", "c6bf", "0ecd"]
LABELS = {"f8cf": 1, "05d6": 0, "c6bf": 1, "0ecd": 0}


def picture(name, format="TIFF"):
    """A patch of one colour of its own."""
    with io.BytesIO() as file:
        Image.new("RGB", (96, 96), tuple(name.encode()[:3])).save(file, format)
        return file.getvalue()


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    """A function that makes a folder or a zip of some files, called `mine`."""

    def write(files):
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            return tmp_path / "mine.zip"
        for name, data in files.items():
            path = tmp_path / "mine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "mine"

    return write


def sets(path):
    with opened(path) as files:
        return labelled_sets(files, PCAM)


def found(path):
    """Labels by the name without folders and ending, of a source that holds one split."""
    (one,) = sets(path)
    assert [entry.row for entry in one.entries] == list(range(len(one.entries)))
    assert [entry.file for entry in one.entries] == sorted(entry.file for entry in one.entries)
    return {entry.file.split("/")[-1].split(".")[0]: entry.label for entry in one.entries}


def kaggle(table, name="train_labels.csv", **more):
    return {name: table, **{f"train/{one}.tif": picture(one) for one in IDS}, **more}


def lines(header, row, end="\n", ids=IDS):
    return end.join([header, *(row.format(id=one, label=LABELS[one], tf=bool(LABELS[one])) for one in ids), ""])


TABLES = {
    "as Kaggle has it": lines("id,label", "{id},{label}").encode(),
    "semicolons": lines("id;label", "{id};{label}").encode(),
    "semicolons as Excel says them": ("sep=;\r\n" + lines("id;label", "{id};{label}", "\r\n")).encode(),
    "tabs": lines("id\tlabel", "{id}\t{label}").encode(),
    "capitals and spaces": lines(" ID , Label ", "{id} , {label}").encode(),
    "a byte order mark": lines("id,label", "{id},{label}").encode("utf-8-sig"),
    "UTF-16": lines("id\tlabel", "{id}\t{label}", "\r\n").encode("utf-16"),
    "UTF-16 without a mark": lines("id,label", "{id},{label}").encode("utf-16-le"),
    "UTF-16 the other way": lines("id,label", "{id},{label}").encode("utf-16-be"),
    "old Macs": lines("id,label", "{id},{label}", "\r").encode(),
    "quotes": lines('"id","label"', '"{id}","{label}"').encode(),
    "other columns, one of commas": lines("n,label,note,id", '7,{label},"a, b; c",{id}').encode(),
    "file": lines("file,label", "train/{id}.tif,{label}").encode(),
    "filename without the folder": lines("filename,label", "{id}.tif,{label}").encode(),
    "path of Windows": lines("Path,Label", "train\\{id}.tif,{label}").encode(),
    "image beside another id": lines("id,image,label", "9,{id}.tif,{label}").encode(),
    "fractions": lines("id,label", "{id},{label}.0").encode(),
    "true and false": lines("id,label", "{id},{tf}").encode(),
    "empty lines": (lines("id,label", "{id},{label}") + "\n,\n\n").encode(),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_as_people_write_them(write, table):
    assert found(write(kaggle(table))) == LABELS


def test_words_for_labels():
    words = {"Tumour": 1, "tumor": 1, "no tumour": 0, "No_Tumor": 0, "non-tumour": 0, "NORMAL": 0, " 1 ": 1, "2": None}
    assert {word: label_of(word, PCAM) for word in words} == words
    assert label_of("", PCAM) is None


def test_the_kaggle_copy_becomes_the_split_it_names(write, tmp_path):
    form = lines("id,label", "{id},0").encode()
    source = write(kaggle(TABLES["as Kaggle has it"], **{"sample_submission.csv": form, "test/abcd.tif": picture("a")}))
    assert import_all(source, tmp_path / "out", lambda *_: None) == [Imported("train", 4, ())]
    split = Split.open(tmp_path / "out", "train")
    assert split.rows.tolist() == [0, 1, 2, 3]
    assert split.labels.tolist() == [LABELS[one] for one in sorted(IDS)]
    for patch, one in zip(split.patches(slice(None)), sorted(IDS), strict=True):
        np.testing.assert_array_equal(patch[40, 40], list(one.encode()[:3]))


@pytest.mark.parametrize(("name", "split"), [("labels.csv", "mine"), ("val_labels.csv", "valid"), ("a.tsv", "mine")])
def test_a_table_that_names_no_split_leaves_the_name_to_the_source_or_the_person(write, tmp_path, name, split):
    source = write(kaggle(TABLES["as Kaggle has it"], name))
    assert [one.split for one in import_all(source, tmp_path / "out", lambda *_: None)] == [split]
    (named,) = import_all(source, tmp_path / "out", lambda *_: None, split="other")
    assert named.split == "other"


@pytest.mark.parametrize("classes", [("0", "1"), ("no tumour", "tumour"), ("normal", "Tumor"), ("NORMAL", "TUMOUR")])
def test_class_folders(write, classes):
    files = {f"{classes[label]}/deep/{name}.png": picture(name, "PNG") for name, label in LABELS.items()}
    assert found(write(files | {"__MACOSX/0/._f8cf.png": b"left", "0/.DS_Store": b"left"})) == LABELS


def test_class_folders_under_names_of_splits(write, tmp_path):
    files = {f"{split}/{label}/{n}.png": picture(n, "PNG") for split in ("Train", "val") for n, label in LABELS.items()}
    source = write(files)
    assert [one.split for one in sets(source)] == ["train", "valid"]
    with pytest.raises(ImportSourceError, match="more than one split"):
        import_all(source, tmp_path / "out", lambda *_: None, split="mine")


def test_tables_in_folders_make_a_split_each(write):
    table = TABLES["as Kaggle has it"]
    files = {f"{place}/labels.csv": table for place in ("test", "site A")}
    files |= {f"{place}/{one}.tif": picture(one) for place in ("test", "site A") for one in IDS}
    found = sets(write(files))
    assert {one.split: {entry.file.split("/")[0] for entry in one.entries} for one in found} == {
        "test": {"test"},
        "site A": {"site A"},
    }


def test_pictures_of_one_name_are_told_apart_by_the_split_of_the_table(write):
    files = {f"{split}_labels.csv": b"id,label\n0001,1\n0002,0\n" for split in ("train", "valid")}
    files |= {f"{split}/{n}.png": picture(n, "PNG") for split in ("train", "valid") for n in ("0001", "0002")}
    found = sets(write(files))
    assert [one.split for one in found] == ["train", "valid"]
    assert [entry.file for one in found for entry in one.entries] == [
        *("train/0001.png", "train/0002.png", "valid/0001.png", "valid/0002.png")
    ]


FAULTS = {
    "no label": (
        kaggle(b"id,tumor\nf8cf,1\n"),
        r"'train_labels.csv': column 'label' is missing; it has id, tumor; exp",
    ),
    "no file": (kaggle(b"name,label\nf8cf,1\n"), "column 'file' or .*'id' is missing; it has name, label; expected"),
    "label 2": (kaggle(b"id,label\nf8cf,1\n05d6,2\n"), "'train_labels.csv': line 3 has the label '2'"),
    "label empty": (kaggle(b"id,label\nf8cf,\n"), "line 2 has the label ''; labels must be 0 or 1"),
    "no such picture": (kaggle(b"id,label\nffff,1\n"), "'ffff' is missing or not a file"),
    "picture twice": (kaggle(b"id,label\nf8cf,1\nf8cf,0\n"), "names a picture twice: train/f8cf.tif"),
    "two of that name": (
        kaggle(b"id,label\nf8cf,1\n", "labels.csv", **{"test/f8cf.tif": picture("a")}),
        "'f8cf' may be any of test/f8cf.tif, train/f8cf.tif; name the path",
    ),
    "no patch": (kaggle(b"id,label\n"), "names no patch"),
    "a quote left open": (kaggle(b'id,label\n"f8cf,1\n'), "'train_labels.csv': it is not a CSV table"),
    "in Latin-1": (kaggle("id,label,Gerät\nf8cf,1,ä\n".encode("latin-1")), "neither UTF-8 nor UTF-16; save it as"),
    "two tables": (kaggle(b"id,label\n", "a_labels.csv", **{"b_labels.csv": b"id,label\n"}), "names no patch"),
    "two tables of one split": (
        kaggle(TABLES["tabs"], "a_labels.csv", **{"b_labels.csv": TABLES["tabs"]}),
        "more than one table may hold its labels: a_labels.csv, b_labels.csv; keep one",
    ),
    "no labels at all": ({"a.png": picture("a")}, "no labelled pictures; expected is a table of labels .*or folders 0"),
    "a picture in no class": (
        {"0/a.png": picture("a"), "b.png": picture("b")},
        "'b.png' lies in no folder of a class; expected is",
    ),
}


@pytest.mark.parametrize(("files", "reason"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_is_said_with_the_file_and_the_column(write, files, reason):
    with pytest.raises(ImportSourceError, match=reason):
        sets(write(files))


def test_a_source_whose_name_is_no_split_asks_for_one(tmp_path):
    path = tmp_path / "..mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0/a.png", picture("a", "PNG"))
    with pytest.raises(ImportSourceError, match=r"cannot name a split; .*or give --split"):
        import_all(path, tmp_path / "out", lambda *_: None)
    assert [one.split for one in import_all(path, tmp_path / "out", lambda *_: None, split="mine")] == ["mine"]


# Files that failed ------------------------------------------------------------------------------------------------


def test_the_kaggle_case(shared, tmp_path):
    source = shared / "cases" / "kaggle"
    if not source.is_dir():
        pytest.skip("the case is not here")
    assert import_all(source, tmp_path, lambda *_: None) == [Imported("train", 20, ())]
    assert Split.open(tmp_path, "train").labels.sum() == 11
