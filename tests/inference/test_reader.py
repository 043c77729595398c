"""Readings: what is shown is what was computed, for one patch or many, one thread or sixteen."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import ttest_1samp

from core.data.flags import SYNTHETIC, UNLIKE, bits_of, flags
from core.data.picture_statistics import picture_statistics
from core.data.transforms import VIEWS, dihedral, dihedral_back
from core.errors import ExplanationError, ModelNotFoundError, PatchShapeError
from core.explain.cam import grad_cam
from core.explain.registry import METHODS
from core.inference import load_reader
from core.inference.caching import CachingEngine, caching_reader
from core.inference.engines.torch_engine import TorchEngine
from core.inference.reader import Reader
from core.inference.verdict import reason, verdicts
from core.models.schema import DataRecord, OperatingPoint
from core.models.store import StoredBundle
from core.task import NOT_READ, PCAM, REFER

LAYERS = {"last": (3, 3), "6x6": (6, 6), "12x12": (12, 12)}


def test_readings_of_patches(tiny_reader, patches):
    r = tiny_reader.read(patches)
    maps, logits = tiny_reader.engine.forward(patches)
    weight, bias = tiny_reader.stored.head
    assert len(r) == 12
    assert (r.views, r.grid, r.method, r.layer, r.target) == (1, (3, 3), "gradcam", "last", "tumour minus normal")
    np.testing.assert_array_equal(r.logits, logits)
    np.testing.assert_array_equal(r.logit, logits[:, 1] - logits[:, 0])
    np.testing.assert_allclose(r.probability, expit((logits[:, 1] - logits[:, 0]) / 1.3), rtol=1e-6)
    assert np.ptp(r.probability) > 0.1  # or the comparisons below would say little
    # the map is the reason for the margin: its cells add up to it
    np.testing.assert_allclose(r.attribution.sum(axis=(1, 2)), r.logit - (bias[1] - bias[0]), atol=1e-3)
    np.testing.assert_allclose(
        r.attribution, np.einsum("nkhw,k->nhw", maps, weight[1] - weight[0]) / 9, rtol=1e-3, atol=1e-4
    )
    assert r.flags == tuple(flags(patches, PCAM))
    assert r.spread.tolist() == [0] * 12
    assert (r.probability.dtype, r.logit.dtype, r.attribution.dtype) == (np.float64, np.float32, np.float32)


def test_one_patch_and_none(tiny_reader, patches):
    one, many = tiny_reader.read(patches[4]), tiny_reader.read(patches)
    assert len(one) == 1
    assert one.logit[0] == many.logit[4]
    for views in (1, 8):
        for layer, grid in LAYERS.items():
            none = tiny_reader.explain(patches[:0], layer=layer, views=views)
            assert len(none) == 0
            assert none.attribution.shape == (0, *grid)
            assert none.view_logits.shape == (0, views)
            assert none.flags == ()


def test_long_inputs_are_read_in_pieces_without_a_seam(tiny_reader):
    many = np.random.default_rng(2).integers(0, 256, (41, 96, 96, 3), dtype=np.uint8)
    whole = tiny_reader.read(many)
    parts = [tiny_reader.read(many[i : i + 10]) for i in range(0, 41, 10)]
    assert whole.logit.tobytes() == b"".join(part.logit.tobytes() for part in parts)
    assert whole.attribution.tobytes() == b"".join(part.attribution.tobytes() for part in parts)
    assert len(whole.flags) == 41


# What it does not know --------------------------------------------------------------------------------------------


def test_a_patch_far_from_the_training_patches_is_flagged(ood_reader, patches):
    features, far = ood_reader.features(patches), ood_reader.distance(patches)
    detector = ood_reader.ood
    by_features = detector.features.distance(features) / detector.features.limit[0]
    by_picture = detector.picture.distance(picture_statistics(patches)) / detector.picture.limit[0]
    np.testing.assert_allclose(far, np.maximum(by_features, by_picture))
    reader = Reader(ood_reader.stored, ood_reader.engine)
    reader.ood = detector.relaxed(float(np.median(far)))
    maps, _ = reader.engine.forward(patches)
    np.testing.assert_allclose(features, maps.mean(axis=(2, 3)), rtol=1e-5, atol=1e-7)
    one, eight = reader.read(patches), reader.read(patches, views=8)
    strange = far > np.median(far)
    named = [name == "unlike training tissue" for names in one.flags for name in (names or ("",))[-1:]]
    assert named == strange.tolist()
    np.testing.assert_array_equal(one.coordinates, detector.features.coordinates(features))
    np.testing.assert_array_equal(eight.coordinates, one.coordinates)  # of the first view
    assert eight.flags == one.flags
    pieces = [reader.explain(patches[i : i + 5], "layercam") for i in (0, 5, 10)]
    assert b"".join(piece.coordinates.tobytes() for piece in pieces) == one.coordinates.tobytes()


def test_no_further_pass_is_made_for_it(ood_reader, patches):
    reader = caching_reader(ood_reader)
    reader.read(patches, views=8)
    assert isinstance(reader.engine, CachingEngine)
    assert reader.engine.passes == 8 * 12


def test_without_a_detector_there_are_no_coordinates(tiny_reader, patches):
    assert tiny_reader.ood is None
    assert tiny_reader.read(patches).coordinates.shape == (12, 0)


# Eight views ------------------------------------------------------------------------------------------------------


def test_eight_views_are_the_mean_of_eight_readings(tiny_reader, patches):
    eight = tiny_reader.read(patches, views=8)
    singles = [tiny_reader.read(dihedral(patches, index)) for index in range(VIEWS)]
    logit = np.stack([single.logit for single in singles], axis=1)
    temperature = 0.7  # of the curve of the eight-view pipeline
    probability = expit(logit.astype(np.float64) / temperature)
    assert np.ptp(logit, axis=1).max() > 0.1
    np.testing.assert_allclose(eight.view_logits, logit, atol=1e-6)
    np.testing.assert_allclose(eight.probability, expit(logit.mean(axis=1) / temperature), atol=1e-6)
    np.testing.assert_allclose(eight.view_probability, probability, atol=1e-6)
    np.testing.assert_allclose(eight.spread, np.ptp(probability, axis=1), atol=1e-6)
    np.testing.assert_allclose(eight.logit, logit.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(eight.logits, np.mean([s.logits for s in singles], axis=0), atol=1e-5)
    turned_back = [dihedral_back(single.attribution, index) for index, single in enumerate(singles)]
    np.testing.assert_allclose(eight.attribution, np.mean(turned_back, axis=0), atol=1e-5)
    assert eight.point == tiny_reader.model.points["8"]
    assert eight.verdict.tolist() == verdicts(eight.probability, eight.point, PCAM, eight.flagged).tolist()


@pytest.mark.parametrize("layer", ["last", "6x6"])
def test_a_turned_patch_reads_the_same_and_its_map_turns_along(tiny_reader, patches, layer):
    straight = tiny_reader.explain(patches[:2], layer=layer, views=8)
    for index in (1, 4, 7):
        turned = tiny_reader.explain(dihedral(patches[:2], index), layer=layer, views=8)
        np.testing.assert_allclose(turned.probability, straight.probability, atol=1e-4)
        np.testing.assert_allclose(turned.attribution, dihedral(straight.attribution, index), atol=1e-4)
    asymmetry = np.abs(dihedral(straight.attribution, 1) - straight.attribution).max()
    assert asymmetry > 1e-2  # the map is not its own turn, so the comparison can fail


def test_views_are_one_or_eight(tiny_reader, patches):
    with pytest.raises(ValueError, match="1 or 8, not 4"):
        tiny_reader.read(patches, views=4)


# Verdicts ---------------------------------------------------------------------------------------------------------


def test_verdicts_by_hand():
    point = OperatingPoint(threshold=0.5, refer_low=0.4, refer_high=0.7)
    probability, none = np.array([0, 0.39, 0.4, 0.5, 0.69, 0.7, 1]), np.zeros(7, np.uint8)
    assert verdicts(probability, point, PCAM, none).tolist() == ["no tumour"] * 2 + ["refer"] * 3 + ["tumour"] * 2
    no_band = OperatingPoint(threshold=0.3, refer_low=0.3, refer_high=0.3)
    assert verdicts(np.array([0.29, 0.3]), no_band, PCAM, none[:2]).tolist() == ["no tumour", "tumour"]


@pytest.mark.parametrize(
    ("flags", "verdict", "because"),
    [
        (("nearly blank",), NOT_READ, "nearly blank"),
        (("not H&E-like", "blurred", UNLIKE), NOT_READ, "not H&E-like"),
        ((UNLIKE,), REFER, UNLIKE),
        (("blurred", UNLIKE), REFER, UNLIKE),
        (("blurred",), REFER, "blurred"),
        ((UNLIKE, SYNTHETIC), NOT_READ, SYNTHETIC),
    ],
)
def test_a_gate_takes_the_place_of_the_verdict_whatever_the_probability(flags, verdict, because):
    point = OperatingPoint(refer_low=0.4, refer_high=0.6)
    probability = np.array([0.0, 0.5, 1.0])
    assert verdicts(probability, point, PCAM, bits_of([flags] * 3)).tolist() == [verdict] * 3
    assert reason(verdict, flags) == because
    assert reason(REFER, ()) == "too close to call"
    assert reason("tumour", ()) == ""


def test_what_learned_from_drawings_gives_no_verdict_on_others(tiny_reader, patches):
    drawn = DataRecord(split="demo", patches=400, fingerprint="0" * 64, note="synthetic, not tissue")
    training = tiny_reader.model.training.model_copy(update={"data": (drawn,)})
    description = tiny_reader.model.model_copy(update={"training": training})
    reader = Reader(StoredBundle(tiny_reader.stored.folder, description), tiny_reader.engine)
    real, demo = reader.read(patches[:3], synthetic=[False, True, True]), tiny_reader.read(patches[:3])
    assert (real.verdict[0], real.verdict[1:].tolist()) == (NOT_READ, demo.verdict[1:].tolist())
    assert real.flags == ((*demo.flags[0], SYNTHETIC), *demo.flags[1:])
    np.testing.assert_array_equal(real.probability, demo.probability)


def with_point(reader, **fields):
    model = reader.model.model_copy(update={"points": {"1": OperatingPoint(**fields)}})
    return Reader(type(reader.stored)(reader.stored.folder, model), reader.engine)


def test_the_predicted_class_follows_the_threshold(tiny_reader, patches):
    probability = tiny_reader.read(patches).probability
    for threshold in (0.0, float(np.median(probability)), 1.0):
        reader = with_point(tiny_reader, curve=((-1.3, -1.0), (1.3, 1.0)), threshold=threshold)
        predicted, tumour, normal = (
            reader.explain(patches, target=target).attribution for target in ("predicted", "tumour", "normal")
        )
        called = probability >= threshold
        np.testing.assert_array_equal(predicted, np.where(called[:, None, None], tumour, normal))
    assert 0 < (probability >= np.median(probability)).sum() < 12


# Explanations -----------------------------------------------------------------------------------------------------


CHEAP = [name for name, method in METHODS.items() if method.kind == "cam" and method.free_at_last]
LINEAR = ("gradcam", "hirescam", "xgradcam")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("method", CHEAP)
def test_every_method_at_every_layer_explains_the_reading_that_is_shown(tiny_reader, patches, method, layer):
    read = tiny_reader.read(patches[:3])
    explained = {t: tiny_reader.explain(patches[:3], method, layer, t) for t in PCAM.targets}
    for target, found in explained.items():
        assert found.probability.tobytes() == read.probability.tobytes()
        assert found.attribution.shape == (3, *LAYERS[layer])
        assert found.attribution.any()
        assert f"({LAYERS[layer][0]} x {LAYERS[layer][1]} cells)" in found.explained
        assert (found.method, found.layer, found.target) == (method, layer, target)
    if method in LINEAR:
        # both are linear in the target, so the margin's map is the difference of the two logits'
        difference = explained["tumour"].attribution - explained["normal"].attribution
        np.testing.assert_allclose(explained["tumour minus normal"].attribution, difference, rtol=1e-3, atol=1e-3)
    elif method == "eigencam":
        assert all(np.array_equal(found.attribution, explained["tumour"].attribution) for found in explained.values())
    elif layer == "last" and method != "ablationcam":  # maps after a ReLU times positive gradients; a drop has a sign
        assert min(found.attribution.min() for found in explained.values()) >= 0


def test_an_earlier_layer_uses_its_own_gradients(tiny_reader, patches):
    differentiable = load_reader(tiny_reader.stored.folder, "torch").engine
    assert isinstance(differentiable, TorchEngine)
    rows = np.tile(np.array([-1, 1], np.float32), (2, 1))
    maps, gradients = differentiable.gradients(patches[:2], "6x6", rows)
    found = tiny_reader.explain(patches[:2], layer="6x6", target="tumour minus normal").attribution
    np.testing.assert_allclose(found, grad_cam(maps, gradients), rtol=1e-4, atol=1e-5)
    # a small step of one map moves the logits by its gradient
    other = differentiable.gradients(patches[:2], "6x6", -rows)[1]
    np.testing.assert_allclose(other, -gradients, rtol=1e-4, atol=1e-7)


def test_no_hooks_are_left_behind(tiny_bundle, patches):
    reader = load_reader(tiny_bundle, "torch")
    for method in CHEAP:
        reader.explain(patches[:2], method, "6x6")
    reader.read(patches[:2])
    assert isinstance(reader.engine, TorchEngine)
    for module in reader.engine.net.modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            assert not getattr(module, kind), f"{kind} on {type(module).__name__}"
    assert all(parameter.grad is None for parameter in reader.engine.net.parameters())


@pytest.mark.parametrize(
    ("words", "kind"),
    [({"method": "camcam"}, "method"), ({"layer": "4x4"}, "layer"), ({"target": "lesion"}, "target")],
)
def test_unknown_words_are_refused_before_anything_is_read(tiny_reader, patches, words, kind):
    with pytest.raises(ExplanationError) as caught:
        tiny_reader.explain(patches[:, :50], **words)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "wrong",
    [
        lambda p: p[:, :95],
        lambda p: p.astype(np.float32),
        lambda p: p.astype(np.int64),
        lambda p: p[..., :1],
        lambda p: p[0, 0],
        lambda p: p[None],
        lambda p: p.transpose(0, 3, 1, 2),
        lambda p: [],
    ],
    ids=["95 rows", "float", "int64", "gray", "row", "5 axes", "channels first", "list"],
)
def test_what_is_no_patch_is_refused(tiny_reader, patches, wrong):
    with pytest.raises(PatchShapeError):
        tiny_reader.read(wrong(patches))


def test_strided_patches_read_like_their_copy(tiny_reader, patches):
    turned = np.rot90(patches, axes=(1, 2))
    assert tiny_reader.read(turned).logit.tobytes() == tiny_reader.read(turned.copy()).logit.tobytes()


# Threads ----------------------------------------------------------------------------------------------------------


def test_sixteen_threads_read_the_same_bits_as_one(tiny_reader, patches):
    draws = np.random.default_rng(1).integers(0, 12, (48, 3))
    jobs = [{"layer": "6x6"} if i % 6 == 0 else {"views": 8} if i % 3 == 0 else {} for i in range(48)]

    def bits(job):
        found = tiny_reader.explain(patches[draws[job]], **jobs[job])
        return found.probability.tobytes() + found.attribution.tobytes()

    serial = [bits(job) for job in range(48)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(bits, range(48))) == serial
    assert len(set(serial)) > 40


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(ModelNotFoundError, match=r"Known models: .*densenet169"):
        load_reader("densenet170")


def test_maps_of_the_views_are_compared(tiny_reader, patches):
    eight = tiny_reader.read(patches[:4], views=8)
    maps = [
        dihedral_back(tiny_reader.read(dihedral(patches[:4], index)).attribution, index).reshape(4, -1)
        for index in range(VIEWS)
    ]
    by_hand = [np.mean([np.corrcoef(maps[0][n], other[n])[0, 1] for other in maps[1:]]) for n in range(4)]
    np.testing.assert_allclose(eight.map_agreement, by_hand, atol=1e-5)
    assert np.isnan(tiny_reader.read(patches[:4]).map_agreement).all()


def test_a_cells_sign_is_open_where_the_interval_over_the_views_holds_both(tiny_reader, patches):
    eight = tiny_reader.read(patches, views=8)
    maps = [
        dihedral_back(tiny_reader.read(dihedral(patches, index)).attribution, index).astype(float)
        for index in range(VIEWS)
    ]
    low, high = ttest_1samp(maps, 0).confidence_interval(0.95)
    np.testing.assert_array_equal(eight.sign_unstable, (low < 0) & (high > 0))
    assert 0 < eight.sign_unstable.mean() < 1
    assert not tiny_reader.read(patches).sign_unstable.any()
