"""Scans: the numbers of patches, whatever stops them and whoever else works on them."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

import core.files
from core.errors import SlideError
from core.models.schema import Interval
from core.slides.areas import areas_of
from core.slides.batch import Batch, read_slides, slides_in
from core.slides.export import write_scan
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.slides.tissue import Stroke, corrected
from core.view.slide_map import overview_picture

UM = 0.97


@pytest.fixture(scope="module")
def tissue():
    """Pink and violet tissue on the left of white glass, 40 x 44 cells of 32 px."""
    generator = np.random.default_rng(5)
    coarse = generator.uniform(0, 1, (160, 176))
    stain = np.stack([200 - 90 * coarse, 110 - 60 * coarse, 180 - 50 * coarse], axis=-1)
    pixels = np.full((160, 176, 3), 244.0)
    pixels[:, :90] = stain[:, :90]
    return pixels.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


@pytest.fixture
def slide(write_slide, tissue):
    with Slide.open(write_slide(tissue, UM)) as found:
        yield found


@pytest.fixture(scope="module", params=["padded", "unpadded"])
def reader(request, tiny_reader, unpadded_reader):
    return tiny_reader if request.param == "padded" else unpadded_reader


def test_what_is_cut_out_changes_no_pixel(write_slide, tissue):
    """Also where a level's pixels are no whole number of the slide's: OpenSlide moves each box by another part."""
    with Slide.open(write_slide(tissue, UM / 2.5, "odd.tif", (2.0005,))) as slide:
        assert len(slide.levels) == 2
        assert slide._level_for(slide.step(UM)) == 1
        whole = slide.region(0, 0, 500, 500, UM)
        for left, top in np.random.default_rng(4).integers(0, 404, (20, 2)).tolist():
            np.testing.assert_array_equal(
                slide.region(left, top, 96, 96, UM), whole[top : top + 96, left : left + 96], f"{left}, {top}"
            )


def test_cells_are_the_patches_about_them(slide, reader, tmp_path, tissue):
    scan = Scan(slide, reader, tmp_path)
    assert (scan.grid.rows, scan.grid.columns) == (40, 44)
    assert scan.wanted[:, :22].all()
    assert not scan.wanted[:, 24:].any()
    scan.run()
    logits = scan.logits()
    assert np.isfinite(logits).sum() == scan.wanted.sum()
    around = np.pad(tissue, ((32, 32), (32, 32), (0, 0)), mode="reflect")
    rows, columns = np.random.default_rng(1).choice(np.argwhere(scan.wanted), 200, replace=False).T
    patches = np.stack([around[y : y + 96, x : x + 96] for y, x in zip(rows * 32, columns * 32, strict=True)])
    alone = reader.read(patches)
    np.testing.assert_allclose(logits[rows, columns], alone.logit, rtol=0, atol=1e-5)
    probability = scan.probability()
    np.testing.assert_allclose(probability[rows, columns], alone.probability, rtol=0, atol=1e-5)
    known = np.isfinite(probability)
    np.testing.assert_allclose(probability[known], reader.model.point(1).view_probability(logits[known]), rtol=1e-6)


def test_a_stopped_scan_goes_on_to_the_same_bits(slide, unpadded_reader, tmp_path):
    whole = Scan(slide, unpadded_reader, tmp_path / "whole")
    whole.run()
    told = []

    def stop():
        return len(told) > 3

    scan = Scan(slide, unpadded_reader, tmp_path / "parts")
    scan.run(stop, lambda done, total: told.append((done, total)))
    assert np.isnan(scan.logits()[scan.wanted]).any()
    assert told[-1][0] < told[-1][1] == len(scan.chunks)
    before = {path.name: path.stat().st_mtime_ns for path in scan.folder.iterdir()}
    other = Scan(slide, unpadded_reader, tmp_path / "parts")
    assert other.folder == scan.folder
    other.run()
    after = {path.name: path.stat().st_mtime_ns for path in scan.folder.iterdir()}
    assert before.items() <= after.items()  # nothing is read twice
    np.testing.assert_array_equal(other.logits(), whole.logits())


class Killed(BaseException):
    """As if the process ended here: nobody but the one who ends it catches it."""


def test_killed_twenty_times_it_is_the_same_map(write_slide, tissue, darkness, tmp_path, monkeypatch):
    """While it reads, in the middle of a file, and before the file has its name; what was half written stays about."""
    slide = Slide.open(write_slide(tissue[:640, :640], UM))
    whole = Scan(slide, darkness, tmp_path / "whole")
    whole.run()
    generator, calls, kills = np.random.default_rng(2), 0, 0
    moment, where = 0, ""

    def deadly(place, function, before=lambda *given: None):
        def call(*given, **more):
            nonlocal calls
            calls += place == where
            if place == where and calls > moment:
                before(*given)
                raise Killed
            return function(*given, **more)

        return call

    def half(file, logits):
        file.write(b"\x93NUMPY" + logits.tobytes()[:100])
        Path(f"{file.name}.left.part").write_bytes(b"half")

    monkeypatch.setattr(core.files, "sync", lambda path: None)  # no power is cut here
    monkeypatch.setattr(darkness, "patch_logits", deadly("network", darkness.patch_logits))
    monkeypatch.setattr(np, "save", deadly("file", np.save, half))
    monkeypatch.setattr(core.files, "publish", deadly("name", core.files.publish))
    while kills < 20:
        calls, moment, where = 0, int(generator.integers(2)), ("network", "file", "name")[kills % 3]
        scan = Scan(slide, darkness, tmp_path / "killed")
        if not scan.missing():
            next(scan.folder.glob("*.npy")).unlink()
            continue
        try:
            scan.run()
        except Killed:
            kills += 1
    where = ""
    scan = Scan(slide, darkness, tmp_path / "killed")
    scan.run()
    assert scan.logits().tobytes() == whole.logits().tobytes()
    assert scan.probability().tobytes() == whole.probability().tobytes()
    slide.close()


@pytest.mark.parametrize(
    ("um_per_px", "levels"), [(0.2425, (2, 4)), (0.485, ()), (0.97, ()), (0.3711, (2.0005, 4.003)), (1.1, ())]
)
@pytest.mark.parametrize("place", [(0, 0), (205.5, 93.25), (352, 256)])
def test_every_cell_lies_where_the_map_says(write_slide, darkness, tmp_path, um_per_px, levels, place):
    """Each is as dark as the part of it that a marked square covers, within half a pixel of 0.97 um; corners too."""
    scale = UM / um_per_px
    pixels = np.full((round(352 * scale), round(448 * scale), 3), 255, np.uint8)
    left, top, right, bottom = (round(one * scale) for one in (*place, place[0] + 96, place[1] + 96))
    pixels[top:bottom, left:right] = 0
    with Slide.open(write_slide(pixels, um_per_px, "marked.tif", levels)) as slide:
        scan = Scan(slide, darkness, tmp_path, tissue=np.ones((11, 14), np.float32))
        assert (scan.grid.rows, scan.grid.columns) == (11, 14)
        scan.run()
        write_scan(scan, [], tmp_path / "out", 0.5, overview_picture(scan, 64))
    with np.load(tmp_path / "out" / "heatmap.npz") as kept:
        (x, y), (width, height) = kept["origin"], kept["cell"]
        columns, rows = x + width * np.arange(15), y + height * np.arange(12)

    def covered(edges, first, last):
        return np.clip(np.minimum(edges[1:], last) - np.maximum(edges[:-1], first), 0, None) / np.diff(edges)

    down, across = covered(rows, top, bottom), covered(columns, left, right)
    expected = np.outer(down, across)
    assert expected.sum() == pytest.approx(9, abs=0.15)
    cut = ((down > 0) & (down < 1))[:, None].astype(int) + ((across > 0) & (across < 1))
    assert (np.abs(scan.logits() - expected) <= 0.5 / 32 * np.maximum(cut, 1)).all()  # of each border within a cell


def test_a_dense_map_takes_no_more_chunks(write_slide, tissue, unpadded_reader, tmp_path):
    slide = Slide.open(write_slide(tissue[:600, :600], UM))
    coarse, dense = (Scan(slide, unpadded_reader, tmp_path, stride) for stride in (32, 8))
    assert len(dense.chunks) == len(coarse.chunks)
    assert (dense.grid.rows, dense.grid.columns) == (75, 75)
    dense.run()
    few = np.argwhere(dense.wanted)[:: dense.wanted.sum() // 20]
    alone = unpadded_reader.read(np.stack([dense.patch(*place) for place in few]))
    np.testing.assert_allclose(dense.logits()[tuple(few.T)], alone.logit, rtol=0, atol=1e-5)


def test_scans_of_one_folder_share_their_chunks(slide, darkness, tmp_path, monkeypatch):
    """As two servers do that keep their scans in one folder: each reads what the other has not."""
    read, patch_logits = [], darkness.patch_logits
    counting = copy(darkness)
    counting.patch_logits = lambda *given: (read.append(1), time.sleep(0.05), patch_logits(*given))[2]
    scans = [Scan(slide, counting, tmp_path / "shared") for _ in range(2)]
    # Two threads of one process stand for two processes: to them, what the other claimed is not their own.
    monkeypatch.setattr("core.slides.claims.os.getpid", threading.get_ident)
    monkeypatch.setattr("core.slides.claims._lives", lambda process: True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda scan: scan.run(), scans))
    alone = Scan(slide, darkness, tmp_path / "alone")
    alone.run()
    for scan in scans:
        assert scan.logits().tobytes() == alone.logits().tobytes()
    assert len(list(scans[0].folder.iterdir())) == len(alone.chunks)
    assert len(read) == len(alone.chunks), "none is read twice"


def test_what_a_scan_is_named_by(slide, unpadded_reader, tmp_path):
    folder = Scan(slide, unpadded_reader, tmp_path).folder
    share = Scan(slide, unpadded_reader, tmp_path).tissue
    corrected = share.copy()
    corrected[0, 0] = 0
    names = {
        Scan(slide, unpadded_reader, tmp_path, 48).folder,
        Scan(slide, unpadded_reader, tmp_path, tissue=corrected).folder,
        folder,
    }
    assert len(names) == 3
    assert Scan(slide, unpadded_reader, tmp_path, tissue=share).folder == folder


def test_a_bad_place_is_a_hole_with_a_sentence(slide, unpadded_reader, tmp_path, monkeypatch):
    region = slide.region

    def damaged(left, top, width, height, um):
        if top <= 17 * 32 < top + height - 64 and left < 0 < width - 64:
            raise SlideError(slide.path, "it is damaged at that place")
        return region(left, top, width, height, um)

    monkeypatch.setattr(slide, "region", damaged)
    scan = Scan(slide, unpadded_reader, tmp_path)
    scan.run()
    assert list(scan.holes()) == [(16, 0)]
    assert "damaged at that place" in scan.holes()[16, 0]
    logits = scan.logits()
    assert np.isnan(logits[16:32, :16]).all()
    assert np.isfinite(logits[:16, :16]).all()


def test_areas_by_hand():
    probability = np.full((6, 8), 0.1)
    probability[0, 0] = 0.99  # alone
    probability[2, 2:4] = 0.9, 0.8
    probability[2, 6] = 0.7  # a gap of two cells away
    probability[5, 7] = np.nan
    probability[4:6, 0] = 0.95
    found = areas_of(probability, 0.5, (100.0, 50.0), (0.5, 0.5))
    assert [(area.cells, area.row, area.column) for area in found] == [(2, 4, 0), (3, 2, 2)]
    two = found[1]
    assert two.mm2 == pytest.approx(3 * 50 * 25 / 1e6)
    assert two.outline.bounds == (200, 100, 700, 150)
    assert two.diameter_mm == pytest.approx(np.hypot(250, 25) / 1000)
    assert (two.mean, two.highest) == pytest.approx((0.8, 0.9))
    assert areas_of(np.full((3, 3), np.nan), 0.5, (1, 1), (1, 1)) == []
    for gap in (1, 2, 3):
        row = np.zeros((1, 12))
        row[0, [1, 2, 3 + gap, 4 + gap]] = 1
        assert len(areas_of(row, 0.5, (1, 1), (1, 1))) == (1 if gap <= 2 else 2), gap


def test_tissue_is_corrected_stroke_by_stroke():
    found = np.full((3, 4), 0.5, np.float32)
    strokes = (Stroke(True, 6, ((5, 5), (25, 5))), Stroke(False, 1, ((15, 5),)), Stroke(False, 5, ((35, 25),)))
    assert corrected(found, strokes, (10, 10)).tolist() == [[1, 0, 1, 0.5], [0.5] * 4, [0.5, 0.5, 0.5, 0]]
    assert (found == 0.5).all()


def test_an_area_of_neighbours_has_no_slits_between_them():
    (area,) = areas_of(np.full((40, 40), 0.9), 0.5, (32 * 0.97 / 0.499,) * 2, (0.499, 0.499))
    assert len(area.outline.exterior.simplify(0).coords) == 5
    assert not area.outline.interiors


def test_many_slides_with_one_that_cannot_be_read(write_slide, tissue, unpadded_reader, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_slide(tissue[:640, :640], UM, "in/b.tif")
    (folder / "a.svs").write_text("no slide")
    write_slide(tissue[:96, :96], None, "in/c.tif")
    (folder / "notes.md").write_text("not looked at")
    out = tmp_path / "out"
    paths = slides_in([folder])
    assert [path.name for path in paths] == ["a.svs", "b.tif", "c.tif"]
    assert len(list(read_slides(Batch(paths, unpadded_reader, out, overview_picture), workers=2))) == 3
    table = pd.read_csv(out / "slides.csv")
    assert list(table["status"]) == ["refused", "read", "refused"]
    assert "state it in um/px" in table["reason"][2]
    with np.load(out / "b" / "heatmap.npz") as kept:
        assert set(kept) == {"probability", "origin", "cell", "um_per_px"}
        assert (kept["probability"].shape, kept["probability"].dtype) == ((20, 20), np.float32)
        np.testing.assert_allclose(kept["cell"], 32)
        np.testing.assert_allclose(kept["um_per_px"], UM, rtol=1e-4)
    with tifffile.TiffFile(out / "b" / "heatmap.ome.tif") as file:
        assert 'PhysicalSizeX="31.0' in file.ome_metadata  # 32 px of 0.97 um
        np.testing.assert_array_equal(file.asarray(), np.load(out / "b" / "heatmap.npz")["probability"])
    record = json.loads((out / "b" / "scan.json").read_text())
    assert record["threshold"] == unpadded_reader.model.point(1).threshold
    assert "operating point" in record["threshold_rule"]
    assert "no stage" in record["areas_are"]
    assert record["cells"]["read"] == record["cells"]["tissue"] == 400
    shapes = json.loads((out / "b" / "areas.geojson").read_text())["features"]
    assert len(shapes) == len(pd.read_csv(out / "b" / "areas.csv")) == record["areas"]
    with pytest.raises(SlideError, match="there is no such file"):
        slides_in([tmp_path / "nowhere.svs"])


def test_a_second_start_looks_at_no_slide_again(write_slide, tissue, darkness, tmp_path, monkeypatch):
    """But at one that was not read, that has changed since, or whose results are gone; folders are nobody else's."""
    for folder in ("in", "in/more"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            write_slide(tissue[:320, :320], UM, f"{folder}/{name}.tif")
    paths = slides_in([tmp_path / "in", tmp_path / "in" / "more" / "a.tif"])
    assert len(paths) == 3
    opened, stops = [], []
    monkeypatch.setattr(Slide, "open", lambda path, um, real=Slide.open: (opened.append(path), real(path, um))[1])

    def read(stop_after=9):
        opened.clear()
        found = read_slides(Batch(paths, darkness, tmp_path / "out", overview_picture))
        for number, _ in enumerate(found, start=1):
            if number == stop_after:
                break
        found.close()
        return list(pd.read_csv(tmp_path / "out" / "slides.csv")["status"])

    assert read(1).count("read") == 1
    assert 1 <= len(opened) <= 2
    stops += opened[:1]
    assert read() == ["read"] * 3
    assert stops[0] not in opened
    assert read() == ["read"] * 3
    assert opened == []
    table = pd.read_csv(tmp_path / "out" / "slides.csv")
    assert table["folder"].is_unique
    assert list(table["folder"])[1] == "b"
    (tmp_path / "out" / "b" / "areas.csv").unlink()
    write_slide(tissue[320:640, :320], UM, "in/a.tif")
    assert read() == ["read"] * 3
    assert opened == [tmp_path / "in" / "a.tif", tmp_path / "in" / "b.tif"]
    before = np.load(tmp_path / "out" / "b" / "heatmap.npz")["probability"]
    shutil.rmtree(tmp_path / "out" / "b")
    monkeypatch.setattr(darkness, "patch_logits", None)  # what was read is kept, as one file
    assert read() == ["read"] * 3
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "b" / "heatmap.npz")["probability"], before)
    assert {path.name for path in (tmp_path / "out" / "scans").rglob("*.npy")} == {"whole.npy"}


