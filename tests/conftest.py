"""What the tests share: real patches where they are at hand, splits made to order, and models that cost little."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from core import cli
from core.data.imports import import_all
from core.data.pcam import Split, file_of
from core.data.transforms import dihedral
from core.evaluation.ood import fit_ood_detector
from core.inference import Reader, load_reader
from core.models.schema import OperatingPoint, Training
from core.models.store import DESCRIPTION, read_description, write_description

# torch's threads would spin while they wait, which is slow wherever the processor is shared; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# An example may take as long as a busy machine makes it.
hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")

ROOT = Path(__file__).resolve().parents[1]
MEAN, STD = (178.0, 137.0, 176.0), (60.0, 71.0, 57.0)
POINTS = {
    "1": OperatingPoint(curve=((-1.3, -1.0), (1.3, 1.0)), threshold=0.45, refer_low=0.3, refer_high=0.6),
    "8": OperatingPoint(curve=((-0.7, -1.0), (0.7, 1.0)), threshold=0.55, refer_low=0.4, refer_high=0.7),
}

LONG = ("test_train_browser", "test_distributed", "test_bad_luck", "test_strangers_online", "test_loop", "test_promote")
"""Files that take longest, and come first: begun last, one of two workers would wait for the other."""

LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (1, 96, 96, 3)},
    "gzip": {"chunks": (4, 96, 96, 3), "compression": "gzip"},
}
WriteSplit = Callable[..., Path]
SetNorms = Callable[[Any], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real patches, which are not part of the project."""
    folder = Path(os.environ.get("NODELENS_SHARED", ROOT.parent / "shared"))
    if not (folder / "pcam" / "valid.zip").is_file():
        pytest.skip(f"real patches are not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def pcam_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Official files of the real validation and test patches, imported from the zips."""
    source = tmp_path_factory.mktemp("zips")
    for name in ("valid.zip", "test.zip"):
        (source / name).symlink_to(shared / "pcam" / name)
    out = tmp_path_factory.mktemp("pcam")
    import_all(source, out, lambda name, done, total: None)
    return out


@pytest.fixture(scope="session")
def patches() -> NDArray[np.uint8]:
    """Twelve patches of coloured clouds, uint8 (12, 96, 96, 3): no two alike, and none like its own mirror image."""
    generator = np.random.default_rng(11)
    coarse = generator.integers(60, 256, (12, 12, 12, 3), dtype=np.uint8)
    grain = generator.integers(-30, 30, (12, 96, 96, 3))
    return np.clip(coarse.repeat(8, axis=1).repeat(8, axis=2) + grain, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def labels() -> NDArray[np.uint8]:
    """Labels for `patches`: half of them positive."""
    return np.array([1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1], np.uint8)


@pytest.fixture(scope="session")
def write_split() -> WriteSplit:
    """A function that writes official files."""

    def write(
        folder: Path,
        patches: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        name: str = "valid",
        layout: str = "contiguous",
        masks: NDArray[np.uint8] | None = None,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(file_of(folder, name, "x.h5"), "w") as file:
            file.create_dataset("x", data=patches, **LAYOUTS[layout])
        with h5py.File(file_of(folder, name, "y.h5"), "w") as file:
            file.create_dataset("y", data=labels.reshape(-1, 1, 1, 1))
        if masks is not None:
            with h5py.File(file_of(folder, name, "mask.h5"), "w") as file:
                file.create_dataset("mask", data=masks[..., None])
        return folder

    return write


@pytest.fixture
def split(tmp_path: Path, write_split: WriteSplit, patches: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    """The twelve patches as a split of their own."""
    return Split.open(write_split(tmp_path / "split", patches, labels, layout="gzip"), "valid")


@pytest.fixture(scope="session")
def set_norms(patches: NDArray[np.uint8]) -> SetNorms:
    """A function that sets a random network's norms by one pass, so that patches give logits that differ."""
    import torch

    def set_by_one_pass(net: Any) -> None:
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            net.train()(torch.from_numpy(patches))

    return set_by_one_pass


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, patches: NDArray[np.uint8], set_norms: SetNorms) -> Path:
    """An EfficientNet-Lite0 with seeded random weights, in a models folder of its own, with an operating point."""
    import torch

    from core.models.nets import PatchNet, save_bundle

    torch.manual_seed(3)
    net = PatchNet("efficientnet_lite0", MEAN, STD)
    set_norms(net)
    with torch.no_grad():
        net.net.classifier.weight.mul_(2.5)
        logits = net.eval()(torch.from_numpy(patches))[1]
        net.net.classifier.bias.sub_(logits.mean(dim=0))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(net, folder, version="0.1", mean=MEAN, std=STD, training=Training(recipe="Random weights."))
    write_description(folder, read_description(folder).model_copy(update={"points": POINTS}))
    return folder


@pytest.fixture(scope="session")
def tiny_reader(tiny_bundle: Path) -> Reader:
    """The tiny bundle served by OpenVINO."""
    return load_reader(tiny_bundle, "openvino")


@pytest.fixture(scope="session")
def known_tissue(
    tmp_path_factory: pytest.TempPathFactory,
    patches: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    write_split: WriteSplit,
) -> Path:
    """Splits 'train' and 'valid' of 72 and 24 patches: the twelve, turned, mirrored and a little darker or lighter."""
    folder = tmp_path_factory.mktemp("known_tissue")
    levels = np.random.default_rng(5).integers(-20, 20, (96, 1, 1, 1))
    turned = np.concatenate([dihedral(patches, index) for index in range(8)])
    varied = np.clip(turned + levels, 0, 255).astype(np.uint8)
    for name, part in (("train", slice(0, 72)), ("valid", slice(72, 96))):
        write_split(folder, varied[part], np.tile(labels, 8)[part], name)
    return folder


@pytest.fixture(scope="session")
def ood_bundle(tiny_bundle: Path, known_tissue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a detector of what is unlike `known_tissue`."""
    folder = tmp_path_factory.mktemp("ood") / "tiny"
    shutil.copytree(tiny_bundle, folder)
    reader = load_reader(folder, "openvino")
    valid = Split.open(known_tissue, "valid")
    write_description(folder, fit_ood_detector(reader, reader.model, valid, lambda done, total: None))
    return folder


@pytest.fixture(scope="session")
def ood_reader(ood_bundle: Path) -> Reader:
    """The bundle with a detector served by OpenVINO."""
    return load_reader(ood_bundle, "openvino")


@pytest.fixture
def tiny_copy(tiny_reader: Reader, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage; with the graph, which takes seconds to make."""
    return Path(shutil.copytree(tiny_reader.stored.folder, tmp_path / "models" / "tiny"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A function that runs `python -m core ...` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nodelens", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def _plain_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that are started anew and import what is main: where AppTest ran, that is a page's script."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


@pytest.fixture(scope="session")
def unpadded_bundle(tmp_path_factory: pytest.TempPathFactory, set_norms: SetNorms) -> Path:
    """A network without padding, with seeded random weights that tell patches apart."""
    import torch

    from core.models.nets import PatchNet, save_bundle

    torch.manual_seed(4)
    mean, std = (127.0,) * 3, (128.0,) * 3
    net = PatchNet("efficientnet_lite0_unpadded", mean, std)
    set_norms(net)
    with torch.no_grad():
        net.net.classifier.weight.normal_(std=0.1)
        net.net.classifier.bias.copy_(torch.tensor([0.25, -0.5]))
    folder = tmp_path_factory.mktemp("models") / "cells"
    save_bundle(net.eval(), folder, version="1", mean=mean, std=std, training=Training(recipe="Drawn."))
    write_description(folder, read_description(folder).model_copy(update={"points": POINTS}))
    return folder


@pytest.fixture(scope="session")
def unpadded_reader(unpadded_bundle: Path) -> Reader:
    """The network without padding served by OpenVINO."""
    return load_reader(unpadded_bundle, "openvino")


@pytest.fixture
def describe() -> Callable[..., None]:
    """A function that changes fields of a `bundle.json` as somebody with a text editor would."""

    def change(folder: Path, **fields: Any) -> None:
        record = json.loads((folder / DESCRIPTION).read_text())
        (folder / DESCRIPTION).write_text(json.dumps(record | fields))

    return change


@pytest.fixture(scope="session")
def shipped_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model that is shipped, so that no test leaves anything in it."""
    source = ROOT / "models" / "densenet169"
    copy = tmp_path_factory.mktemp("shipped") / "densenet169"
    leave = shutil.ignore_patterns(".engine", "evidence.json")  # a test that wants a report makes one
    return Path(shutil.copytree(source, copy, ignore=leave))


@pytest.fixture(scope="session")
def shipped_reader(shipped_bundle: Path) -> Reader:
    """The shipped model served by OpenVINO, in the same arithmetic on every machine."""
    return load_reader(shipped_bundle, "openvino-fp32")
