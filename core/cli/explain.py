"""`explain`: one reading and its map."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from core.cli.options import EngineName, Model, PixelSize, app
from core.cli.terminal import into, progress, tell_changed, write_json
from core.errors import NodeLensError, OutputError
from core.explain.registry import METHODS
from core.files import atomic_path


@app.command(epilog="Example: python -m core explain patch.png --out explained --layer 6x6 --method layercam")
def explain(
    image: Annotated[Path, typer.Argument(help="One patch, of the model's size.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    model: Model,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "gradcam",
    layer: Annotated[
        str | None,
        typer.Option(
            help="last, or an earlier one (6x6, 12x12; without padding 4x4); input for methods that are no CAM.",
            show_default="last",
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(help="predicted, either class, or their margin, as in 'tumour minus normal'.")
    ] = "predicted",
    tta: Annotated[bool, typer.Option("--tta", help="Mean over eight flips and turns.")] = False,
    um_per_px: PixelSize = None,
    engine: EngineName = "auto",
) -> None:
    """Explain one reading: map.npy (h, w) float32 in the method's unit, overlay.png, explanation.json."""
    from core.data.sources import check_inputs, items
    from core.inference import load_reader
    from core.view.export import as_picture, as_record
    from core.view.overlay import png

    if image.is_dir():
        raise OutputError(image, "name one image, not a folder")
    paths = check_inputs([image], um_per_px)
    reader = load_reader(model, engine)
    item = next(items(paths, um_per_px, reader.task), None)
    if item is None or item.patch is None:
        raise (item and item.refusal) or NodeLensError(f"There is no patch in {image}.")
    with progress("explain", "pass") as bar:
        views = 8 if tta else 1
        readings = reader.explain(item.patch, method, layer, target, views=views, progress=into(bar), around=True)
    with atomic_path(out / "map.npy") as part, part.open("wb") as handle:
        np.save(handle, readings.attribution[0])
    with atomic_path(out / "overlay.png") as part:
        part.write_bytes(png(as_picture(item.patch, readings, 0, notes=item.notes)))
    with image.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    record = as_record(readings, 0, item.id, item.notes, sha256=sha256, um_per_px=um_per_px, when=datetime.now(UTC))
    write_json(out / "explanation.json", record)
    print(f"{item.id}: {readings.verdict[0]}, probability {readings.probability[0]:.3f}; see {out}")
    tell_changed([f"{item.id}: {' '.join(item.changes)}"] if item.changes else [])
