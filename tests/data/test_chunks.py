"""HDF5 files packed as people pack them are read; what would fill the memory is not unpacked."""

import zlib

import h5py
import numpy as np
import pytest

from core.data import chunks
from core.data.chunks import read_rows
from core.data.pcam import Split, file_of, open_patches
from core.errors import SplitFormatError


@pytest.fixture
def many(patches):
    """Seventy patches that hardly pack."""
    return np.concatenate([np.roll(patches, shift, axis=1) for shift in range(6)])[:70]


def write(folder, patches, **how):
    with h5py.File(file_of(folder, "valid", "x.h5"), "w") as file:
        file.create_dataset("x", data=patches, **how)
    with h5py.File(file_of(folder, "valid", "y.h5"), "w") as file:
        file.create_dataset("y", data=np.arange(len(patches), dtype=np.uint8).reshape(-1, 1, 1, 1) % 2)
    return folder


@pytest.mark.parametrize("rows", [16, 32, 64])
@pytest.mark.parametrize("how", ["gzip", "lzf", "szip"])
@pytest.mark.parametrize("more", [{}, {"shuffle": True}, {"shuffle": True, "fletcher32": True}], ids=len)
def test_chunks_of_many_patches_are_read(tmp_path, many, rows, how, more):
    split = Split.open(write(tmp_path, many, chunks=(rows, 96, 96, 3), compression=how, **more), "valid")
    wanted = [69, 3, 64, 40, 15, 16]
    np.testing.assert_array_equal(split.patches(wanted), many[wanted])
    np.testing.assert_array_equal(split.patches(slice(None)), many)


@pytest.mark.parametrize("how", [None, "gzip", "lzf"])
def test_chunks_as_h5py_chooses_them_are_read(tmp_path, many, how):
    split = Split.open(write(tmp_path, many, chunks=True, compression=how), "valid")
    np.testing.assert_array_equal(split.patches([5, 66]), many[[5, 66]])


def test_chunks_cut_in_every_direction_are_measured_and_read(tmp_path, many, monkeypatch):
    monkeypatch.setattr(chunks, "MAX_SWOLLEN_BYTES", 1032 * 1000)
    split = Split.open(write(tmp_path, many, chunks=(32, 40, 50, 2), compression="gzip"), "valid")
    np.testing.assert_array_equal(split.patches([31, 32, 69]), many[[31, 32, 69]])


def test_chunks_that_were_never_written_are_zero(tmp_path):
    folder = write(tmp_path, np.zeros((1, 96, 96, 3), np.uint8))
    with h5py.File(file_of(folder, "valid", "x.h5"), "w") as file:
        file.create_dataset("x", (128, 96, 96, 3), np.uint8, chunks=(64, 96, 96, 3), compression="gzip")
    path = file_of(folder, "valid", "x.h5")
    assert not read_rows(path, open_patches(path), 60, 70).any()


def swelling(path, packed, filters, rows=4):
    """An x file whose only chunk, said to hold four patches, is `packed`."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((rows, 96, 96, 3))
    filters(layout)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((rows, 96, 96, 3))
        dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, layout)
        dataset.write_direct_chunk((0, 0, 0, 0), packed)
    return path


@pytest.mark.parametrize("checksum", [False, True])
def test_a_chunk_that_swells_is_not_unpacked(tmp_path, monkeypatch, checksum):
    monkeypatch.setattr(chunks, "MAX_SWOLLEN_BYTES", 2**20)
    packed = zlib.compress(bytes(30 * 2**20), 9)

    def filters(layout):
        layout.set_deflate(9)
        if checksum:
            layout.set_fletcher32()

    path = swelling(tmp_path / "x.h5", packed + bytes(4 * checksum), filters)
    with pytest.raises(SplitFormatError, match="larger inside than it says"):
        read_rows(path, open_patches(path), 2, 3)


def test_a_chunk_of_szip_that_claims_much_is_not_unpacked(tmp_path):
    path = swelling(
        tmp_path / "x.h5",
        (2**32 - 1).to_bytes(4, "little") + bytes(500),
        lambda layout: layout.set_szip(h5py.h5z.SZIP_NN_OPTION_MASK, 8),
    )
    with pytest.raises(SplitFormatError, match="larger inside than it says"):
        read_rows(path, open_patches(path), 0, 1)


def test_a_chunk_far_larger_than_it_may_be_is_refused_unread(tmp_path):
    path = swelling(tmp_path / "x.h5", bytes(400_000), lambda layout: layout.set_deflate(9))
    with pytest.raises(SplitFormatError, match="packed chunks of more than"):
        open_patches(path)


def test_what_scrambles_a_packed_chunk_is_refused(tmp_path):
    def filters(layout):
        layout.set_deflate(9)
        layout.set_shuffle()

    path = swelling(tmp_path / "x.h5", b"abc", filters)
    with pytest.raises(SplitFormatError, match="packed in a way"):
        open_patches(path)


def test_a_packer_that_is_not_ours_is_named_with_a_remedy(tmp_path):
    def blosc(layout):
        layout.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 1, 4, 5, 1, 0))

    path = swelling(tmp_path / "x.h5", b"abc", blosc)
    with pytest.raises(SplitFormatError, match=r"packed in a way .*32001.*h5repack -f GZIP=4"):
        open_patches(path)
