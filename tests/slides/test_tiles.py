"""Tiles put together are the slide, at every level."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.slides.slide import Slide
from core.slides.tiles import TILE, Tiles


def test_tiles_put_together_are_the_slide(write_slide):
    rows, columns = np.mgrid[0:700, 0:900]
    pixels = np.stack([rows // 3, columns // 4, (rows + columns) // 7], axis=-1).astype(np.uint8)
    with Slide.open(write_slide(255 - pixels // 2, 0.5, levels=(2.0005,))) as slide:
        tiles = Tiles(slide)
        assert tiles.levels == 11
        assert (tiles.size(10), tiles.size(9), tiles.size(0)) == ((900, 700), (450, 350), (1, 1))
        for level in (10, 9, 7):
            width, height = tiles.size(level)
            whole = np.zeros((height, width, 3))
            for row in range(-(-height // TILE)):
                for column in range(-(-width // TILE)):
                    tile = np.asarray(Image.open(BytesIO(tiles.tile(level, column, row))))
                    whole[row * TILE : row * TILE + tile.shape[0], column * TILE : column * TILE + tile.shape[1]] = tile
            scale = 900 / width
            there = (255 - pixels // 2)[(np.arange(height) * scale + scale / 2).astype(int).clip(0, 699)][
                :, (np.arange(width) * scale + scale / 2).astype(int).clip(0, 899)
            ]
            assert np.abs(whole - there).mean() < 3
        for place in ((11, 0, 0), (-1, 0, 0), (10, 4, 0), (10, 0, 3), (10, -1, 0)):
            with pytest.raises(ValueError, match=r"\d"):
                tiles.tile(*place)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXCHANGED = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
"""What it calls red is green, and the other way about."""


@pytest.mark.parametrize(
    ("icc", "managed", "shown"),
    [(SRGB, True, (180, 90, 160)), (EXCHANGED, True, (90, 180, 160)), (b"no profile", False, (180, 90, 160))],
)
@pytest.mark.parametrize("ome", [False, True])
def test_colours_are_shown_by_the_profile_and_read_without_it(write_slide, ome, icc, managed, shown):
    with Slide.open(write_slide(np.full((256, 256, 3), (180, 90, 160), np.uint8), 0.97, ome=ome, icc=icc)) as slide:
        tiles = Tiles(slide)
        assert tiles.managed == managed
        tile = np.asarray(Image.open(BytesIO(tiles.tile(tiles.levels - 1, 0, 0))), int)
        assert np.abs(tile - shown).max() < 5
        assert np.unique(slide.region(80, 80, 96, 96, 0.97).reshape(-1, 3), axis=0).tolist() == [[180, 90, 160]]
