"""Scans: the numbers of patches, whatever stops them and whoever else works on them."""

import json

import numpy as np
import pandas as pd
import pytest

from core.errors import SlideError
from core.slides.areas import areas_of
from core.slides.batch import read_slides, slides_in
from core.slides.scan import CHUNK, Scan
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


def test_cells_are_the_patches_about_them(slide, reader, tmp_path, tissue):
    scan = Scan(slide, reader, tmp_path)
    assert (scan.grid.rows, scan.grid.columns) == (40, 44)
    assert scan.wanted[:, :22].all()
    assert not scan.wanted[:, 24:].any()
    scan.run()
    logits = scan.logits()
    assert np.isfinite(logits).sum() == scan.wanted.sum()
    around = np.pad(tissue, ((32, 32), (32, 32), (0, 0)), mode="reflect")
    for row, column in np.argwhere(scan.wanted)[:: scan.wanted.sum() // 12]:
        patch = around[row * 32 : row * 32 + 96, column * 32 : column * 32 + 96]
        assert logits[row, column] == pytest.approx(reader.read(patch).logit[0], abs=2e-5)
    probability = scan.probability()
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
    assert list(scan.holes()) == [(CHUNK, 0)]
    assert "damaged at that place" in scan.holes()[CHUNK, 0]
    logits = scan.logits()
    assert np.isnan(logits[CHUNK : 2 * CHUNK, :CHUNK]).all()
    assert np.isfinite(logits[:CHUNK, :CHUNK]).all()


def test_areas_by_hand():
    probability = np.full((6, 8), 0.1)
    probability[0, 0] = 0.99  # alone
    probability[2, 2:4] = 0.9, 0.8
    probability[2, 5] = 0.7  # a gap of one cell away
    probability[5, 7] = np.nan
    probability[4:6, 0] = 0.95
    found = areas_of(probability, 0.5, (100.0, 50.0), (0.5, 0.5))
    assert [(area.cells, area.row, area.column) for area in found] == [(2, 4, 0), (3, 2, 2)]
    two = found[1]
    assert two.mm2 == pytest.approx(3 * 50 * 25 / 1e6)
    assert two.outline.bounds == (200, 100, 600, 150)
    assert two.diameter_mm == pytest.approx(np.hypot(200, 25) / 1000)
    assert (two.mean, two.highest) == pytest.approx((0.8, 0.9))
    assert areas_of(np.full((3, 3), np.nan), 0.5, (1, 1), (1, 1)) == []


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
    statuses = [one.status for one in read_slides(paths, unpadded_reader, out, overview_picture)]
    assert statuses == ["refused", "read", "refused"]
    table = pd.read_csv(out / "slides.csv")
    assert "state it in um/px" in table["reason"][2]
    with np.load(out / "b" / "heatmap.npz") as kept:
        assert set(kept) == {"probability", "origin", "cell", "um_per_px"}
        assert (kept["probability"].shape, kept["probability"].dtype) == ((20, 20), np.float32)
        np.testing.assert_allclose(kept["cell"], 32)
        np.testing.assert_allclose(kept["um_per_px"], UM, rtol=1e-4)
    record = json.loads((out / "b" / "scan.json").read_text())
    assert record["cells"]["read"] == record["cells"]["tissue"] == 400
    shapes = json.loads((out / "b" / "areas.geojson").read_text())["features"]
    assert len(shapes) == len(pd.read_csv(out / "b" / "areas.csv")) == record["areas"]
    with pytest.raises(SlideError, match="there is no such file"):
        slides_in([tmp_path / "nowhere.svs"])
