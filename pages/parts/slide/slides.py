"""The slide on the table: which, its scan, its areas, and the patch where the reader clicked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from core.data.synthetic_slide import SLIDE
from core.errors import NodeLensError, SlideError
from core.inference import Reader
from core.kept import digest
from core.settings import settings, without_paths
from core.slides import job, shelf, tissue
from core.slides.areas import NO_STAGE, Area, Cut, areas_of, cut_of
from core.slides.batch import SCANS, slides_in
from core.slides.export import cell_of
from core.slides.scan import LEAST_TISSUE, Scan
from core.slides.slide import Slide
from core.slides.tiles import TILE, Tiles
from core.task import Task
from core.view import overlay
from core.view.slide_map import EVIDENCE, EVIDENCE_SCALE, PROBABILITY, map_picture
from core.view.words import duration, on_screen
from pages.parts import library
from pages.parts.read import uploads
from pages.parts.slide import painting
from pages.parts.slide.downloads import show_downloads
from pages.parts.slide.pixel_size import ask_pixel_size, change_pixel_size, stated
from pages.parts.slide.sent import remove_slide, sent
from pages.parts.slide.viewer import viewer

DEMO = "demo (synthetic, not tissue)"
SHOWN_AREAS = 50
"""In the list and the viewer; files have all."""
DOUBTED = 10
"""Areas whose patches are asked on screen how familiar they are: seconds at most, once."""
EVERY = 2.0
"""Seconds between two looks at a slide that is being read."""


@dataclass(frozen=True)
class OnTable:
    """An open slide and its scan."""

    token: str
    slide: Slide
    scan: Scan


def choose_slide() -> Path:
    """One that the reader sent, one of the folder that NODELENS_SLIDES names, or the drawn one."""
    names = {name: one.slide.path for name, one in sent().items()}
    names |= {path.name: path for path in _listed()} | {DEMO: settings().demo / SLIDE}
    wanted = st.session_state.pop("slide_wanted", None)
    if wanted in names:
        st.session_state["slide"] = wanted
    asked = st.query_params.get("slide")
    if asked is not None and asked not in names:
        st.info(
            f"{uploads.plain(asked[:120])} is not here. A slide that you sent is gone after a reload: send it again."
        )
    name = st.selectbox("Slide", list(names), key="slide", bind="query-params", label_visibility="collapsed", width=360)
    if name in sent():
        st.button("Remove", on_click=remove_slide, args=(name,), key="remove_slide")
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
    try:
        token, slide = shelf.opened(session, path, stated(path))
        if slide.um_per_px is None:
            ask_pixel_size(slide)
            return None
        change_pixel_size(slide)  # what is said of the file may be wrong, and a refusal come of that
        return OnTable(token, slide, _scan(token, slide, served))
    except NodeLensError as error:
        st.error(on_screen(without_paths(str(error))))
    return None


def _scan(token: str, slide: Slide, served: Reader) -> Scan:
    """The scan of a slide; what is read of a slide that the reader sent lies and goes with it."""
    shelf_of = library.own("scans", 8)
    key = token, served.model.identity, served.engine.name
    own = next((one.slide.scans for one in sent().values() if one.slide.path == slide.path), None)
    folder = own or settings().cache / SCANS
    with st.spinner("Looking for tissue ..."):
        found: Scan = shelf_of.get(key, lambda: Scan(slide, served, folder))
    strokes = painting.strokes_of(token)
    if not strokes:
        return found
    corrected: Scan = shelf_of.get(
        (*key, strokes),
        lambda: Scan(slide, served, folder, tissue=tissue.corrected(found.tissue, strokes, cell_of(found))),
    )
    return corrected


def show_slide(table: OnTable, served: Reader) -> None:
    """The areas and the viewer; while the slide is read, anew every few seconds."""
    running = _is_running(table)
    st.fragment(_table, run_every=EVERY if running else None)(table, served, running)


def _is_running(table: OnTable) -> bool:
    working = job.job_of(table.scan)
    return working is not None and working.running


def _table(table: OnTable, served: Reader, running: bool) -> None:
    if st.session_state.pop("slide_clicked", False) or running != _is_running(table):
        st.rerun()
    left, middle = st.columns([2, 5])
    cut = cut_of(served.model, table.scan.grid.stride)
    areas = areas_on(table, cut)
    if not running:
        with left:
            areas = with_doubts(table, areas)
    with middle:
        kind = st.session_state.get("slide_map") or PROBABILITY
        with st.container(key="slide_stage"):
            viewer(
                viewer_data(table, areas[:SHOWN_AREAS], kind, served.task),
                key="slide_viewer",
                on_click=_keeps_click(table),
                on_paint=_keeps_strokes(table),
            )
    with left:
        show_progress(table)
        if np.isfinite(table.scan.logits()).any():
            st.segmented_control(
                "Map shows",
                (PROBABILITY, EVIDENCE),
                key="slide_map",
                default=PROBABILITY,
                required=True,
                help="Probability is calibrated. Evidence is the logit before that: above 0 for, below against.",
            )
        show_areas(table, areas, cut, served.task)
    if not running and np.isfinite(table.scan.logits()).any():
        name = str(st.session_state.get("slide", table.slide.path.name))
        show_downloads(table.scan, areas, cut, name, drawn=is_drawn(table.slide.path))


def areas_on(table: OnTable, cut: Cut) -> list[Area]:
    """Those of what has been read so far."""
    assert table.slide.um_per_px is not None
    probability = table.scan.probability()
    return areas_of(probability, cut.threshold, cell_of(table.scan), table.slide.um_per_px)


def with_doubts(table: OnTable, areas: list[Area]) -> list[Area]:
    """The same, the first with the share of their patches that is unlike training tissue."""
    kept = library.own("slide_unlike", 256)

    def asked(area: Area) -> Area:
        key = (table.scan.folder, *map(digest, area.members))
        return replace(area, unlike=kept.get(key, lambda: table.scan.unlike(*area.members)))

    with st.spinner("Comparing the areas with training tissue ..."):
        return [*map(asked, areas[:DOUBTED]), *areas[DOUBTED:]]


def _doubt(area: Area) -> str:
    """What stands after an area's figures; nothing where all its patches are familiar, or none was asked."""
    return f", {area.unlike:.0%} unlike" if area.unlike > 0 else ""


