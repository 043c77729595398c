"""A small split is calibrated on and evaluated; card and report say what was found there and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from core.data.pcam import Split, file_of
from core.errors import CalibrationError, ModelValueError
from core.evaluation import report as reporting
from core.evaluation.card import PCAM_TRAINING, interval_text, limits, model_card
from core.evaluation.metrics.classification import FIGURES, calibrated_ece
from core.evaluation.report import (
    bf16_check,
    calibrate,
    check_labels,
    check_order,
    evaluate,
    judge_calibration,
    with_evaluation,
)
from core.explain.registry import METHODS, SCALE_PASSES
from core.inference import load_reader
from core.inference.engines.openvino_engine import OpenVinoEngine, has_bf16
from core.inference.reader import Reader
from core.models.calibration_curve import along
from core.models.schema import Bundle, CalibrationTrial, DataRecord, Interval, PrecisionCheck, Trial
from core.models.store import CARD, SHIPPED, StoredBundle, read_description, write_description
from core.settings import Settings
from core.task import PCAM

ROOT = Path(__file__).resolve().parents[2]
SILENT = lambda done, total: None  # noqa: E731


@pytest.fixture(scope="module")
def slides_split(tmp_path_factory, write_split, patches, labels):
    folder = write_split(tmp_path_factory.mktemp("slides"), patches, labels, "test")
    rows = "".join(f"slide_{i // 3}\n" for i in range(12))
    file_of(folder, "test", "meta.csv").write_text("wsi\n" + rows)
    return Split.open(folder, "test")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, tiny_reader, write_split, patches, labels):
    """The tiny bundle, calibrated on the twelve patches."""
    folder = write_split(tmp_path_factory.mktemp("calibration"), patches, labels, "valid")
    seen = []
    bundle = calibrate(tiny_reader, Split.open(folder, "valid"), lambda done, total: seen.append((done, total)))
    assert seen == [(12, 12)] * (6 if has_bf16() else 4)  # two for each number of views, one for each arithmetic
    return bundle


def test_calibration_fits_each_pipeline_on_its_own_logits(calibrated, tiny_reader, patches, labels):
    assert set(calibrated.points) == {"1", "8"}
    for views in (1, 8):
        point = calibrated.point(views)
        logits = tiny_reader.read(patches, views=views).view_logits.astype(float).mean(axis=1)
        places, heights = np.array(point.curve).T
        inside = (logits > places[0]) & (logits < places[-1])
        probability = expit(np.where(inside, np.interp(logits, places, heights), along(logits, places, heights)))
        assert np.isclose(probability, point.threshold, atol=1e-6).any()
    assert calibrated.calibrated_on.split == "valid"
    assert calibrated.calibrated_on.patches == 12
    assert calibrated.evaluations == ()
    assert calibrated.areas is calibrated.slides is None
    assert Bundle.model_validate_json(calibrated.model_dump_json()) == calibrated


@pytest.mark.parametrize("harmless", [True, False])
def test_eight_views_are_calibrated_in_the_arithmetic_that_will_serve(split, tiny_bundle, monkeypatch, harmless):
    """After the check has been made, and not before: one view is read exactly."""
    counts = {"f32": 0, "bf16": 0}

    class Counting(OpenVinoEngine):
        def __init__(self, stored, threads, precision="f32"):
            super().__init__(stored, threads)
            self.precision = precision

        def forward(self, patches):
            counts[self.precision] += len(patches)
            return super().forward(patches)

    def as_served(stored, settings):
        return Counting(stored, settings.threads, "bf16" if stored.description.precision.harmless else "f32")

    check = PrecisionCheck(precision="bf16", patches=12, largest_shift=0.0 if harmless else 1.0, map_correlation=1.0)
    monkeypatch.setattr(reporting, "open_engine", as_served)
    monkeypatch.setattr(reporting, "bf16_check", lambda *_: check)
    stored = StoredBundle.open(tiny_bundle)
    bundle = calibrate(Reader(stored, Counting(stored, 1)), split, SILENT)
    assert bundle.precision == check
    read = counts["bf16"] if harmless else counts["f32"] - 2 * len(split)
    assert read >= 2 * 8 * len(split)
    assert counts["f32"] == 2 * len(split) if harmless else counts["bf16"] == 0


def test_whoever_asks_for_exact_arithmetic_is_calibrated_in_it(split, tiny_bundle, monkeypatch):
    check = PrecisionCheck(precision="bf16", patches=12, largest_shift=0.0, map_correlation=1.0)
    monkeypatch.setattr(reporting, "bf16_check", lambda *_: check)
    exact = Settings.from_environment({"NODELENS_ENGINE": "openvino-fp32"})
    monkeypatch.setattr(reporting, "settings", lambda: exact)
    seen = []
    real = reporting.read_split
    monkeypatch.setattr(
        reporting, "read_split", lambda reader, *rest: seen.append(reader.engine.name) or real(reader, *rest)
    )
    calibrate(load_reader(tiny_bundle, "openvino-fp32"), split, SILENT)
    assert set(seen) == {"openvino-fp32"}
    assert len(seen) == 4


def test_colour_scales_are_quantiles_of_the_evidence(calibrated, tiny_reader, patches):
    assert set(calibrated.scales) == {
        f"{name}/{layer}"
        for name, method in METHODS.items()
        for layer in method.layers(tiny_reader.layers)
        if method.passes_at(layer, 96) <= SCALE_PASSES
    }
    assert "ablationcam/last" in calibrated.scales
    assert "rise/input" not in calibrated.scales
    for key in ("gradcam/last", "layercam/6x6"):
        method, layer = key.split("/")
        maps = tiny_reader.explain(patches, method, layer, "tumour minus normal").attribution
        assert calibrated.scales[key] == pytest.approx(np.quantile(np.abs(maps), 0.99), rel=1e-3)


def test_the_patch_at_the_threshold_reads_tumour_when_it_is_served(calibrated, tiny_reader, patches):
    """The threshold is some patch's probability: a last bit lost on the way would turn its verdict."""
    stored = StoredBundle(tiny_reader.stored.folder, Bundle.model_validate_json(calibrated.model_dump_json()))
    reader = Reader(stored, tiny_reader.engine)
    for views in (1, 8):
        probability = reader.read(patches, views=views).probability
        at = np.flatnonzero(np.isclose(probability, calibrated.point(views).threshold, atol=1e-9))
        assert len(at) > 0
        assert (probability[at] >= calibrated.point(views).threshold).any()


