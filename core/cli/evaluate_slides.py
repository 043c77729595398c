"""`evaluate-slides`: how good maps over slides are, and from which probability on areas are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli.model import card
from core.cli.options import EngineName, JsonFile, Model, PixelSize, app
from core.cli.terminal import into, progress, write_json
from core.settings import settings


@app.command("evaluate-slides", epilog="Example: python -m core evaluate-slides --regions regions/ --out slides.json")
def evaluate_slides(
    out: JsonFile,
    model: Model,
    regions: Annotated[Path, typer.Option("--regions", help="Folder of pictures with masks NAME_mask.png.")],
    slide: Annotated[
        list[Path] | None,
        typer.Option("--slide", help="Slide with a mask NAME_mask.png beside it; again for more. Else the drawn one."),
    ] = None,
    free: Annotated[
        list[Path] | None,
        typer.Option(
            "--free",
            help="Slides or pictures without tumour: files, folders, or a .txt with a path a line.",
        ),
    ] = None,
    um_per_px: PixelSize = None,
    at_most: Annotated[
        float, typer.Option("--at-most", min=0.01, help="False areas per mm2 that the threshold for areas allows.")
    ] = 4.0,
    note: Annotated[
        str, typer.Option("--note", help="What the regions share with what the model learned from; kept with figures.")
    ] = "",
    free_note: Annotated[
        str, typer.Option("--free-note", help="How it is known that there is no tumour; kept with the figures.")
    ] = "",
    record: Annotated[
        bool, typer.Option("--record", help="Keep threshold and figures with the model; areas are then made by it.")
    ] = False,
    engine: EngineName = "auto",
) -> None:
    """Pixel AUC, average precision and sensitivity at false areas per mm2, with 95 % intervals over places.

    Regions that lie side by side are read as one. From them a threshold for areas is chosen too. `--um-per-px` is of
    the pictures in `--free`, where they do not say it themselves.
    """
    from core.data.regions import read_regions
    from core.data.synthetic_slide import SLIDE
    from core.evaluation.sections import slide_section, stitched
    from core.evaluation.slides import check_free, choose_threshold, false_alarms, figures_of, free_tissue, measure
    from core.evaluation.slides_card import slides_card
    from core.inference import load_reader
    from core.models.schema import SlideEvaluation
    from core.models.store import write_description
    from core.slides.areas import cut_of
    from core.slides.batch import slides_in
    from core.task import STRIDE

    drawn = settings().demo / SLIDE
    slides = slide if slide is not None else [drawn] if drawn.is_file() else []
    reader = load_reader(model, engine)
    sets = [(regions.resolve().name, stitched(list(read_regions(regions, reader.task))), note)]
    for number, path in enumerate(slides, start=1):  # a file's name may be a person's, and goes nowhere
        name, words = (SLIDE, _DRAWN) if path.name == SLIDE else (f"slide {number}", "")
        sets.append((name, [slide_section(path, reader.task)], words))
    without = slides_in(free) if free else []
    if without:
        check_free(without, reader.task, um_per_px)  # before the long measuring
    with progress("evaluate-slides", "place") as bar:
        measured = [measure(reader, sections, name, words, into(bar)) for name, sections, words in sets]
    areas = choose_threshold(reader, measured[0], at_most)
    described = reader.model.changed(areas=areas)
    rows: list[dict[str, Any]] = list(false_alarms(reader, without, cut_of(described, STRIDE), um_per_px))
    found = SlideEvaluation(
        stride=STRIDE,
        maps=tuple(figures_of(one) for one in measured),
        free=free_tissue(rows, cut_of(described, STRIDE), free_note) if rows else None,
    )
    described = described.changed(slides=found)
    told = {"areas": areas.model_dump(), "slides": found.model_dump(), "free": rows}
    write_json(out, {"model": described.identity, "engine": reader.engine.name} | told)
    print("\n".join(slides_card(described)))
    if record:
        write_description(reader.stored.folder, described)
        card(model)


_DRAWN = "drawn, not tissue: it shows that the software works"
