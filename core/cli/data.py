"""`data import`, `data fetch`, `data demo`: patches and the drawn slide come in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli.options import NewData, PixelSize, TaskFile, data_app
from core.cli.terminal import into, progress, tell_changed
from core.errors import printable
from core.settings import settings


@data_app.command("import", epilog="Example: python -m core data import downloads/pcam --out data/pcam")
def import_data(
    source: Annotated[Path, typer.Argument(help="Folder of zips, a zip, or a folder of labelled pictures.")],
    out: NewData,
    split: Annotated[
        str, typer.Option("--split", help="Name of the split; else what the source says, or its own name.")
    ] = "",
    um_per_px: PixelSize = None,
    task: TaskFile = None,
) -> None:
    """Turn labelled pictures into HDF5 files as PCam's, with their task in task.json beside them.

    Labels are read from a table beside the pictures (label, and file or id; row where it is known), as in the Kaggle
    copy of PCam, or from folders named 0 and 1, or after the task's classes (PCam's: normal and tumour). Without --task
    they are read for the task of the folder they go into.
    """
    from core.data.imports import import_all
    from core.data.intake import check_pixel_size
    from core.task import read_task

    if um_per_px is not None:
        check_pixel_size(um_per_px)
    asked = read_task(task) if task else None
    with progress("import", "patch") as bar:

        def show(name: str, done: int, total: int) -> None:
            bar.set_description(f"import {printable(name)}")
            into(bar)(done, total)

        imported = import_all(source, out, show, split=split, um_per_px=um_per_px, task=asked)
    print(f"{out}: " + ", ".join(f"{one.split} {one.patches:,}" for one in imported))
    tell_changed([change for one in imported for change in one.changed])


@data_app.command("fetch", epilog="Example: python -m core data fetch --out data/pcam --split valid")
def fetch_data(
    out: NewData,
    split: Annotated[list[str] | None, typer.Option("--split", help="train, valid or test; again for more.")] = None,
) -> None:
    """Download the official PCam files (8.0 GB, 9.1 GB unpacked) and check them; goes on where it was cut.

    Without --split all three are fetched. A mirror is named by the environment variable NODELENS_PCAM_URL.
    """
    from core.data.download import fetch_split
    from core.data.pcam import SPLITS, Split

    for name in split or SPLITS:
        with progress("fetch", "B") as bar:
            bar.unit_scale = True

            def show(file: str, done: int, total: int, bar: Any = bar) -> None:
                bar.set_description(file, refresh=False)
                if done < bar.n:  # the next file
                    bar.reset()
                bar.total = total
                bar.update(done - bar.n)

            fetch_split(name, out, show, settings().pcam_url)
        print(f"{out}: {name} {len(Split.open(out, name)):,}")


@data_app.command("demo", epilog="Example: python -m core data demo --out assets/demo --seed 7 --n 400")
def demo_data(
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    seed: Annotated[int, typer.Option(help="Same seed, same patches.")] = 7,
    n: Annotated[int, typer.Option("--n", help="Number of patches.")] = 400,
    side: Annotated[int, typer.Option("--slide-side", min=512, help="Pixels along the slide, an even number.")] = 2048,
) -> None:
    """Draw a synthetic split named 'demo', in PCam's format, and a synthetic slide, both with tumour masks."""
    from core.data.synthetic import write_demo
    from core.data.synthetic_slide import COARSE, write_slide

    if side % COARSE:
        raise typer.BadParameter(f"{side} is no multiple of {COARSE}", param_hint="--slide-side")
    with progress("draw", "patch") as bar:
        write_demo(out, n=n, seed=seed, progress=into(bar))
        bar.set_description("draw the slide")
        slide, _ = write_slide(out, side, seed, into(bar))
    print(f"{out}: demo {n:,} and {slide.name} of {side} px (synthetic, not tissue)")
