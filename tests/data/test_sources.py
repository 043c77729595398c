"""What a command line may name: folders, images, zips and HDF5 files, streamed in order."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from core.data import sources
from core.data.pcam import file_of
from core.data.sources import check_inputs, count_items, items
from core.errors import ImportSourceError, SplitFormatError


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
    assert [item.id for item in found] == ["a", "b", "c", "small", "z", "one", *map(str, range(12))]
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
