"""Networks whose reason for leaning is known, and whether it is found."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.data.regions import Region
from core.evaluation.metrics import position_bias
from core.evaluation.metrics.position_bias import LEAST, PER_REGION, Masked
from core.evaluation.schema import Figure, PositionBias, plain
from core.task import PCAM
from core.view.narrative import position_bias_finding

COUNT = 40


def darkness(images):
    """Mean darkness of each 32 px cell, (n, h / 32, w / 32) in [0, 1]."""
    count, height, width, _ = images.shape
    cells = images.reshape(count, height // 32, 32, width // 32, 32, 3).mean(axis=(2, 4, 5))
    return 1 - cells / 255


def local(images):
    """Every cell sees its own tissue alone."""
    return darkness(images)


def padded(by):
    """Local, but a border scales the cells beside it."""

    def region(images):
        maps = darkness(images)
        inner = maps[:, 1:-1, 1:-1].copy()
        maps *= by
        maps[:, 1:-1, 1:-1] = inner
        return maps

    return region


def spread(images):
    """Every cell sees the whole image."""
    maps = darkness(images)
    return np.broadcast_to(maps.mean(axis=(1, 2), keepdims=True), maps.shape)


def obedient(images):
    """The label's rule: the middle cell of a patch alone counts."""
    maps = darkness(images)
    rule = np.zeros_like(maps)
    middle = maps.shape[1] // 2
    rule[:, middle, middle] = maps[:, middle, middle]
    return rule


def looking(region):
    def look(patches):
        maps = region(patches)
        logit = maps.sum(axis=(1, 2))
        return SimpleNamespace(attribution=maps, logit=logit, probability=1 / (1 + np.exp(-logit)))

    return look


def patches_of(level, seed, count=COUNT):
    """Patches whose cells scatter about a grey level."""
    cells = np.random.default_rng(seed).integers(level - 10, level + 11, (count, 3, 3, 1))
    return cells.repeat(32, axis=1).repeat(32, axis=2).repeat(3, axis=3).astype(np.uint8)


@pytest.fixture(scope="module")
def dark():
    return patches_of(90, seed=0)


@pytest.fixture(scope="module")
def pale():
    return patches_of(220, seed=1)


def told(region, dark, pale):
    """The summary and the verdicts of an oracle."""
    curve = position_bias.summary(position_bias.measured(dark, pale, looking(region), region, PCAM.label_box))
    return curve, {line.name: line.verdict for line in finding(curve)}


def finding(curve):
    return position_bias_finding(PositionBias.model_validate(plain(curve)), PCAM)


def grid(curve, name):
    return np.array([[cell.value for cell in row] for row in curve["grids"][name]])


# Patches shown in another way --------------------------------------------------------------------------------------


def test_context_holds_the_patch_and_its_mirror_images(patches):
    region = position_bias.in_context(patches)
    assert region.shape == (12, 288, 288, 3)
    assert (region[:, 96:192, 96:192] == patches).all()
    assert (region[:, 96:192, :96] == patches[:, :, ::-1]).all()
    assert (region[:, 192:, 96:192] == patches[:, ::-1]).all()
    np.testing.assert_allclose(position_bias.middle(local(region)), local(patches))


def test_the_same_tissue_is_in_every_cell_without_seams(patches):
    found = position_bias.same_tissue(patches, PCAM.label_box)
    centre = patches[:, 32:64, 32:64]
    assert found.shape == patches.shape
    assert (found[:, 32:64, 32:64] == centre).all()
    assert (found[:, :32, 32:64] == centre[:, ::-1]).all()
    assert (found[:, 64:, 64:] == centre[:, ::-1, ::-1]).all()
    for edge in (32, 64):
        assert (found[:, edge - 1] == found[:, edge]).all()
        assert (found[:, :, edge - 1] == found[:, :, edge]).all()


def test_what_is_exchanged_is_the_donors_and_nothing_else(dark, pale):
    before = dark.copy(), pale.copy()
    found = position_bias.exchanged(dark, pale, PCAM.label_box)
    inside = np.zeros((96, 96), bool)
    inside[32:64, 32:64] = True
    for part, own, other in (("centre", ~inside, inside), ("surround", inside, ~inside)):
        assert (found[part][:, own] == dark[:, own]).all()
        assert (found[part][:, other] == pale[:, other]).all()
    assert (dark == before[0]).all()
    assert (pale == before[1]).all()


def test_shares_by_hand():
    found = position_bias.cell_shares(np.array([[[1.0, -5], [3, 0]], [[-1, 0], [0, -2]]]))
    assert found[0].tolist() == [[0.25, 0], [0.75, 0]]
    assert np.isnan(found[1]).all()


# Networks whose reason is known ------------------------------------------------------------------------------------


