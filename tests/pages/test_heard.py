"""What a browser tells is heard once, in order, whatever it says."""

import pytest
import streamlit as st

from pages.parts.components.heard import heard, news


@pytest.fixture(autouse=True)
def session(monkeypatch):
    monkeypatch.setattr(st, "session_state", {})


def test_what_was_told_before_is_not_heard_again():
    assert heard("gallery") == 0
    assert news("gallery", [{"number": 1, "of": "a"}]) == [{"of": "a"}]
    assert news("gallery", [{"number": 1, "of": "a"}, {"number": 2, "of": "b"}, {"number": 3, "of": "c"}]) == [
        {"of": "b"},
        {"of": "c"},
    ]
    assert heard("gallery") == 3
    assert heard("another") == 0


@pytest.mark.parametrize(
    "told",
    [None, 7, "x", {}, {"number": 1}, [], [None], [[]], [{}], [{"number": "1"}], [{"number": 0}], [{"number": -1}],
     [{"number": float("nan")}], [{"number": 10**400}], [{"number": 2**53}]],
)  # fmt: skip
def test_what_is_no_event_is_not_heard(told):
    assert news("gallery", told) == []
    assert heard("gallery") == 0
