"""About: the figures are the bundle's; and what a page says when there is no model."""

from html import escape

import numpy as np
import pytest

from core import __version__
from core.settings import settings
from core.view.glossary import GLOSSARY
from pages.parts.about.telling import TEACHES


def test_the_card_shows_the_bundles_figures(screen, shipped_reader, demo):
    page = screen("about").calm()
    assert "Research use only. Not a medical device." in page.markdown
    model = shipped_reader.model
    assert model.identity in page.markdown
    assert len(model.evaluations) >= 2
    for evaluation in model.evaluations:
        auc = evaluation.figures["auc"]
        assert f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]" in page.markdown
    assert f"{model.point(8).threshold:.3f}" in page.markdown
    assert "**demo** (synthetic, not tissue): 400 patches, 200 positive" in page.markdown
    assert demo.fingerprint()[:8] in page.markdown
    assert shipped_reader.engine.name in page.markdown


def test_it_teaches_how_to_read_a_map_on_a_drawn_patch(screen, shipped_reader, demo):
    page = screen("about").calm()
    tissue, shown = page.component("about_table")["panels"]
    np.testing.assert_allclose(shown["values"], shipped_reader.read(demo.patches([TEACHES])).attribution[0], atol=1e-4)
    assert np.min(shown["values"]) < 0 < np.max(shown["values"])  # both signs
    assert "values" not in tissue
    assert 'data-testid="synthetic"' in page.html
    assert page.markdown.count("Brown speaks for tumour, blue against it") == 1


def test_every_word_of_the_glossary_is_told_once(screen):
    html = screen("about").calm().html
    for chapter, terms in GLOSSARY.items():
        assert html.count(f"<h3>{chapter}</h3>") == 1
        for term, told in terms.items():
            assert html.count(f"<dt>{escape(term)}</dt><dd>{escape(told)}</dd>") == 1


def test_a_citation_names_the_weights(screen, shipped_reader):
    assert f"> NodeLens {__version__}, model {shipped_reader.model.identity}" in screen("about").calm().markdown


@pytest.mark.parametrize("name", ["read", "browse", "compare", "about"])
def test_without_a_model_every_page_says_so_in_a_sentence(screen, monkeypatch, tmp_path, name):
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "none"))
    settings.cache_clear()
    page = screen(name)
    assert not page.at.exception
    (error,) = page.at.error
    assert "densenet169" in error.value
    assert "not a medical device" in page.html
