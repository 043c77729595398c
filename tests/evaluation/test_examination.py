"""An examination: every measure with chance and baselines in one table, done once, and resumed."""

import copy
import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from core.data.pcam import Split, file_of
from core.errors import ExplanationError, ImportSourceError, ReportError
from core.evaluation import schema
from core.evaluation.claims import CLAIMS
from core.evaluation.explanations import (
    donors,
    localisation,
    masks,
    moving,
    ood,
    planted,
    position_bias,
    prediction,
    randomisation,
)
from core.evaluation.explanations import faithfulness as stage
from core.evaluation.explanations.runner import STAGES, Examination, chosen_methods, confirmed
from core.evaluation.explanations.stage import MAIN, Sample, methods_of
from core.evaluation.explanations.table import Table
from core.evaluation.measures import ANOTHER, BASELINES, MEASURES, OF_NETWORK
from core.evaluation.metrics import faithfulness
from core.evaluation.metrics import position_bias as bias
from core.evaluation.schema import EvidenceReport, Plan, plain, read_report
from core.explain.grid import centre_share, enlarge
from core.inference import Reader
from core.settings import settings
from core.task import PCAM
from core.view.narrative import answer, position_bias_finding

BESIDE = {*BASELINES} - {"darkness", ANOTHER}  # the first stands for hematoxylin where a task has no stain
KNOW_NOTHING = BESIDE - {*OF_NETWORK}
TAKEN_AWAY = ("gap_blurred", "gap_inpainted", "road", "deletion")
PLAN = Plan(sample=24, methods=("gradcam/last", "eigencam/last", "gradcam/6x6"))
ROOT = settings().demo
KEPT_0_2_0 = Path(__file__).parents[1] / "kept_0_2_0"


class Silent:
    """An engine that must not be asked."""

    name, batch = "silent", 8

    def forward(self, patches):
        raise AssertionError("asked for a forward pass")


@pytest.fixture(scope="module")
def demo():
    return Split.open(ROOT, "demo")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module", autouse=True)
def fewer():
    """Few coalitions, of which each patch costs 512 passes, and few networks of random weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(donors, "MOST", 6)
        patch.setattr(planted, "RANKED", 3)
        patch.setattr(randomisation, "SEEDS", 3)
        yield


@pytest.fixture(scope="module")
def report(tiny_reader, demo, cache, told, fewer):
    examination = Examination(tiny_reader, demo, PLAN, tell=lambda *fact: told.append(fact))
    return examination.run(cache)


def by(report, measure):
    return {row.method: row for row in report.rows if row.measure == measure}


def test_every_measure_stands_in_the_table(report):
    taken = {row.measure for row in report.rows}
    assert {name for name in MEASURES if not name.startswith("regions_")} - taken <= {"centre_share", "centre_context"}
    for measure in ("mosaic2", "mosaic3", "masks_pixel_auc", "gap_donor", "shapley_spearman", *TAKEN_AWAY):
        beside = BESIDE if measure.startswith("mosaic") else KNOW_NOTHING
        beside = beside | {ANOTHER} if measure in TAKEN_AWAY else beside
        assert set(by(report, measure)) == {*PLAN.methods, *beside}, measure
        assert {name for name, row in by(report, measure).items() if row.baseline} == beside
    assert set(by(report, "after_randomising")) == set(PLAN.methods)


def test_rows_carry_chance_and_an_interval(report):
    for row in report.rows:
        assert row.low <= row.value <= row.high, row
        assert row.patches > 0
        assert row.resampled_by == ("seed" if row.measure == "after_randomising" else "patch")
        if row.measure not in ("moved_alone", "donor_swap"):
            assert row.chance is not None, row
    assert {row.chance for row in by(report, "mosaic2").values()} == {1 / 4}
    assert by(report, "deletion")["random"].value == pytest.approx(by(report, "deletion")["random"].chance)
    share = by(report, "masks_average_precision")[MAIN].chance
    assert 0 < share < 0.5


def test_a_row_is_the_mean_of_what_the_readers_maps_give(report, tiny_reader, demo):
    """The centre prior's mosaic share needs no network: a Gaussian about the middle has a quarter in every cell."""
    assert (by(report, "mosaic2")[MAIN].patches, by(report, "mosaic3")[MAIN].patches) == (12, 2)
    assert by(report, "mosaic2")["centre prior"].value == pytest.approx(0.25, abs=1e-6)
    index = Sample(tiny_reader, demo, PLAN).indices
    assert (len(index), int(demo.labels[index].sum())) == (24, 12)
    probability = tiny_reader.read(demo.patches(index)).probability
    called = (probability >= tiny_reader.model.point(1).threshold) == demo.labels[index]
    assert report.curves.figures["accuracy"].value == pytest.approx(called.mean())


