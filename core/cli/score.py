"""`score`: many patches into a CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.options import EngineName, Model, PixelSize, app
from core.cli.terminal import progress, tell_changed
from core.errors import NodeLensError
from core.files import atomic_path

if TYPE_CHECKING:
    from core.service import Scored


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
    verdict 'refused' and the reason under flags. Where a flag says that a patch is none to read, the verdict is 'not
    read', and its probability is not to be used. `notes` say what was done to a picture before it was read. When
    nothing at all could be read, no file is written. An id that a spreadsheet would take for a formula stands behind
    an apostrophe.
    """
    from core import service
    from core.data.sources import check_inputs, count_items, items
    from core.inference import load_reader

    paths = check_inputs(inputs, um_per_px)
    reader = load_reader(model, engine)
    read, refusals, changed = 0, [], []
    with atomic_path(out) as part, progress("score", "patch") as bar:
        bar.total = count_items(paths)
        with part.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(("id", "probability", "logit", "verdict", "flags", "notes"))
            for scored in service.score(reader, items(paths, um_per_px, reader.task), 8 if tta else 1):
                item = scored.item
                writer.writerow(_row(scored))
                if scored.readings is None:
                    refusals.append(f"{item.id}: {item.refusal}")
                else:
                    read += 1
                    if item.changes:
                        changed.append(f"{item.id}: {' '.join(item.changes)}")
                bar.update(1)
        if read == 0:
            raise NodeLensError(refusals[0] if refusals else "There is no patch in the input.")
    if refusals:
        print(f"nodelens: {len(refusals)} of {read + len(refusals)} refused; first: {refusals[0]}", file=sys.stderr)
    tell_changed(changed)


def _row(scored: Scored) -> tuple[str, ...]:
    from core.data.tables import csv_cell

    item, readings, place = scored.item, scored.readings, scored.place
    if readings is None:
        return csv_cell(item.id), "", "", "refused", csv_cell(str(item.refusal)), ""
    return (
        csv_cell(item.id),
        f"{readings.probability[place]:.6f}",
        f"{readings.logit[place]:.6f}",
        str(readings.verdict[place]),
        ";".join(readings.flags[place]),
        " ".join(item.notes),
    )
