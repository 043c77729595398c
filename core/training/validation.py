"""How good a network is on its validation patches, and what a run becomes in the end."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy, softmax

from core.errors import TrainingError
from core.files import atomic_path
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.training.config import TrainConfig
from core.training.data import Subset
from core.training.recipe import recipe_of, subset_record
from core.training.runs import MODEL, PREDICTIONS, Fact, Run


def predict(
    net: PatchNet, subset: Subset, config: TrainConfig, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Logits (n, 2) of the unchanged patches of a subset, and their labels (n,)."""
    net.eval()
    size = config.batch
    with torch.inference_mode():
        pieces = [
            net(torch.from_numpy(subset.patches(slice(start, start + size))).to(device))[1].cpu().numpy()
            for start in range(0, len(subset), size)
        ]
    return np.concatenate(pieces), subset.labels


def judge(logits: NDArray[np.float32], labels: NDArray[np.uint8]) -> Fact:
    """Loss, accuracy and area under the ROC curve of logits (n, 2), uncalibrated; raises TrainingError."""
    if not np.isfinite(logits).all():
        raise TrainingError("The network gives answers that are no numbers. Train with a lower peak learning rate.")
    scores = torch.from_numpy(logits)
    return {
        "valid_loss": float(cross_entropy(scores, torch.from_numpy(labels.astype(np.int64)))),
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "auc": float(roc_auc_score(labels, logits[:, 1] - logits[:, 0])),
    }


def finish(run: Run, net: PatchNet, train: Subset, valid: Subset, device: torch.device) -> None:
    """Keep what a run became: predictions on its validation patches, and a bundle to be calibrated."""
    config = run.config
    logits, labels = predict(net, valid, config, device)
    probability = softmax(torch.from_numpy(logits).double(), 1)[:, 1].numpy()
    with atomic_path(run.folder / PREDICTIONS) as path, path.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(("index", "label", "probability"))
        table.writerows(zip(valid.indices.tolist(), labels.tolist(), probability.tolist(), strict=True))
    training = Training(
        recipe=recipe_of(config),
        data=(subset_record(train), subset_record(valid)),
        config=config.model_dump(mode="json"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder = run.folder / MODEL
    save_bundle(
        net.cpu(), folder, version="1.0.0", mean=config.mean, std=config.std, training=training, task=config.task
    )
