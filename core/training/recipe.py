"""A run in words and facts, for the model card: how it was trained, with what, on which data."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from core.evaluation.report import record_of
from core.models.schema import DataRecord
from core.training.config import TrainConfig
from core.training.data import Subset
from core.training.distributed import ProcessGroup


def recipe_of(config: TrainConfig) -> str:
    """The run in a sentence or two, for the model card."""
    cycles = "; ".join(
        f"{cycle.epochs:g} {'epoch' if cycle.epochs == 1 else 'epochs'} at peak {cycle.max_lr:g}"
        + (f" (first layers {cycle.min_group_lr:g})" if cycle.min_group_lr else "")
        + (", body frozen" if cycle.frozen else "")
        + (", the head's bias frozen" if cycle.frozen_bias else "")
        + (f", the first {cycle.frozen_groups} layer groups frozen" if cycle.frozen_groups else "")
        + (f", {cycle.side} px crops" if cycle.side else "")
        for cycle in config.cycles
    )
    parts = [f"From {Path(config.start).name} weights, one cycle each of: {cycles}. AdamW, batch {config.batch}"]
    parts.append(f"weight decay {config.weight_decay:g}")
    if config.label_smoothing:
        parts.append(f"label smoothing {config.label_smoothing:g}")
    if config.ema_decay:
        parts.append(f"weights averaged (decay {config.ema_decay:g})")
    varied = [
        f"{name} {value:g}"
        for name, value in config.augmentation.model_dump().items()
        if value and (name != "stain" or config.task.stain)
    ]
    parts.append("flips and turns" + (", " + ", ".join(varied) if varied else ""))
    if config.distillation:
        distillation = config.distillation
        seen = f" (mean of {distillation.views} views)" if distillation.views > 1 else ""
        once = ", asked once about each patch as it is" if distillation.once else ""
        names = [Path(name).name for name in distillation.teachers]
        who = f"the teacher {names[0]}" if len(names) == 1 else f"the mean of the teachers {' and '.join(names)}"
        parts.append(f"{distillation.weight:g} of the loss from {who}{seen}{once}")
        if distillation.maps:
            parts.append(f"and {distillation.maps:g} times the distance to its maps")
    if config.centre_cell:
        parts.append(f"{config.centre_cell:g} of the loss on what the label's own cell says alone")
    if config.mosaic_batches:
        parts.append("every other batch read as mosaics of four patches")
    if config.background_evidence:
        parts.append(
            f"{config.background_evidence:g} times the evidence for {config.task.positive} in cells of patches without"
        )
    if config.init_bias_prior is not None:
        parts.append(f"a head that starts from a prior of {config.init_bias_prior:g}")
    return ", ".join(parts) + "."


def describe_environment(train: Subset, valid: Subset, group: ProcessGroup, bf16: bool) -> dict[str, Any]:
    """With what, and on which data, a run is trained."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in ("torch", "timm", "numpy")},
        "platform": platform.platform(terse=True),
        "processes": group.size,
        "device": str(group.device),
        "bf16": bf16,
        "train": subset_record(train).model_dump(),
        "valid": subset_record(valid).model_dump(),
    }


def subset_record(subset: Subset) -> DataRecord:
    """Which patches a run learned from, or was validated on."""
    split = subset.split
    part = "" if len(subset) == len(split) else f"{len(subset):,} of {len(split):,} patches"
    record = record_of(split)
    note = "; ".join(filter(None, (record.note, part)))
    return record.model_copy(update={"patches": len(subset), "note": note})
