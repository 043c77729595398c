"""A link that asks for what is not here is answered, and what is not here is said."""

import pytest


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"model": "nobody"}, "model 'nobody'"),
        ({"split": "autumn"}, "split 'autumn'"),
        ({"patch": 100000}, "patch '100000' of demo"),
        ({"method": "palmistry"}, "method 'palmistry'"),
        ({"layer": "13x13"}, "layer '13x13'"),
    ],
)
def test_what_is_not_here_is_said_in_one_sentence(screen, query, said):
    page = screen("read", **query).calm()
    usual = "the usual is shown in its place."
    assert [one.value for one in page.at.warning] == [f"This link asks for what is not here: {said}; {usual}"]
    assert page.verdict
    page.at.run()
    assert not page.at.warning


def test_a_link_to_what_is_here_is_not_commented(screen):
    assert not screen("read", patch=27, method="gradcam", layer="6x6").calm().at.warning


def test_panels_are_told_apart(screen):
    page = screen("compare", model2="nobody", patch1=100000).calm()
    assert "patch '100000' in panel 1 of demo, model 'nobody' in panel 2" in page.at.warning[0].value


@pytest.mark.usefixtures("scores")
def test_a_link_holds_what_is_ticked(screen, shipped_reader):
    model = shipped_reader.model.name
    page = screen("browse", ticks=f"3.{model}.demo,7.{model}.demo,9.{model}.autumn,x").calm()
    assert "To compare: demo 3, demo 7" in page.markdown
