"""Read: the number on the screen is the one the core computes, whatever was dropped or stands in the address."""

import hashlib
import json
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from pypdf import PdfReader
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime import caching

from core import service
from core.explain.registry import METHODS
from core.inference import load_reader
from core.kept import digest
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.settings import settings
from core.task import PCAM, REFER
from core.view.case import Case, Look
from core.view.figure import figure_png, figure_svg
from pages.parts.components import gallery
from pages.parts.read import lists

WORDS = {PCAM.positive: "Tumour likely", PCAM.negative: "Tumour unlikely", REFER: "Refer: too close to call"}
TISSUE = np.random.default_rng(5)


@pytest.mark.parametrize("verdict", [PCAM.positive, PCAM.negative, REFER])
def test_a_reading_in_words_and_numbers(screen, shipped_reader, demo, verdict):
    readings = shipped_reader.read(demo.patches(range(40)), views=8)
    plain = [not names for names in readings.flags]
    index = int(np.flatnonzero((readings.verdict == verdict) & plain)[0])
    page = screen("read", patch=index).calm()
    assert page.verdict == WORDS[verdict]
    assert page.probability == f"{readings.probability[index]:.2f}"
    low, high = readings.view_probability[index].min(), readings.view_probability[index].max()
    assert page.fact["Views"] == f"eight flips and turns, {low:.2f} to {high:.2f}"
    assert page.fact["Label"].startswith("tumour" if demo.labels[index] else "no tumour")
    assert "synthetic, not tissue" in page.html
    assert "not a medical device" in page.html
    colour, why = page.component("light_table")["panels"]
    assert "values" not in colour
    np.testing.assert_allclose(why["values"], readings.attribution[index], atol=1e-4)
    unstable = readings.sign_unstable[index]
    assert why["hatched"] == (unstable.tolist() if unstable.any() else None)
    assert why["caption"] == (
        f"Grad-CAM for {PCAM.margin}, last layer (3 x 3 cells), mean of 8 views, model {shipped_reader.model.identity}"
        + ("; hatched where the views leave the sign open" if unstable.any() else "")
    )


def test_no_positive_evidence_is_said(screen, scores, shipped_reader, demo):
    highest = scores.attribution.max(axis=(1, 2))
    without, some = int(highest.argmin()), int(highest.argmax())
    assert highest[without] <= 0
    page = screen("read", patch=without, views=1).calm()
    both = page.component("light_table")
    assert both["panels"][1]["message"] == ""  # what speaks against is painted
    assert page.fact["Evidence"].startswith("+0.00 for, -")
    assert page.fact["In the centre"] == "no positive evidence to place"
    page.choose("evidence", "for only").calm()
    one = page.component("light_table")
    assert one["panels"][1]["message"] == "No positive evidence for this target."
    assert one["panels"][1]["cells"] != both["panels"][1]["cells"]
    assert (both["bars"][0]["ticks"][0][0], one["bars"][0]["ticks"][0]) == ("\u2264", "0")
    page = screen("read", patch=some, views=1).calm()
    assert page.component("light_table")["panels"][1]["message"] == ""


def test_an_address_is_a_view(screen, shipped_reader, demo):
    page = screen("read", patch=17, views=1, target="normal", method="LayerCAM", scale="own").calm()
    readings = shipped_reader.explain(demo.patches([17]), "layercam", target="normal", views=1)
    assert page.probability == f"{readings.probability[0]:.2f}"
    shown = page.component("light_table")
    np.testing.assert_allclose(shown["panels"][1]["values"], readings.attribution[0], atol=1e-4)
    assert shown["bars"][0]["ticks"][2] == f"≥ +{np.abs(readings.attribution[0]).max():.2g}"
    assert "this map's own scale" in shown["bars"][0]["note"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("patch", value) for value in ("99999999", "-3", "abc", "1e400", "-inf", "400")],
        ("split", "nope"),
        ("layer", "zzz"),
        ("views", "7"),
        ("model", "nope"),
        ("model", "../../models/densenet169"),
        ("model", "/etc"),
        ("target", "<b>"),
        ("source", "elsewhere"),
        ("scale", ""),
    ],
)
def test_a_silly_address_opens_the_usual_view(screen, name, value):
    page = screen("read", **{name: value}).calm()
    assert page.verdict in WORDS.values()
    assert page.at.selectbox(key="layer").value == "last"
    assert page.at.selectbox(key="views").value == 8
    assert 0 <= page.at.number_input(key="patch").value < 400


def test_only_what_changes_the_reading_runs_the_network(screen, inferences):
    page = screen("read").calm()
    assert len(inferences) == 1
    page.choose("scale", "own").calm()
    assert "own scale" in page.component("light_table")["bars"][0]["note"]
    assert len(inferences) == 1
    page.choose("method", "hirescam").calm()
    assert "HiResCAM" in page.component("light_table")["panels"][1]["caption"]
    assert len(inferences) == 2
    page.choose("method", "gradcam").calm()  # kept for this session
    assert len(inferences) == 2


