"""Explanations a second: a prediction with its Grad-CAM at the last maps, same weights and patches for everybody."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import nn

from bench.measure import ROOT, Row, interleaved, peak_mib, processor
from core.data.pcam import Split
from core.inference import load_reader
from core.inference.engines.torch_engine import load_net
from core.models.store import StoredBundle, bundle_folder
from core.settings import settings

BATCHES = (32, 1)
AGREEMENT = 0.999
"""Correlation with captum's map on the post-ReLU maps, below which nothing is timed."""


class Explicit(nn.Module):
    """timm's network as it comes, with its post-ReLU maps as the output of a module for libraries that hook."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.maps = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 2) of normalised images (n, 3, 96, 96)."""
        logits: torch.Tensor = self.net.forward_head(self.maps(self.net.forward_features(images)))
        return logits


def demo_patches(count: int) -> NDArray[np.uint8]:
    """The first patches of the demo split, uint8 (count, 96, 96, 3)."""
    return Split.open(ROOT / "assets" / "demo", "demo").patches(range(count))


def task(name: str, count: int) -> Callable[[], object]:
    """What is timed under a name: `nodelens...` is ours, `...-forward` explains nothing, the others are PyPI names."""
    patches = demo_patches(count)
    if name.startswith("nodelens"):
        engines = {"torch": "torch", "fp32": "openvino-fp32"}
        reader = load_reader(engine=engines.get(name.rpartition("-")[2], "openvino"))
        return partial(reader.read, patches, views=8 if name.endswith("8views") else 1)
    if name in ("openvino-forward", "torch-forward"):
        return partial(load_reader(engine=name.partition("-")[0]).engine.forward, patches)
    stored = StoredBundle.open(bundle_folder("densenet169", settings().models))
    return PEERS[name](*peers_view(stored, patches))


def peers_view(stored: StoredBundle, patches: NDArray[np.uint8]) -> tuple[Explicit, torch.Tensor]:
    """The same weights in timm's own network, and the normalised images (n, 3, 96, 96)."""
    net = load_net(stored)
    theirs = timm.create_model(stored.description.net.timm_name, num_classes=2)
    theirs.load_state_dict(net.net.state_dict())
    return Explicit(theirs).eval().requires_grad_(True), net.normalise(torch.from_numpy(patches)).contiguous()


def grad_cam(model: Explicit, images: torch.Tensor) -> Callable[[], object]:
    """pytorch-grad-cam, as its README uses it."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explainer = GradCAM(model=model, target_layers=[model.maps])
    return partial(explainer, input_tensor=images, targets=[ClassifierOutputTarget(1)] * len(images))


def torchcam(model: Explicit, images: torch.Tensor) -> Callable[[], object]:
    """torchcam, as its README uses it."""
    from torchcam.methods import GradCAM

    def explain() -> object:
        with GradCAM(model, target_layer="maps") as extractor:
            return extractor(1, model(images))

    return explain


def captum(model: Explicit, images: torch.Tensor) -> Callable[[], object]:
    """captum's LayerGradCam."""
    from captum.attr import LayerGradCam

    return partial(LayerGradCam(model, model.maps).attribute, images, target=1)


PEERS = {"grad-cam": grad_cam, "torchcam": torchcam, "captum": captum}
NAMES = ("nodelens", "nodelens-8views", "nodelens-fp32", "nodelens-torch", "openvino-forward", "torch-forward", *PEERS)


def agreement() -> float:
    """Correlation of our maps with captum's for the tumour logit, over 32 patches; raises where it is too low."""
    from captum.attr import LayerGradCam

    patches = demo_patches(32)
    reader = load_reader(engine="openvino")
    model, images = peers_view(reader.stored, patches)
    theirs = LayerGradCam(model, model.maps).attribute(images, target=1).detach().numpy()[:, 0]
    ours = reader.explain(patches, target="tumour").attribution
    correlation = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    if correlation < AGREEMENT:
        raise AssertionError(f"our maps and captum's correlate at {correlation:.4f}; nothing is timed")
    return correlation


def run(repeats: int = 24) -> dict[str, object]:
    """All rows, after the maps have been found to agree."""
    warnings.filterwarnings("ignore")
    correlation = agreement()
    rows: list[Row] = []
    for count in BATCHES:
        for name, seconds in interleaved({name: task(name, count) for name in NAMES}, repeats).items():
            memory = peak_mib("bench.explain", "--only", name) if count == BATCHES[0] else None
            rows.append(
                {"name": name, "batch": count, "rate": count / seconds, "unit": "patches/s", "peak_mib": memory}
            )
    return {"bench": "explain", "processor": processor(), "agreement_with_captum": correlation, "rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run one task a few times, for its memory.")
    parser.add_argument("--only", required=True)
    only = task(parser.parse_args().only, BATCHES[0])
    for _ in range(3):
        only()