def viewer_data(table: OnTable, areas: list[Area], kind: str, task: Task) -> dict[str, Any]:
    """What the viewer is told."""
    slide, scan = table.slide, table.scan
    across, down = cell_of(scan)
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
        "outline": _outlines(scan.wanted, (across, down)),
        "areas": [
            {
                "rings": _rings(area),
                "box": _box(area),
                "hot": _hot(table, area),
                "words": f"highest probability {area.highest:.2f}, {area.diameter_mm:.2f} mm{_doubt(area)}",
            }
            for area in areas
        ],
        "mark": None,
        "strokes": painting.as_told(table.token),
        "least": max(across, down) / 2,
        "goTo": st.session_state.get("slide_goto", {}).get(table.token),
    }
    click = _clicked(table)
    if click is not None:
        side = scan.grid.side * across / scan.grid.stride, scan.grid.side * down / scan.grid.stride
        data["mark"] = [click[0] - side[0] / 2, click[1] - side[1] / 2, *side]
    return data


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


def _hot(table: OnTable, area: Area) -> tuple[float, float]:
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


def show_progress(table: OnTable) -> None:
    """How far the scan is, and the way to start, to stop and to resume it."""
    scan = table.scan
    mm2 = float((scan.tissue >= LEAST_TISSUE).sum()) * (scan.grid.stride * scan.grid.um_per_px / 1000) ** 2
    working = job.job_of(scan)
    done = int(np.isfinite(scan.logits()).sum())
    wanted = int(scan.wanted.sum())
    holes = scan.holes()
    if working is not None and working.running:
        left = working.seconds_left
        first = "waiting for another slide" if working.waiting else "taking a first look"
        words = first if left is None else f"about {duration(left)} left"
        st.progress(working.done / max(working.total, 1), f"{done / max(wanted, 1):.0%} read, {words}")
        st.button("Stop", on_click=working.stop, key="stop_scan", help="What is read stays; it can be resumed.")
    elif not wanted:
        st.markdown("No tissue was found on this slide, so there is nothing to read. A click reads any spot.")
    elif scan.missing():
        st.markdown(f"{mm2:.2f} mm\u00b2 of tissue, {done / wanted:.0%} read.")
        words = "Resume reading" if done else "Read the slide"
        st.button(words, type="primary", on_click=_start, args=(scan,), key="start_scan")
    else:
        st.markdown(f"{mm2:.2f} mm\u00b2 of tissue, {'all' if not holes else f'{done / wanted:.0%}'} read.")
    if working is not None and working.error is not None:
        st.error(on_screen(without_paths(str(working.error))))
    if painting.strokes_of(table.token):
        st.caption("The outline was corrected by you. It is read as a scan of its own, from the beginning.")
    for words in dict.fromkeys(holes.values()):
        st.caption(without_paths(words))