@pytest.mark.parametrize("views", [1, 8])
def test_evaluation_counts_what_the_reader_says(tiny_reader, slides_split, patches, labels, views):
    evaluation, report = evaluate(tiny_reader, slides_split, views, SILENT)
    readings = tiny_reader.read(patches, views=views)
    called, truth = readings.probability >= readings.point.threshold, labels == 1
    assert (evaluation.views, evaluation.positives, evaluation.resampled_by) == (views, 6, "slide")
    assert evaluation.data.split == "test"
    assert evaluation.data.fingerprint == slides_split.fingerprint()
    assert evaluation.figures["accuracy"].value == pytest.approx((called == truth).mean())
    assert evaluation.referred == pytest.approx((readings.verdict == "refer").mean())
    assert evaluation.figures["not_read"].value == pytest.approx((readings.verdict == "not read").mean())
    assert report["confusion"] == {
        "true_positive": (called & truth).sum(),
        "false_positive": (called & ~truth).sum(),
        "false_negative": (~called & truth).sum(),
        "true_negative": (~called & ~truth).sum(),
    }
    assert sum(report["reliability"]["count"]) == 12
    assert report["operating_point"]["threshold"] == readings.point.threshold
    assert report["model"] == tiny_reader.model.identity
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_split_without_slides_is_resampled_by_patch(tiny_reader, split):
    assert evaluate(tiny_reader, split, 1, SILENT)[0].resampled_by == "patch"


