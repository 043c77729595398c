"""A filtered list in words and in a link: what a link says is what comes out of it, and nonsense asks for nothing."""

import pytest

from core.task import PCAM
from core.view.selection import ANY, Filter, as_address, from_address, in_words

FULL = Filter(label=1, verdict="no tumour", outcome="false negative", probability=(0.1, 0.4), flag="blurred")


@pytest.mark.parametrize(
    ("wanted", "order", "words"),
    [
        (Filter(), "row", "row order"),
        (Filter(), "most wrong", "most wrong"),
        (
            FULL,
            "random",
            "random, labelled tumour, read no tumour, false negative, probability 0.10 to 0.40, blurred",
        ),
        (Filter(label=0, flag="none"), "row", "row order, labelled no tumour, no flag"),
    ],
)
def test_words_and_link(wanted, order, words):
    assert in_words(wanted, order, PCAM) == words
    assert from_address(as_address(wanted, order)) == (wanted, order)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "order=zzz&label=7&outcome=x&flag=y",
        "p=1-0",
        "p=nan-nan",
        "p=-1-2",
        "p=0.5",
        "p=inf-inf",
        "label=%31%31",
        "&&==;" * 500,
    ],
)
def test_nonsense_asks_for_nothing(text):
    wanted, order = from_address(text)
    assert (wanted, order) == (Filter(), "row")
    assert wanted.verdict == ANY
