"""Training for maps that point: the label's own cell has to carry the prediction, whatever stands around the patch.

Three changes to how a batch is read, each switched on by `TrainConfig`. `centre_cell`: the logits that the centre
cell's evidence gives alone are judged as well as those of all cells, so that evidence elsewhere has to cancel out.
`mosaic_batches`: every other batch is read as mosaics of four patches, so that a cell neither sees the padding it would
tell its place by nor can count on what lies beyond its own patch. `background_evidence`: where there is no tumour,
evidence for it counts as loss in every cell, even where other cells cancel it out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.models.nets import PatchNet
from core.training.config import TrainConfig

SIDE = 2
"""Patches along the side of a mosaic."""


def centre_cell_logits(
    model: nn.Module, net: PatchNet, inputs: Tensor, config: TrainConfig, step: int
) -> tuple[Tensor, list[Tensor]]:
    """What is judged of a batch: its maps, and the logits of all cells, then of the centre cell alone where it counts.

    Args:
        model: the network as the process group trains it.
        net: the network itself.
        inputs: uint8 (n, side, side, 3).
        config: see `TrainConfig.centre_cell` and `TrainConfig.mosaic_batches`.
        step: of the cycle; odd steps read mosaics.

    Returns:
        (n, k, h, w), and one or two (n, 2).
    """
    if config.mosaic_batches and step % 2:
        maps = of_patches(model(tiled(inputs))[0])
        logits = net.forward_head(maps)
    else:
        maps, logits = model(inputs)
    return maps, [logits, net.forward_head(centre_alone(maps))] if config.centre_cell else [logits]


def background_evidence_loss(net: PatchNet, maps: Tensor, labels: Tensor) -> Tensor:
    """Evidence for tumour where there is none, in logits: its positive part, mean over cells and patches.

    It errs where a patch holds tumour outside its label's box alone. Weak tumour falls silent by it, unless the head
    starts from a low prior (`TrainConfig.init_bias_prior`), so that tumour has to speak up to be found.

    Args:
        net: whose head weighs the maps.
        maps: (n, k, h, w).
        labels: (n,) probability of tumour; a patch counts by what it lacks of 1.
    """
    normal, tumour = net.net.get_classifier().weight
    evidence = torch.einsum("nkhw,k->nhw", maps.float(), tumour - normal)
    return (evidence.relu().mean((1, 2)) * (1 - labels)).mean()


def tiled(patches: Tensor) -> Tensor:
    """Patches (4 m, h, w, 3) as mosaics (m, 2 h, 2 w, 3), in reading order."""
    count, height, width, channels = patches.shape
    grid = patches.reshape(-1, SIDE, SIDE, height, width, channels).transpose(2, 3)
    return grid.reshape(count // SIDE**2, SIDE * height, SIDE * width, channels)


def of_patches(maps: Tensor) -> Tensor:
    """Maps (m, k, 2 h, 2 w) of mosaics as those of their patches (4 m, k, h, w): the inverse of `tiled`."""
    count, channels, height, width = maps.shape
    grid = maps.reshape(count, channels, SIDE, height // SIDE, SIDE, width // SIDE)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height // SIDE, width // SIDE)


def centre_alone(maps: Tensor) -> Tensor:
    """Maps (n, k, h, w), of odd sides, with every cell but the middle one empty."""
    rows, columns = maps.shape[2:]
    mask = torch.zeros(rows, columns, device=maps.device, dtype=maps.dtype)
    mask[rows // 2, columns // 2] = 1
    return maps * mask
