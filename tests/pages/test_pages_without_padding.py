"""A network without padding on every page: its cells lie in the middle of the patch, and are called what they are."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from core import service
from core.errors import BundleError
from core.settings import settings

NAME = "cells"


@pytest.fixture(autouse=True)
def _its_machine(unpadded_reader, shipped_reader, monkeypatch, tmp_path, _machine):
    readers = {NAME: unpadded_reader, "densenet169": shipped_reader}
    (tmp_path / "models").mkdir()
    for name, one in readers.items():
        (tmp_path / "models" / name).symlink_to(one.stored.folder)
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NODELENS_MODEL", NAME)
    monkeypatch.setattr(service, "load_reader", readers.__getitem__)
    settings.cache_clear()


def test_read_paints_the_cells_where_they_are(screen, unpadded_reader, demo):
    page = screen("read", patch=3, views=8, trust_card="true", what_if="true").calm()
    panel = page.component("light_table")["panels"][1]
    shown = np.array(panel["values"])
    own = unpadded_reader.read(demo.patches([3]), views=8)
    assert shown.shape == (12, 12)
    assert shown.all()
    np.testing.assert_allclose(shown[5:7, 5:7], own.attribution[0, 5:7, 5:7], atol=1e-3)
    assert panel["hatching"]
    assert np.sum(panel["reflected"]) == 140
    assert "12 x 12 cells, of which the 2 x 2 in the middle make the logit" in panel["caption"]
    assert "hatched where cells see tissue reflected beyond the border" in panel["caption"]
    assert page.fact["Evidence"].startswith(f"{np.maximum(own.attribution, 0).sum():+.2f} for")
    assert "of all cells, reflected tissue included" in page.fact["In the centre"]
    assert page.probability == f"{own.probability[0]:.2f}"
    assert "last layer (2 x 2 cells in the middle)" in own.explained
    (layer,) = [box for box in page.at.selectbox if box.label == "Layer"]
    assert layer.options == ["last", "4x4"]
    page.choose("layer", "4x4").calm()
    page.choose("model", "densenet169").calm()  # which has no such layer


def test_browse_and_compare(screen):
    screen("browse", label="tumour").calm()
    screen("compare", model1=NAME, model2="densenet169", patch1=3, patch2=3).calm()


@pytest.mark.parametrize("page", ["evidence", "about", "train"])
def test_other_pages(screen, page):
    screen(page).calm()


def test_about_says_how_many_cells_there_are(screen):
    assert "one of 2 x 2 cells in the middle, each about 8 \u00b5m wide" in screen("about").calm().markdown


def test_other_models_are_asked_for_a_second_opinion_and_compared(screen, unpadded_reader, shipped_reader, demo):
    page = screen("read", patch=3, views=8).calm()
    assert "second-opinion" not in page.html  # nothing is loaded for it unasked
    page.press("Second opinion").calm()
    other = shipped_reader.read(demo.patches([3]), views=8)
    assert f"Second opinion: densenet169 {other.verdict[0]}" in page.html
    assert f"{other.probability[0]:.2f} (probability of tumour)." in page.html
    page.at.number_input(key="patch").set_value(4).run()
    assert f"{shipped_reader.read(demo.patches([4]), views=8).probability[0]:.2f} (probab" in page.calm().html
    page.press("Compare").calm()
    assert [page.at.session_state[f"{name}{panel}"] for panel in (1, 2) for name in ("model", "patch")] == [
        NAME, 4, "densenet169", 4
    ]  # fmt: skip


def test_a_model_that_cannot_be_opened_gives_no_second_opinion(screen, monkeypatch, unpadded_reader):
    def load(name):
        if name != NAME:
            raise BundleError(name, "its weights are damaged")
        return unpadded_reader

    monkeypatch.setattr(service, "load_reader", load)
    page = screen("read", patch=3, views=8).press("Second opinion").calm()
    assert "densenet169 cannot be opened." in page.html
    assert "Compare" not in [button.label for button in page.at.button]


def test_a_file_on_the_table_is_compared_too(screen, demo):
    page = screen("read", source="your files").calm()
    page.drop(("one.png", _png(demo, 5)), ("two.png", _png(demo, 6)))
    page.press("Second opinion").press("Compare").calm()
    panels = page.component("compare_table")["panels"]
    assert [panel["title"] for panel in panels] == ["1: one.png", "2: one.png"]


def _png(demo, index):
    held = BytesIO()
    Image.fromarray(demo.patches([index])[0]).save(held, "PNG")
    return held.getvalue()