def test_a_newer_evaluation_replaces_the_older_of_the_same_data(tiny_reader, slides_split, split):
    test = evaluate(tiny_reader, slides_split, 1, SILENT)[0]
    valid = evaluate(tiny_reader, split, 1, SILENT)[0]
    newer = test.model_copy(update={"referred": 0.125})
    bundle = tiny_reader.model
    for evaluation in (test, valid, newer):
        bundle = with_evaluation(bundle, evaluation)
    assert bundle.evaluations == (valid, newer)


def test_the_card_holds_the_bundles_figures_and_limits(calibrated, tiny_reader, slides_split):
    evaluation = evaluate(tiny_reader, slides_split, 8, SILENT)[0]
    measured = with_evaluation(calibrated, evaluation)
    card = model_card(measured)
    assert "Research use only" in card
    for limit in limits(measured):
        assert f"- {limit}\n" in card
    assert f"{evaluation.positives / 12:.0%} are positive" in card
    for name, interval in evaluation.figures.items():
        assert f"| {FIGURES[name]} | {interval_text(interval)} |" in card
    assert ", ".join(f"{x:+.2f}: {y:+.2f}" for x, y in calibrated.point(8).curve) in card
    assert calibrated.identity in card
    assert calibrated.training.recipe in card
    assert evaluation.data.fingerprint[:8] in card
    assert "resampled by slide" in card
    assert "a calibration error: its interval lies high" in card
    assert "Not measured yet" not in card


def test_of_two_knots_slope_and_intercept_are_told(calibrated):
    point = calibrated.point(1).model_copy(update={"curve": ((-1.0, -2.0), (3.0, 4.0))})
    card = model_card(calibrated.model_copy(update={"points": {"1": point}}))
    assert "| 1.500 times the logit -0.500 |" in card


def test_promises_stand_beside_what_happened(calibrated, tiny_reader, split, patches, labels):
    """Six clusters of twelve patches: none can promise 5 %, nor 10 %, so that nothing may be called negative."""
    assert [(one.views, one.unit, one.about) for one in calibrated.guarantees] == [
        (views, unit, about)
        for views in (1, 8)
        for unit in ("patch", "cluster of colour")
        for about in ("threshold", "band")
    ]
    reader = Reader(StoredBundle(tiny_reader.stored.folder, calibrated), tiny_reader.engine)
    evaluation, _ = evaluate(reader, split, 1, SILENT)
    assert [one.guarantee for one in evaluation.outcomes] == [one for one in calibrated.guarantees if one.views == 1]
    assert all(one.missed.value == 0 for one in evaluation.outcomes)
    assert [one.referred for one in evaluation.outcomes] == [0, 1, 0, 1]
    assert evaluation.clusters == 6
    assert evaluation.by_cluster["accuracy"].value == evaluation.figures["accuracy"].value
    right = calibrated_ece(reader.read(patches).probability)
    assert evaluation.ece_if_right == right
    card = model_card(with_evaluation(calibrated, evaluation))
    sensitivity = evaluation.figures["sensitivity"]
    missed = Interval(value=1 - sensitivity.value, low=1 - sensitivity.high, high=1 - sensitivity.low)
    threshold = calibrated.point(1).threshold
    row = f"| one view | what serves: 10% missed | {threshold:.3f} | {split.name} | {interval_text(missed)} | "
    assert row in card
    assert "| one view | guarantee by patch (6): 5% of either | 0.000 to 1.000 |" in card
    assert f"if these probabilities were exactly right, {interval_text(right)}" in card
    assert "over 6 clusters |" in card
    assert "not measured yet" in model_card(calibrated)


def test_judging_a_calibration_changes_nothing_that_serves(
    calibrated, tiny_reader, write_split, patches, labels, tmp_path
):
    reader = Reader(StoredBundle(tiny_reader.stored.folder, calibrated), tiny_reader.engine)
    on = Split.open(write_split(tmp_path, patches, labels, "valid"), "valid")
    evaluated = with_evaluation(calibrated, evaluate(reader, on, 1, SILENT)[0])
    reader = Reader(StoredBundle(tiny_reader.stored.folder, evaluated), tiny_reader.engine)
    assert judge_calibration(reader, on, SILENT) == evaluated
    bare = evaluated.model_copy(update={"guarantees": evaluated.guarantees[4:]})  # those of eight views
    reader = Reader(StoredBundle(tiny_reader.stored.folder, bare), tiny_reader.engine)
    assert judge_calibration(reader, on, SILENT, (1,)) == evaluated
    other = Split.open(write_split(tmp_path / "other", patches[::-1], labels, "valid"), "valid")
    with pytest.raises(CalibrationError, match="fitted on other patches"):
        judge_calibration(reader, other, SILENT)


