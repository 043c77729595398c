"""Maps over tissue with masks: regions laid side by side, the threshold for areas, and what is said of it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from core.data.regions import Region
from core.errors import CalibrationError, ImportSourceError
from core.evaluation.card import model_card
from core.evaluation.metrics.froc import Sweep
from core.evaluation.sections import map_of, slide_section, stitched
from core.evaluation.slides import (
    Measured,
    check_free,
    choose_threshold,
    false_alarms,
    figures_of,
    free_tissue,
    measure,
)
from core.models.schema import OperatingPoint, SlideEvaluation, TissueRecord
from core.models.store import read_description
from core.slides.areas import Cut, cut_of
from core.task import PCAM, STRIDE


def mean_reader(model=None):
    """Whose logit of a patch is its mean grey level."""

    def patch_logits(pixels, stride):
        windows = np.lib.stride_tricks.sliding_window_view(pixels.mean(axis=2), (96, 96))[::stride, ::stride]
        return windows.mean(axis=(2, 3)).astype(np.float32)

    return SimpleNamespace(task=PCAM, patch_logits=patch_logits, model=model)


@pytest.fixture(scope="module")
def slide():
    """Blotches a few pixels wide, so that what lies side by side is alike."""
    noise = gaussian_filter(np.random.default_rng(3).standard_normal((256, 256, 3)), (2, 2, 0))
    return (150 + 300 * noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    """The shipped model, as before its maps over slides were measured."""
    shipped = read_description(Path(__file__).resolve().parents[2] / "models" / "densenet169")
    return shipped.changed(areas=None, slides=None)


def pieces(slide):
    """Three quarters of a slide, and one of elsewhere."""
    mask = np.indices((256, 256))[0] > 200
    cut = {"c": (128, 0), "a": (0, 0), "b": (0, 128)}
    found = [
        Region(name, slide[top : top + 128, left : left + 128], mask[top : top + 128, left : left + 128])
        for name, (top, left) in cut.items()
    ]
    return [*found, Region("d", slide[::-1, ::-1][:128, :128].copy(), mask[:128, :128])]


def test_regions_lie_as_they_were_cut(slide):
    corner, alone = stitched(pieces(slide))
    assert (corner.image.shape, len(corner.boxes), len(alone.boxes)) == ((256, 256, 3), 3, 1)
    assert corner.known.sum() == 48
    np.testing.assert_array_equal(corner.image[:128], slide[:128])
    np.testing.assert_array_equal(corner.mask[128:, :128], np.indices((256, 256))[0][128:, :128] > 200)
    found = map_of(mean_reader(), corner)
    around = np.pad(slide, ((32, 32), (32, 32), (0, 0)), mode="reflect")
    whole = mean_reader().patch_logits(around, STRIDE)
    np.testing.assert_allclose(found[:3, :3], whole[:3, :3], rtol=1e-6)  # the neighbours' tissue is seen
    np.testing.assert_allclose(found[1:3, 4:], whole[1:3, 4:], rtol=1e-6)
    assert np.isnan(found[4:, 4:]).all()


def swept(alarms, found=(1, 1, 1, 0)):
    numbers = np.array(alarms)
    return Sweep(numbers, numbers, np.array(found), np.array(found), 1, 10, 2, 1.0)


def made_measured(name, places):
    record = TissueRecord(
        name="made", pictures=4, places=places, lesions=places, mm2_without=places, mm2_lesions=1, fingerprint="0" * 64
    )
    levels = {name: np.array([-1.0, 0.5, 2.0, np.inf])}
    return Measured(record, {}, {name: [swept([6, 3, 1, 0]), swept([4, 3, 0, 0])][:places]}, levels)


def test_the_threshold_for_areas(model):
    """Of two places with 10, 6, 1 and 0 false areas at four levels, on 2 mm2."""
    model = model.changed(points={"1": OperatingPoint(threshold=0.5)})
    reader, name = SimpleNamespace(model=model, task=PCAM), model.name
    chosen = choose_threshold(reader, made_measured(name, 2), 3.0)
    assert (chosen.logit, chosen.alarms.value, chosen.called.value) == (0.5, 3.0, 6 / 20)
    assert chosen.alarms.low <= 3 <= chosen.alarms.high
    assert (chosen.found.low, chosen.found.high) == (pytest.approx(0.025 ** (1 / 2)), 1)  # two of two lesions
    assert choose_threshold(reader, made_measured(name, 2), 2.9).logit == 2.0
    # what patches read as negative is in no area, however few false ones there are
    assert choose_threshold(reader, made_measured(name, 2), 99.0).logit == 0.5
    with pytest.raises(CalibrationError, match="two places"):
        choose_threshold(reader, made_measured(name, 1), 3.0)

    assert "no threshold for areas is recorded" in cut_of(model, STRIDE).rule
    with_areas = model.changed(areas=chosen)
    cut = cut_of(with_areas, STRIDE)
    assert cut.threshold == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert "3 false areas per mm2" in cut.rule
    assert cut.alarms == chosen.alarms
    assert cut_of(with_areas, 48) == Cut(cut.threshold, cut_of(with_areas, 48).rule)
    assert "at a stride of 32 px; at 48 px they were not counted" in cut_of(with_areas, 48).rule


def test_measured_maps_are_told_in_the_card(model, slide):
    """A map that is the mask's: bright tissue is tumour."""
    mask = np.zeros((512, 512), bool)
    mask[64:448, 64:320] = True
    rng = np.random.default_rng(0)
    tissue = np.array([190, 110, 170]) - 40 * rng.random((512, 512, 1)) - np.array([60, 60, 60]) * ~mask[..., None]
    both = stitched([Region(name, (tissue - dark).astype(np.uint8), mask) for name, dark in (("a", 0), ("b", 6))])
    reader = mean_reader(model.changed(points={"1": OperatingPoint(curve=((0, -120), (240, 120)))}))
    measured = measure(reader, both[:2], "made", "made for a test")
    figures = figures_of(measured)
    name = reader.model.name
    assert (measured.data.places, measured.data.lesions) == (2, 2)
    assert figures.pixels[name]["pixel_auc"].value > 0.95 > figures.pixels["smoothed hematoxylin"]["chance"].high
    assert measured.data.mm2_without == pytest.approx(0.2235, abs=1e-4)  # one false area is 4.5 per mm2
    assert list(figures.found[name]) == ["8"]
    assert list(figures.left_out) == ["0.25", "0.5", "1", "2", "4"]
    assert figures.found[name]["8"].model_dump() == {"value": 1, "low": pytest.approx(0.025 ** (1 / 2)), "high": 1}
    with pytest.raises(CalibrationError, match="no tissue"):
        measure(reader, stitched([Region("glass", np.full((64, 64, 3), 244, np.uint8), mask[:64, :64])]), "glass")
    alone = figures_of(measure(reader, both[:1], "one")).pixels[name]
    assert isinstance(alone["pixel_auc"], float)  # one place knows no spread
    areas = choose_threshold(reader, measured)
    described = reader.model.changed(areas=areas)
    glass = {"areas": 0, "areas_at_point": 0, "mm2": 0.0}
    rows = [{"areas": 0, "areas_at_point": 3, "mm2": 1.0}, {"areas": 0, "areas_at_point": 1, "mm2": 1.0}, glass]
    free = free_tissue(rows, cut_of(described, STRIDE), "by their look")
    assert (free.pictures, free.alarms.value, free.at_point.value) == (2, 0, 2)
    with pytest.raises(CalibrationError, match="no tissue is found in any of them"):
        free_tissue([glass], cut_of(described, STRIDE))
    assert free.alarms.high == pytest.approx(3.689 / 2, abs=1e-3)
    told = described.changed(slides=SlideEvaluation(stride=STRIDE, maps=(figures,), free=free))
    assert type(told).model_validate_json(told.model_dump_json()) == told
    card = model_card(told)
    assert "made for a test" in card
    assert "Not told at 0.25, 0.5, 1, 2, 4 false areas per mm2: that is less than one on the 0.22 mm2 measured" in card
    assert "no stage" in card
    assert "None of it may be set against the figures here" in card
    assert "Whole slides" not in model_card(reader.model)


