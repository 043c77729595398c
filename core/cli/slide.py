"""`slide`: whole slides into maps, areas and tables."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from core.cli.options import EngineName, Model, app
from core.cli.terminal import progress
from core.errors import printable

slide_app = typer.Typer(help="Read whole slides.", no_args_is_help=True)
app.add_typer(slide_app, name="slide")


@slide_app.command("read", epilog="Example: python -m core slide read slides/ --out read --model densenet169")
def read(
    inputs: Annotated[list[Path], typer.Argument(help="Slides, folders of them, or .txt files with a path a line.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into: one folder a slide, and slides.csv.")],
    model: Model,
    stride: Annotated[
        int,
        typer.Option("--stride", min=8, max=96, help="Pixels between cells; multiples of 8 cost one pass the same."),
    ] = 32,
    um_per_px: Annotated[
        float | None,
        typer.Option("--um-per-px", help="Micrometres per pixel of slides whose files do not say it."),
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Let --um-per-px stand above what files say, too.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Slides at a time, in threads of this machine.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler whose workers read the chunks.")
    ] = None,
    engine: EngineName = "auto",
) -> None:
    """Read slides: heatmap.npz, areas.csv, areas.geojson, scan.json and overview.png for each.

    A slide that cannot be read is a row of slides.csv with its reason, and stops no other. The same command goes on
    where it was stopped, and reads nothing twice.
    """
    from core.inference import load_reader
    from core.slides.batch import Batch, read_slides, slides_in
    from core.view.slide_map import overview_picture

    paths = slides_in(inputs)
    batch = Batch(paths, load_reader(model, engine), out, overview_picture, stride, um_per_px, override)
    with progress("slide", "slide") as bar:
        bar.total = len(paths)
        with ExitStack() as held:
            if scheduler:
                from dask.distributed import Client

                from core.slides.cluster import read_on_cluster

                found = read_on_cluster(held.enter_context(Client(scheduler)), batch)
            else:
                found = read_slides(batch, workers)
            for outcome in found:
                reason = f", {outcome.reason}" if outcome.reason else ""
                bar.write(f"{printable(outcome.slide)}: {outcome.status}{reason}")
                bar.update(1)
