"""The slide on the table: which, its scan, its areas, and the patch where the reader clicked."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from core.data.synthetic_slide import SLIDE
from core.errors import CoarseImageError, NodeLensError, SlideError
from core.inference import Reader
from core.settings import settings, without_paths
from core.slides import job, shelf
from core.slides.areas import Area, areas_of
from core.slides.batch import SCANS, slides_in
from core.slides.export import cell_of
from core.slides.scan import LEAST_TISSUE, Scan
from core.slides.slide import Slide
from core.slides.tiles import TILE, Tiles
from core.slides.tissue import outlines
from core.task import Task
from core.view.overlay import colourise
from pages.parts import library
from pages.parts.read import uploads
from pages.parts.slide.viewer import viewer

DEMO = "demo (synthetic, not tissue)"
SHOWN_AREAS = 50
EVERY = 2.0
"""Seconds between two looks at a slide that is being read."""


@dataclass(frozen=True)
class OnTable:
    """An open slide and its scan."""

    token: str
    slide: Slide
    scan: Scan


def choose_slide() -> Path:
    """One of the folder that NODELENS_SLIDES names, or the drawn one."""
    drawn = settings().demo / SLIDE
    names = {path.name: path for path in _listed()} | {DEMO: drawn}
    name = st.selectbox("Slide", list(names), key="slide", bind="query-params")
    return names[name]


def is_drawn(path: Path) -> bool:
    """Whether a slide is the drawn one."""
    return path == settings().demo / SLIDE


def _listed() -> list[Path]:
    folder = settings().slides
    with suppress(SlideError):
        return slides_in([folder]) if folder else []
    return []


def open_slide(path: Path, served: Reader) -> OnTable | None:
    """Open it, ask for what is not known, or say why it cannot be read."""
    session = st.session_state.setdefault("slides_of", token_hex(8))
    stated: float | None = st.session_state.get(f"um_{path.name}")
    try:
        token, slide = shelf.opened(session, path, stated)
        if slide.um_per_px is None:
            hints = " ".join(slide.hints)
            st.warning(f"The file does not say how large its pixels are. {hints} State it to have the slide read.")
            st.number_input("Pixel size (um/px)", 0.1, 10.0, value=None, step=0.01, key=f"um_{path.name}", width=260)
            return None
        return OnTable(token, slide, _scan(token, slide, served))
    except (SlideError, CoarseImageError) as error:
        st.error(without_paths(str(error)))
    except NodeLensError as error:
        st.error(without_paths(str(error)))
    return None


def _scan(token: str, slide: Slide, served: Reader) -> Scan:
    shelf_of = library.own("scans", 8)
    key = token, served.model.identity, served.engine.name
    with st.spinner("Looking for tissue ..."):
        found: Scan = shelf_of.get(key, lambda: Scan(slide, served, settings().cache / SCANS))
    return found


def show_slide(table: OnTable, served: Reader) -> None:
    """The areas and the viewer; while the slide is read, anew every few seconds."""
    working = job.job_of(table.scan)
    running = working is not None and working.running
    st.fragment(_table, run_every=EVERY if running else None)(table, served, running)


def _table(table: OnTable, served: Reader, running: bool) -> None:
    working = job.job_of(table.scan)
    if st.session_state.pop("slide_clicked", False) or (running and (working is None or not working.running)):
        st.rerun()
    left, middle = st.columns([2, 5])
    areas = areas_on(table, served)
    with middle:
        viewer(viewer_data(table, areas), key="slide_viewer", on_click=_keeps_click(table))
    with left:
        show_progress(table)
        show_areas(areas)


def areas_on(table: OnTable, served: Reader) -> list[Area]:
    """Those of what has been read so far."""
    assert table.slide.um_per_px is not None
    threshold = served.model.point(1).threshold
    return areas_of(table.scan.probability(), threshold, cell_of(table.scan), table.slide.um_per_px)[:SHOWN_AREAS]


def viewer_data(table: OnTable, areas: list[Area]) -> dict[str, Any]:
    """What the viewer is told."""
    slide, scan = table.slide, table.scan
    across, down = cell_of(scan)
    probability = scan.probability()
    data: dict[str, Any] = {
        "token": table.token,
        "width": slide.width,
        "height": slide.height,
        "tile": TILE,
        "levels": Tiles(slide).levels,
        "um": slide.um_per_px[0] if slide.um_per_px else None,
        "map": _map_url(probability),
        "mapWidth": probability.shape[1] * across,
        "outline": [(border * (across, down) + (across / 2, down / 2)).tolist() for border in outlines(scan.wanted)],
        "areas": [ring for area in areas for ring in _rings(area)],
        "mark": None,
        "goTo": st.session_state.get("slide_goto"),
    }
    click = _clicked(table)
    if click is not None:
        side = scan.grid.side * across / scan.grid.stride, scan.grid.side * down / scan.grid.stride
        data["mark"] = [click[0] - side[0] / 2, click[1] - side[1] / 2, *side]
    return data


def _rings(area: Area) -> list[list[list[float]]]:
    """Outer and inner borders, each a list of places."""
    parts = getattr(area.outline, "geoms", [area.outline])
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return [[list(place) for place in ring.coords] for ring in rings]


def _map_url(probability: Any, enlarged: int = 4) -> str | None:
    known = np.isfinite(probability)
    if not known.any():
        return None
    picture = Image.fromarray(colourise(np.where(known, 2 * np.nan_to_num(probability) - 1, 0), 1.0))
    held = BytesIO()
    picture.resize((picture.width * enlarged, picture.height * enlarged), Image.Resampling.NEAREST).save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode("ascii")


def show_progress(table: OnTable) -> None:
    """How far the scan is, and the way to start and to stop it."""
    scan = table.scan
    mm2 = float((scan.tissue >= LEAST_TISSUE).sum()) * (scan.grid.stride * scan.grid.um_per_px / 1000) ** 2
    working = job.job_of(scan)
    done = int(np.isfinite(scan.logits()).sum())
    wanted = int(scan.wanted.sum())
    if working is not None and working.running:
        left = f", about {working.seconds_left:.0f} s left" if working.seconds_left else ""
        st.progress(working.done / max(working.total, 1), f"Read {working.done} of {working.total} parts{left}.")
        st.button("Stop", on_click=working.stop, key="stop_scan")
    elif done < wanted and not scan.holes():
        st.markdown(f"{mm2:.2f} mm\u00b2 of tissue; {done / max(wanted, 1):.0%} read.")
        st.button("Read the slide", type="primary", on_click=_start, args=(scan,), key="start_scan")
    else:
        st.markdown(f"{mm2:.2f} mm\u00b2 of tissue, all read.")
    for words in scan.holes().values():
        st.caption(without_paths(words))


def show_areas(areas: list[Area]) -> None:
    """Areas, hottest first, each a press away."""
    if not areas:
        return
    st.markdown("**Areas, hottest first**")
    for number, area in enumerate(areas, start=1):
        words = f"{number}: {area.highest:.2f}, {area.diameter_mm:.2f} mm, {area.mm2:.3f} mm\u00b2"
        st.button(words, key=f"area{number}", on_click=_go, args=(area.outline.bounds, number), width="stretch")


def _go(bounds: tuple[float, float, float, float], number: int) -> None:
    left, top, right, bottom = bounds
    count = st.session_state.get("slide_goto", {"number": 0})["number"] + 1
    st.session_state["slide_goto"] = {
        "x": left, "y": top, "width": right - left, "height": bottom - top, "number": count, "area": number
    }  # fmt: skip


def _clicked(table: OnTable) -> tuple[float, float] | None:
    """Where the reader clicked on this slide, level-0 px."""
    found: dict[str, tuple[float, float]] = st.session_state.get("slide_clicks", {})
    return found.get(table.token)


def _keeps_click(table: OnTable) -> Callable[[float, float], None]:
    def keep(x: float, y: float) -> None:
        st.session_state["slide_clicks"] = {table.token: (x, y)}
        st.session_state["slide_clicked"] = True  # the patch stands beside the fragment that heard it

    return keep


def patch_at(table: OnTable) -> NDArray[np.uint8] | None:
    """The patch about the place where the reader clicked, uint8 (side, side, 3); None without one."""
    place = _clicked(table)
    if place is None:
        return None
    grid = table.scan.grid
    across, down = table.slide.step(grid.um_per_px)
    left, top = round(place[0] / across - grid.side / 2), round(place[1] / down - grid.side / 2)
    return table.slide.region(left, top, grid.side, grid.side, grid.um_per_px)


def open_in_read(table: OnTable, patch: NDArray[np.uint8], task: Task) -> None:
    """A press takes the patch to Read, among the reader's files, with its pixel size."""
    if not st.button("Open in Read", key="open_in_read"):
        return
    place = _clicked(table)
    assert place is not None
    assert task.um_per_px is not None
    held = BytesIO()
    dpi = 25_400 / task.um_per_px
    Image.fromarray(patch).save(held, "PNG", dpi=(dpi, dpi))
    uploads.put_on_table(f"{table.slide.path.stem} at {place[0]:.0f}, {place[1]:.0f}.png", held.getvalue(), task)
    st.switch_page("pages/read.py", query_params={"source": uploads.FILES})


def _start(scan: Scan) -> None:
    job.start(scan)