def test_a_slide_with_its_mask_beside_it(tmp_path, slide):
    size = (1e4 / 0.485,) * 2
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, slide, photometric="rgb", tile=(64, 64), resolution=size, resolutionunit="CENTIMETER")
    with pytest.raises(ImportSourceError, match="no mask"):
        slide_section(path, PCAM)
    mask = np.zeros((256, 256), bool)
    mask[:128, 64:192] = True
    Image.fromarray(mask).save(tmp_path / "s_mask.png")
    section = slide_section(path, PCAM)
    assert section.image.shape == (128, 128, 3)
    np.testing.assert_array_equal(section.mask, mask[::2, ::2])


def test_free_slides_without_tissue(tmp_path, model):
    """They are told with their 0, and refused where there are no others."""
    glass, stained, tiny = (tmp_path / f"{name}.png" for name in ("glass", "stained", "tiny"))
    tissue = np.full((256, 256, 3), 244)
    tissue[:, :128] = (150, 80, 140) - 40 * np.random.default_rng(1).random((256, 128, 1))
    for path, pixels in ((glass, np.full((256, 256, 3), 244)), (stained, tissue), (tiny, tissue[:20])):
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    check_free([glass, stained], PCAM, 0.97)
    with pytest.raises(CalibrationError, match="no tissue is found in any of them"):
        check_free([glass, tiny], PCAM, 0.97)
    reader, cut = mean_reader(model), Cut(0.5, "")
    *empty, full = false_alarms(reader, [glass, tiny, stained], cut, 0.97)
    assert [(row["slide"], row["mm2"], row["areas"]) for row in empty] == [("glass.png", 0, 0), ("tiny.png", 0, 0)]
    assert full["mm2"] > 0
    assert free_tissue([*empty, full], cut).pictures == 1


def test_free_slides_without_tissue_are_refused_before_anything_is_measured(tmp_path, command, monkeypatch, model):
    monkeypatch.setattr("core.inference.load_reader", lambda *_: mean_reader(model))
    monkeypatch.setattr("core.evaluation.slides.measure", lambda *_: pytest.fail("it measures first"))
    Image.new("RGB", (256, 256), (244,) * 3).save(tmp_path / "glass.png")
    regions = tmp_path / "regions"
    regions.mkdir()
    Image.new("RGB", (96, 96), (150, 80, 140)).save(regions / "a.png")
    Image.fromarray(np.eye(96, dtype=bool)).save(regions / "a_mask.png")
    arguments = ("--regions", regions, "--free", tmp_path / "glass.png", "--um-per-px", 0.97)
    code, _, said = command("evaluate-slides", "--model", "densenet169", *arguments, "--out", tmp_path / "out.json")
    assert (code, said.count("\n")) == (2, 1)
    assert "no tissue is found in any of them" in said
