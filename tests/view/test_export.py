"""What a reader takes away says what was done to the picture, and of the probability only what is known."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from core.models.schema import OperatingPoint
from core.view import export
from core.view.export import as_picture, as_record
from core.view.overlay import overlay_image

NOTES = ("The file holds several images; the first is read.", "Transparent parts were laid on white.")


@pytest.fixture(scope="module")
def readings(tiny_reader, patches):
    return tiny_reader.explain(patches[3])


def test_a_record_holds_the_notes_as_sentences(readings):
    assert as_record(readings, 0, "a")["notes"] == []
    record = json.loads(json.dumps(as_record(readings, 0, "a", NOTES)))
    assert record["notes"] == list(NOTES)
    assert record["id"] == "a"


def test_a_record_names_what_was_read_and_when(readings):
    when = datetime(2026, 3, 1, 14, 30, 5, tzinfo=timezone(timedelta(hours=5)))
    record = as_record(readings, 0, "a", label="tumour", sha256="ab" * 32, um_per_px=0.5, when=when)
    told = (record["label"], record["sha256"], record["um_per_px"], record["date"])
    assert told == ("tumour", "ab" * 32, 0.5, "2026-03-01T09:30:05Z")
    bare = as_record(readings, 0)
    assert [bare[name] for name in ("label", "sha256", "um_per_px", "date")] == [None] * 4


def test_a_picture_says_the_notes_under_it(readings, patches, monkeypatch):
    captions = []
    drawn = overlay_image

    def watched(*arguments, caption, **how):
        captions.append(caption)
        return drawn(*arguments, caption=caption, **how)

    monkeypatch.setattr(export, "overlay_image", watched)
    plain, noted = as_picture(patches[3], readings, 0), as_picture(patches[3], readings, 0, notes=NOTES)
    assert noted.height > plain.height
    assert " ".join(NOTES) in captions[1]
    assert captions[1].endswith("Research use only.")
    assert captions[0] == captions[1].replace(" ".join(NOTES) + " ", "")


@pytest.mark.parametrize(("point", "said"), [(None, "calibrated"), (OperatingPoint(), "not calibrated")])
def test_a_calibration_is_claimed_where_there_is_one(readings, patches, monkeypatch, point, said):
    captions = []
    drawn = overlay_image
    monkeypatch.setattr(export, "overlay_image", lambda *a, **how: captions.append(how["caption"]) or drawn(*a, **how))
    served = replace(readings, point=point or readings.point, verdict=np.array(["tumour"]), flags=((),))
    as_picture(patches[3], served, 0)
    assert f"{served.probability[0]:.2f}, {said}; " in captions[0]
    assert as_record(served, 0)["calibrated"] is (said == "calibrated")
