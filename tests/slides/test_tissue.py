"""Tissue on an overview, whatever the size of the bands that it is looked at in."""

import numpy as np

from core.slides import tissue


def test_bands_change_nothing(monkeypatch):
    generator = np.random.default_rng(6)
    overview = np.full((301, 200, 3), 243, np.uint8)
    overview[40:260, 30:150] = np.array([190, 110, 170]) + generator.integers(-25, 25, (220, 120, 1))
    overview[100:110, 160:190] = (30, 160, 60)  # pen
    whole = tissue.tissue_mask(overview, 8)
    monkeypatch.setattr(tissue, "BAND", 37)
    np.testing.assert_array_equal(tissue.tissue_mask(overview, 8), whole)
    assert whole[60:240, 50:130].all()
    assert not whole[:30].any()
    assert not whole[95:115, 160:].any()
