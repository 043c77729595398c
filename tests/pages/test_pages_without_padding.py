"""A network without padding on every page: its cells lie in the middle of the patch, and are called what they are."""

import numpy as np
import pytest
import torch

from core import service
from core.inference import load_reader
from core.models.nets import PatchNet, save_bundle
from core.models.schema import OperatingPoint, Training
from core.models.store import read_description, write_description
from core.settings import settings

NAME = "cells"


@pytest.fixture(scope="module")
def unpadded(tmp_path_factory, demo):
    """The reader of such a network, of random weights."""
    torch.manual_seed(8)
    mean, std = (127.0,) * 3, (128.0,) * 3
    net = PatchNet("efficientnet_lite0_unpadded", mean, std)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(torch.from_numpy(demo.patches(slice(0, 12))))
    facts = {"version": "1", "mean": mean, "std": std, "training": Training(recipe="Drawn.")}
    folder = save_bundle(net.eval(), tmp_path_factory.mktemp("models") / NAME, **facts)
    points = {views: OperatingPoint(curve=((-1.0, -1.0), (1.0, 1.0)), threshold=0.5) for views in ("1", "8")}
    write_description(folder, read_description(folder).model_copy(update={"points": points}))
    return load_reader(folder, "openvino")


@pytest.fixture(autouse=True)
def _its_machine(unpadded, shipped_reader, monkeypatch, tmp_path, _machine):
    readers = {NAME: unpadded, "densenet169": shipped_reader}
    (tmp_path / "models").mkdir()
    for name, one in readers.items():
        (tmp_path / "models" / name).symlink_to(one.stored.folder)
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NODELENS_MODEL", NAME)
    monkeypatch.setattr(service, "load_reader", readers.__getitem__)
    settings.cache_clear()


def test_read_paints_the_cells_in_the_middle(screen, unpadded, demo):
    page = screen("read", patch=3, views=8, trust_card="true", what_if="true").calm()
    shown = np.array(page.component("light_table")["panels"][1]["values"])
    own = unpadded.read(demo.patches([3]), views=8)
    assert shown.shape == (12, 12)
    assert {tuple(place) for place in np.argwhere(shown)} == {(5, 5), (5, 6), (6, 5), (6, 6)}
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