def test_another_threshold_for_areas_is_another_reading(write_slide, tissue, darkness, tmp_path):
    """As `evaluate-slides --record` leaves it with a model: of a slide that was read before, areas are made anew."""
    batch = Batch([write_slide(tissue[:320, :320], UM)], darkness, tmp_path, overview_picture)
    list(read_slides(batch))
    areas = SimpleNamespace(
        logit=0.3, stride=32, alarms=Interval(value=4, low=3, high=5), data=SimpleNamespace(places=9)
    )
    recorded = copy(darkness)
    recorded.model = SimpleNamespace(**vars(darkness.model) | {"areas": areas})
    list(read_slides(replace(batch, reader=recorded)))
    record = json.loads((tmp_path / "slide" / "scan.json").read_text())
    assert record["threshold"] == pytest.approx(1 / (1 + np.exp(-0.3)))
    assert len(list((tmp_path / "scans").glob("*/whole.npy"))) == 1, "its cells are not read anew"


def test_a_slide_of_the_same_name_in_a_second_command_overwrites_nothing(write_slide, tissue, darkness, tmp_path):
    for folder, part in (("x", tissue[:320, :320]), ("y", tissue[:640, :320])):
        (tmp_path / folder).mkdir()
        write_slide(part, UM, f"{folder}/a.tif")
    batches = [Batch([tmp_path / folder / "a.tif"], darkness, tmp_path / "out", overview_picture) for folder in "xyx"]
    found = [outcome for batch in batches for outcome in read_slides(replace(batch))]
    assert [one.status for one in found] == ["read"] * 3
    assert found[0].folder == found[2].folder == "a" != found[1].folder
    shapes = [np.load(tmp_path / "out" / one.folder / "heatmap.npz")["probability"].shape for one in found]
    assert shapes == [(10, 10), (20, 10), (10, 10)]
    assert sorted(pd.read_csv(tmp_path / "out" / "slides.csv")["folder"]) == sorted({one.folder for one in found})


