"""`evidence`: how far a model's maps can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli.options import DataFolder, EngineName, JsonFile, Model, SplitName, app
from core.cli.terminal import into, progress
from core.files import write_text
from core.settings import settings


@app.command(epilog="Example: python -m core evidence --data data/pcam --split valid --out evidence.json")
def evidence(
    out: JsonFile,
    data: DataFolder,
    model: Model,
    split: SplitName = "valid",
    sample: Annotated[int, typer.Option(help="Patches, half of them positive.", min=20, max=100_000)] = 1000,
    regions: Annotated[Path | None, typer.Option(help="Folder of regions with masks: NAME.jpg, NAME_mask.png.")] = None,
    ood: Annotated[
        Path | None,
        typer.Option(
            "--ood",
            "--strangers",
            help="Folder of pictures that the model should not know; a name begins with its kind.",
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="METHOD/LAYER instead of the usual nine, as in layercam/last; again for more."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the report with the model.")] = False,
    engine: EngineName = "auto",
) -> None:
    """How far a model's maps can be believed: every measure with chance, baselines and 95 % intervals.

    What is done is kept under the cache folder, so that the same command goes on where it was stopped.
    """
    from core.data.pcam import Split
    from core.evaluation.explanations.runner import Examination, chosen_methods
    from core.evaluation.explanations.stage import METHODS
    from core.evaluation.schema import EVIDENCE, Plan
    from core.inference import load_reader
    from core.view.narrative import answer

    reader = load_reader(model, engine)
    plan = Plan(sample=sample, methods=chosen_methods(methods or METHODS, reader))
    with progress("evidence", "patch") as bar:

        def tell(stage: str, done: int, total: int) -> None:
            bar.set_description(f"evidence: {stage}")
            into(bar)(done, total)

        examination = Examination(reader, Split.open(data, split), plan, regions, tell, ood)
        report = examination.run(settings().cache)
    text = report.model_dump_json(indent=2) + "\n"
    write_text(out, text)
    if record:
        write_text(reader.stored.folder / EVIDENCE, text)
    for line in answer(report):
        print(line.text)
