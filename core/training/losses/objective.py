"""What a step of a run minimises: one number of a batch, made of labels, teacher and evidence as configured."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from core.models.nets import PatchNet
from core.training.config import Cycle, TrainConfig
from core.training.data import Batch
from core.training.losses.localisation import background_evidence_loss, centre_cell_logits
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
            model: the network as the process group trains it; the head alone in a cycle with a fixed body.
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
        teacher_output = self._teacher.output(batch.whole, self._device) if self._teacher else None
        teacher_logits = teacher_output.logits if teacher_output else None
        if batch.answers is not None:
            half = torch.from_numpy(batch.answers).to(self._device)[:, None] / 2
            teacher_logits = torch.cat([-half, half], 1)
        with self._autocast:
            maps, judged = centre_cell_logits(model, net, inputs, config, step)
        losses = [loss_of(one.float(), labels, teacher_logits, config) for one in judged]
        loss = losses[0] if len(losses) == 1 else losses[0].lerp(losses[1], config.centre_cell)
        if config.background_evidence:
            loss = loss + config.background_evidence * background_evidence_loss(net, maps, labels)
        if self._teacher and teacher_output and cycle.whole:
            loss = loss + self._teacher.loss_of_maps(maps.float(), teacher_output)
        return loss


def loss_of(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, config: TrainConfig) -> Tensor:
    """Cross-entropy, mixed with the divergence from a teacher's softened probabilities where there is one.

    Args:
        logits: (n, 2).
        labels: (n,) probability of tumour.
        teacher_logits: (n, 2) logits of the teacher, or None.
        config: label smoothing, and weight and temperature T of the teacher; its term counts T^2-fold (Hinton 2015).
    """
    truth = torch.stack([1 - labels, labels], 1).to(logits.dtype)
    own = cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
    distillation = config.distillation
    if teacher_logits is None or distillation is None:
        return own
    hot = distillation.temperature
    divergence = kl_div(log_softmax(logits / hot, 1), softmax(teacher_logits / hot, 1), reduction="batchmean") * hot**2
    return (1 - distillation.weight) * own + distillation.weight * divergence