def show_areas(table: OnTable, areas: list[Area], cut: Cut, task: Task) -> None:
    """Areas, hottest first, each a press away."""
    if not areas:
        if np.isfinite(table.scan.logits()).any():
            st.caption(f"No area of what was read reaches {cut.threshold:.2f} for {task.positive}: {cut.rule}.")
        return
    listed = f", the first {SHOWN_AREAS} of {len(areas):,}" if len(areas) > SHOWN_AREAS else ""
    st.markdown(f"**Areas, hottest first{listed}**")
    st.caption(
        f"From probability {cut.threshold:.2f}. Highest probability, longest diameter, area; of the first {DOUBTED} "
        "also the share that is unlike training tissue. Not a stage.",
        help=f"{cut.rule[0].upper()}{cut.rule[1:]}. {NO_STAGE}",
    )
    with st.container(key="slide_areas", height=360 if len(areas) > 7 else "content", border=False):
        for number, area in enumerate(areas[:SHOWN_AREAS], start=1):
            words = f"{number}: {area.highest:.2f}, {area.diameter_mm:.2f} mm, {area.mm2:.3f} mm\u00b2{_doubt(area)}"
            st.button(words, key=f"area{number}", on_click=_go, args=(table, area, number), width="stretch")


def _go(table: OnTable, area: Area, number: int) -> None:
    """Show an area, and the patch of its hottest cell beside it."""
    goes = st.session_state.get("slide_goto", {}).get(table.token, {"number": 0})["number"] + 1
    st.session_state["slide_goto"] = {table.token: {"number": goes, "area": number}}
    _keeps_click(table)(*_hot(table, area))


def _clicked(table: OnTable) -> tuple[float, float] | None:
    """Where the reader clicked on this slide, level-0 px."""
    found: dict[str, tuple[float, float]] = st.session_state.get("slide_clicks", {})
    return found.get(table.token)


def _keeps_click(table: OnTable) -> Callable[[float, float], None]:
    def keep(x: float, y: float) -> None:
        st.session_state["slide_clicks"] = {table.token: (x, y)}
        st.session_state["slide_clicked"] = True  # the patch stands beside the fragment that heard it

    return keep


def _keeps_strokes(table: OnTable) -> Callable[[object], None]:
    def keep(told: object) -> None:
        if painting.keep(table.token, told):
            working = job.job_of(table.scan)
            if working is not None:
                working.stop()  # it reads what is no more asked for
            st.session_state["slide_clicked"] = True

    return keep


def patch_at(table: OnTable) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """The patch about the place where the reader clicked, and the same amid its surroundings; None without a click.

    Returns:
        uint8 (side, side, 3), and (side + 2 m, same, 3) with m the model's `surroundings_margin`.
    """
    place = _clicked(table)
    if place is None:
        return None
    grid = table.scan.grid
    across, down = table.slide.step(grid.um_per_px)
    left, top = round(place[0] / across - grid.side / 2), round(place[1] / down - grid.side / 2)
    margin = table.scan.reader.surroundings_margin
    outer, inside = grid.side + 2 * margin, slice(margin, margin + grid.side)
    surroundings = table.slide.region(left - margin, top - margin, outer, outer, grid.um_per_px)
    return np.ascontiguousarray(surroundings[inside, inside]), surroundings


def patch_heading(table: OnTable) -> None:
    """Where on the slide the patch lies."""
    place = _clicked(table)
    assert place is not None
    assert table.slide.um_per_px is not None
    x, y = (one * um / 1000 for one, um in zip(place, table.slide.um_per_px, strict=True))
    half = table.scan.grid.side * table.scan.grid.um_per_px / 2000
    width, height = (
        whole * um / 1000
        for whole, um in zip((table.slide.width, table.slide.height), table.slide.um_per_px, strict=True)
    )
    beyond = min(x, y, width - x, height - y) < half
    st.caption(
        f"Patch {x:.2f} mm from the left and {y:.2f} mm from the top, framed on the slide."
        + (" It reaches beyond the slide's border: there the slide is mirrored." if beyond else "")
    )


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
    path = table.slide.path
    name = next((Path(one.slide.name).stem for one in sent().values() if one.slide.path == path), path.stem)
    uploads.put_on_table(f"{name} at {place[0]:.0f}, {place[1]:.0f}.png", held.getvalue(), task)
    st.switch_page("pages/read.py", query_params={"source": uploads.FILES})


def _start(scan: Scan) -> None:
    job.start(scan)
