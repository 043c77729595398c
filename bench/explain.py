"""Explanations a second: a prediction with its Grad-CAM at the last maps, same weights and patches for everybody."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.measure import ROOT, Row, interleaved, peak_mib, processor
from core.data.pcam import Split
from core.inference import load_reader
from core.inference.torch_engine import load_net

BATCHES = (32, 1)
AGREEMENT = 0.999
"""Correlation with captum's map on the post-ReLU maps, below which nothing is timed."""


class Explicit(nn.Module):
    """The network with its post-ReLU maps as the output of a module, which is what hook-based libraries need."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.maps = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 2) of normalised images (n, 3, 96, 96)."""
        return self.net.forward_head(self.maps(self.net.forward_features(images)))


def demo_patches(count: int) -> NDArray[np.uint8]:
    """The first patches of the demo split, uint8 (count, 96, 96, 3)."""
    return Split.open(ROOT / "assets" / "demo", "demo").patches(range(count))


def tasks(count: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name: `nodelens...` is ours, `...-forward` explains nothing, the others are PyPI names."""
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import GradCAM as TorchCam

    patches = demo_patches(count)
    reader, eager = load_reader(engine="openvino"), load_reader(engine="torch")
    net = load_net(reader.stored)
    images = net.normalise(torch.from_numpy(patches)).contiguous()
    model = Explicit(net.net).eval().requires_grad_(True)
    grad_cam = GradCAM(model=model, target_layers=[model.maps])
    layer_grad_cam = LayerGradCam(model, model.maps)

    def torchcam() -> object:
        with TorchCam(model, target_layer="maps") as extractor:
            return extractor(1, model(images))

    return {
        "nodelens": lambda: reader.read(patches),
        "nodelens-8views": lambda: reader.read(patches, views=8),
        "nodelens-torch": lambda: eager.read(patches),
        "openvino-forward": lambda: reader.engine.forward(patches),
        "torch-forward": lambda: eager.engine.forward(patches),
        "grad-cam": lambda: grad_cam(input_tensor=images, targets=[ClassifierOutputTarget(1)] * count),
        "torchcam": torchcam,
        "captum": lambda: layer_grad_cam.attribute(images, target=1),
    }


def agreement() -> float:
    """Correlation of our maps with captum's for the tumour logit, over 32 patches; raises where it is too low."""
    from captum.attr import LayerGradCam

    patches = demo_patches(32)
    reader = load_reader(engine="openvino")
    net = load_net(reader.stored)
    model = Explicit(net.net).eval().requires_grad_(True)
    images = net.normalise(torch.from_numpy(patches))
    theirs = LayerGradCam(model, model.maps).attribute(images, target=1).detach().numpy()[:, 0]
    ours = reader.explain(patches, target="tumour").attribution
    correlation = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    if correlation < AGREEMENT:
        raise AssertionError(f"our maps and captum's correlate at {correlation:.4f}; nothing is timed")
    return correlation


def run(repeats: int = 12) -> dict[str, object]:
    """All rows, after the maps have been found to agree."""
    warnings.filterwarnings("ignore")
    correlation = agreement()
    rows: list[Row] = []
    for count in BATCHES:
        for name, seconds in interleaved(tasks(count), repeats).items():
            memory = peak_mib("bench.explain", "--only", name) if count == BATCHES[0] else None
            rows.append(
                {"name": name, "batch": count, "rate": count / seconds, "unit": "patches/s", "peak_mib": memory}
            )
    return {"bench": "explain", "processor": processor(), "agreement_with_captum": correlation, "rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run one task a few times, for its memory.")
    parser.add_argument("--only", required=True)
    task = tasks(BATCHES[0])[parser.parse_args().only]
    for _ in range(3):
        task()
