"""Compare: each panel shows its own reading, and between neighbours what SciPy says of them."""

import re

import numpy as np
import pytest
from scipy.stats import spearmanr

from core import service
from core.errors import ModelNotFoundError
from core.settings import settings
from core.task import PCAM
from pages.parts.compare.opening import of_one_task


def maps(page):
    return [np.array(panel["values"]) for panel in page.component("compare_table")["panels"]]


def correlations(page):
    return [float(value) for value in re.findall(r"panels \d and \d: ([+-]\d\.\d\d)", page.markdown)]


@pytest.fixture
def _second_model(tiny_bundle):
    link = settings().models / "tiny"
    link.symlink_to(tiny_bundle)
    yield
    link.unlink()


@pytest.mark.usefixtures("_second_model")
def test_the_first_visit_shows_one_tumour_patch_by_two_models(screen, demo):
    page = screen("compare").calm()
    names = [panel["title"].split(": ")[1] for panel in page.component("compare_table")["panels"]]
    assert names[0] == names[1]
    assert demo.labels[int(names[0].removeprefix("demo "))] == 1
    assert [page.at.selectbox(key=key).value for key in ("model1", "model2")] == ["densenet169", "tiny"]


def test_models_of_another_task_are_not_opened_unasked(monkeypatch):
    """Nor damaged ones; each can be chosen, and then says why it cannot read."""
    tasks = {"a": PCAM, "b": PCAM.model_copy(update={"side": 64, "label_region": None}), "c": PCAM}

    def task(name):
        if name == "damaged":
            raise ModelNotFoundError(name)
        return tasks[name]

    monkeypatch.setattr(service, "task", task)
    monkeypatch.setattr(service, "model_names", lambda: [*tasks, "damaged"])
    assert [of_one_task(name) for name in ("a", "b", "damaged")] == [["a", "c"], ["b"], ["damaged"]]


def test_two_panels_from_an_address(screen, shipped_reader, demo):
    page = screen("compare", patch1=3, patch2=7, views=1, method2="HiResCAM").calm()
    readings = shipped_reader.read(demo.patches([3, 7]))
    table = page.component("compare_table")
    for shown, panel, probability in zip(maps(page), table["panels"], readings.probability, strict=True):
        assert f"robability of tumour {probability:.2f}" in panel["caption"]
        assert panel["verdict"].split()[0] in ("Tumour", "Refer:")
        assert "Synthetic, not tissue." in panel["caption"]
        assert shown.shape == (3, 3)
    np.testing.assert_allclose(maps(page), readings.attribution, atol=1e-4)
    assert "HiResCAM" in table["panels"][1]["caption"]
    expected = spearmanr(readings.attribution[0].ravel(), readings.attribution[1].ravel()).statistic
    assert correlations(page) == [round(expected, 2)]


def test_layers_keep_scales_of_their_own(screen, shipped_reader, demo):
    page = screen("compare", patch1=3, patch2=3, layer2="6x6", views=1, difference="true").calm()
    left, right = maps(page)
    spread = left.repeat(2, axis=0).repeat(2, axis=1)
    assert correlations(page) == [round(spearmanr(spread.ravel(), right.ravel()).statistic, 2)]
    assert "no difference is shown, as one has 3 x 3 cells, the other 6 x 6" in page.markdown
    # a finer cell holds less evidence: on the last layer's scale its map would be blank
    scales = shipped_reader.model.scales
    ends = [bar["ticks"][2] for bar in page.component("compare_table")["bars"]]
    assert ends == [
        f"≥ +{scales['gradcam/last']:.2g}",
        f"≥ +{scales['gradcam/6x6']:.2g}",
    ]


def test_swap_add_and_difference(screen, shipped_reader, demo):
    page = screen("compare", patch1=3, patch2=7, views=1).calm()
    first, second = maps(page)
    assert not np.allclose(first, second)
    page.press("Swap with panel 2").calm()
    np.testing.assert_array_equal(maps(page), [second, first])
    page.at.toggle(key="difference").set_value(True).run()
    assert len(maps(page.calm())) == 2
    assert "no difference is shown, as they are of two patches" in page.markdown
    page.at.number_input(key="patch1").set_value(3).run()
    page.choose("method2", "HiResCAM").choose("layer1", "6x6").choose("layer2", "6x6")
    left, difference, right = maps(page.calm())
    np.testing.assert_allclose(difference, right - left, atol=2e-4)
    page.choose("method2", "Grad-CAM").choose("layer1", "last").choose("layer2", "last")
    page.at.toggle(key="difference").set_value(False).run()
    page.choose("panels", 4).calm()
    assert len(maps(page)) == 4
    assert len(correlations(page)) == 6
    assert len(page.component("compare_table")["bars"]) == 1  # one scale for maps of one kind


@pytest.mark.parametrize(
    "query", [{"panels": "9"}, {"patch1": "-1"}, {"patch2": "1e400"}, {"split1": "nope", "model2": "x", "layer1": "?"}]
)
def test_a_silly_address_shows_two_panels(screen, query):
    assert len(maps(screen("compare", **query).calm())) == 2
