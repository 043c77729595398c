"""What the model knows: the flag on the screen, and the nearest labelled patches on the trust card."""

import re
import shutil
import time

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from core import service
from core.data.flags import FLAGS
from core.evaluation.ood import fit_ood_detector
from core.inference import load_reader
from core.inference.scores import ScoreStore
from core.models.store import write_description
from core.settings import settings

FLAG = "unlike training tissue"


@pytest.fixture(scope="session")
def knowing(tiny_bundle, demo, write_split, tmp_path_factory):
    """A small model that was shown some of the demo split as its training tissue."""
    data = tmp_path_factory.mktemp("shown")
    for name, part in (("train", slice(0, 60)), ("valid", slice(60, 100))):
        write_split(data, demo.patches(part), demo.labels[part], name)
    folder = tmp_path_factory.mktemp("knowing") / "tiny"
    shutil.copytree(tiny_bundle, folder)
    reader = load_reader(folder, "openvino")
    valid = type(demo).open(data, "valid")
    write_description(folder, fit_ood_detector(reader, reader.model, valid, lambda done, total: None))
    reader = load_reader(folder, "openvino")
    assert reader.ood is not None
    reader.ood = reader.ood.relaxed(float(np.median(reader.distance(valid.patches(slice(None))))))  # flags some
    return reader


@pytest.fixture
def served(knowing, monkeypatch):
    """The app with that model alone."""
    monkeypatch.setenv("NODELENS_MODELS", str(knowing.stored.folder.parent))
    monkeypatch.setattr(service, "load_reader", lambda name: knowing)
    settings.cache_clear()
    return knowing


def tiles(page):
    return page.component("neighbours")["tiles"]


def test_neighbours_are_sought_when_asked_for(screen, served, demo, tmp_path):
    page = screen("read", patch=7, trust_card="true").calm()
    assert "labelled tumour.**" not in page.markdown
    page.press("Seek among 'demo'").calm()
    for _ in range(1200):
        if not page.at.get("progress"):
            break
        time.sleep(0.1)
        page.at.run()
    kept = ScoreStore(tmp_path / "cache", served, demo).scores().coordinates
    far = cdist(served.read(demo.patches([7])).coordinates, kept.astype(np.float32))[0]
    expected = [int(place) for place in np.argsort(far) if place != 7][:5]
    found = tiles(page.calm())
    assert [tile["index"] for tile in found] == expected
    words = [
        ["labelled tumour" if demo.labels[i] else "labelled no tumour", f"distance {far[i]:.1f}"] for i in expected
    ]
    assert [tile["plate"] for tile in found] == words
    assert f"**{int(demo.labels[expected].sum())} of 5 are labelled tumour.**" in page.markdown
    assert "Sought among 400 patches of 'demo'" in "\n".join(caption.value for caption in page.at.caption)
    assert "Seek among 'demo'" not in [button.label for button in page.at.button]


def test_training_patches_beside_the_split_come_first(screen, served, demo, write_split, tmp_path):
    for name, part in (("train", slice(0, 30)), ("valid", slice(30, 60))):
        write_split(tmp_path / "data", demo.patches(part), demo.labels[part], name)
    stores = {
        name: ScoreStore(tmp_path / "cache", served, type(demo).open(tmp_path / "data", name))
        for name in ("train", "valid")
    }
    list(stores["valid"].compute())
    page = screen("read", split="valid", patch=0, trust_card="true").calm()
    assert "Sought among 30 patches of 'valid'" in "\n".join(caption.value for caption in page.at.caption)
    assert "Seek among 'train'" in [button.label for button in page.at.button]
    list(zip(range(1), stores["train"].compute(), strict=False))
    table = np.load(stores["train"].path, mmap_mode="r+")
    table["logits"][20:] = np.nan  # as far as it has come
    table.flush()
    page = screen("read", split="valid", patch=0, trust_card="true").calm()
    assert "Sought among 20 of the 30 patches of 'train'" in "\n".join(caption.value for caption in page.at.caption)
    assert all(tile["index"] < 20 for tile in tiles(page))
    assert ", row " in tiles(page)[0]["words"][0]


def test_a_model_that_cannot_tell_says_so(screen, tiny_reader, monkeypatch):
    monkeypatch.setenv("NODELENS_MODELS", str(tiny_reader.stored.folder.parent))
    monkeypatch.setattr(service, "load_reader", lambda name: tiny_reader)
    settings.cache_clear()
    page = screen("read", patch=7, trust_card="true").calm()
    assert "nobody has shown this model its training tissue" in "\n".join(c.value for c in page.at.caption)


def test_the_flag_is_shown_with_its_sentence(screen, served, demo, png):
    flags = dict(zip(range(60, 100), served.read(demo.patches(range(60, 100))).flags, strict=True))
    strange, known = (next(i for i, names in flags.items() if (FLAG in names) is wanted) for wanted in (True, False))
    page = screen("read").upload(mine_png=png(demo.patches([strange])[0])).calm()
    assert page.fact["Flags"] == "; ".join(flags[strange]).replace("&", "&amp;")
    assert FLAGS[FLAG] in page.html
    page = screen("read", patch=known).calm()
    assert FLAG not in page.fact["Flags"]
    assert FLAGS[FLAG] not in page.html


def test_browse_filters_by_it(screen, served, demo, tmp_path):
    store = ScoreStore(tmp_path / "cache", served, demo)
    list(store.compute())
    expected = store.scores().has_flag(FLAG).sum()
    page = screen("browse", flag=FLAG).calm()
    assert 0 < expected == int(re.search(r"\*\*([\d,]+) of 400 patches\*\*", page.markdown)[1])