def test_the_card_compares_ways_to_calibrate(calibrated):
    rows = tuple(
        CalibrationTrial(
            views=1,
            method=method,
            patches="as they are",
            nll=Interval(value=0.3, low=0.2, high=0.4),
            beyond_best=Interval(value=beyond, low=low, high=0.02),
            brier=Interval(value=0.08, low=0.07, high=0.09),
            ece=0.034,
            ece_if_right=0.017,
        )
        for method, beyond, low in (("temperature", 0.01, 0.005), ("Platt", 0.001, -0.001))
    )
    card = model_card(calibrated.model_copy(update={"calibration_trials": rows}))
    ends = "0.300 [0.200, 0.400] | {} | 0.080 | 0.034 (0.017) | {} |"
    assert "| 1 | temperature | as they are | " + ends.format("0.0100 [0.0050, 0.0200]", "no") in card
    assert "| 1 | Platt | as they are | " + ends.format("0.0010 [-0.0010, 0.0200]", "yes") in card
    assert "both kinds of patch: one view, Platt. `model calibrate` fits 6 knots:" in card
    assert "How the calibration was chosen" not in model_card(calibrated)


def test_what_was_tried_stands_beside_the_model_itself(calibrated, tiny_reader, slides_split):
    evaluation = evaluate(tiny_reader, slides_split, 1, SILENT)[0]
    figures = {name: Interval(value=0.5, low=0.4, high=0.6) for name in ("auc", "accuracy")}
    trials = (Trial(what="no stain", split="test", views=1, figures=figures),)
    training = calibrated.training.model_copy(update={"trials": trials})
    card = model_card(with_evaluation(calibrated.model_copy(update={"training": training}), evaluation))
    own = " | ".join(interval_text(evaluation.figures[name]) for name in ("auc", "accuracy"))
    assert f"| this model | test, one view | {own} |" in card
    assert "| no stain | test, one view | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] |" in card
    assert "What was tried" not in model_card(calibrated)


def test_a_card_says_what_is_not_known(tiny_reader):
    card = model_card(tiny_reader.model.model_copy(update={"points": {}}))
    for words in ("Not calibrated.", "Not measured yet.", "Finished: not recorded.", "Data: not recorded."):
        assert words in card


def test_of_its_origin_a_card_says_what_the_bundle_knows(tiny_reader):
    def card(*data):
        training = tiny_reader.model.training.model_copy(update={"data": data})
        return model_card(tiny_reader.model.model_copy(update={"training": training}))

    (known,) = PCAM_TRAINING
    pcam = DataRecord(split="train", patches=20_000, fingerprint=known)
    own = DataRecord(split="train", patches=1_234, fingerprint="0" * 64)
    drawn = own.model_copy(update={"note": "synthetic, not tissue"})
    assert "The slides come from two Dutch hospitals." in card(pcam)
    for words, data in (
        ("What it learned from is not recorded.", ()),
        ("Where the 1,234 patches it learned from come from is not recorded.", (own, pcam)),
        ("It learned from drawn patches, which are no tissue.", (drawn,)),
    ):
        assert words in card(*data)
        assert "hospitals" not in card(*data)
        assert "labels it learned from mean is not recorded" in card(*data)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_cards_are_written_from_their_bundles(name):
    folder = ROOT / "models" / name
    assert (folder / CARD).read_text(encoding="utf-8") == model_card(read_description(folder))
    assert "two Dutch hospitals" in model_card(read_description(folder))


# Splits that nothing can be calibrated on -------------------------------------------------------------------------


