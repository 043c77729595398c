"""What is told of a slide: its areas so far, and all that the viewer draws. What is made of one map is made once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.kept import digest
from core.slides import tissue
from core.slides.areas import Area, Cut, areas_of
from core.slides.export import cell_of
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.slides.tiles import TILE, Tiles
from core.task import Task
from core.view import overlay
from core.view.slide_map import EVIDENCE, EVIDENCE_SCALE, map_picture
from pages.parts import library
from pages.parts.slide import painting
from pages.parts.slide.remembered import remembered

SHOWN_AREAS = 50
"""In the list and the viewer; files have all."""
DOUBTED = 10
"""Areas whose patches are asked on screen how familiar they are: seconds at most, once."""


@dataclass(frozen=True)
class OnTable:
    """An open slide and its scan."""

    token: str
    slide: Slide
    scan: Scan


def areas_on(table: OnTable, cut: Cut) -> list[Area]:
    """Those of what has been read so far."""
    scan, um_per_px = table.scan, table.slide.um_per_px
    assert um_per_px is not None
    kept = library.own("slide_areas", 4)
    found: list[Area] = kept.get(
        (scan.folder, cut.threshold, um_per_px),
        lambda: areas_of(scan.probability(), cut.threshold, cell_of(scan), um_per_px, scan.grid.finer),
        stamp=digest(scan.logits()),
    )
    return found


def with_doubts(table: OnTable, areas: list[Area]) -> list[Area]:
    """The same, the first with the share of their patches that is unlike training tissue."""
    kept = library.own("slide_unlike", 256)

    def asked(area: Area) -> Area:
        key = (table.scan.folder, *map(digest, area.members))
        return replace(area, unlike=kept.get(key, lambda: table.scan.unlike(*area.members)))

    with st.spinner("Comparing the areas with training tissue ..."):
        return [*map(asked, areas[:DOUBTED]), *areas[DOUBTED:]]


def doubt(area: Area) -> str:
    """What stands after an area's figures; nothing where all its patches are familiar, or none was asked."""
    return f", {area.unlike:.0%} unlike" if area.unlike > 0 else ""


def viewer_data(table: OnTable, areas: list[Area], kind: str, task: Task) -> dict[str, Any]:
    """What the viewer is told of a slide and all its areas."""
    slide, scan, kept = table.slide, table.scan, remembered(table.slide.path)
    across, down = cell_of(scan)
    first = areas[:SHOWN_AREAS]
    gone_to = next((number for number, area in enumerate(first, start=1) if hot(table, area) == kept.gone_to), None)
    data: dict[str, Any] = {
        "token": table.token,
        "width": slide.width,
        "height": slide.height,
        "tile": TILE,
        "levels": Tiles(slide).levels,
        "um": slide.um_per_px[0] if slide.um_per_px else None,
        "map": _map_url(scan, kind),
        "mapWidth": scan.grid.columns * across,
        "legend": _legend(kind, task),
        "outline": _outline(scan),
        "areas": [
            {
                "rings": _rings(area),
                "box": _box(area),
                "hot": hot(table, area),
                "words": f"highest probability {area.highest:.2f}, {area.diameter_mm:.2f} mm{doubt(area)}",
            }
            for area in first
        ],
        "total": len(areas),
        "mark": None,
        "strokes": painting.as_told(slide.path),
        "mostStrokes": painting.MOST_STROKES,
        "mostPlaces": painting.MOST_PLACES,
        "least": max(across, down) / 2,
        "goTo": None if gone_to is None else {"number": kept.went, "area": gone_to},
    }
    if kept.clicked is not None:
        x, y = kept.clicked
        side = scan.grid.side * across / scan.grid.stride, scan.grid.side * down / scan.grid.stride
        data["mark"] = [x - side[0] / 2, y - side[1] / 2, *side]
    return data


def _outline(scan: Scan) -> list[list[list[float]]]:
    kept, cell = library.own("slide_outlines", 4), cell_of(scan)
    found: list[list[list[float]]] = kept.get(
        (scan.folder, cell), lambda: _outlines(scan.wanted, cell), stamp=digest(scan.wanted)
    )
    return found


def _outlines(wanted: NDArray[np.bool_], cell: tuple[float, float], finer: int = 4) -> list[list[list[float]]]:
    """Borders of the cells that are to be read, in level-0 px, to within 1 / (2 `finer`) of a cell."""
    fine = wanted.repeat(finer, axis=0).repeat(finer, axis=1)
    return [((border + 0.5) * cell / finer).tolist() for border in tissue.outlines(fine)]


def _rings(area: Area) -> list[list[list[float]]]:
    """Outer and inner borders, each a list of places."""
    parts = getattr(area.outline, "geoms", [area.outline])
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return [[list(place) for place in ring.coords] for ring in rings]


def _box(area: Area) -> list[float]:
    left, top, right, bottom = area.outline.bounds
    return [left, top, right - left, bottom - top]


def hot(table: OnTable, area: Area) -> tuple[float, float]:
    """The middle of an area's hottest cell, level-0 px."""
    across, down = cell_of(table.scan)
    return (area.column + 0.5) * across, (area.row + 0.5) * down


def _legend(kind: str, task: Task) -> dict[str, Any]:
    stops = ", ".join(f"{colour} {place:.1%}" for place, colour in overlay.colour_stops())
    scale = f"{EVIDENCE_SCALE:g}"
    ticks = [f"\u2264 \u2212{scale}", "0", f"\u2265 +{scale}"] if kind == EVIDENCE else ["0", "0.5", "1"]
    words = f"evidence for {task.positive}, logits" if kind == EVIDENCE else f"probability of {task.positive}"
    return {"gradient": f"linear-gradient(to right, {stops})", "ticks": ticks, "words": words}


def _map_url(scan: Scan, kind: str) -> str | None:
    def draw() -> str:
        picture = map_picture(scan, kind)
        return "" if picture is None else overlay.data_url(np.asarray(picture))

    kept = library.own("slide_maps", 4)
    return kept.get((scan.folder, kind), draw, stamp=digest(scan.logits())) or None
