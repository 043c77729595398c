"""Record fastai's `fit_one_cycle`, step by step, for the test that holds our schedules to it.

`python -m bench.fastai_schedule` (needs fastai from requirements-bench.txt) writes
tests/training/fastai_schedule.json. Nothing of ours takes part in what is recorded.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from bench.measure import ROOT

OUT = ROOT / "tests" / "training" / "fastai_schedule.json"
EPOCHS, PER_EPOCH, GROUPS = 5, 100, 3
FIRST, PEAK = 4e-5, 4e-4
FROZEN_PEAK = 2e-2


def record(peak: float, first: float | None, frozen: bool) -> dict[str, Any]:
    """Rates (steps, groups that are trained) and momentum (steps,) of one cycle."""
    from fastai.callback.core import Callback
    from fastai.callback.schedule import Learner  # with `fit_one_cycle`, which that module adds
    from fastai.data.core import DataLoaders
    from fastai.torch_core import params

    class Note(Callback):
        order = 100  # after fastai has set what the step will use

        def before_batch(self) -> None:
            if self.training:
                rates.append([float(f"{group['lr']:.12g}") for group in self.opt.hypers[-1 if frozen else 0 :]])
                momenta.append(float(f"{self.opt.hypers[-1]['mom']:.12g}"))

    rates: list[list[float]] = []
    momenta: list[float] = []
    samples = torch.utils.data.TensorDataset(torch.zeros(PER_EPOCH, 1), torch.zeros(PER_EPOCH, 1))
    loader = torch.utils.data.DataLoader(samples, batch_size=1)
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(GROUPS)))
    learner = Learner(
        DataLoaders(loader, loader),
        net,
        loss_func=nn.MSELoss(),
        splitter=(lambda net: [params(layer) for layer in net]) if frozen or first else params,
    )
    if frozen:
        learner.freeze()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(EPOCHS, slice(first, peak) if first else peak, cbs=Note())
    return {"max_lr": peak, "min_group_lr": first, "frozen": frozen, "rates": rates, "momentum": momenta}


def main() -> None:
    """Write the file."""
    import fastai

    cycles = {
        "plain": record(PEAK, None, frozen=False),
        "frozen": record(FROZEN_PEAK, None, frozen=True),
        "discriminative": record(PEAK, FIRST, frozen=False),
    }
    recorded = {"made_by": "python -m bench.fastai_schedule", "fastai": fastai.__version__, "cycles": cycles}
    OUT.write_text(json.dumps(recorded, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