def test_where_slides_are_not_known_claims_come_over_clusters_of_colour_too(report, tiny_reader, demo):
    found = {claim.name: claim.by_colour for claim in report.claims}
    assert {"planted", "beyond_prediction"} <= {*found}
    for name in ("planted", "beyond_prediction"):
        low, high = found[name]
        assert low < high
    named = dataclasses.replace(demo, slides=np.array([f"s{i % 40}" for i in range(len(demo))]))
    sample = Sample(tiny_reader, named, PLAN)
    (claim,) = sample.claim("still", np.linspace(0, 1, 24), 0.0, sample.groups(), sample.patches(np.arange(24)))
    assert (claim.unit_of_resampling, claim.by_colour) == ("slide", None)


def test_the_own_logit_of_a_mosaic_is_what_its_patches_get_alone(report, tiny_reader, demo):
    """The claim's differences: Grad-CAM's share of the mosaic less the positive patch's share of positive logits."""
    sample = Sample(tiny_reader, demo, PLAN)
    differences, groups = localisation.paired_with_prediction(sample)
    found = localisation.mosaics(sample, 2)
    assert found is localisation.mosaics(sample, 2)
    assert groups is None
    assert len(np.unique(found.patches)) == 12 * 4
    assert np.isin(found.patches[np.arange(12), found.cells], sample.indices).all()
    for number, (patches, cell) in enumerate(zip(found.patches, found.cells, strict=True)):
        assert np.flatnonzero(demo.labels[patches]).tolist() == [cell]
        logits = np.maximum(tiny_reader.read(demo.patches(patches)).logit, 0)
        painted = logits[cell] / logits.sum() if logits.any() else 0
        assert found.shares.values("own logit")[number] == pytest.approx(painted, abs=1e-4)
    against = {row.against: row.value for row in report.paired if row.measure == "mosaic2"}
    assert differences.mean() == pytest.approx(against["own logit"], abs=1e-6)
    slides = dataclasses.replace(demo, slides=np.array([f"{i % 7}" for i in range(len(demo))]))
    _, by_slide = localisation.paired_with_prediction(Sample(tiny_reader, slides, PLAN))
    assert by_slide.tolist() == [f"{i % 7}" for i in found.patches[np.arange(12), found.cells]]


def test_what_a_replacement_reads_as_is_kept_by_label(report, tiny_reader, demo):
    kept = report.curves.replaced
    sample = Sample(tiny_reader, demo, PLAN)
    places = sample.some(stage.STAGE.share)
    patches, labels = sample.patches(places), sample.labels[places]
    point = tiny_reader.model.point(1)
    assert kept.decision == pytest.approx(1.3 * np.log(point.threshold / (1 - point.threshold)))
    whole = np.ones((96, 96), bool)
    assert set(kept.ways) == set(faithfulness.REPLACEMENTS)
    for way, replace in faithfulness.REPLACEMENTS.items():
        found = kept.ways[way]
        for chosen, name in (((0,), "no tumour"), ((1,), "tumour"), ((0, 1), "all")):
            own = patches[np.isin(labels, chosen)]
            assert found[name].patches == len(own) > 0
            for which, seen in (("as_is", own), ("replaced", replace(own, whole))):
                expected = tiny_reader.read(seen).logit.mean()
                assert getattr(found[name], which).value == pytest.approx(expected, abs=0.02), (way, name, which)


