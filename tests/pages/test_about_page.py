"""About: the figures are the bundle's; and what a page says when there is no model."""

import pytest

from core.settings import settings


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