def test_labels_that_cannot_be_calibrated_on():
    check_labels(np.repeat([0, 1], [5, 5]), "valid", PCAM)
    for counts, said in (
        ((12, 0), "0 of its 12 patches are labelled tumour, and 5 of either are needed"),
        ((0, 12), "0 of its 12 patches are labelled no tumour"),
        ((0, 1), "1 of its 1 patches are labelled tumour"),
        ((4, 100), "4 of its 104 patches are labelled no tumour"),
    ):
        with pytest.raises(CalibrationError, match=said):
            check_labels(np.repeat([0, 1], counts), "valid", PCAM)
    with pytest.raises(CalibrationError, match="figures are reported on it"):
        check_labels(np.repeat([0, 1], [50, 50]), "test", PCAM)


def test_an_order_that_cannot_be_calibrated():
    labels = np.repeat([0, 1], [5, 5])
    check_order(np.arange(10.0), labels, "valid")
    check_order(np.tile(np.arange(5.0), 2), labels, "valid")  # AUC 0.5: of no use, but not swapped
    with pytest.raises(CalibrationError, match=r"the AUC is 0\.000, .* Are the classes swapped\?"):
        check_order(-np.arange(10.0), labels, "valid")
    with pytest.raises(CalibrationError, match="says the same of every patch"):
        check_order(np.ones(10), labels, "valid")


def test_swapped_classes_are_refused_after_the_first_pass(tiny_reader, split):
    split.labels[:] = 1 - split.labels
    passes = []
    with pytest.raises(CalibrationError, match="Are the classes swapped"):
        calibrate(tiny_reader, split, lambda done, total: passes.append(done))
    assert passes == [12]


def test_a_description_that_could_not_be_read_again_leaves_the_old_one(tiny_copy):
    before = read_description(tiny_copy)
    point = before.point(1).model_copy(update={"threshold": float("nan")})
    with pytest.raises(ModelValueError, match=r"points\.1\.threshold"):
        write_description(tiny_copy, before.model_copy(update={"points": {"1": point}}))
    assert read_description(tiny_copy) == before


def test_an_interval_in_words():
    assert interval_text(Interval(value=0.86, low=0.8481, high=0.87349)) == "0.860 [0.848, 0.873]"


# bf16 -------------------------------------------------------------------------------------------------------------


def test_without_bf16_there_is_nothing_to_check(tiny_reader, split, monkeypatch):
    monkeypatch.setattr(reporting, "has_bf16", lambda: False)
    assert bf16_check(tiny_reader, split, tiny_reader.model.point(1), SILENT) is None


def test_the_check_compares_what_is_served(tiny_reader, split, patches, monkeypatch):
    """With an engine in place of bf16 that adds a tenth of a logit and turns the maps."""

    class Moved:
        batch = 32

        def __init__(self, stored, threads, precision):
            self.name, self.moved = precision, precision == "bf16"

        def forward(self, patches):
            maps, logits = tiny_reader.engine.forward(patches)
            return (maps[:, :, ::-1], logits + np.array([0, 0.1])) if self.moved else (maps, logits)

    monkeypatch.setattr(reporting, "has_bf16", lambda: True)
    monkeypatch.setattr(reporting, "OpenVinoEngine", Moved)
    point = tiny_reader.model.point(1)
    check = bf16_check(tiny_reader, split, point, SILENT)
    readings = tiny_reader.read(patches)
    moved = expit((readings.logit + 0.1) / 1.3) - readings.probability
    assert check.largest_shift == pytest.approx(moved.max(), abs=1e-6)
    maps = readings.attribution
    assert check.map_correlation == pytest.approx(np.corrcoef(maps.ravel(), maps[:, ::-1].ravel())[0, 1], abs=1e-6)
    assert check.patches == 12
    assert not check.harmless


def test_the_card_says_whether_bf16_serves(calibrated):
    def card(shift):
        check = PrecisionCheck(precision="bf16", patches=12, largest_shift=shift, map_correlation=0.999996)
        return model_card(calibrated.model_copy(update={"precision": check}))

    assert "at most 0.0200 over 12 patches, and its maps correlate with exact ones at 0.99999 or better; it" in card(
        0.02
    )
    assert "it never serves" in card(0.0201)
