"""One forward pass for several questions: the same answers, asked for once, and nobody writes in another's copy."""

import numpy as np

from core.inference import Reader
from core.inference.caching import CachingEngine


class Counting:
    """An engine that counts what goes through it."""

    name, batch = "counting", 4

    def __init__(self, engine):
        self.engine, self.calls = engine, 0

    def forward(self, patches):
        self.calls += 1
        return self.engine.forward(patches)


def test_the_same_question_costs_one_pass(tiny_reader, patches):
    counting = Counting(tiny_reader.engine)
    shared = CachingEngine(counting, 96)
    maps, logits = shared.forward(patches[:3])
    again, _ = shared.forward(patches[:3].copy())
    assert (counting.calls, shared.passes) == (1, 3)
    expected = tiny_reader.engine.forward(patches[:3])
    np.testing.assert_array_equal(maps, expected[0])
    np.testing.assert_array_equal(logits, expected[1])
    np.testing.assert_array_equal(again, maps)


def test_another_question_is_asked(tiny_reader, patches):
    shared = CachingEngine(tiny_reader.engine, 96)
    first = shared.forward(patches[:2])[1]
    second = shared.forward(patches[2:4])[1]
    assert shared.passes == 4
    assert np.abs(first - second).max() > 1e-3
    # The same bytes in another shape are another picture.
    tall = np.concatenate([patches[0], patches[1]])[None]
    assert shared.forward(tall)[0].shape[2:] == (6, 3)
    assert shared.forward(patches[:2])[0].shape[2:] == (3, 3)
    assert shared.passes == 8


def test_patches_of_another_size_are_counted_as_they_are(tiny_reader, patches):
    shared = CachingEngine(tiny_reader.engine, side=64)
    shared.forward(patches[:3, :64, :64])
    assert shared.passes == 3


def test_who_writes_in_an_answer_spoils_nobody_elses(tiny_reader, patches):
    shared = CachingEngine(tiny_reader.engine, 96)
    maps, logits = shared.forward(patches[:2])
    kept = maps.copy(), logits.copy()
    maps[:], logits[:] = 0, 0
    for again, expected in zip(shared.forward(patches[:2]), kept, strict=True):
        np.testing.assert_array_equal(again, expected)


def test_methods_of_the_last_layer_share_a_pass(tiny_reader, patches):
    counting = Counting(tiny_reader.engine)
    reader = Reader(tiny_reader.stored, CachingEngine(counting, 96))
    for method in ("gradcam", "layercam", "eigencam"):
        ours = reader.explain(patches[:4], method).attribution
        np.testing.assert_array_equal(ours, tiny_reader.explain(patches[:4], method).attribution)
    assert counting.calls == 1