def test_why_the_map_leans_is_of_the_true_positives(tiny_reader, demo):
    sample = Sample(tiny_reader, demo, Plan(sample=80, methods=(MAIN,)))
    found = position_bias.measure(sample)
    curve = found.curves.position_bias
    probability, maps = sample.read
    right = (probability >= tiny_reader.model.point(1).threshold) & (sample.labels == 1)
    assert curve.patches == right.sum() >= bias.LEAST
    served = curve.grids["served"][1][1].value
    assert served == pytest.approx(np.nanmean(centre_share(maps[MAIN][right], PCAM)), abs=1e-3)
    regions = tiny_reader.region(bias.in_context(sample.patches(np.flatnonzero(right))))
    context = np.nanmean(centre_share(bias.middle(regions), PCAM))
    assert curve.grids["context"][1][1].value == pytest.approx(context, abs=1e-3)
    (row,) = found.rows
    assert (row.measure, row.method, row.patches) == ("centre_context", MAIN, curve.patches)
    assert row.value == curve.grids["context"][1][1].value
    assert len(position_bias_finding(curve, PCAM)) == 4
    lies = bias.lies(demo.masks(sample.indices))
    assert curve.windows.groups["everywhere"].patches == (lies == "everywhere").sum()


def test_too_few_true_positives_explain_nothing(tiny_reader, demo):
    sample = Sample(tiny_reader, demo, Plan(sample=bias.LEAST, methods=(MAIN,)))
    assert position_bias.measure(sample).curves.position_bias is None


def test_windows_come_from_the_regions_where_there_are_any(tiny_reader, demo, tmp_path, write_region):
    write_region("a", 192)
    (piece,) = position_bias._masked(Sample(tiny_reader, demo, PLAN, tmp_path))
    assert set(piece.sources) == {"a"}
    assert set(bias.lies(piece.masks)) == {"everywhere", "around"}


def test_paired_differences_are_from_grad_cam(report):
    pairs = [row for row in report.paired if row.measure == "mosaic2"]
    assert {row.against for row in pairs} == {*PLAN.methods, *BESIDE} - {MAIN}
    values = by(report, "mosaic2")
    for row in pairs:
        assert row.value == pytest.approx(values[MAIN].value - values[row.against].value, abs=1e-9)


def test_the_report_is_json_and_says_what_it_is_of(report, tiny_reader, demo):
    assert EvidenceReport.model_validate_json(report.model_dump_json()) == report
    assert report.model.identity == tiny_reader.model.identity
    assert report.data.fingerprint == demo.fingerprint()
    assert report.examined == 24
    assert [line.verdict for line in answer(report)] == [claim.verdict for claim in report.claims]
    assert {claim.name for claim in report.claims} <= CLAIMS.keys()
    assert report.confirmation is None
    made = {"deletion", "cascade", "drift", "robustness", "roc", "reliability", "trust"}
    assert all(getattr(report.curves, name) for name in made)


def test_progress_is_told_stage_by_stage(report, told, tiny_reader, demo, cache):
    stages = [stage.name for stage in STAGES]
    assert [stage for stage in dict.fromkeys(stage for stage, _, _ in told) if stage in stages] == stages
    assert all(0 <= done <= total for _, done, total in told)
    assert Examination(tiny_reader, demo, PLAN).progress(cache)[0] == 1
    assert Examination(tiny_reader, demo, Plan(sample=26, methods=(MAIN,))).progress(cache) == (0, "")


def test_what_is_done_is_not_done_again(report, tiny_reader, demo, cache):
    engine = Silent()
    engine.name = tiny_reader.engine.name
    silent = Reader(tiny_reader.stored, engine)
    again = Examination(silent, demo, PLAN).run(cache)
    assert again.rows == report.rows
    assert again.speeds == report.speeds


def test_it_goes_on_where_it_was_stopped(report, tiny_reader, demo, cache):
    examination = Examination(tiny_reader, demo, PLAN)
    kept = cache / "evidence" / examination.key / "masks.json"
    before = kept.read_bytes()
    kept.unlink()
    assert 0.8 < examination.progress(cache)[0] < 1
    again = examination.run(cache)
    assert again.rows == report.rows
    assert json.loads(kept.read_text())["rows"] == json.loads(before)["rows"]