def test_what_another_command_wrote_into_a_folder_is_not_taken_for_ones_own(write_slide, tissue, darkness, tmp_path):
    batch = Batch([write_slide(tissue[:320, :320], UM)], darkness, tmp_path, overview_picture)
    for stride in (32, 16, 32):
        (found,) = read_slides(replace(batch, stride=stride))
        record = json.loads((tmp_path / "slide" / "scan.json").read_text())
        assert (found.stride, record["stride"]) == (stride, stride)
        assert found.tissue_mm2 == record["tissue_mm2"]
    assert pd.read_csv(tmp_path / "slides.csv")["stride"].tolist() == [32]


def test_a_stated_pixel_size_is_of_files_that_say_none(write_slide, tissue, darkness, tmp_path):
    paths = [write_slide(tissue[:320, :320], um, f"{name}.tif") for name, um in (("told", UM), ("silent", None))]
    batch = Batch(paths, darkness, tmp_path / "out", overview_picture, um_per_px=0.5)
    for override, sizes in ((False, [0.97, 0.5]), (True, [0.5, 0.5])):
        list(read_slides(replace(batch, override=override)))
        table = pd.read_csv(tmp_path / "out" / "slides.csv")
        assert table["um_per_px"].tolist() == pytest.approx(sizes, rel=1e-4)
        assert table["um_per_px_by"][1] == "a person"


