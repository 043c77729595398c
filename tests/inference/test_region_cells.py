"""Regions read without padding: the numbers of patches, at any size, whatever the tiles."""

from typing import Any

import numpy as np
import pytest

from core.errors import ExplanationError
from core.explain.registry import METHODS
from core.inference import load_reader, regions
from core.inference.regions import _pixels, cells_of
from core.models.receptive_field import ReceptiveField

CLOSE: Any = {"rtol": 1e-4, "atol": 1e-4}
"""Kernels for inputs of other sizes add in another order: some 1e-5 of evidence of about 1."""


@pytest.fixture(scope="module", params=["openvino", "torch"])
def reader(request, unpadded_bundle):
    return load_reader(unpadded_bundle, request.param)


@pytest.fixture(scope="module")
def image():
    coarse = np.random.default_rng(6).integers(60, 256, (30, 26, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:235, :202]


def test_a_patchs_cells_lie_in_its_middle_and_sum_to_its_margin(reader, patches):
    readings = reader.read(patches)
    assert readings.grid == (12, 12)
    bias = reader.stored.head[1]
    np.testing.assert_allclose(readings.attribution.sum((1, 2)) + bias[1] - bias[0], readings.logit, **CLOSE)
    outside = readings.attribution.copy()
    outside[:, 5:7, 5:7] = 0
    assert not outside.any()
    assert readings.attribution[:, 5:7, 5:7].all()
    for same in ("hirescam", "xgradcam"):
        found = reader.explain(patches, same, target=reader.task.margin).attribution
        np.testing.assert_array_equal(found, readings.attribution)


@pytest.mark.parametrize("tile", [64, 6])
def test_a_region_gives_the_numbers_of_patches(reader, image, monkeypatch, tile):
    monkeypatch.setattr(regions, "TILE", tile)
    found = reader.region(image)
    assert (found.shape, found.dtype) == ((1, 30, 26), np.float32)
    places = [(0, 0), (16, 8), (64, 104), (136, 104)]
    cut = np.stack([image[top : top + 96, left : left + 96] for top, left in places])
    for (top, left), own in zip(places, reader.read(cut).attribution, strict=True):
        rows, columns = (slice(side // 8 + 5, side // 8 + 7) for side in (top, left))
        np.testing.assert_allclose(found[0, rows, columns], own[5:7, 5:7], **CLOSE)


def test_what_lies_beyond_the_border_is_the_region_reflected(reader, image):
    around = ((48, 48 + 5), (48, 48 + 6), (0, 0))  # to whole tiles
    large = np.pad(image, around, mode="reflect")
    found, wider = reader.region(image)[0], reader.region(large)[0, 6:36, 6:32]
    np.testing.assert_allclose(found, wider, **CLOSE)
    marked = reader.reflected(*image.shape[:2])
    assert marked.shape == found.shape
    changed = np.pad(image, around, mode="edge")
    moved = np.abs(reader.region(changed)[0, 6:36, 6:32] - found) > 10 * CLOSE["atol"]
    assert moved.any()
    assert not moved[~marked].any()
    assert not marked[5:24, 5:20].any()
    assert marked[[4, 25]].all()


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_around_its_own_cells_a_patch_is_read_as_a_region(reader, patches, method, views):
    alone = reader.explain(patches, method, target=reader.task.margin, views=views)
    whole = reader.explain(patches, method, target=reader.task.margin, views=views, around=True)
    np.testing.assert_array_equal(whole.logit, alone.logit)
    middle = np.zeros((12, 12), bool)
    middle[5:7, 5:7] = True
    np.testing.assert_array_equal(whole.own, middle)
    np.testing.assert_array_equal(whole.attribution[:, middle], alone.attribution[:, middle])
    assert whole.hatched[:, ~middle].all()
    np.testing.assert_array_equal(whole.hatched[:, middle], whole.sign_unstable[:, middle])
    assert not alone.hatched[:, ~middle].any()
    if views == 1:
        regions = np.stack([reader.region(patch, method)[0] for patch in patches])
        np.testing.assert_allclose(whole.attribution, regions, **CLOSE)
    else:
        turned = reader.explain(patches[:, ::-1], method, target=reader.task.margin, views=views, around=True)
        np.testing.assert_allclose(turned.attribution, whole.attribution[:, ::-1], **CLOSE)


@pytest.mark.parametrize("views", [1, 8])
def test_amid_its_surroundings_a_patch_has_the_cells_of_the_region(reader, patches, views):
    """Those that see beyond its border too: none is read by reflections, and none is hatched for that."""
    region = np.concatenate([np.concatenate(patches[i : i + 3], axis=1) for i in (0, 3, 6)])
    margin = reader.surroundings_margin
    outer = slice(96 - margin, 192 + margin)
    told = {"target": reader.task.margin, "views": views, "around": True}
    found = reader.explain(region[96:192, 96:192], surroundings=region[outer, outer], **told)
    assert not found.reflected.any()
    np.testing.assert_array_equal(found.hatched, found.sign_unstable)
    alone = reader.explain(region[96:192, 96:192], **told)
    np.testing.assert_array_equal(found.logit, alone.logit)
    np.testing.assert_array_equal(found.attribution[:, found.own], alone.attribution[:, found.own])
    assert np.abs(found.attribution - alone.attribution).max() > 10 * CLOSE["atol"]
    if views == 1:
        np.testing.assert_allclose(found.attribution[0], reader.region(region)[0, 12:24, 12:24], **CLOSE)
    with pytest.raises(ValueError, match="middles"):
        reader.explain(patches[0], surroundings=region[outer, outer], **told)


def test_what_regions_have_not_is_explained_of_the_patch_alone(reader, tiny_reader, patches):
    assert not reader.explain(patches[:1], "eigencam", around=True).around
    earlier = reader.explain(patches[:1], "gradcam", "4x4", around=True)
    assert not earlier.around
    assert earlier.own.all()
    padded = tiny_reader.explain(patches[:1], around=True)
    assert not padded.around
    assert padded.own.all()
    assert not padded.hatched.any()
    assert reader.explain(patches[:0], around=True).attribution.shape == (0, 12, 12)


@pytest.mark.parametrize("side", [1, 2, 5, 30])
def test_reflection_is_numpys(side):
    field = ReceptiveField(7, 2)
    cells = slice(-20, 30)
    expected = np.pad(np.arange(side), 100, mode="reflect" if side > 1 else "edge")[100 - 40 - 2 : 100 + 60 + 2]
    np.testing.assert_array_equal(_pixels(field, cells, side), expected)


def test_small_and_uneven_regions_are_read(reader, image):
    whole = reader.region(image)
    assert reader.region(image[:9, :17]).shape == (1, 2, 3)
    assert np.isfinite(reader.region(image[:1, :1])).all()
    both = reader.region(np.stack([image, image[::-1]]))
    np.testing.assert_allclose(both[0], whole[0], **CLOSE)


def test_no_tile_is_larger_than_the_halo_asks(image, monkeypatch):
    """Memory is bounded by the tile: 4 cells of 2 px and 2 px around them are 12 px, whatever the region."""
    monkeypatch.setattr(regions, "TILE", 4)
    field, seen = ReceptiveField(7, 2), []
    assert (field.start, field.margin) == (0, 2)

    def read(tile):
        seen.append(tile.shape)
        return tile[:, 2:-2:2, 2:-2:2, 0]  # the first pixel of each cell's own tile

    np.testing.assert_array_equal(cells_of(image, field, read), image[::2, ::2, 0])
    assert set(seen) == {(1, 12, 12, 3)}


def test_what_knows_of_other_cells_is_no_cells_of_patches(reader, image):
    for method in ("gradcam++", "eigencam", "ablationcam", "scorecam", "occlusion"):
        with pytest.raises(ExplanationError, match=r"Unknown (method|layer)"):
            reader.region(image, method)
    with pytest.raises(ExplanationError, match="Unknown layer '4x4'"):
        reader.region(image, layer="4x4")
    with pytest.raises(ExplanationError, match="Unknown target 'predicted'"):
        reader.region(image, target="predicted")
    with pytest.raises(ValueError, match=r"\(n, h, w, 3\), not float64"):
        reader.region(image.astype(float))


def test_layer_cam_is_of_cells_too(reader, image):
    own = reader.explain(image[:96, :96], "layercam", target=reader.task.margin).attribution[0, 5:7, 5:7]
    np.testing.assert_allclose(reader.region(image, "layercam")[0, 5:7, 5:7], own, **CLOSE)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_it(reader, patches, method):
    for layer in METHODS[method].layers(reader.layers):
        if METHODS[method].passes_at(layer, 96) > 100:
            continue
        found = reader.explain(patches[:1], method, layer).attribution
        assert np.isfinite(found).all()
        if METHODS[method].kind == "cam":
            assert found.shape == (1, 12, 12)
            assert not found[:, :4].any()


def test_eight_views_are_turned_back(reader, patches):
    """The cells' tiles are the patch's very middle, so a mirrored patch has mirrored maps of eight views."""
    own = reader.explain(patches, target=reader.task.margin, views=8).attribution
    mirrored = reader.explain(patches[:, :, ::-1], target=reader.task.margin, views=8).attribution
    np.testing.assert_allclose(mirrored, own[:, :, ::-1], **CLOSE)
