"""Contact sheets: every patch and its heatmap stand where they belong, on one scale."""

import numpy as np

from core.view.contact_sheet import LEADING, MARGIN, contact_sheet
from core.view.overlay import colourise, grayscale


def sheet(patches, heatmaps, **options):
    words = [("predicted tumour", f"loss {i}") for i in range(len(patches))]
    return np.asarray(contact_sheet(patches, heatmaps, words, 2.0, **options))


def test_patches_stand_beside_their_heatmaps(patches):
    heatmaps = np.zeros((3, 3, 3), np.float32)
    heatmaps[1] = 2.0
    picture = sheet(patches[:3], heatmaps, columns=2)
    wide, high, side = 2 * 192 + MARGIN, 2 * LEADING + 192 + MARGIN + 4, 192
    for i, (row, column) in enumerate(((0, 0), (0, 1), (1, 0))):
        left, top = MARGIN + column * wide, MARGIN + row * high + 2 * LEADING + 4
        shown = picture[top : top + side, left : left + side]
        assert (shown == patches[i].repeat(2, 0).repeat(2, 1)).all()
        reason = picture[top : top + side, left + side : left + 2 * side].astype(int)
        gray = grayscale(patches[i]).repeat(2, 0).repeat(2, 1)[..., None].astype(int)
        if i == 1:  # full evidence: half gray, half the last colour
            colour = colourise(np.full((1, 1), 2.0), 2.0)[0, 0, :3].astype(int)
            assert np.abs(reason - (gray + colour) / 2).max() <= 1.5
        else:
            assert (reason == gray).all()


def test_the_same_evidence_has_the_same_colour_in_every_tile(patches):
    same = np.stack([patches[0], patches[0]])
    strong = np.full((2, 3, 3), 1.0, np.float32)
    picture = sheet(same, strong, columns=2)
    wide = 2 * 192 + MARGIN
    assert (picture[60:240, MARGIN : MARGIN + 384] == picture[60:240, MARGIN + wide : MARGIN + wide + 384]).all()


def test_words_and_caption_are_drawn(patches):
    heatmaps = np.zeros((1, 3, 3), np.float32)
    blank = np.asarray(contact_sheet(patches[:1], heatmaps, [("", "")], 2.0))
    spoken = sheet(patches[:1], heatmaps, caption="Grad-CAM")
    assert spoken.shape == blank.shape
    top, bottom = slice(MARGIN, MARGIN + 2 * LEADING), slice(-LEADING - 4, None)
    assert (blank[top] == 255).all()
    assert (spoken[top] < 128).any()
    assert (blank[bottom] == 255).all()
    assert (spoken[bottom] < 128).any()
