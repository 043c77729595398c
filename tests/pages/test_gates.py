"""A gate takes the verdict's place in everything that a reader sees or takes away."""

from __future__ import annotations

from html import unescape

import numpy as np
import pytest

from core import service
from core.data.flags import SYNTHETIC, UNLIKE
from core.inference.reader import Reader
from core.models.schema import DataRecord
from core.models.store import StoredBundle
from core.task import NOT_READ, REFER

NOISE = np.random.default_rng(4).integers(0, 256, (96, 96, 3), dtype=np.uint8)
WHITE = np.full((96, 96, 3), 250, np.uint8)


@pytest.mark.parametrize(("pixels", "because"), [(NOISE, "not H&E-like"), (WHITE, "nearly blank")])
def test_what_is_none_to_read_is_not_read(screen, png, pixels, because):
    page = screen("read", source="your files").upload(odd_png=png(pixels)).calm()
    assert unescape(page.verdict) == f"Not read: {because}"
    assert "not to be used" in page.html
    assert "nl-unusable" in page.html
    assert 'class="nl-axis"' not in page.html
    assert f"Not to be leaned on: {because}." in unescape(page.html)
    table = page.component("light_table")
    assert table["panels"][1]["title"] == "Why (not to be used)"
    assert table["panels"][1]["unusable"]
    assert table["bars"] == []
    assert page.files["reading"].tolist() == [f"not read: {because}"]


def test_unlike_tissue_is_referred_whatever_the_probability(screen, scores):
    strange = np.flatnonzero(scores.has_flag(UNLIKE) & (scores.verdict == REFER))
    outside = [
        int(index)
        for index in strange
        if not scores.point.refer_low <= scores.probability[index] < scores.point.refer_high
    ]
    page = screen("read", patch=outside[0], views=1).calm()
    assert page.verdict == f"Refer: {UNLIKE}"
    assert not page.component("light_table")["panels"][1]["unusable"]


def test_what_learned_from_drawings_says_so_and_reads_no_tissue(screen, png, shipped_reader, monkeypatch, demo):
    drawn = DataRecord(split="demo", patches=400, fingerprint="0" * 64, note="synthetic, not tissue")
    training = shipped_reader.model.training.model_copy(update={"data": (drawn,)})
    stored = StoredBundle(shipped_reader.stored.folder, shipped_reader.model.model_copy(update={"training": training}))
    monkeypatch.setattr(service, "load_reader", lambda name: Reader(stored, shipped_reader.engine))
    service.forget()
    page = screen("read", source="your files").upload(own_png=png(demo.patches(3))).calm()
    assert page.verdict == f"Not read: {SYNTHETIC}"
    assert 'data-testid="synthetic-model"' in page.html
    page = screen("read", patch=3).calm()
    assert NOT_READ not in page.verdict.casefold()
    assert 'data-testid="synthetic-model"' in page.html


def test_what_the_model_knew_beforehand_is_said(screen, shipped_reader, monkeypatch, demo):
    record = DataRecord(split="demo", patches=400, fingerprint=demo.fingerprint())
    model = shipped_reader.model.model_copy(update={"calibrated_on": record})
    reader = Reader(StoredBundle(shipped_reader.stored.folder, model), shipped_reader.engine)
    assert "Seen before" not in screen("read", patch=3).calm().fact
    monkeypatch.setattr(service, "load_reader", lambda name: reader)
    service.forget()
    assert "calibrated on this split" in screen("read", patch=3).calm().fact["Seen before"]


def test_fixed_is_not_offered_where_the_bundle_has_no_scale(screen, shipped_reader, monkeypatch):
    kept = {name: scale for name, scale in shipped_reader.model.scales.items() if name != "gradcam/6x6"}
    model = replace_scales(shipped_reader, kept)
    monkeypatch.setattr(service, "load_reader", lambda name: model)
    service.forget()
    page = screen("read", patch=3, layer="6x6").calm()
    assert page.at.selectbox(key="scale").options == ["own"]
    page.choose("layer", "last").calm()
    assert page.at.selectbox(key="scale").options == ["fixed", "own"]


def replace_scales(reader, scales):
    stored = StoredBundle(reader.stored.folder, reader.model.model_copy(update={"scales": scales}))
    return Reader(stored, reader.engine)