def test_an_area_is_as_large_on_a_finer_map():
    """Two cells of stride 32 make one, and so do 32 of stride 8, fewer do not; gaps are as wide."""
    row = np.zeros((4, 60))
    row[:, [*range(4, 8), *range(16, 20)]] = 1
    row[:, 40:44] = 1
    (area,) = areas_of(row, 0.5, (8, 8), (1, 1), finer=4)
    assert (area.cells, area.outline.bounds) == (32, (32, 0, 160, 32))


def test_lists_and_folders_of_slides(tmp_path):
    """Lists as editors save them; a slide of several files is one, and its macro and label pictures are none."""
    for name in ("a.vms", "a_macro.jpg", "a.jpg", "b.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in slides_in([tmp_path])] == ["a.vms", "b.tif"]
    (tmp_path / "list.txt").write_bytes("\ufeffb.tif \r\n\r\nnowhere.tif\r\n".encode())
    assert [path.name for path in slides_in([tmp_path / "list.txt"])] == ["b.tif", "nowhere.tif"]
    with pytest.raises(SlideError, match="no such file"):
        Slide.open(tmp_path / "nowhere.tif")
    (tmp_path / "latin.txt").write_bytes("n\xe4h.tif".encode("latin-1"))
    with pytest.raises(SlideError, match="UTF-8"):
        slides_in([tmp_path / "latin.txt"])


def test_what_nobody_foresaw_of_a_slide_stops_no_other(write_slide, tissue, darkness, tmp_path, monkeypatch):
    paths = [write_slide(tissue[:320, :320], UM, f"{name}.tif") for name in ("a", "b")]
    finish = Batch._finish

    def odd(batch, scan):
        if scan.slide.path.name == "a.tif":
            raise ZeroDivisionError
        return finish(batch, scan)

    monkeypatch.setattr(Batch, "_finish", odd)
    found = {one.slide: one for one in read_slides(Batch(paths, darkness, tmp_path / "out", overview_picture))}
    assert (found["a.tif"].status, found["b.tif"].status) == ("refused", "read")
    assert "nobody foresaw" in found["a.tif"].reason


def test_a_hole_is_tried_again_at_the_next_start(write_slide, tissue, darkness, tmp_path, monkeypatch):
    batch = Batch([write_slide(tissue[:320, :320], UM)], darkness, tmp_path, overview_picture)

    def damaged(slide, *box):
        raise SlideError(slide.path, "it is damaged at that place")

    with monkeypatch.context() as away:
        away.setattr(Slide, "region", damaged)
        assert [one.status for one in read_slides(batch)] == ["read with holes"]
    assert [one.status for one in read_slides(batch)] == ["read"]


def test_files_of_one_dicom_slide_are_one_slide(tmp_path):
    (tmp_path / "e").mkdir()
    for name, series in (
        ("e/e.dcm", b"1.2.9"),
        ("a.dcm", b"1.2.3"),
        ("b.dcm", b"1.2.4"),
        ("c.dcm", b"1.2.3"),
        ("d.svs", b"1.2.3"),
    ):
        (tmp_path / name).write_bytes(b"DICM\x20\x00\x0e\x00UI\x06\x00" + series + b"\x00\x20")
    assert [path.name for path in slides_in([tmp_path])] == ["a.dcm", "b.dcm", "d.svs", "e.dcm"]