def test_a_local_network_leans_nowhere_and_sees_its_own_tissue(dark, pale):
    curve, verdict = told(local, dark, pale)
    assert curve["patches"] == COUNT
    np.testing.assert_allclose(grid(curve, "context"), grid(curve, "served"), atol=1e-12)
    np.testing.assert_allclose(grid(curve, "same"), 1 / 9)
    np.testing.assert_allclose(grid(curve, "served"), 1 / 9, atol=0.01)
    assert grid(curve, "served").sum() == pytest.approx(1)
    assert curve["own"].value == curve["own"].low == 1
    own, other = darkness(dark), darkness(pale)
    fall = own - other
    assert curve["moved"]["centre"].value == pytest.approx(fall[:, 1, 1].mean())
    assert curve["moved"]["surround"].value == 0
    assert curve["fall"]["centre"].value == pytest.approx(fall[:, 1, 1].mean())
    assert curve["fall"]["surround"].value == pytest.approx((fall.sum(axis=(1, 2)) - fall[:, 1, 1]).mean())
    assert verdict == {
        "The lean": "", "Zero padding": "not supported", "Receptive field": "not supported",
        "Tumour all over": "supported",
    }  # fmt: skip


@pytest.mark.parametrize(("by", "words"), [(2.0, "less than"), (0.5, "more than")])
def test_padding_is_found_whichever_way_it_draws(dark, pale, by, words):
    curve, verdict = told(padded(by), dark, pale)
    expected = 1 / (1 + 8 * by)
    for name in ("served", "same"):
        assert grid(curve, name)[1, 1] == pytest.approx(expected, abs=0.005)
    np.testing.assert_allclose(grid(curve, "context"), 1 / 9, atol=0.01)
    assert curve["context_change"].value == pytest.approx(1 / 9 - expected, abs=0.005)
    assert verdict["Zero padding"] == "supported"
    assert verdict["Receptive field"] == "not supported"
    assert f"{words} chance (11.1%)" in finding(curve)[0].text


def test_position_alone_that_no_context_undoes_is_padding_in_part(dark, pale):
    """Cells know their place in the patch, as of a network that was taught it, and mirrored tissue changes nothing."""

    def region(images):
        maps = darkness(images).copy()
        middle = maps.shape[1] // 2
        maps[:, middle, middle] /= 2
        return maps

    curve, verdict = told(region, dark, pale)
    assert grid(curve, "context")[1, 1] == pytest.approx(grid(curve, "served")[1, 1])
    assert grid(curve, "same")[1, 1] == pytest.approx(1 / 17)
    assert verdict["Zero padding"] == "supported in part"


def test_a_cell_that_sees_all_alike_owns_a_ninth(dark, pale):
    curve, verdict = told(spread, np.full_like(dark, 90), np.full_like(pale, 220))
    for name in position_bias.GRIDS:
        np.testing.assert_allclose(grid(curve, name), 1 / 9)
    assert curve["own"].value == pytest.approx(1 / 9)
    assert curve["moved"]["centre"].value == pytest.approx(130 / 255 / 9)
    assert curve["fall"]["surround"].value == pytest.approx(130 / 255 * 8)
    assert verdict["Receptive field"] == "supported"
    assert verdict["Zero padding"] == "not supported"


def test_a_network_that_obeys_the_label_falls_only_when_the_centre_goes(dark, pale):
    curve, verdict = told(obedient, dark, pale)
    assert grid(curve, "served")[1, 1] == 1
    assert curve["fall"]["surround"] == Figure(value=0, low=0, high=0)
    assert curve["fall"]["centre"].low > 0.4
    assert verdict["Tumour all over"] == "not supported"


