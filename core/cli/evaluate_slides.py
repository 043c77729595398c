"""`evaluate-slides`: how good maps over regions with masks are, and what is called where there is no tumour."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli.options import EngineName, JsonFile, Model, PixelSize, app
from core.cli.terminal import into, progress, write_json


@app.command("evaluate-slides", epilog="Example: python -m core evaluate-slides --regions regions/ --out slides.json")
def evaluate_slides(
    out: JsonFile,
    model: Model,
    regions: Annotated[Path, typer.Option("--regions", help="Folder of pictures with masks NAME_mask.png.")],
    free: Annotated[
        Path | None, typer.Option("--free", help="Folder of slides or pictures of tissue without tumour.")
    ] = None,
    um_per_px: PixelSize = None,
    engine: EngineName = "auto",
) -> None:
    """Pixel AUC, average precision and sensitivity at false alarms per mm2, each with a 95 % interval over places.

    `--um-per-px` is of the pictures in `--free`, where they do not say it themselves.
    """
    from core.data.regions import read_regions, region_files
    from core.evaluation.slides import evaluate, false_alarms
    from core.inference import load_reader
    from core.slides.batch import slides_in

    reader = load_reader(model, engine)
    with progress("evaluate-slides", "region") as bar:
        total, report = len(region_files(regions)), into(bar)
        found = evaluate(reader, read_regions(regions, reader.task), lambda done: report(done, total))
    record: dict[str, Any] = {"model": reader.model.identity, "engine": reader.engine.name} | found
    if free is not None:
        record["free"] = list(false_alarms(reader, slides_in([free]), um_per_px))
    write_json(out, record)
    for name, figures in record["maps"].items():
        print(f"{name}: {', '.join(f'{key} {_words(one)}' for key, one in figures.items())}")
    for rate, one in record["froc"].items():
        print(f"sensitivity at {rate} false alarms per mm2: {_words(one)}")
    for row in record.get("free", ()):
        print(
            f"{row['slide']}: {row['areas']} areas on {row['mm2']:.2f} mm2, {row['share_called']:.1%} of cells called"
        )


def _words(one: dict[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
