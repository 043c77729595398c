"""What learns, at which rate: layer groups, AdamW over them, and the schedule's rates of a step."""

from __future__ import annotations

import torch
from torch import nn

from core.models.nets import PatchNet, state_groups
from core.training.config import Cycle, TrainConfig
from core.training.schedule import one_cycle, one_cycle_momentum, spread

SECOND_BETA, EPSILON = 0.99, 1e-5  # of Adam, as fastai sets them


def freeze(net: PatchNet, cycle: Cycle) -> None:
    """Leave the head alone to be trained, or all layer groups but the first frozen ones; and a feature_projection in
    cycles of whole patches."""
    net.requires_grad_(not cycle.frozen)
    for layer in _frozen_layers(net, cycle):
        layer.requires_grad_(False)
    head = net.net.get_classifier()
    head.requires_grad_(True)
    head.bias.requires_grad_(not cycle.frozen_bias)
    for name, parameter in net.named_parameters():
        if not name.startswith("net."):
            parameter.requires_grad_(cycle.whole)


def set_training(net: PatchNet, cycle: Cycle) -> None:
    """Put the network into training mode; a frozen body with fixed normalisation stays as it is served, and so do
    the first layer groups where they are frozen."""
    net.train(not cycle.fixed)
    for layer in _frozen_layers(net, cycle):
        layer.eval()


def _frozen_layers(net: PatchNet, cycle: Cycle) -> list[nn.Module]:
    if not cycle.frozen_groups:
        return []
    *body, _ = state_groups(net)  # the head always learns
    names = [name.rpartition(".")[0] for group in body[: cycle.frozen_groups] for name in group]
    return [net.net.get_submodule(name) for name in dict.fromkeys(names)]


def make_optimiser(net: PatchNet, cycle: Cycle, config: TrainConfig) -> tuple[torch.optim.Optimizer, list[float]]:
    """AdamW over layer groups from the stem to the head, and the peak learning rate of each group.

    Biases and normalisation are not decayed. A frozen body is left out.
    """
    groups = layer_groups(net)
    peaks = spread(cycle.min_group_lr or cycle.max_lr, cycle.max_lr, len(groups))
    settings, kept = [], []
    for parameters, peak in zip(groups, peaks, strict=True):
        for decay, chosen in ((config.weight_decay, True), (0.0, False)):
            members = [p for p in parameters if p.requires_grad and (p.ndim > 1) == chosen]
            if members:
                settings.append({"params": members, "weight_decay": decay})
                kept.append(peak)
    optimiser = torch.optim.AdamW(settings, lr=kept[-1], betas=(0.9, SECOND_BETA), eps=EPSILON, fused=True)
    return optimiser, kept


def layer_groups(net: PatchNet) -> list[list[nn.Parameter]]:
    """Parameters by depth, from the stem to the head, see `state_groups`; a feature projection by the head."""
    named = dict(net.net.named_parameters())
    groups = [[named[name] for name in names if name in named] for names in state_groups(net)]
    groups[-1] += [parameter for name, parameter in net.named_parameters() if not name.startswith("net.")]
    return groups


def set_rates(optimiser: torch.optim.Optimizer, peaks: list[float], progress: float) -> list[float]:
    """Set learning rate and momentum of every group for this step; returns the rates."""
    rates = [one_cycle(progress, peak) for peak in peaks]
    momentum = one_cycle_momentum(progress)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"], group["betas"] = rate, (momentum, SECOND_BETA)
    return rates