def test_the_key_is_of_all_that_matters(tiny_reader, demo, split, tmp_path, monkeypatch, write_split, patches):
    def key(reader=tiny_reader, data=demo, plan=PLAN, regions=None):
        return Examination(reader, data, plan, regions).key

    assert key() == key()
    stored = tiny_reader.stored
    points = {
        name: p.model_copy(update={"curve": ((-2.0, -1.0), (2.0, 1.0))})
        for name, p in stored.description.points.items()
    }
    calibrated = type(stored)(stored.folder, stored.description.model_copy(update={"points": points}))
    words = PCAM.model_copy(update={"name": "another"})
    renamed = type(stored)(stored.folder, stored.description.model_copy(update={"task": words}))
    (tmp_path / "region.png").touch()
    rounded = copy.copy(tiny_reader.engine)
    rounded.name = "openvino-bf16"
    others = [
        key(reader=Reader(stored, rounded)),
        key(data=split),
        key(plan=Plan(sample=26, methods=PLAN.methods)),
        key(plan=Plan(sample=24, seed=1, methods=PLAN.methods)),
        key(plan=Plan(sample=24, methods=PLAN.methods[:2])),
        key(reader=Reader(calibrated, tiny_reader.engine)),
        key(regions=tmp_path),
        key(reader=Reader(renamed, tiny_reader.engine)),
        key(data=dataclasses.replace(demo, slides=np.repeat("a", len(demo)))),
        key(data=dataclasses.replace(demo, slides=np.repeat("b", len(demo)))),
    ]
    masked = write_split(tmp_path / "masked", patches, (np.arange(len(patches)) % 2).astype(np.uint8))
    data = Split.open(masked, "valid")
    mask = file_of(masked, "valid", "mask.h5")
    for content in (b"", b"one", b"two"):
        others.append(key(data=data))
        mask.write_bytes(content)
        os.utime(mask, ns=(0, len(others)))
    (tmp_path / "region.png").write_bytes(b"")
    os.utime(tmp_path / "region.png", ns=(0, 1))
    others.append(key(regions=tmp_path))
    monkeypatch.setattr(schema, "FORMAT", schema.FORMAT - 1)
    others.append(key())
    monkeypatch.undo()
    assert len({key(), *others}) == 1 + len(others)


def test_methods_are_chosen_by_name():
    reader = SimpleNamespace(layers=("last", "6x6"), task=PCAM, in_regions=lambda method, _: method != "scorecam")
    assert chosen_methods([], reader) == ("gradcam/last",)
    names = ["layercam/6x6", "gradcam/last", "layercam/6x6", "eigencam/last"]
    assert chosen_methods(names, reader) == ("gradcam/last", "layercam/6x6", "eigencam/last")
    assert methods_of(reader, [*names, "scorecam/last", "layercam/12x12"]) == tuple(names)
    for wrong in ("layercam/12x12", "nonsense/last", "layercam", "/", "", "scorecam/last"):
        with pytest.raises(ExplanationError):
            chosen_methods([wrong], reader)


def test_a_network_without_padding_is_examined_on_its_finer_grid(unpadded_reader, demo):
    """Reflected tissue gives every patch a whole map; what is done to tissue is done by tiles of 32 px."""
    examination = Examination(unpadded_reader, demo, Plan(sample=24, methods=methods_of(unpadded_reader)))
    assert examination.sample.plan.methods == ("gradcam/last", "layercam/last")
    with pytest.raises(ExplanationError, match="eigencam/last"):
        chosen_methods(["eigencam/last"], unpadded_reader)
    maps = examination.sample.read[1][MAIN]
    assert maps.shape == (24, 12, 12)
    assert maps.all()
    image = demo.patches(np.arange(4)).reshape(2, 192, 96, 3)
    assert examination.sample.activation_norm(image).shape == examination.sample.region_maps(image)[MAIN].shape
    found = [stage.measure(examination.sample) for stage in (planted.STAGE, moving.STAGE, donors.STAGE)]
    by_tiles = {"planted_hit", "planted_share", "gap_donor", "shapley_spearman", "drop_donor"}
    assert {row.measure for one in found for row in one.rows if row.method == MAIN} >= {"follows", *by_tiles}
    assert found[0].claims[0].name == "planted"
    assert found[0].curves.planted.tau.keys() == by_tiles


def test_a_split_of_one_kind_has_no_mosaics(tiny_reader, tmp_path, write_split, patches):
    split = Split.open(write_split(tmp_path, patches, np.zeros(12, np.uint8)), "valid")
    found = localisation.measure(Sample(tiny_reader, split, Plan(sample=12, methods=PLAN.methods[:1])))
    assert found.rows == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label", [0, 1])
