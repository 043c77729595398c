"""Whose map points, in words, from figures made to order."""

from types import SimpleNamespace

from core.task import PCAM
from core.view.pointing import pointing


def report(verdict, value, density=0.7):
    rows = [
        SimpleNamespace(measure="regions_pixel_auc", method=method, value=area, low=area - 0.05, high=area + 0.05)
        for method, area in (("gradcam/last", value), ("inverse hematoxylin", density))
        if area is not None
    ]
    claims = [SimpleNamespace(name="beyond_density", verdict=verdict)] if verdict else []
    return SimpleNamespace(rows=rows, claims=claims, task=PCAM)


def test_a_map_that_points_is_said_to():
    said = pointing("one", {"one": report("holds", 0.9), "two": report("holds", 0.91)})
    assert said == (
        "Grad-CAM of one points at tumour, better than the density of nuclei does (pixel AUC over regions with masks "
        "0.90 [0.85, 0.95]; density 0.70, chance 0.50)."
    )


def test_a_map_that_does_not_names_those_that_do():
    reports = {"one": report("fails", 0.5), "Two": report("holds", 0.9), "three": report("undecided", 0.8, None)}
    said = pointing("one", reports)
    assert "does not point at tumour better" in said
    assert said.endswith("That of Two (0.90 [0.85, 0.95]) does point at it.")
    assert "cannot be told to point" in pointing("three", reports)
    assert "; density" not in pointing("three", {"three": reports["three"]})
    assert pointing("one", {"one": report("fails", 0.5)}).endswith("; density 0.70, chance 0.50).")


def test_nothing_is_said_where_no_region_was_asked():
    assert pointing("one", {}) == ""
    assert pointing("one", {"one": report("fails", None), "two": report("holds", 0.9)}) == ""
    assert pointing("one", {"one": report("", 0.5)}) == ""
