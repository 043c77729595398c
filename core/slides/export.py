"""What is taken away of a scan: the map, areas as a table and for QuPath, an overview, how it was made; and DICOM."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import tifffile
from numpy.typing import NDArray
from PIL import Image
from shapely.affinity import translate

from core.files import atomic_path, write_text
from core.slides.areas import NO_STAGE, Area, cut_of
from core.slides.dicom import write_dicom
from core.slides.scan import Scan

HEATMAP, AREAS, GEOJSON, RECORD, OVERVIEW = "heatmap.npz", "areas.csv", "areas.geojson", "scan.json", "overview.png"
PICTURE = "heatmap.ome.tif"
COLOUR = [200, 90, 30]
"""Of areas in QuPath."""


def write_scan(scan: Scan, areas: Sequence[Area], folder: Path, threshold: float, overview: Image.Image) -> None:
    """Write all of a scan into a folder.

    HEATMAP holds `probability` (rows, columns) float32, nan where nothing was read; `origin` (x, y) and `cell` (width,
    height) in level-0 px; `um_per_px` of level 0, across and down. PICTURE holds the same as an OME-TIFF with a pixel
    a cell. Where the slide is DICOM and `highdicom` is installed, `core.slides.dicom` writes two files more.

    Raises:
        OutputError: the folder is full or read-only.
    """
    probability, cell = scan.probability(), cell_of(scan)
    with atomic_path(folder / HEATMAP) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            probability=probability,
            origin=np.zeros(2),
            cell=np.array(cell),
            um_per_px=np.array(scan.slide.um_per_px),
        )
    with atomic_path(folder / PICTURE) as part:
        write_picture(part, probability, [side * um for side, um in zip(cell, scan.slide.um_per_px or (), strict=True)])
    write_text(folder / AREAS, table(areas).to_csv(index=False, float_format="%.6g"))
    write_text(folder / GEOJSON, json.dumps(as_geojson(areas, scan, threshold), indent=1) + "\n")
    write_text(folder / RECORD, json.dumps(record(scan, areas, threshold), indent=2) + "\n")
    with atomic_path(folder / OVERVIEW) as part:
        overview.save(part, "PNG")
    write_dicom(scan, areas, folder)


def write_picture(path: Path, probability: NDArray[np.float32], cell_um: Sequence[float]) -> None:
    """Write a map (rows, columns) as an OME-TIFF, a pixel a cell of `cell_um`, across and down; nan: not read."""
    across, down = cell_um
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            probability,
            compression="deflate",
            metadata={
                "axes": "YX",
                "Name": "probability",
                "PhysicalSizeX": across,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": down,
                "PhysicalSizeYUnit": "µm",
            },
        )


def rule_of(scan: Scan, threshold: float) -> str:
    """Where a threshold for areas comes from: the model's, or somebody's own."""
    cut = cut_of(scan.reader.model, scan.grid.stride)
    return cut.rule if threshold == cut.threshold else "chosen by whoever asked"


def cell_of(scan: Scan) -> tuple[float, float]:
    """Width and height of a cell in level-0 px."""
    across, down = scan.slide.step(scan.grid.um_per_px)
    return scan.grid.stride * across, scan.grid.stride * down


def table(areas: Sequence[Area]) -> pd.DataFrame:
    """A row for each area, hottest first; places in level-0 px."""
    return pd.DataFrame(
        [
            {
                "area": number,
                "mm2": one.mm2,
                "diameter_mm": one.diameter_mm,
                "mean_probability": one.mean,
                "highest_probability": one.highest,
                "unlike_training_tissue": one.unlike,
                "left": one.outline.bounds[0],
                "top": one.outline.bounds[1],
                "right": one.outline.bounds[2],
                "bottom": one.outline.bounds[3],
            }
            for number, one in enumerate(areas, start=1)
        ],
        columns=[
            *("area", "mm2", "diameter_mm", "mean_probability", "highest_probability", "unlike_training_tissue"),
            *("left", "top", "right", "bottom"),
        ],
    )


def as_geojson(areas: Sequence[Area], scan: Scan, threshold: float) -> dict[str, Any]:
    """Areas as QuPath reads them: annotations with a class, a name and measurements.

    QuPath counts places from the corner of what was scanned, where OpenSlide says it; all else here from level 0's.
    """
    positive = scan.reader.task.positive
    left, top = scan.slide.corner
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(translate(one.outline, -left, -top)),
                "properties": {
                    "objectType": "annotation",
                    "name": f"{positive} {number}",
                    "classification": {"name": positive, "color": COLOUR},
                    "measurements": {
                        "from probability": threshold,
                        "area mm2": one.mm2,
                        "longest diameter mm": one.diameter_mm,
                        "mean probability": one.mean,
                        "highest probability": one.highest,
                        **({} if math.isnan(one.unlike) else {"share unlike training tissue": one.unlike}),
                    },
                },
            }
            for number, one in enumerate(areas, start=1)
        ],
    }


def path_hash(path: Path) -> str:
    """Six hex digits that tell where a slide's file lies, and do not say it."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]


def record(scan: Scan, areas: Sequence[Area], threshold: float) -> dict[str, Any]:
    """How a scan was made, and what of it is missing; nothing of what the file says of a patient."""
    slide, model = scan.slide, scan.reader.model
    logits = scan.logits()
    return {
        "slide": {
            "name": slide.path.name,
            "sha256": slide.sha256(),
            "format": slide.format,
            "width": slide.width,
            "height": slide.height,
            "um_per_px": slide.um_per_px,
            "um_per_px_by": slide.told_by,
            "scanned_from": slide.corner,
            "path_hash": path_hash(slide.path),
        },
        "model": {
            "identity": model.identity,
            "weights_sha256": model.weights_sha256,
            "engine": scan.reader.engine.name,
        },
        "stride": scan.grid.stride,
        "read_at_um_per_px": scan.grid.um_per_px,
        "cells": {"tissue": int(scan.wanted.sum()), "read": int(np.isfinite(logits).sum())},
        "tissue_outline": "corrected by a person" if scan.corrected else "found",
        "tissue_mm2": scan.tissue_mm2,
        "unlike_training_tissue": None if math.isnan(share := scan.unlike_tissue()) else share,
        "threshold": threshold,
        "threshold_rule": rule_of(scan, threshold),
        "areas": len(areas),
        "areas_are": NO_STAGE,
        "holes": [{"row": row, "column": column, "reason": words} for (row, column), words in scan.holes().items()],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "notice": "Research use only. Not a medical device.",
    }