def test_an_uploaded_patch_is_read(screen, shipped_reader, demo, png):
    patch = demo.patches([3])[0]
    page = screen("read").upload(mine_png=png(patch)).calm()
    assert page.at.segmented_control(key="source").value == "your files"
    assert page.probability == f"{shipped_reader.read(patch, views=8).probability[0]:.2f}"
    assert "Label" not in page.fact
    title, caption = (page.component("light_table")["panels"][0][name] for name in ("title", "caption"))
    assert title == "mine.png"
    assert "0.97 \u00b5m is assumed" in caption


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"this is not a picture" * 20, "not"),
        (80, "Expected"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(screen, png, data, says):
    data = png(TISSUE.integers(0, 255, (data, data, 3), np.uint8)) if isinstance(data, int) else data
    page = screen("read").upload(odd_png=data)
    assert not page.at.exception
    (error,) = page.at.error
    assert error.value.startswith("odd.png: ")
    assert says in error.value
    assert "Traceback" not in error.value
    assert page.files["reading"].tolist() == ["refused"]
    assert 'data-testid="probability"' not in page.html
    page.at.segmented_control(key="source").set_value("examples").run()
    assert page.verdict in WORDS.values()


def test_a_larger_picture_is_read_through_a_window(screen, shipped_reader, demo, png):
    rows = [np.concatenate(demo.patches(row), axis=1) for row in ([3, 8, 9], [4, 6, 10], [5, 7, 11])]
    large = np.concatenate(rows)[:200, :200]
    page = screen("read").upload(large_png=png(large)).calm()
    picker = next(c for c in page.at.get("bidi_component") if c.proto.component_name == "nodelens_window_picker")
    assert '"left":52' in picker.proto.json.replace(" ", "")
    centre = large[52:148, 52:148]
    assert page.probability == f"{shipped_reader.read(centre, views=8).probability[0]:.2f}"
    # a scanner's pixel size: the picture is brought to the model's scale, and that is said
    page.at.number_input[0].set_value(0.5).run()
    assert (
        page.calm().component("light_table")["panels"][0]["caption"].count("Reduced from 200 x 200 to 103 x 103") == 1
    )


def test_several_files_make_a_table_and_can_be_removed(screen, shipped_reader, demo, png):
    patches = demo.patches([3, 1, 2])
    files = {f"p{i}_png": png(patch) for i, patch in enumerate(patches)}
    page = screen("read").upload(**files).calm()
    table = page.files
    expected = shipped_reader.read(patches, views=8)
    assert table["file"].tolist() == ["p0.png", "p1.png", "p2.png"]
    np.testing.assert_allclose(table["probability"], expected.probability, atol=1e-6)
    assert table["reading"].tolist() == expected.verdict.tolist()
    assert page.probability == f"{expected.probability[0]:.2f}"  # the first of them lies on the table
    page.press("Remove all files").calm()
    assert not page.at.dataframe
    assert page.at.info[0].value.startswith("Drop a patch above")


def test_a_dear_method_says_how_far_it_is_and_then_is_silent(screen, monkeypatch):
    told = []
    real = DeltaGenerator.progress
    monkeypatch.setattr(
        DeltaGenerator, "progress", lambda self, *args, **more: told.append(args) or real(self, *args, **more)
    )
    at = screen("read", views="1", method="Occlusion").calm().at
    passes = METHODS["occlusion"].passes_at("input", PCAM.side)
    assert told[-1] == (1.0, f"Occlusion: {passes} of {passes} passes through the network")
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert not at.get("progress")
    told.clear()
    at.run()
    assert told == []  # the reading is kept


def test_the_first_look_waits_for_nothing_it_does_not_need(shipped_reader, tmp_path):
    """Modules that take a second to import come with what is asked for later."""
    code = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=120).run()\n"
        "assert not at.exception and any('data-testid=\"verdict\"' in html.value for html in at.html)\n"
        "print(sorted({'torch', 'scipy', 'sklearn', 'skimage', 'captum', 'timm'} & set(sys.modules)))"
    )
    places = {"MODELS": shipped_reader.stored.folder.parent, "DATA": tmp_path, "CACHE": tmp_path}
    environment = os.environ | {f"NODELENS_{name}": str(place) for name, place in places.items()}
    environment |= {"NODELENS_ENGINE": "openvino-fp32"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_reading_asks_the_network_for_its_views_and_no_more(screen, shipped_reader, monkeypatch):
    asked = []
    forward = shipped_reader.engine.forward
    monkeypatch.setattr(shipped_reader.engine, "forward", lambda seen: asked.append(len(seen)) or forward(seen))
    page = screen("read", patch=11).calm()
    assert asked == [8]
    page.choose("views", 1).calm()
    assert asked == [8, 1]
    page.choose("views", 8).choose("scale", "own").calm()
    assert asked == [8, 1]


def test_the_table_of_files_takes_the_reading_that_is_shown(screen, shipped_reader, monkeypatch, png):
    one, other = (png(TISSUE.integers(0, 256, (96, 96, 3), dtype=np.uint8)) for _ in range(2))
    asked = []
    forward = shipped_reader.engine.forward
    page = screen("read", source="your files").calm()
    monkeypatch.setattr(shipped_reader.engine, "forward", lambda seen: asked.append(len(seen)) or forward(seen))
    page.upload(one_png=one, other_png=other).calm()
    assert asked == [8, 8]  # the one on the table, and the other one's row


def test_nobody_empties_what_all_readers_share(screen, shipped_reader, monkeypatch):
    """What Streamlit does on the message `clear_cache`, which any client may send."""
    loads = []
    monkeypatch.setattr(service, "load_reader", lambda name: loads.append(name) or shipped_reader)
    page = screen("read", patch=11).calm()
    split = service.open_split(settings().demo, "demo")
    caching.cache_data.clear()
    caching.cache_resource.clear()
    page.choose("scale", "own").calm()
    assert loads == ["densenet169"]
    assert service.open_split(settings().demo, "demo") is split


def test_what_a_reader_dropped_is_kept_with_their_tab_alone(screen, png):
    pixels = TISSUE.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    page = screen("read").upload(own_png=png(pixels)).calm()
    assert page.at.session_state["kept_pictures"].has(digest(pixels))
    assert page.at.session_state["kept_thumbs"].has(digest(pixels))
    assert not gallery._pictures.has(digest(pixels))
    assert not lists._thumbs.has(digest(pixels))
    assert len(lists._thumbs) > 0  # the examples that were there before


def test_of_a_model_that_was_imported_nothing_is_claimed(screen, monkeypatch, tmp_path):
    net = PatchNet("tiny_resnet", (178, 137, 176), (60, 71, 57))
    about = {"version": "1.0", "mean": (178, 137, 176), "std": (60, 71, 57), "training": Training(recipe="Elsewhere.")}
    own = load_reader(save_bundle(net.eval(), tmp_path / "models" / "mine", **about), "openvino-fp32")
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NODELENS_MODEL", "mine")
    monkeypatch.setattr(service, "load_reader", lambda name: own)
    settings.cache_clear()
    page = screen("read", patch=3, views=1).calm()
    assert "probability of tumour in the centre, not calibrated<" in page.html
    assert "python -m core model calibrate mine" in re.search('data-testid="uncalibrated">(.*?)</p>', page.html)[1]
    assert "refer band" not in page.html
    assert "(not chosen; 0.5)" in page.html
    assert "this map's own scale" in page.component("light_table")["bars"][0]["note"]
    card = page.go("about").calm().markdown
    assert "What it learned from is not recorded." in card
    assert "hospital" not in card


def test_of_a_shipped_model_the_calibration_is_said(screen):
    page = screen("read", patch=3, views=1).calm()
    assert "probability of tumour in the centre, calibrated<" in page.html
    assert "uncalibrated" not in page.html
    assert "; refer band " in page.html


def test_what_is_taken_away_is_what_is_on_screen(screen, monkeypatch, inferences, demo):
    held = {}
    monkeypatch.setattr(st, "download_button", lambda label, make, *args, **more: held.update({label: make}))
    page = screen("read", patch=11, views=1, scale="own", evidence="for only").calm()
    asked = len(inferences)
    page.at.session_state["look"].update({"opacity": 85, "grid": "smooth", "tissue": "pixels", "box": False})
    look = Look(opacity=0.85, smooth=True, smooth_tissue=False, label_box=False, only_for=True, own=True)
    readings = next(iter(page.at.session_state["kept_explained"]._values.values()))[1]
    case = Case("demo 11", demo.patches([11])[0], readings, look=look)
    assert held["Figure (PNG)"]() == figure_png(case)
    assert held["Figure (SVG)"]().decode() == figure_svg(case)
    np.testing.assert_array_equal(np.load(BytesIO(held["Map (NumPy)"]())), readings.attribution[0])
    record = json.loads(held["Reading (JSON)"]())
    assert record["sha256"] == hashlib.sha256(case.patch.tobytes()).hexdigest()
    assert record["label"] == page.fact["Label"]
    assert record["um_per_px"] == PCAM.um_per_px
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["date"])
    (report,) = PdfReader(BytesIO(held["Report (PDF)"]())).pages
    for text in (" ".join(report.extract_text().split()), held["Report (HTML)"]().decode()):
        assert "at 85% opacity" in text
        assert re.search('data-testid="lean">([^<]*)<', page.html)[1] in text
        assert record["label"] in text
    assert len(inferences) == asked


def test_a_report_of_a_file_names_its_hash_and_its_pixel_size(screen, monkeypatch, demo, png):
    held = {}
    monkeypatch.setattr(st, "download_button", lambda label, make, *args, **more: held.update({label: make}))
    data = png(demo.patches([3])[0])
    screen("read").upload(mine_png=data).calm()
    record = json.loads(held["Reading (JSON)"]())
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["um_per_px"] == PCAM.um_per_px
    assert record["label"] is None
