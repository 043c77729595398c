"""A frozen cycle on cached maps: the head that the whole frozen network would have given, and a body left alone."""

import copy

import numpy as np
import pytest
import torch

from core.training.data import Batches, subsets, turned
from core.training.features import FrozenFeatures
from core.training.loop import fit
from core.training.losses.objective import loss_of
from core.training.optimiser import freeze, make_optimiser, set_rates, set_training
from core.training.runs import CHECKPOINT, Run
from core.training.start import starting_net

HEAD = "net.fc."


@pytest.fixture
def frozen(config):
    """The first cycle of the shared configuration alone, for longer, with a body whose statistics say something."""
    return config.model_copy(
        update={"cycles": (config.cycles[0].model_copy(update={"epochs": 3.0}),), "ema_decay": 0.0, "clip": 0.0}
    )


def trained(folder, config, open_split):
    run = Run.create(folder, config)
    for _ in fit(run, open_split):
        pass
    return torch.load(run.folder / CHECKPOINT, weights_only=True)["net"]


def test_cached_maps_give_the_head_that_the_whole_network_gives(tmp_path, frozen, open_split):
    cached = trained(tmp_path / "run", frozen, open_split)

    net = starting_net(frozen)
    before = copy.deepcopy(net.state_dict())
    train, _ = subsets(frozen, open_split)
    batches = Batches(train, frozen, 0)
    chosen = FrozenFeatures(net, batches, tmp_path)
    freeze(net, frozen.cycles[0])
    set_training(net, frozen.cycles[0])
    optimiser, peaks = make_optimiser(net, frozen.cycles[0], frozen)
    for step in range(batches.steps):
        set_rates(optimiser, peaks, step / batches.steps)
        positions = batches.positions(step)
        views = chosen.views[positions, chosen.places(step, len(positions))]
        patches = turned(train.patches(positions), views)[:, 32:64, 32:64].copy()
        labels = torch.from_numpy(train.labels[positions].astype(np.int64))
        loss = loss_of(net(torch.from_numpy(patches))[1], labels, None, frozen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, value in net.state_dict().items():
        if name.startswith(HEAD):
            torch.testing.assert_close(cached[name], value, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(value, before[name], atol=1e-3)  # it did learn
        else:
            assert torch.equal(cached[name], before[name]), name  # weights and statistics of the body
            assert torch.equal(value, before[name]), name


def test_fastais_way_goes_on_with_the_statistics_and_leaves_the_weights(tmp_path, frozen, open_split):
    cycle = frozen.cycles[0].model_copy(update={"frozen_norm": "batch"})
    state = trained(tmp_path / "run", frozen.model_copy(update={"cycles": (cycle,)}), open_split)
    before = starting_net(frozen).state_dict()
    for name, value in state.items():
        moved = not torch.equal(value, before[name])
        statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert moved == (statistic or name.startswith(HEAD)), name


def test_features_are_means_of_maps_of_different_views(tmp_path, frozen, open_split):
    net = starting_net(frozen).eval()
    train, _ = subsets(frozen, open_split)
    cached = FrozenFeatures(net, Batches(train, frozen, 0), tmp_path)
    assert cached.features.shape == (len(train), 2, net.net.num_features)
    assert (cached.views[:, 0] != cached.views[:, 1]).all()
    assert set(cached.views.ravel()) == set(range(8))
    for patch, place in ((0, 0), (7, 1)):
        seen = turned(train.patches(np.array([patch])), cached.views[patch : patch + 1, place])[:, 32:64, 32:64].copy()
        with torch.inference_mode():
            maps = net.forward_features(torch.from_numpy(seen))
        np.testing.assert_allclose(cached.features[patch, place], maps[0].mean((1, 2)), rtol=1e-4, atol=1e-5)
    assert list(tmp_path.iterdir()) == []  # the file has no name, and goes with its owner


def test_a_stop_is_heard_while_the_maps_are_computed(tmp_path, frozen, open_split):
    net = starting_net(frozen)
    train, _ = subsets(frozen, open_split)
    assert FrozenFeatures(net, Batches(train, frozen, 0), tmp_path).whole
    assert not FrozenFeatures(net, Batches(train, frozen, 0), tmp_path, lambda: True).whole
    run = Run.create(tmp_path / "run", frozen)
    assert list(fit(run, open_split, lambda: True)) == []
    assert list(fit(run, open_split))[-1]["fact"] == "finished"


def test_the_stream_is_its_parts_from_any_step_on(tmp_path, frozen, open_split):
    net = starting_net(frozen).eval()
    train, _ = subsets(frozen, open_split)
    cached = FrozenFeatures(net, Batches(train, frozen, 0), tmp_path)
    whole = list(cached.stream(0))
    assert len(whole) == 15
    assert len({batch.inputs.tobytes() for batch in whole}) == 15
    for step, batch in enumerate(cached.stream(11), 11):
        np.testing.assert_array_equal(batch.inputs, whole[step].inputs)
    first, second = (list(cached.stream(0, part)) for part in (slice(0, 4), slice(4, 8)))
    np.testing.assert_array_equal(np.concatenate([first[3].inputs, second[3].inputs]), whole[3].inputs)
    np.testing.assert_array_equal(np.concatenate([first[3].labels, second[3].labels]), whole[3].labels)
