"""Pictures against values worked out by hand and against Pillow."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.kept import Kept
from core.view import overlay
from core.view.overlay import png

MAP = np.array([[0, 4], [8, 12]], dtype=np.float32)


def random_patch() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def test_grayscale_is_luma_601():
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    assert overlay.grayscale(primaries).tolist() == [[76, 150, 29, 255]]


def test_grayscale_agrees_with_pillow():
    patch = random_patch()
    pillow = np.asarray(Image.fromarray(patch).convert("L")).astype(int)
    ours = overlay.grayscale(patch)
    assert ours.shape == (96, 96)
    assert ours.dtype == np.uint8
    assert np.abs(ours - pillow).max() <= 1  # Pillow rounds in fixed point


def test_smooth_enlargement_by_hand():
    # Pixel centres fall at cell coordinates -1/4, 1/4, 3/4, 5/4, clamped to [0, 1]: weights 0, 1/4, 3/4, 1.
    expected = [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]
    assert overlay.enlarge(MAP, 4, smooth=True).tolist() == expected


def test_cells_by_hand():
    expected = [[0, 0, 4, 4], [0, 0, 4, 4], [8, 8, 12, 12], [8, 8, 12, 12]]
    assert overlay.enlarge(MAP, 4, smooth=False).tolist() == expected


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (6, 6), (12, 12), (3, 4)])
@pytest.mark.parametrize(
    ("smooth", "method"),
    [(True, Image.Resampling.BILINEAR), (False, Image.Resampling.NEAREST)],
    ids=["smooth", "cells"],
)
def test_enlargement_agrees_with_pillow(shape, smooth, method):
    heatmap = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    pillow = np.asarray(Image.fromarray(heatmap).resize((96, 96), method))
    ours = overlay.enlarge(heatmap, 96, smooth)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, pillow, atol=1e-5)


def test_the_centre_cell_of_a_3_by_3_map_covers_the_label_box():
    heatmap = np.zeros((3, 3), dtype=np.float32)
    heatmap[1, 1] = 1
    expected = np.zeros((96, 96))
    expected[32:64, 32:64] = 1
    np.testing.assert_array_equal(overlay.enlarge(heatmap, 96, smooth=False), expected)


@given(cells=st.integers(1, 12), side=st.integers(12, 96), smooth=st.booleans(), seed=st.integers(0, 99))
def test_enlarging_invents_no_evidence(cells, side, smooth, seed):
    heatmap = np.random.default_rng(seed).normal(size=(cells, cells)).astype(np.float32)
    large = overlay.enlarge(heatmap, side, smooth)
    assert large.shape == (side, side)
    assert heatmap.min() - 1e-6 <= large.min()
    assert large.max() <= heatmap.max() + 1e-6


def test_alpha_rises_over_the_first_half():
    heatmap = np.array([[0, 0.25, 0.5, 1, 2, 9]], dtype=np.float32)  # 0, 12.5, 25, 50, 100 and 450 % of the scale
    assert overlay.colourise(heatmap, scale=2)[0, :, 3].tolist() == [0, 64, 128, 255, 255, 255]
    assert overlay.colourise(-heatmap, scale=2)[0, :, 3].tolist() == [0, 64, 128, 255, 255, 255]


def test_colours_are_vik_on_the_fixed_scale():
    rgba = overlay.colourise(np.array([[-9, -2, 2, 9]], dtype=np.float32), scale=2)
    # vik's first and last colour, as published by its author (Crameri 2018)
    np.testing.assert_allclose(rgba[0, :, :3], [[0, 18, 97]] * 2 + [[89, 0, 8]] * 2, atol=1)


def test_signs_have_colours_of_their_own_at_any_strength():
    heatmap = np.array([0.02, 0.3, 0.6, 1.0], dtype=np.float32)
    speaks_for, against = (overlay.colourise(sign * heatmap, 1)[:, :3].astype(int) for sign in (1, -1))
    assert (speaks_for[:, 0] - speaks_for[:, 2] > 30).all()  # more red than blue
    assert (against[:, 2] - against[:, 0] > 30).all()


def test_a_weak_map_stays_weak():
    weak = overlay.colourise(np.array([[-0.1, 0.1]], dtype=np.float32), scale=2)
    assert weak[..., 3].max() < 30
    assert weak[..., :3].min() > 100  # pale: not the colour of nuclei


@pytest.mark.parametrize("value", [0.0, -0.01, -5.0])
def test_what_speaks_against_is_bare_when_asked_for(value):
    heatmap = np.full((3, 3), value, dtype=np.float32)
    assert not overlay.colourise(heatmap, scale=1, only_for=True)[..., 3].any()
    assert overlay.colourise(heatmap, scale=1)[..., 3].all() == (value != 0)


def test_what_speaks_for_looks_the_same_alone():
    heatmap = np.array([[0.1, 0.5, 2]], dtype=np.float32)
    np.testing.assert_array_equal(overlay.colourise(heatmap, 1, only_for=True), overlay.colourise(heatmap, 1))


def test_marked_cells_are_hatched_and_no_others():
    lines = overlay.hatching(np.array([[True, False], [False, False]]), 256)
    assert lines.shape == (256, 256, 4)
    assert not lines[:, 128:].any()
    assert not lines[128:].any()
    inked = lines[:128, :128, 3] == 255
    assert 0.05 < inked.mean() < 0.4
    assert {tuple(colour) for colour in lines[:128, :128, :3][inked]} == {overlay.INK, overlay.PAPER}
    patch, heatmap = np.full((8, 8, 3), 128, np.uint8), np.zeros((2, 2), np.float32)
    shown = overlay.overlaid(patch, heatmap, 1, 256, opacity=1, hatched=np.array([[False, True], [False, False]]))
    changed = (np.asarray(shown) != 128).any(axis=2)
    assert changed[:128, 128:].any()
    assert not changed[:128, :128].any()


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_a_scale_must_end_above_zero(scale):
    with pytest.raises(ValueError, match="above zero"):
        overlay.colourise(MAP, scale)


@pytest.mark.parametrize(("only_for", "lowest"), [(True, 0), (False, -2)])
def test_colour_stops_are_the_colours_of_the_heatmap(only_for, lowest):
    stops = overlay.colour_stops(5, only_for=only_for)
    painted = overlay.colourise(np.linspace(lowest, 2, 5, dtype=np.float32)[None], scale=2)[0].tolist()
    assert [position for position, _ in stops] == [0, 0.25, 0.5, 0.75, 1]
    assert [colour for _, colour in stops] == [f"rgba({r}, {g}, {b}, {a / 255:.3f})" for r, g, b, a in painted]
    assert stops[0 if only_for else 2][1].endswith(" 0.000)")


def test_ticks_say_that_the_ends_stand_for_all_beyond():
    assert overlay.ticks(2.5) == ("<= -2.5", "0", ">= +2.5")
    assert overlay.ticks(2.5, only_for=True) == ("0", "1.2", ">= 2.5")


def test_colour_bar_size():
    assert overlay.colour_bar(2.6, 300).size == (300, 32)


def test_overlay_image_shows_tissue_beside_reason():
    patch = random_patch()
    page = np.asarray(overlay.overlay_image(patch, np.zeros((3, 3), dtype=np.float32), 2.0))
    assert page.shape[1] == 2 * 384 + 3 * 16
    tissue, reason = page[16:400, 16:400], page[16:400, 416:800]
    np.testing.assert_array_equal(tissue, patch.repeat(4, axis=0).repeat(4, axis=1))
    bare = overlay.grayscale(patch).repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(reason, np.stack([bare] * 3, axis=-1))  # a zero map paints nothing


def test_a_heatmap_is_blended_by_opacity():
    patch = np.full((96, 96, 3), 200, dtype=np.uint8)
    heatmap = np.full((3, 3), 2, dtype=np.float32)
    page = np.asarray(overlay.overlaid(patch, heatmap, 2.0, 192, opacity=0.5))
    assert page[100, 100].tolist() == pytest.approx([145, 100, 104], abs=2)  # halfway from 200 to (89, 0, 8)
    hidden = np.asarray(overlay.overlaid(patch, heatmap, 2.0, 192, opacity=0))
    assert hidden[100, 100].tolist() == [200, 200, 200]


def test_overlay_image_wraps_its_caption():
    patch, heatmap = random_patch(), MAP
    plain = overlay.overlay_image(patch, heatmap, 2.0)
    told = overlay.overlay_image(patch, heatmap, 2.0, caption="Grad-CAM for tumour minus normal, " * 8)
    assert plain.size[0] == told.size[0] == 2 * 384 + 48
    assert told.size[1] >= plain.size[1] + 60


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 4)])
def test_png_keeps_every_pixel(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(overlay.png(array)))), array)
    head, body = overlay.data_url(array).split(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(body)))), array)


def test_a_picture_is_encoded_once(monkeypatch):
    encoded = []
    monkeypatch.setattr(overlay, "png", lambda array, **how: encoded.append(array) or png(array, **how))
    kept = Kept(8, 1_000_000, len)
    patch, other = random_patch(), random_patch() ^ 1
    assert overlay.data_url(patch, kept) == overlay.data_url(patch.copy(), kept) != overlay.data_url(other, kept)
    assert len(encoded) == 2
    weak = (MAP - MAP.mean()) / 12
    urls = {
        overlay.heatmap_url(weak, 2.0, kept),
        overlay.heatmap_url(weak, 2.0, kept),
        overlay.heatmap_url(weak, 1.0, kept),
        overlay.heatmap_url(weak, 2.0, kept, side=192),
        overlay.heatmap_url(weak, 2.0, kept, only_for=True),
    }
    assert len(urls) == 4
    assert len(encoded) == 6


def test_a_kept_heatmap_is_the_coloured_one():
    kept = Kept(8)
    assert overlay.heatmap_url(MAP, 2.0, kept) == overlay.data_url(overlay.colourise(MAP, 2.0))
    smooth = overlay.colourise(overlay.enlarge(MAP, 192, smooth=True), 2.0, only_for=True)
    assert overlay.heatmap_url(MAP, 2.0, kept, side=192, only_for=True) == overlay.data_url(smooth)
