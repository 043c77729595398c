"""The glossary: each word once, each meaning fit to stand after a colon, and one home for all tooltips."""

import pytest

from core.view.glossary import GLOSSARY, meaning


def test_no_word_has_two_meanings():
    terms = [term for chapter in GLOSSARY.values() for term in chapter]
    assert len(terms) == len({*terms})
    for chapter in GLOSSARY.values():
        for told in chapter.values():
            assert not told.endswith(".")
            assert told[0] == told[0].lower() or told.startswith("95")


def test_a_tooltip_is_made_of_whole_sentences():
    assert meaning("logit", "margin").startswith("Logit: the unit of evidence")
    assert meaning("logit", "margin").count(".") >= 2
    with pytest.raises(KeyError):
        meaning("no such word")
