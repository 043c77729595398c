"""`evaluate`: figures of a model on a split."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli.model import card
from core.cli.options import DataFolder, EngineName, JsonFile, Model, SplitName, app
from core.cli.terminal import into, progress, write_json


@app.command(epilog="Example: python -m core evaluate --data data/pcam --split test --out report.json")
def evaluate(
    out: JsonFile,
    data: DataFolder,
    model: Model,
    split: SplitName = "valid",
    tta: Annotated[bool, typer.Option("--tta", help="Mean over eight flips and turns.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Keep the figures in the bundle and its card.")] = False,
    engine: EngineName = "auto",
) -> None:
    """Classification and calibration on a split, each figure with a 95 % bootstrap interval."""
    from core.data.pcam import Split
    from core.evaluation.card import if_right, interval_text, promise_rows
    from core.evaluation.report import evaluate as run
    from core.evaluation.report import with_evaluation
    from core.inference import load_reader
    from core.models.store import write_description

    reader = load_reader(model, engine)
    with progress("evaluate", "patch") as bar:
        evaluation, report = run(reader, Split.open(data, split), 8 if tta else 1, into(bar))
    write_json(out, report)
    for name, interval in evaluation.figures.items():
        print(f"{name:22} {interval_text(interval)}")
    if right := if_right(evaluation):
        print(f"Calibration error: {right}")
    for promise, cuts, missed, alarms, referred in promise_rows(reader.model, evaluation):
        print(f"{promise}, at {cuts}: missed {missed}, false alarms {alarms}, referred {referred}")
    if record:
        write_description(reader.stored.folder, with_evaluation(reader.model, evaluation))
        card(model)
