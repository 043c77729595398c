"""The verdict in words: a gate's reason in the headline, sums only where they add up, what a model has seen before."""

from dataclasses import replace

import numpy as np
import pytest

from core.data.flags import FLAGS, UNLIKE
from core.models.schema import DataRecord, OperatingPoint
from core.task import NOT_READ, PCAM, REFER
from core.view import verdict

POINT = OperatingPoint(curve=((-1, -1), (1, 1)), threshold=0.4, refer_low=0.3, refer_high=0.7)


@pytest.fixture(scope="module")
def readings(tiny_reader, patches):
    return replace(tiny_reader.read(patches[3]), point=POINT, flags=((),))


def saying(readings, word, *flags, **more):
    return replace(readings, verdict=np.array([word]), flags=(flags,), **more)


@pytest.mark.parametrize(
    ("word", "flags", "headline", "why"),
    [
        ("tumour", (), "Tumour likely", "The probability is at or above the threshold 0.40 and outside"),
        ("no tumour", (), "Tumour unlikely", "The probability is below the threshold 0.40"),
        (REFER, (), "Refer: too close to call", "Inside the band from 0.30 to 0.70 that is left to a person."),
        (REFER, (UNLIKE,), "Refer: unlike training tissue", FLAGS[UNLIKE]),
        (NOT_READ, ("nearly blank",), "Not read: nearly blank", FLAGS["nearly blank"]),
        (NOT_READ, ("not H&E-like", "blurred"), "Not read: not H&E-like", FLAGS["not H&E-like"]),
    ],
)
def test_a_headline_and_its_reason(readings, word, flags, headline, why):
    said = saying(readings, word, *flags)
    assert verdict.headline(said, 0) == headline
    assert verdict.explanation(said, 0).startswith(why)
    assert verdict.is_read(said, 0) is (word != NOT_READ)
    assert ("not to be used" in verdict.probability_words(said, 0)) is (word == NOT_READ)


def test_the_ends_of_a_narrow_band_are_told_apart(readings):
    narrow = POINT.model_copy(update={"refer_low": 0.9781, "refer_high": 0.9794})
    assert "from 0.978 to 0.979 that" in verdict.explanation(saying(readings, REFER, point=narrow), 0)


def test_sums_are_given_where_cells_add_up(readings):
    heatmap = np.array([[[1.5, -0.25], [0.5, 0.0]]], np.float32)
    said = replace(readings, attribution=heatmap, logit=np.array([2.25], np.float32), target=PCAM.margin)
    assert verdict.evidence_words(said, 0) == (
        "+2.00 for, -0.25 against, margin +2.25; the head's bias is the rest (logits)"
    )
    assert verdict.evidence_words(replace(said, target="tumour"), 0) == "+2.00 for, -0.25 against (logits)"
    for other in (replace(said, layer="6x6"), replace(said, method="layercam")):
        assert verdict.evidence_words(other, 0).startswith("strongest cell +1.50 (logits), row 1 of 2, column 1 of 2")
    tiny = replace(said, method="layercam", attribution=-1e-4 * heatmap)
    assert verdict.evidence_words(tiny, 0).startswith("strongest cell -1.5e-04")
    assert verdict.evidence_words(replace(said, attribution=0 * heatmap), 0) == "none for or against"


def test_what_a_model_has_seen_is_said(tiny_reader):
    seen, chosen, fitted = (
        DataRecord(split=name, patches=9, fingerprint=letter * 64)
        for name, letter in (("a", "a"), ("b", "b"), ("c", "c"))
    )
    training = tiny_reader.model.training.model_copy(update={"data": (seen, chosen)})
    bundle = tiny_reader.model.model_copy(update={"training": training, "calibrated_on": fitted})
    said = [verdict.provenance(bundle, letter * 64) for letter in "abcd"]
    assert [words.split()[2] if words else "" for words in said] == ["learned", "was", "was", ""]
    assert "chosen" in said[1]
    assert "calibrated" in said[2]