def test_a_split_of_one_kind_has_no_roc_and_no_library_complains(tiny_reader, tmp_path, write_split, patches, label):
    split = Split.open(write_split(tmp_path, patches, np.full(12, label, np.uint8)), "valid")
    found = prediction.measure(Sample(tiny_reader, split, Plan(sample=24, methods=PLAN.methods[:1])))
    assert found.curves.roc is None
    assert found.curves.risk_coverage.coverage[-1] == 1


def test_slides_are_the_units_of_a_row():
    table = Table()
    table.add(MAIN, np.array([0.1, 0.2, np.nan, 0.4]))
    (by_patch,) = table.rows("turns_drift")
    (by_slide,) = table.rows("turns_drift", np.array(["a", "a", "b", "c"]))
    assert (by_patch.patches, by_patch.units, by_patch.resampled_by) == (3, 3, "patch")
    assert (by_slide.patches, by_slide.units, by_slide.resampled_by) == (3, 2, "slide")
    (by_place,) = table.rows("turns_drift", np.array(["a", "a", "b", "c"]), unit="place")
    assert (by_place.units, by_place.resampled_by) == (2, "place")


def test_hits_that_all_agree_are_not_certain():
    table = Table()
    table.add(MAIN, np.array([1.0, np.nan, 1.0, 1.0]))
    (hits,) = table.rows("regions_hit", np.array(["a", "b", "c", "c"]), 0.5, unit="place")
    (means,) = table.rows("turns_drift")
    z = 1.959964**2
    assert (hits.value, hits.high, hits.units) == (1, 1, 2)
    assert hits.low == pytest.approx(2 / (2 + z), abs=1e-6)  # Wilson's of two places
    assert means.low == means.high == 1


def test_masks_are_judged_on_other_slides_than_the_threshold_was_chosen_on(tiny_reader, demo):
    names = np.array(["a", "b", "c", "d"])[np.arange(len(demo)) % 4]
    sample = Sample(tiny_reader, dataclasses.replace(demo, slides=names), Plan(sample=24, methods=(MAIN,)))
    rows = {row.measure: row for row in masks.of_patches(sample).rows if row.method == MAIN}
    shares, judged = demo.masks(sample.indices).mean(axis=(1, 2)), np.isin(sample.groups(), ["b", "d"])
    assert {row.resampled_by for row in rows.values()} == {"slide"}
    assert 0 < judged.sum() < 24
    assert (rows["masks_iou"].patches, rows["masks_iou"].units) == (judged.sum(), 2)
    assert rows["masks_iou"].chance == pytest.approx(shares[judged].mean())
    assert (rows["masks_pixel_auc"].patches, rows["masks_pixel_auc"].units) == (24, 4)
    assert rows["masks_average_precision"].chance == pytest.approx(shares.mean())
    assert rows["masks_hit"].patches == (shares > 0).sum()


def test_a_single_slide_has_no_other_to_judge_a_threshold_on_and_no_spread(tiny_reader, demo, monkeypatch):
    monkeypatch.setattr(randomisation, "SEEDS", 2)
    one = dataclasses.replace(demo, slides=np.repeat("a", len(demo)))
    sample = Sample(tiny_reader, one, Plan(sample=24, methods=(MAIN,)))
    assert "masks_iou" not in {row.measure for row in masks.of_patches(sample).rows}
    cascade = randomisation.measure(sample).curves.cascade[MAIN]
    assert cascade.ssim
    assert all(figure.low == figure.high for figure in cascade.ssim)


