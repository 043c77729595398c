"""`score`: many patches into a CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from core.cli.options import EngineName, Model, PixelSize, app
from core.cli.terminal import progress, tell_changed
from core.errors import NodeLensError
from core.files import atomic_path

if TYPE_CHECKING:
    from core.data.sources import Item


@app.command(epilog="Example: python -m core score patches/ --out scores.csv --tta")
def score(
    inputs: Annotated[list[Path], typer.Argument(help="Folders, images, zips of images or HDF5 files.")],
    out: Annotated[Path, typer.Option("--out", help="CSV file to write.")],
    model: Model,
    tta: Annotated[bool, typer.Option("--tta", help="Mean over eight flips and turns.")] = False,
    um_per_px: PixelSize = None,
    engine: EngineName = "auto",
) -> None:
    """Read many patches into a CSV: id,probability,logit,verdict,flags,notes.

    `id` is the path inside the folder or zip without the file ending, the name of an image, or the row number; where
    two inputs share an id, the name of the input stands before it. An image that is refused keeps its row, with the
    verdict 'refused' and the reason under flags. `notes` say what was done to a picture before it was read. When
    nothing at all could be read, no file is written. An id that a spreadsheet would take for a formula stands behind
    an apostrophe.
    """
    from core.data.sources import check_inputs, count_items, items
    from core.data.tables import csv_cell
    from core.inference import load_reader

    paths = check_inputs(inputs, um_per_px)
    reader = load_reader(model, engine)
    views = 8 if tta else 1
    read, refusals, changed = 0, [], []
    with atomic_path(out) as part, progress("score", "patch") as bar:
        bar.total = count_items(paths)
        with part.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(("id", "probability", "logit", "verdict", "flags", "notes"))
            for group in batches(items(paths, um_per_px, reader.task), reader.engine.batch):
                patches = [item.patch for item in group if item.patch is not None]
                readings = reader.read(np.stack(patches), views=views) if patches else None
                position = 0
                for item in group:
                    if item.patch is None or readings is None:
                        refusals.append(f"{item.id}: {item.refusal}")
                        writer.writerow((csv_cell(item.id), "", "", "refused", csv_cell(str(item.refusal)), ""))
                        continue
                    if item.changes:
                        changed.append(f"{item.id}: {' '.join(item.changes)}")
                    writer.writerow(
                        (
                            csv_cell(item.id),
                            f"{readings.probability[position]:.6f}",
                            f"{readings.logit[position]:.6f}",
                            readings.verdict[position],
                            ";".join(readings.flags[position]),
                            " ".join(item.notes),
                        )
                    )
                    position += 1
                read += position
                bar.update(len(group))
        if read == 0:
            raise NodeLensError(refusals[0] if refusals else "There is no patch in the input.")
    if refusals:
        print(f"nodelens: {len(refusals)} of {read + len(refusals)} refused; first: {refusals[0]}", file=sys.stderr)
    tell_changed(changed)


def batches(stream: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """A stream in lists of `size`, the last one shorter."""
    while group := list(islice(stream, size)):
        yield group
