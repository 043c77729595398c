"""What tests of training share: a split that a tiny network learns at once, and a run of all that training does."""

import numpy as np
import pytest
import torch

from core.data.pcam import Split
from core.models.nets import PatchNet, save_bundle
from core.models.schema import Training
from core.training.config import make_config

MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)


def learnable(count=48, seed=5):
    """Patches uint8 (count, 96, 96, 3) and labels: noise, with a dark centre where the label is 1."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.uint8)
    patches = generator.integers(120, 256, (count, 96, 96, 3), dtype=np.uint8)
    patches[labels == 1, 36:60, 36:60] //= 3
    return patches, labels


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory, write_split):
    """A folder with the learnable split, named `train`."""
    return write_split(tmp_path_factory.mktemp("learnable"), *learnable(), name="train")


@pytest.fixture
def open_split(data_folder):
    return lambda name: Split.open(data_folder, name)


@pytest.fixture
def config(data_folder):
    """A frozen and a full cycle of a tiny network, with everything that training can do but a teacher: 5 + 15 steps."""
    return make_config(
        "smoke",
        data=str(data_folder),
        train_split="train",
        cycles=[
            {"epochs": 1, "max_lr": 1e-2, "frozen": True, "side": 32},
            {"epochs": 3, "max_lr": 1e-2, "min_group_lr": 5e-3, "side": 32},
        ],
        batch=8,
        ema_decay=0.8,
        clip=1.0,
        label_smoothing=0.05,
        augmentation={"shift": 2, "stain": 0.05, "jpeg": 60},
        precision="fp32",
        checkpoint_every=4,
    )


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """A bundle with random weights to learn from."""
    torch.manual_seed(3)
    return save_bundle(
        PatchNet("tiny_resnet", MEAN, STD),
        tmp_path_factory.mktemp("models") / "teacher",
        version="1",
        mean=MEAN,
        std=STD,
        training=Training(recipe="Random."),
    )