def test_a_map_that_never_moves_has_no_share_of_its_own(dark, pale):
    curve, verdict = told(lambda images: np.ones((len(images), *np.array(images.shape[1:3]) // 32)), dark, pale)
    assert curve["own"].value is None
    assert verdict["Receptive field"] == "not supported"
    assert "an undefined share" in finding(curve)[2].text


def test_patches_without_positive_evidence_are_counted_and_told(dark, pale):
    values = position_bias.measured(dark, pale, looking(local), local, PCAM.label_box)
    assert position_bias.summary(values)["silent"] == 0
    assert "no positive evidence" not in finding(position_bias.summary(values))[0].text
    values["served"][:3] = np.nan
    curve = position_bias.summary(values)
    assert (curve["patches"], curve["silent"]) == (COUNT, 3)
    assert f"of {COUNT - 3} true positives" in finding(curve)[0].text


def test_slides_are_drawn_whole(dark, pale):
    values = position_bias.measured(dark, pale, looking(local), local, PCAM.label_box)
    by_patch = position_bias.summary(values)
    by_slide = position_bias.summary(values, np.repeat(["a", "b"], COUNT // 2))
    assert (by_patch["resampled_by"], by_slide["resampled_by"]) == ("patch", "slide")
    assert by_slide["fall"]["centre"].value == pytest.approx(by_patch["fall"]["centre"].value)
    assert by_slide["fall"]["centre"] != by_patch["fall"]["centre"]


# Where tumour lies -------------------------------------------------------------------------------------------------


def mask(centre, surround):
    """A mask whose cells hold these shares of tumour."""
    cells = np.full((3, 3), surround)
    cells[1, 1] = centre
    rows = (np.arange(96) % 32)[None, :, None] < np.rint(32 * cells.repeat(32, axis=0))[:, None].swapaxes(0, 1)
    return rows[0].repeat(32, axis=1) if rows.shape[2] == 3 else rows[0]


@pytest.mark.parametrize(
    ("centre", "surround", "kind"),
    [
        (1.0, 0.5, "centre"),
        (0.5, 0.0, "centre"),
        (0.5, 0.375, ""),
        (0.375, 0.0, ""),
        (1.0, 1.0, "everywhere"),
        (0.75, 0.75, "everywhere"),
        (1.0, 0.625, ""),
        (0.0, 0.25, "around"),
        (0.0, 1.0, "around"),
        (0.125, 1.0, ""),
        (0.0, 0.125, ""),
        (0.0, 0.0, ""),
    ],
)
def test_where_tumour_lies(centre, surround, kind):
    one = mask(centre, surround)
    assert position_bias.tumour_cells(one[None])[0, 1, 1] == centre
    assert position_bias.tumour_cells(one[None])[0, 0, 2] == surround
    assert position_bias.lies(one[None]).tolist() == [kind]


def test_windows_are_cut_with_their_masks_and_no_region_outweighs():
    tumour = np.zeros((512, 512), bool)
    tumour[:, :320] = True
    place = np.arange(512 * 512).reshape(512, 512)
    image = np.stack([place % 251, place // 1021, tumour * 255], axis=-1).astype(np.uint8)
    (piece,) = position_bias.windows([Region("a", image, tumour)], PCAM.side)
    kinds, count = np.unique(position_bias.lies(piece.masks), return_counts=True)
    assert dict(zip(kinds, count, strict=True)) == {"around": PER_REGION, "everywhere": PER_REGION}
    assert set(piece.sources) == {"a"}
    assert (piece.patches[..., 2] == piece.masks * 255).all()
    corner = piece.patches[:, 0, 0, :2].tolist()
    places = [[image[y, x, :2].tolist() for x in range(0, 417, 32)] for y in range(0, 417, 32)]
    assert all(any(one in row for row in places) for one in corner)
    (again,) = position_bias.windows([Region("a", image, tumour)], PCAM.side)
    assert (again.patches == piece.patches).all()
    (none,) = position_bias.windows([Region("b", image, np.zeros((512, 512), bool))], PCAM.side)
    assert len(none.patches) == 0


def masked(centre, surround, count, name, seed=0):
    """Patches that are dark where there is tumour, each with a little grey of its own."""
    masks = np.broadcast_to(mask(centre, surround), (count, 96, 96))
    grey = np.random.default_rng(seed).integers(0, 20, (count, 1, 1))
    patches = np.where(masks, 60 + grey, 255).astype(np.uint8)[..., None].repeat(3, axis=3)
    return Masked(patches, masks, np.array([f"{name}{i}" for i in range(count)]))


def test_an_exact_map_shows_the_tumours_own_share():
    pieces = [masked(0.5, 0.125, 12, "c"), masked(1, 1, 15, "e"), masked(0, 0.5, LEAST - 1, "a")]
    found = position_bias.by_mask(pieces, looking(local))
    assert {name: one["patches"] for name, one in found["groups"].items()} == {"centre": 12, "everywhere": 15}
    for name, expected in (("centre", 0.5 / 1.5), ("everywhere", 1 / 9)):
        one = found["groups"][name]
        assert one["positive"] == pytest.approx(expected)
        assert one["share"].value == pytest.approx(expected)
        assert one["silent"] == 0
        assert one["probability"].low <= one["probability"].value <= one["probability"].high
    assert found["difference"].value == pytest.approx(1 / 3 - 1 / 9)
    assert found["difference"].low > 0.2


def test_a_blind_map_shows_a_ninth_wherever_tumour_lies():
    found = position_bias.by_mask([masked(0.5, 0.125, 12, "c"), masked(1, 1, 12, "e")], looking(spread))
    assert found["groups"]["centre"]["share"].value == pytest.approx(1 / 9)
    assert found["difference"].value == pytest.approx(0)


def test_patches_without_evidence_are_counted_and_have_no_share():
    piece = masked(0, 0.5, 2 * LEAST, "a")
    piece.patches[: LEAST - 1] = 255
    found = position_bias.by_mask([piece], looking(local))
    assert found["groups"]["around"]["silent"] == LEAST - 1
    assert found["groups"]["around"]["share"].value == 0
    assert found["difference"] is None
    piece.patches[: LEAST + 1] = 255
    assert position_bias.by_mask([piece], looking(local)) == {"groups": {}, "difference": None}
    assert position_bias.by_mask([masked(0, 0, 20, "n")], looking(local)) == {"groups": {}, "difference": None}