@pytest.fixture
def write_region(tmp_path, patches):
    """A function that writes a picture of `side` px with a mask over its left half."""

    def write(name, side):
        image = np.tile(patches[0], (2, 2, 1))[:side, :side]
        mask = np.zeros((side, side), np.uint8)
        mask[:, : side // 2] = 255
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")

    return write


def test_regions_are_measured_beside_their_baselines(tiny_reader, demo, tmp_path, write_region):
    told = []
    for name in ("a", "b"):
        write_region(name, 128)
    found = masks.of_regions(Sample(tiny_reader, demo, PLAN, tmp_path, tell=lambda *fact: told.append(fact)))
    rows = {(row.measure, row.method): row for row in found.rows}
    assert {method for measure, method in rows if measure == "regions_pixel_auc"} == {*PLAN.methods, *BESIDE}
    assert {(row.patches, row.units, row.resampled_by) for row in found.rows if row.measure != "regions_iou"} == {
        (2, 2, "place")
    }
    assert rows["regions_average_precision", "random"].chance == pytest.approx(0.5)  # half of each is tumour
    assert rows["regions_pixel_auc", "centre prior"].value == pytest.approx(0.5, abs=0.01)
    assert [(done, total) for _, done, total in told] == [(1, 2), (2, 2)]


def test_regions_side_by_side_are_one_place_wherever_they_are_drawn(tiny_reader, demo, tmp_path):
    """Three pictures of one texture with masks over their left; b lies right of a, and d, without tumour, below it."""
    grain = gaussian_filter(np.random.default_rng(0).standard_normal((512, 768)), 2)
    grey = np.clip(128 + 60 * grain / grain.std(), 0, 255).astype(np.uint8)
    cuts = {"a": grey[:256, :256], "b": grey[:256, 256:512], "c": grey[256:, 512:], "d": grey[256:, :256]}
    for name, cut in cuts.items():
        Image.fromarray(np.repeat(cut[..., None], 3, axis=2)).save(tmp_path / f"{name}.png")
        mask = np.zeros((256, 256), np.uint8)
        mask[:, : 0 if name == "d" else 128] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    sample = Sample(tiny_reader, demo, Plan(sample=24, methods=(MAIN,)), tmp_path)
    assert sample.places == {"a": "a", "b": "a", "c": "c", "d": "a"}
    areas, places = masks.auc_of_regions(sample)
    assert places.tolist() == ["a", "a", "c", "a"]
    assert set(areas) == {MAIN, "inverse hematoxylin", "own logit"}
    for number, name in enumerate("abc"):
        image = np.repeat(cuts[name][..., None], 3, axis=2)
        pixels = enlarge(tiny_reader.region(image), 256, smooth=True)[0]
        truth = np.broadcast_to(np.arange(256) < 128, (256, 256))
        assert areas[MAIN][number] == pytest.approx(roc_auc_score(truth.ravel(), pixels.ravel()), abs=2e-3)
    differences, _ = masks.auc_over_baseline(sample, "own logit")
    assert differences[:3] == pytest.approx((areas[MAIN] - areas["own logit"])[:3])
    assert np.isnan(differences[3])
    rows = {row.measure: row for row in masks.of_regions(sample).rows if row.method == MAIN}
    assert {row.resampled_by for row in rows.values()} == {"place"}
    assert (rows["regions_pixel_auc"].patches, rows["regions_pixel_auc"].units) == (4, 2)
    assert (rows["regions_iou"].patches, rows["regions_iou"].units) == (1, 1)
    assert rows["regions_iou"].chance == pytest.approx(0.5)  # c alone is judged, not the third of all four
    assert (rows["regions_hit"].patches, rows["regions_hit"].units) == (3, 2)
    pieces = list(position_bias._masked(sample))
    assert {name for piece in pieces for name in piece.sources.tolist()} == {"a", "c"}
    assert [len(piece.masks) > 0 for piece in pieces] == [True, True, True, False]  # d has no window of any kind
    assert bias.by_mask(pieces[3:], tiny_reader.read) == {"groups": {}, "difference": None}
    assert masks.auc_of_regions(Sample(tiny_reader, demo, PLAN))[0][MAIN].shape == (0,)


def test_ood_patches_are_measured_where_the_bundle_can_tell(ood_reader, tiny_reader, demo, tmp_path, patches):
    for number, patch in enumerate(patches[:4]):
        Image.fromarray(patch).save(tmp_path / f"cloud_{number}.png")
    told = []
    sample = Sample(ood_reader, demo, PLAN, odd=tmp_path, tell=lambda *fact: told.append(fact))
    kinds = {kind.name: kind for kind in ood.measure(sample).curves.ood.kinds}
    assert list(kinds) == [
        "own, JPEG of quality 50", "own, blur of 0.7 px", "own, blur of 2 px", "own, scale 0.5x", "own, scale 2x",
        "own, scale 4x", "immunohistochemistry (scikit-image)", "photographs (scikit-image)",
        f"pictures of {tmp_path.name}",
    ]  # fmt: skip
    assert kinds[f"pictures of {tmp_path.name}"].patches == 4
    assert all(kind.auroc.low <= kind.auroc.value <= kind.auroc.high for kind in kinds.values())
    assert told[-1] == ("ood", 9, 9)
    assert ood.measure(Sample(tiny_reader, demo, PLAN)).curves.ood is None
    keys = [
        Examination(ood_reader, demo, PLAN, r, odd=o).key for r, o in ((None, None), (tmp_path, None), (None, tmp_path))
    ]
    assert len({Examination(tiny_reader, demo, PLAN).key, *keys}) == 4


def test_regions_of_two_sizes_are_refused(tiny_reader, demo, tmp_path, write_region):
    write_region("a", 128)
    write_region("b", 160)
    with pytest.raises(ImportSourceError, match="'b' is not of the size of the regions before it"):
        masks.of_regions(Sample(tiny_reader, demo, PLAN, tmp_path))


def test_a_report_of_format_2_is_read_in_the_words_of_today():
    """As version 0.2.0 wrote it."""
    path = KEPT_0_2_0 / "evidence.json"
    kept = json.loads(path.read_text())
    assert kept["format"] == 2
    report = read_report(path)
    same = [row for row in kept["rows"] if row["measure"] not in schema._CHANGED_4]
    assert [row.model_dump() for row in report.rows] == [row | {"units": None} for row in same]
    curves = kept["curves"]
    assert report.curves.ood.false_alarms.model_dump() == curves["strangers"]["false_alarms"]
    assert report.curves.position_bias.patches == curves["position"]["patches"]
    tumour = curves["trust"]["tumour"]
    assert report.curves.trust["tumour"].patches == tumour["patches"]
    assert report.curves.trust["tumour"].quantiles["centre"] == tumour["centre"]
    assert set(report.speeds) >= {"localisation", "faithfulness", "randomisation", "stability", "position_bias", "ood"}
    told = [(line.name, line.verdict) for line in position_bias_finding(report.curves.position_bias, PCAM)]
    assert told == [(line["name"], line["verdict"]) for line in curves["position"]["finding"]]


def test_a_report_that_cannot_be_read_says_where(tmp_path, report):
    path = tmp_path / "evidence.json"
    path.write_text(report.model_dump_json())
    assert read_report(path) == report
    for text, said in (
        ("{", "at its start"),
        ('{"format": 9}', "at format"),
        ('{"format": 3}', "at model"),
        ("[]", "at its start"),
    ):
        path.write_text(text)
        with pytest.raises(ReportError, match=said):
            read_report(path)
    assert plain({1: np.array([np.nan, 1.0])}) == {"1": [None, 1.0]}


def test_claims_are_confirmed_once_for_the_same_weights(
    tiny_copy, report, tmp_path, command, write_split, patches, labels, monkeypatch
):
    monkeypatch.setattr(donors, "MOST", 2)
    data, out = write_split(tmp_path / "data", patches, labels, "test"), tmp_path / "out.json"
    asked = ("evidence", "--model", tiny_copy, "--data", data, "--sample", 20, "--engine", "openvino", "--confirm")
    code, _, said = command(*asked, "--out", out)
    assert (code, "make one with --record, then confirm it" in said) == (2, True)
    (tiny_copy / "evidence.json").write_text(report.model_dump_json())

    code, told, _ = command(*asked, "--out", out)
    assert code == 0
    kept = read_report(tiny_copy / "evidence.json")
    assert kept == read_report(out)
    assert (kept.rows, kept.confirmation.data.split) == (report.rows, "test")
    assert kept.claims == kept.confirmation.claims
    assert "Confirmed once, on 12 patches of 'test'" in told

    monkeypatch.setattr(Examination, "confirm", lambda *_: pytest.fail("measured again"))
    assert command(*asked, "--out", out)[0] == 0
    assert read_report(tiny_copy / "evidence.json") == kept
    other = kept.model_copy(update={"model": kept.model.model_copy(update={"identity": "tiny 0.2"})})
    assert confirmed(other, kept.confirmation) == other
