"""Which maps may be subtracted, and which share their colours."""

from dataclasses import replace

import numpy as np
import pytest

from core.data.synthetic import generate
from core.task import PCAM
from core.view.comparison import Shown, pair_words, scales_of, why_not_subtracted

PATCHES = generate(2, 7).patches


@pytest.fixture(scope="module")
def shown(tiny_reader):
    readings = tiny_reader.read(PATCHES[:1])
    return Shown(PATCHES[0], replace(readings, verdict=np.array(["tumour"])))


def other(shown, **changes):
    return shown._replace(readings=replace(shown.readings, **changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"target": PCAM.positive}, "one explains 'tumour minus normal', the other 'tumour'"),
        ({"method": "eigencam"}, "values of a relative map mean something within it alone"),
        ({"attribution": np.ones((1, 6, 6), np.float32)}, "one has 3 x 3 cells, the other 6 x 6"),
        ({"verdict": np.array(["not read"])}, "one of them is not to be used"),
    ],
)
def test_maps_are_subtracted_where_that_means_something(shown, changes, why):
    right = other(shown, **changes)
    assert why_not_subtracted(shown, right) == why
    words = pair_words(1, shown, 2, right, subtracting=True)
    assert words.endswith(f"no difference is shown, as {why}") if why else "difference" not in words
    assert "difference" not in pair_words(1, shown, 2, right, subtracting=False)


def test_maps_of_two_patches_are_not_subtracted(shown):
    assert why_not_subtracted(shown, Shown(PATCHES[1], shown.readings)) == "they are of two patches"


def scaled(shown, scale, **changes):
    model = shown.readings.model.model_copy(update={"scales": {"gradcam/last": scale, "gradcam/6x6": scale}, **changes})
    return other(shown, model=model)


@pytest.mark.parametrize(("times", "apart"), [(2.9, False), (3.1, True)])
def test_scales_of_models_far_apart_are_not_shared(shown, times, apart):
    one, same_model, another = scaled(shown, 1.0), scaled(shown, times), scaled(shown, times, name="another")
    assert scales_of([one, same_model], own=False) == ([times, times], [False, False])
    assert scales_of([one, another], own=False) == (
        ([1.0, times], [True, True]) if apart else ([times, times], [False, False])
    )
    assert scales_of([one, another, same_model], own=False)[0] == ([times] * 3)
    assert scales_of([one, other(same_model, layer="6x6")], own=False)[0] == [1.0, times]
