"""`evidence`: how far a model's maps can be believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from core.cli.options import DataFolder, EngineName, JsonFile, Model, SplitName, app
from core.cli.terminal import into, progress
from core.errors import ReportError
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
        typer.Option("--method", help="METHOD/LAYER instead of the usual ones, as in layercam/last; again for more."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the report with the model.")] = False,
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm",
            help="Measure the claims of the kept report once more, on the split 'test', and keep that it was done. For "
            "the same weights a second run repeats what was found.",
        ),
    ] = False,
    engine: EngineName = "auto",
) -> None:
    """How far a model's maps can be believed: every measure with chance, baselines and 95 % intervals.

    What is done is kept under the cache folder, so that the same command goes on where it was stopped.
    """
    from core.data.pcam import Split
    from core.evaluation.explanations.runner import Examination, chosen_methods, confirmed
    from core.evaluation.explanations.stage import MAIN, methods_of
    from core.evaluation.schema import EVIDENCE, Confirmation, EvidenceReport, Plan, read_report
    from core.inference import load_reader
    from core.view.narrative import VERDICTS, answer, claimed_on

    reader = load_reader(model, engine)
    kept_at = reader.stored.folder / EVIDENCE
    kept = read_report(kept_at) if kept_at.is_file() else None
    own = kept is not None and kept.model.identity == reader.model.identity
    before = kept.confirmation if kept is not None and own else None
    if confirm and not own:
        raise ReportError(kept_at, "there is none of these weights: make one with --record, then confirm it")
    plan = Plan(sample=sample, methods=(MAIN,) if confirm else chosen_methods(methods or methods_of(reader), reader))

    def examination(tell: Callable[[str, int, int], None]) -> Examination:
        return Examination(reader, Split.open(data, "test" if confirm else split), plan, regions, tell, ood)

    with progress("evidence", "patch") as bar:

        def tell(stage: str, done: int, total: int) -> None:
            bar.set_description(f"evidence: {stage}")
            into(bar)(done, total)

        if confirm:
            assert kept is not None
            found: Confirmation = before or examination(tell).confirm(settings().cache)
            report: EvidenceReport = confirmed(kept, found)
        else:
            report = confirmed(examination(tell).run(settings().cache), before)
    text = report.model_dump_json(indent=2) + "\n"
    write_text(out, text)
    if record or confirm:
        write_text(kept_at, text)
    for line in answer(report):
        print(f"{VERDICTS[line.verdict]}: {line.text}")
    print(claimed_on(report))
