"""`train`, `lr-range` and `compare-decay`: new weights, and what to know before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.options import Changes, ConfigFile, PresetName, app
from core.cli.terminal import progress, write_json

if TYPE_CHECKING:
    from core.training.config import TrainConfig
    from core.training.lr_range import RangeCurve

GrowingFile = Annotated[Path, typer.Option("--out", help="JSON file to write; it grows while the test runs.")]


@app.command(epilog="Example: python -m core train --preset smoke --out runs/first")
def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; an existing run is resumed.")],
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
) -> None:
    """Train a network with one-cycle schedules; Ctrl-C saves and stops, the same command goes on.

    `torchrun --nproc-per-node 2 -m core train ...` trains with two processes.
    """
    from core.training.launch import chosen_config, is_main, opener, stop_on_signals
    from core.training.loop import fit
    from core.training.runs import Run

    run = Run.create(out, chosen_config(out, config, preset, changes or []))
    stopped = stop_on_signals()
    with progress(f"train {run.name}", "step") as bar:
        for fact in fit(run, opener(run.config), stopped):
            if fact["fact"] == "step":
                bar.total, bar.n = fact["steps"], fact["step"]
                bar.set_postfix(cycle=fact["cycle"] + 1, loss=f"{fact['loss']:.4f}", rate=f"{fact['rate']:.2g}")
            elif fact["fact"] == "epoch":
                bar.write(
                    f"cycle {fact['cycle'] + 1}, epoch {fact['epoch']:.3g}: train loss {fact['train_loss']:.4f}, "
                    f"valid loss {fact['valid_loss']:.4f}, accuracy {fact['accuracy']:.4f}, AUC {fact['auc']:.4f}",
                    file=sys.stdout,
                )
    if is_main():
        print(f"{run.folder}: {run.settled}")


@app.command(epilog="Example: python -m core lr-range --preset smoke --out range.json")
def lr_range(
    out: GrowingFile,
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
) -> None:
    """Learning-rate range test: the loss at ever higher rates on a fresh network, and two suggestions."""
    from core.training.launch import chosen_config

    chosen = chosen_config(out.parent, config, preset, changes or [])
    curves = _write_trial(out, chosen, (chosen.weight_decay,))
    for name in ("steepest", "valley"):
        rate = getattr(curves[-1], name)
        print(f"{name:10} {f'{rate:.2e}' if rate else 'the loss never fell: nothing to suggest'}")


@app.command("compare-decay", epilog="Example: python -m core compare-decay --decay 1e-2 --decay 1e-4 --out decay.json")
def decay(
    out: GrowingFile,
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
    decays: Annotated[
        list[float] | None, typer.Option("--decay", help="A weight decay; again for more. Default: 1e-2, 1e-4, 1e-6.")
    ] = None,
) -> None:
    """Compare weight decays: a range test on a fresh network for each."""
    from core.training.launch import chosen_config
    from core.training.lr_range import DECAYS

    chosen = chosen_config(out.parent, config, preset, changes or [])
    for curve in _write_trial(out, chosen, tuple(decays or DECAYS)):
        lowest = f"{min(curve.smoothed):.4f}" if curve.smoothed else "none"
        print(f"weight decay {curve.weight_decay:<8g} lowest smoothed loss {lowest}, {curve.ended}")


def _write_trial(out: Path, config: TrainConfig, decays: tuple[float, ...]) -> tuple[RangeCurve, ...]:
    """Run a range test for each weight decay; the file holds every curve as far as it has come."""
    from core.training.launch import opener
    from core.training.lr_range import STEPS, compare_decay, record

    curves: tuple[RangeCurve, ...] = ()
    with progress("range test", "step") as bar:
        bar.total = STEPS * len(decays)
        for curves in compare_decay(config, opener(config), decays):
            write_json(out, record(config, decays, curves))
            bar.update(1)
    return curves
