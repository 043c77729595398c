"""What a step of a run minimises: one number of a batch, made of labels, teacher and evidence as configured."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from core.nets import PatchNet
from core.training.batches import Batch
from core.training.config import Cycle, TrainConfig
from core.training.pointing import counted, spilled
from core.training.teacher import Teacher


class Objective:
    """The loss of a run's batches."""

    def __init__(
        self, config: TrainConfig, net: PatchNet, teacher: Teacher | None, device: torch.device, bf16: bool
    ) -> None:
        """Of `net`, which may stand wrapped in the model that is called; `bf16` computes its maps under autocast."""
        self._config, self._net, self._teacher, self._device = config, net, teacher, device
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def __call__(self, model: nn.Module, cycle: Cycle, batch: Batch, step: int) -> Tensor:
        """The loss of one batch, with its graph.

        Args:
            model: the network as the crew trains it; the head alone in a cycle with a fixed body.
            cycle: of the run.
            batch: patches, or the pooled maps of a fixed body.
            step: of the cycle.
        """
        config, net = self._config, self._net
        inputs, labels = (torch.from_numpy(array).to(self._device) for array in (batch.inputs, batch.labels))
        if cycle.fixed:
            with self._autocast:
                logits = model(inputs)
            return loss_of(logits.float(), labels, None, config)
        lesson = self._teacher.lesson(batch.whole, self._device) if self._teacher else None
        taught = lesson.logits if lesson else None
        with self._autocast:
            maps, judged = counted(model, net, inputs, config, step)
        losses = [loss_of(one.float(), labels, taught, config) for one in judged]
        loss = losses[0] if len(losses) == 1 else losses[0].lerp(losses[1], config.centre)
        if config.spill:
            loss = loss + config.spill * spilled(net, maps, labels)
        if self._teacher and lesson and cycle.whole:
            loss = loss + self._teacher.loss_of_maps(maps.float(), lesson)
        return loss


def loss_of(logits: Tensor, labels: Tensor, taught: Tensor | None, config: TrainConfig) -> Tensor:
    """Cross-entropy, mixed with the divergence from a teacher's softened probabilities where there is one.

    Args:
        logits: (n, 2).
        labels: (n,) probability of tumour.
        taught: (n, 2) logits of the teacher, or None.
        config: label smoothing, and weight and temperature T of the teacher; its term counts T^2-fold (Hinton 2015).
    """
    truth = torch.stack([1 - labels, labels], 1).to(logits.dtype)
    own = cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
    lesson = config.distillation
    if taught is None or lesson is None:
        return own
    hot = lesson.temperature
    divergence = kl_div(log_softmax(logits / hot, 1), softmax(taught / hot, 1), reduction="batchmean") * hot**2
    return (1 - lesson.weight) * own + lesson.weight * divergence
