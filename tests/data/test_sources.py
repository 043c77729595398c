"""What a command line may name: folders, images, zips and HDF5 files, streamed in order."""

import io
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from core.data import sources
from core.data.pcam import file_of
from core.data.sources import check_inputs, count_items, items
from core.errors import ImportSourceError, OtherTaskError, PixelSizeError, SplitFormatError
from core.task import PCAM


def encode(pixels, format="PNG"):
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, format)
        return file.getvalue()


@pytest.fixture
def inputs(tmp_path, patches, write_split, labels):
    """A folder, a zip, an image and an HDF5 file; the folder and the zip hold one bad image each."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in (
        ("b.png", encode(patches[1])),
        ("a.TIF", encode(patches[0], "TIFF")),
        ("c.jpg", b"no image"),
        ("notes.txt", b"not counted"),
    ):
        (folder / name).write_bytes(data)
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("deep/z.png", encode(patches[2]))
        file.writestr("deep/small.png", encode(patches[2][:50]))
        file.writestr("labels.csv", "row,label,file\n")
    image = tmp_path / "one.bmp"
    image.write_bytes(encode(patches[3], "BMP"))
    split = write_split(tmp_path / "split", patches, labels)
    return [folder, archive, image, file_of(split, "valid", "x.h5")]


def test_everything_arrives_in_order_and_bad_images_are_refused_alone(inputs, patches, monkeypatch):
    monkeypatch.setattr(sources, "READ_AHEAD", 5)
    found = list(items(check_inputs(inputs)))
    assert [item.id for item in found] == ["a", "b", "c", "deep/small", "deep/z", "one", *map(str, range(12))]
    expected = {0: 0, 1: 1, 4: 2, 5: 3} | {6 + i: i for i in range(12)}
    for position, item in enumerate(found):
        if position in expected:
            np.testing.assert_array_equal(item.patch, patches[expected[position]])
            assert item.refusal is None
        else:
            assert item.patch is None
    assert "not a PNG" in str(found[2].refusal)
    assert "96 x 50" in str(found[3].refusal)
    assert count_items(inputs) == len(found)


def alike(folder, patches):
    """Two pictures of one name in two folders, one at the top, and what computers leave behind."""
    members = {f"{place}patch_0.png": encode(patches[i]) for i, place in enumerate(("", "normal/", "tumour/"))}
    left = ("._patch_0.png", "normal/._patch_0.png", "__MACOSX/normal/._patch_0.png", "tumour/Thumbs.db", ".DS_Store")
    members |= dict.fromkeys((*left, ".hidden/patch_0.png"), b"left behind")
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
            path = folder / "some" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return folder / "some", folder / "some.zip"


def test_folders_and_zips_are_read_alike_by_the_path_inside(tmp_path, patches):
    for path in alike(tmp_path, patches):
        found = list(items(check_inputs([path])))
        assert [item.id for item in found] == ["normal/patch_0", "patch_0", "tumour/patch_0"]
        for item, patch in zip(found, patches[[1, 0, 2]], strict=True):
            np.testing.assert_array_equal(item.patch, patch)
        assert count_items([path]) == 3


def test_inputs_that_share_an_id_are_told_apart_by_their_names(tmp_path, patches):
    folder, archive = alike(tmp_path, patches)
    found = [item.id for item in items(check_inputs([folder, archive, folder]))]
    assert found[:4] == ["some/normal/patch_0", "some/patch_0", "some/tumour/patch_0", "some.zip/normal/patch_0"]
    assert len(found) == len(set(found)) == 6


def test_inputs_of_one_name_are_told_apart_by_their_paths(tmp_path, patches, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, patch in zip("ab", patches, strict=False):
        Path(name).mkdir()
        Path(name, "tile.tif").write_bytes(encode(patch, "TIFF"))
    paths = [Path("a/tile.tif"), Path("b/tile.tif")]
    assert [item.id for item in items(check_inputs(paths))] == ["a/tile.tif", "b/tile.tif"]
    assert [item.id for item in items(check_inputs([Path("a"), Path("b")]))] == ["a/tile", "b/tile"]


def test_files_that_differ_in_their_ending_keep_it(tmp_path, patches):
    for name in ("x.png", "x.bmp", "y.png.bmp", "y.png", "z.png"):
        (tmp_path / name).write_bytes(encode(patches[0], "PNG"))
    assert [item.id for item in items([tmp_path])] == ["x.bmp", "x.png", "y", "y.png.bmp", "z"]


def test_notes_come_with_the_item_and_changes_are_told_from_the_pixel_size(tmp_path, patches):
    large = Image.fromarray(patches[0].repeat(2, axis=0).repeat(2, axis=1))
    large.save(tmp_path / "large.png")
    Image.fromarray(patches[0]).save(tmp_path / "plain.png")
    refused, plain = items([tmp_path])
    assert "192 x 192" in str(refused.refusal)
    assert plain.notes == ("The file gives no usable pixel size; 0.97 um is assumed.",)
    assert plain.changes == ()
    reduced = next(items([tmp_path / "large.png"], 0.485))
    np.testing.assert_array_equal(reduced.patch, patches[0])
    assert "The reader gave a pixel size of 0.485 um." in reduced.notes
    (change,) = reduced.changes
    assert change.startswith("Reduced from 192 x 192 to 96 x 96")


def test_a_pixel_size_that_cannot_be_is_refused_before_anything_is_read(inputs):
    with pytest.raises(PixelSizeError):
        check_inputs(inputs[:1], 97)
    with pytest.raises(ImportSourceError, match="leave --um-per-px out"):
        check_inputs(inputs, 0.97)


def test_items_are_read_one_by_one(inputs, patches):
    stream = items(inputs)
    assert next(stream).id == "a"
    (inputs[0] / "b.png").write_bytes(encode(patches[9]))
    np.testing.assert_array_equal(next(stream).patch, patches[9])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("none.png", None, "does not exist"), ("notes.txt", b"text", "not an image"), ("empty", "folder", "no images")],
)
def test_inputs_that_cannot_hold_patches_are_named(tmp_path, inputs, name, content, reason):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ImportSourceError, match=reason) as caught:
        check_inputs([*inputs, path])
    assert caught.value.source == path


def test_containers_that_cannot_be_opened_are_errors(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK\x05\x06 no")
    (tmp_path / "bad.h5").write_bytes(b"no")
    with pytest.raises(ImportSourceError, match="not a readable zip"):
        list(items([tmp_path / "bad.zip"]))
    with pytest.raises(SplitFormatError):
        list(items([tmp_path / "bad.h5"]))
    with pytest.raises(SplitFormatError):
        count_items([tmp_path / "bad.h5"])


def test_a_damaged_member_is_refused_alone(tmp_path, patches):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bmp", encode(patches[0] // 64 * 64, "BMP"))
        archive.writestr("b.bmp", encode(patches[1], "BMP"))
        start = archive.getinfo("a.bmp").header_offset + 100
    data = bytearray(path.read_bytes())
    data[start : start + 400] = bytes(range(1, 201)) * 2
    path.write_bytes(data)
    first, second = items([path])
    assert first.patch is None
    assert "'a.bmp' is missing or damaged" in str(first.refusal)
    np.testing.assert_array_equal(second.patch, patches[1])


def test_damaged_pixels_of_an_hdf5_file_are_an_error_of_that_file(tmp_path, write_split, patches, labels):
    path = file_of(write_split(tmp_path, patches, labels, layout="gzip"), "valid", "x.h5")
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(bytes(1000))
    with pytest.raises(SplitFormatError, match="data are damaged"):
        list(items([path]))


def test_an_hdf5_file_of_another_task_says_what_sets_it_apart(tmp_path, write_split, patches, labels):
    path = file_of(write_split(tmp_path, patches, labels), "valid", "x.h5")
    said = f"'{path.name}' holds data of another task than the model's: its patch side in px is 96, the model's is 64."
    with pytest.raises(OtherTaskError, match=re.escape(said)):
        list(items([path], task=PCAM.model_copy(update={"side": 64, "label_region": None})))


# Files that failed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "ids"),
    [
        ("zip_ids/patches.zip", [f"{place}/patch_{n}" for place in ("normal", "tumour") for n in range(3)]),
        ("appledouble/folder", ["0029616", "0029635", "0029662", "0029663", "0029671"]),
    ],
)
def test_cases_have_unique_ids_and_nothing_left_behind(shared, case, ids):
    path = shared / "cases" / case
    if not path.exists():
        pytest.skip("the case is not here")
    assert [item.id for item in items(check_inputs([path])) if item.refusal is None] == ids


def test_the_zip_of_a_mac_holds_its_pictures_only(shared):
    path = shared / "cases" / "appledouble" / "mac_compressed.zip"
    if not path.is_file():
        pytest.skip("the case is not here")
    found = list(items(check_inputs([path])))
    assert len(found) == 20
    assert all(item.refusal is None and item.id.startswith("valid/00") for item in found)
