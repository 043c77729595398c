"""Official splits: every layout, every process and thread reads the same pixels; files that lie are refused."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from core.data import pcam
from core.data.pcam import Split, file_of, find_splits, open_patches, split_names
from core.errors import SplitFormatError, SplitNotFoundError
from core.task import PCAM, task_json

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip"])
@pytest.mark.parametrize("indices", [[7, 0, 11, 7, 3, 0], [4, 5, 6], slice(2, 9, 3), slice(9, None), [], np.array([8])])
def test_pixels_come_in_the_order_asked_for(tmp_path, write_split, patches, labels, layout, indices):
    split = Split.open(write_split(tmp_path, patches, labels, layout=layout), "valid")
    expected = patches[np.asarray(indices, dtype=int) if isinstance(indices, list) else indices]
    read = split.patches(indices)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, expected)


def test_labels_length_and_names(split, labels, tmp_path):
    assert split.labels.tolist() == labels.tolist()
    assert len(split) == 12
    assert not split.synthetic
    assert split_names(split.folder) == ["valid"]
    assert find_splits(tmp_path / "none", split.folder) == {"valid": split.folder}


def test_splits_are_listed_in_pcams_order_and_the_first_folder_wins(tmp_path, write_split, patches, labels):
    for name in ("demo", "test", "train"):
        write_split(tmp_path / "a", patches[:2], labels[:2], name)
    write_split(tmp_path / "b", patches[:2], labels[:2], "demo")
    assert split_names(tmp_path / "a") == ["train", "test", "demo"]
    assert find_splits(tmp_path / "a", tmp_path / "b")["demo"] == tmp_path / "a"


@pytest.mark.parametrize(("index", "named"), [(-1, "patch -1 of 12"), (12, "patch 12 of 12")])
def test_an_index_outside_is_named(split, index, named):
    with pytest.raises(IndexError, match=named):
        split.patches([0, index])


def test_masks(tmp_path, write_split, patches, labels, split):
    assert split.masks([0]) is None
    masks = (patches[..., 0] > 128).astype(np.uint8)
    masked = Split.open(write_split(tmp_path / "masked", patches, labels, masks=masks), "valid")
    np.testing.assert_array_equal(masked.masks([5, 1, 5]), masks[[5, 1, 5]])
    white = Split.open(write_split(tmp_path / "white", patches, labels, masks=masks * 255), "valid")
    np.testing.assert_array_equal(white.masks([5, 1, 5]), masks[[5, 1, 5]])


def test_masks_of_another_length_are_refused(tmp_path, write_split, patches, labels):
    folder = write_split(tmp_path, patches, labels, masks=np.zeros((11, 96, 96), np.uint8))
    with pytest.raises(SplitFormatError, match="11 rows where 12"):
        Split.open(folder, "valid").masks([0])


# Tables beside the files ------------------------------------------------------------------------------------------


def test_official_rows_and_slides(split):
    (split.folder / "rows.csv").write_text(
        "split,index,row\n" + "test,0,99\n" + "".join(f"valid,{i},{i * i + 5}\n" for i in range(12))
    )
    file_of(split.folder, "valid", "meta.csv").write_text(
        "coord_x,coord_y,tumor_patch,center_tumor_patch,wsi\n"
        + "".join(f"1,2,True,False,slide_{i // 5}\n" for i in range(12))
    )
    again = Split.open(split.folder, "valid")
    assert again.rows.tolist() == [i * i + 5 for i in range(12)]
    assert again.title(9) == "patch 9, row 86"  # whose row, nobody knows of an import
    assert again.index_of_row(86) == 9
    assert again.index_of_row(87) is None
    assert again.index_of_row(1000) is None
    assert again.slides.tolist() == ["slide_0"] * 5 + ["slide_1"] * 5 + ["slide_2"] * 2
    assert again.fingerprint() != split.fingerprint()


@pytest.fixture
def add_rows(tmp_path, write_split, patches, labels):
    """A function that writes a split with row numbers in its x file and returns the folder."""

    def add(rows, **how):
        folder = write_split(tmp_path / "numbered", patches, labels)
        with h5py.File(file_of(folder, "valid", "x.h5"), "a") as file:
            if isinstance(rows, h5py.ExternalLink):
                file["row"] = rows
            else:
                file.create_dataset("row", data=rows, **how)
        return folder

    return add


def test_row_numbers_in_the_x_file_count_for_more_than_a_table(add_rows):
    folder = add_rows(np.arange(12) * 3 + 1)
    (folder / "rows.csv").write_text("split,index,row\nvalid,0,99\n")
    assert Split.open(folder, "valid").rows.tolist() == [i * 3 + 1 for i in range(12)]


@pytest.mark.parametrize(
    ("rows", "how", "reason"),
    [
        (np.arange(11), {}, "12 increasing whole numbers"),
        (np.arange(12)[::-1], {}, "12 increasing whole numbers"),
        (np.arange(12) / 2, {}, "whole numbers of 64 bits"),
        (np.arange(12)[:, None], {}, "whole numbers of 64 bits"),
        (np.arange(12), {"chunks": (4,), "compression": "gzip"}, "in one piece"),
        (h5py.ExternalLink("other.h5", "row"), {}, "whole numbers of 64 bits"),
    ],
)
def test_row_numbers_that_do_not_fit_are_refused(add_rows, rows, how, reason):
    folder = add_rows(rows, **how)
    with pytest.raises(SplitFormatError, match=reason):
        Split.open(folder, "valid")


def test_rows_of_other_splits_leave_this_one_numbered_by_position(split):
    (split.folder / "rows.csv").write_text("split,index,row\ntest,0,99\n")
    assert Split.open(split.folder, "valid").rows.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("rows.csv", "split,index,row\nvalid,0,4\n", "12 increasing whole numbers"),
        ("rows.csv", "split,index,row\n" + "".join(f"valid,{i},{-i}\n" for i in range(12)), "12 increasing"),
        ("rows.csv", "split,index,row\n" + "".join(f"valid,{i},{i}.5\n" for i in range(12)), "12 increasing"),
        ("rows.csv", "split,index\nvalid,0\n", "'row' is missing"),
        ("rows.csv", "", "not a CSV table"),
        ("camelyonpatch_level_2_split_valid_meta.csv", "wsi\na\nb\n", "2 rows for 12 patches"),
        ("camelyonpatch_level_2_split_valid_meta.csv", "slide\n" + "a\n" * 12, "'wsi' is missing"),
    ],
)
def test_tables_that_do_not_fit_are_refused(split, name, text, reason):
    (split.folder / name).write_text(text)
    with pytest.raises(SplitFormatError, match=reason):
        Split.open(split.folder, "valid")


# Processes and threads --------------------------------------------------------------------------------------------


def _child(split, expected, seed):
    draw = np.random.default_rng(seed)
    for _ in range(40):
        indices = draw.integers(0, len(expected), 5)
        if not np.array_equal(split.patches(indices), expected[indices]):
            os._exit(1)
    # with a handle of its own, since those of the parent do not survive a fork everywhere
    owner = pcam._handles[file_of(split.folder, "valid", "x.h5")][0]
    os._exit(0 if owner == os.getpid() else 2)


def test_children_of_a_fork_read_while_the_parent_reads(split, patches):
    split.patches([0])  # the handle is open when the children are made
    stop, wrong = threading.Event(), []

    def keep_reading():
        while not stop.is_set():
            if not np.array_equal(split.patches([3, 9]), patches[[3, 9]]):
                wrong.append("parent")

    reader = threading.Thread(target=keep_reading)
    reader.start()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(split, patches, seed)) for seed in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        if child.exitcode is None:
            child.kill()
    stop.set()
    reader.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert wrong == []


def test_a_pickled_split_reads_in_a_fresh_process(split, patches):
    split.patches([0])
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(s.patches([5, 2]).tobytes())"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(split), capture_output=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == patches[[5, 2]].tobytes()


def test_eight_threads_read_what_they_asked_for(split, patches):
    draws = np.random.default_rng(0).integers(0, 12, (200, 3))
    with ThreadPoolExecutor(8) as pool:
        for indices, read in zip(draws, pool.map(split.patches, draws), strict=True):
            np.testing.assert_array_equal(read, patches[indices])


def test_a_page_of_a_large_split_stays_small_in_memory(tmp_path):
    count, last = 32_768, np.full((96, 96, 3), 9, np.uint8)
    with h5py.File(file_of(tmp_path, "valid", "x.h5"), "w") as file:
        x = file.create_dataset("x", (count, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3), compression="gzip")
        x[count - 1] = last  # all other chunks are never written: the file is small, the split is 906 MB
    with h5py.File(file_of(tmp_path, "valid", "y.h5"), "w") as file:
        file.create_dataset("y", (count, 1, 1, 1), np.uint8)
    tracemalloc.start()
    try:
        split = Split.open(tmp_path, "valid")
        page = split.patches(np.linspace(0, count - 1, 48).astype(int))
        consecutive = split.patches(slice(count - 48, count))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(page[-1], last)
    np.testing.assert_array_equal(consecutive[-1], last)
    assert 2 * page.nbytes <= peak < 20 * 2**20


# Files that change ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True], ids=["swapped", "rewritten in place"])
def test_a_replaced_file_is_noticed_and_read_anew(tmp_path, write_split, patches, labels, in_place):
    folder = write_split(tmp_path / "old", patches, labels)
    other = write_split(tmp_path / "new", patches[::-1][:11], labels[:11] ^ 1)
    split = Split.open(folder, "valid")
    split.patches([0])
    for kind in ("x.h5", "y.h5"):
        new, old = file_of(other, "valid", kind), file_of(folder, "valid", kind)
        if in_place:
            old.write_bytes(new.read_bytes())
        else:
            shutil.move(new, old)
    with pytest.raises(SplitFormatError, match="replaced while open"):
        split.patches([0])
    again = Split.open(folder, "valid")
    assert again.labels.tolist() == (labels[:11] ^ 1).tolist()
    np.testing.assert_array_equal(again.patches(slice(None)), patches[::-1][:11])


def test_a_file_that_is_open_is_held_to_the_task_of_its_folder(split):
    (split.folder / "task.json").write_text(task_json(PCAM.model_copy(update={"side": 64, "label_region": None})))
    with pytest.raises(SplitFormatError, match="expected uint8 N x 64 x 64 x 3"):
        Split.open(split.folder, "valid")


def test_a_deleted_file_is_noticed(split):
    file_of(split.folder, "valid", "x.h5").unlink()
    with pytest.raises(SplitFormatError, match="no longer there"):
        split.patches([0])


def test_fingerprint_tells_labels_pixels_and_names_apart_but_not_layouts(tmp_path, write_split, patches, labels):
    def fingerprint(number, patches, labels, name="valid", layout="contiguous"):
        return Split.open(write_split(tmp_path / str(number), patches, labels, name, layout), name).fingerprint()

    flipped, dot = labels.copy(), patches.copy()
    flipped[3] ^= 1
    dot[11, 95, 95, 2] ^= 1
    first = fingerprint(0, patches, labels)
    assert fingerprint(1, patches, labels, layout="gzip") == first
    others = [
        fingerprint(2, patches, flipped),
        fingerprint(3, dot, labels),
        fingerprint(4, patches, labels, "test"),
        fingerprint(5, patches[:11], labels[:11]),
    ]
    assert len({first, *others}) == 5


# Files that are refused -------------------------------------------------------------------------------------------


def _x(path, write):
    with h5py.File(path, "w") as file:
        write(file)


def _external_storage(file):
    raw = Path(file.filename).with_name("secret.raw")
    raw.write_bytes(bytes(12 * 96 * 96 * 3))
    file.create_dataset("x", (12, 96, 96, 3), np.uint8, external=[(raw.name, 0, h5py.h5f.UNLIMITED)])


def _virtual(file):
    layout = h5py.VirtualLayout((12, 96, 96, 3), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "x", (12, 96, 96, 3))
    file.create_virtual_dataset("x", layout)


def _soft(file):
    file["hidden"] = np.zeros((12, 96, 96, 3), np.uint8)
    file["x"] = h5py.SoftLink("/hidden")


def _external_link(file):
    other = Path(file.filename).with_name("other.h5")
    _x(other, lambda other_file: other_file.create_dataset("x", data=np.zeros((12, 96, 96, 3), np.uint8)))
    file["x"] = h5py.ExternalLink(other.name, "x")


REFUSED = {
    "external link": (_external_link, "is a link"),
    "soft link": (_soft, "is a link"),
    "virtual": (_virtual, "in other files"),
    "external storage": (_external_storage, "in other files"),
    "other name": (lambda f: f.create_dataset("X", data=np.zeros((12, 96, 96, 3), np.uint8)), "missing"),
    "group": (lambda f: f.create_group("x"), "not a dataset"),
    "16 bit": (lambda f: f.create_dataset("x", (12, 96, 96, 3), np.uint16), "uint16"),
    "float": (lambda f: f.create_dataset("x", (12, 96, 96, 3), np.float32), "float32"),
    "objects": (lambda f: f.create_dataset("x", (12, 96, 96, 3), h5py.vlen_dtype(np.uint8)), "object"),
    "channels first": (lambda f: f.create_dataset("x", (12, 3, 96, 96), np.uint8), "expected uint8 N x 96 x 96 x 3"),
    "larger patches": (lambda f: f.create_dataset("x", (12, 97, 96, 3), np.uint8), "97"),
    "one patch without axis": (lambda f: f.create_dataset("x", (96, 96, 3), np.uint8), "expected"),
    "scalar": (lambda f: f.create_dataset("x", data=np.uint8(3)), "expected"),
    "no value": (lambda f: f.create_dataset("x", data=h5py.Empty("u1")), "expected"),
    "no patch": (lambda f: f.create_dataset("x", (0, 96, 96, 3), np.uint8), "expected"),
    "more patches than labels": (lambda f: f.create_dataset("x", (13, 96, 96, 3), np.uint8), "13 patches but 12"),
}


@pytest.mark.parametrize(("write", "reason"), REFUSED.values(), ids=REFUSED)
def test_other_layouts_and_files_that_point_elsewhere_are_refused(split, write, reason):
    path = file_of(split.folder, "valid", "x.h5")
    path.unlink()
    _x(path, write)
    with pytest.raises(SplitFormatError, match=reason):
        Split.open(split.folder, "valid")


@pytest.mark.parametrize("kind", ["x.h5", "y.h5"])
@pytest.mark.parametrize("content", [b"", b"row,label\n1,0\n", None], ids=["empty", "text", "truncated"])
def test_damaged_files_are_refused(split, kind, content):
    path = file_of(split.folder, "valid", kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(SplitFormatError, match="not an HDF5 file, or it is damaged"):
        Split.open(split.folder, "valid")


def test_damage_inside_the_pixels_is_an_error_and_not_a_wrong_patch(split, patches):
    path = file_of(split.folder, "valid", "x.h5")
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info(1)  # patches 4 to 7
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(bytes(1000))
    damaged = Split.open(split.folder, "valid")
    np.testing.assert_array_equal(damaged.patches([1, 8]), patches[[1, 8]])
    with pytest.raises(SplitFormatError, match="data are damaged"):
        damaged.patches([1, 5, 8])


def test_labels_are_zero_or_one_and_not_a_link(tmp_path, write_split, patches, labels):
    two = write_split(tmp_path / "two", patches, labels * 2)
    with pytest.raises(SplitFormatError, match="labels must be 0 or 1"):
        Split.open(two, "valid")
    linked = write_split(tmp_path / "linked", patches, labels)
    path = file_of(linked, "valid", "y.h5")
    _x(path, lambda file: file.__setitem__("y", h5py.ExternalLink(str(file_of(two, "valid", "y.h5")), "y")))
    with pytest.raises(SplitFormatError, match="is a link"):
        Split.open(linked, "valid")


def test_missing_files_name_what_is_there(split, tmp_path):
    with pytest.raises(SplitNotFoundError, match="it holds valid"):
        Split.open(split.folder, "test")
    with pytest.raises(SplitNotFoundError, match="it holds none"):
        Split.open(tmp_path / "nowhere", "test")


@pytest.mark.parametrize("kind", ["x.h5", "y.h5"])
def test_half_a_split_is_not_offered_and_the_missing_file_is_named(split, kind):
    path = file_of(split.folder, "valid", kind)
    path.unlink()
    assert split_names(split.folder) == []
    assert find_splits(split.folder) == {}
    with pytest.raises(SplitNotFoundError, match=f"No split 'valid' in .*: {path.name} is missing") as caught:
        Split.open(split.folder, "valid")
    assert caught.value.missing == path.name


def test_open_patches_checks_a_file_by_itself(split, patches, tmp_path):
    np.testing.assert_array_equal(open_patches(file_of(split.folder, "valid", "x.h5"))[2:4], patches[2:4])
    with pytest.raises(SplitFormatError, match="no longer there"):
        open_patches(tmp_path / "none.h5")
