"""The slide on the table: which, its scan, its areas, and the patch where the reader clicked."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from weakref import WeakSet

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.data.flags import DRAWN_MARK
from core.data.synthetic_slide import SLIDE
from core.errors import NodeLensError, SlideError
from core.inference import Reader
from core.settings import settings, without_paths
from core.slides import job, shelf, tissue
from core.slides.areas import NO_STAGE, Area, Cut, cut_of
from core.slides.batch import SCANS, slides_in
from core.slides.export import cell_of
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.task import Task
from core.view.slide_map import EVIDENCE, PROBABILITY
from core.view.words import UNFAMILIAR, duration, on_screen, unlike_words
from pages.parts import library
from pages.parts.read import uploads
from pages.parts.slide import painting
from pages.parts.slide.downloads import show_downloads
from pages.parts.slide.pixel_size import ask_pixel_size, change_pixel_size, stated
from pages.parts.slide.remembered import remembered
from pages.parts.slide.sent import is_key, remove_slide, sent
from pages.parts.slide.told import DOUBTED, SHOWN_AREAS, OnTable, areas_on, doubt, hot, viewer_data, with_doubts
from pages.parts.slide.viewer import viewer

DEMO = "demo (synthetic, not tissue)"
EVERY = 2.0
"""Seconds between two looks at a slide that is being read."""
PATIENCE = 0.6
"""Seconds that a press on Stop waits for the end, which comes at once where nothing is read yet."""


def choose_slide() -> Path:
    """One that the reader sent, one of the folder that NODELENS_SLIDES names, or the drawn one."""
    held = sent()
    names = {path.name: path for path in _listed()} | {DEMO: settings().demo / SLIDE}
    usual = next(iter(names))
    names = {key: one.slide.path for key, one in held.items()} | names
    chosen = st.session_state["slide_list"] = _in_address(names, usual)
    st.selectbox(
        "Slide",
        list(names),
        key="slide_list",
        format_func=lambda key: held[key].name if key in held else key,
        on_change=lambda: _choose(st.session_state["slide_list"], usual),
        label_visibility="collapsed",
        width=360,
    )
    if chosen in held:
        st.button("Remove", on_click=_remove, args=(chosen,), key="remove_slide")
    return names[chosen]


def _in_address(names: Collection[str], usual: str) -> str:
    """The key of the slide that the address names. The field that the address is bound to is not seen.

    A menu that is bound to it writes there what it shows, the names of slides that were sent too.
    """
    wanted = st.session_state.pop("slide_wanted", None)
    if wanted in names:
        _choose(wanted, usual)
    with st.container(key="slide_address"):
        asked = st.text_input("Slide", key="slide", bind="query-params", label_visibility="collapsed") or usual
    if asked in names:
        return asked
    if is_key(asked):
        st.session_state["slide_missing"] = "The slide that you sent is gone after a reload: send it again."
    else:
        st.session_state["slide_missing"] = f"{uploads.plain(asked[:120])} is not here."
    st.session_state["slide_wanted"] = usual
    return usual


def _choose(key: str, usual: str) -> None:
    """Another slide, before the field of the address is shown; the address needs not say which comes first."""
    st.session_state["slide"] = "" if key == usual else key


def _remove(key: str) -> None:
    remove_slide(key)
    st.session_state["slide"] = ""


def say_missing() -> None:
    """What the address asked for that is not here."""
    if missing := st.session_state.pop("slide_missing", ""):
        st.info(missing)


def name_of(path: Path) -> str:
    """What the reader knows a slide by."""
    own = (one.slide.name for one in sent().values() if one.slide.path == path)
    return next(own, DEMO if is_drawn(path) else path.name)


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
        scan = _scan(token, slide, served)
        _stop_painted_over(scan)
        return OnTable(token, slide, scan)
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
    strokes = remembered(slide.path).strokes
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
                viewer_data(table, areas, kind, served.task),
                key="slide_viewer",
                on_click=_keeps_click(table),
                on_paint=_keeps_strokes(table),
            )
    with left:
        show_progress(table, running)
        if np.isfinite(table.scan.logits()).any():
            st.segmented_control(
                "Map shows",
                (PROBABILITY, EVIDENCE),
                key="slide_map",
                default=PROBABILITY,
                required=True,
                help="Probability is calibrated. Evidence is the logit before that: above 0 for, below against.",
            )
        show_areas(table, areas, cut, served.task, running)
    if not running and np.isfinite(table.scan.logits()).any():
        path = table.slide.path
        show_downloads(table.scan, areas, cut, name_of(path), drawn=is_drawn(path))


def show_progress(table: OnTable, running: bool) -> None:
    """How far the scan is, and the way to start, to stop and to resume it; `running` as the look began."""
    scan, working = table.scan, job.job_of(table.scan)
    mm2, positive = scan.tissue_mm2, scan.reader.task.positive
    done, wanted = int(np.isfinite(scan.logits()).sum()), int(scan.wanted.sum())
    holes = scan.holes()
    if working is not None and running:
        share, left = working.done / max(working.total, 1), working.seconds_left
        first = "waiting for another slide" if working.waiting else "taking a first look"
        words = first if left is None else f"about {duration(left)} left"
        st.progress(share, f"{share:.0%} read, {words}")
        if working.stopping:
            st.button("Stopping ...", disabled=True, key="stopping_scan", help="After the part that is being read.")
        else:
            ends = "What is read stays; it can be resumed."
            st.button("Stop", on_click=_stop, args=(working,), key="stop_scan", help=ends)
    elif not wanted:
        st.markdown("No tissue was found on this slide, so there is nothing to read. A click reads any spot.")
    elif scan.missing():
        st.markdown(f"{mm2:.2f} mm\u00b2 of tissue, {done / wanted:.0%} read.")
        words = "Resume reading" if done else "Read the slide"
        st.button(words, type="primary", on_click=_start, args=(scan,), key="start_scan")
    else:
        st.markdown(f"{mm2:.2f} mm\u00b2 of tissue, {'all' if not holes else f'{done / wanted:.0%}'} read.")
    if wanted and done and not running and (words := unlike_words(scan.unlike_tissue(), positive)):
        (st.warning if scan.unlike_tissue() >= UNFAMILIAR else st.caption)(f"{words}.")
    if working is not None and working.error is not None:
        st.error(on_screen(without_paths(str(working.error))))
    if remembered(table.slide.path).strokes:
        st.caption("The outline was corrected by you. It is read as a scan of its own, from the beginning.")
    for words in dict.fromkeys(holes.values()):
        st.caption(without_paths(words))


def show_areas(table: OnTable, areas: list[Area], cut: Cut, task: Task, running: bool) -> None:
    """Areas, hottest first, each a press away."""
    if not areas:
        if np.isfinite(table.scan.logits()).any():
            none = f"No area of what was read reaches {cut.threshold:.2f} for {task.positive}: {cut.rule}."
            st.caption(none.replace("mm2", "mm\u00b2"))
        return
    expected = cut.expected(table.scan.tissue_mm2)
    listed = f", the first {SHOWN_AREAS} of {len(areas):,}" if len(areas) > SHOWN_AREAS else ""
    st.markdown(f"**Areas, hottest first{listed}**")
    if expected:
        st.caption(f"{expected}, were it all without {task.positive}.")
    asked = "" if running else f"; of the first {DOUBTED} also the share that is unlike training tissue"
    st.caption(
        f"From probability {cut.threshold:.2f}. Highest probability, longest diameter, area{asked}. Not a stage.",
        help=f"{cut.rule[0].upper()}{cut.rule[1:]}. {NO_STAGE}".replace("mm2", "mm\u00b2"),
    )
    with st.container(key="slide_areas", height=360 if len(areas) > 7 else "content", border=False):
        for number, area in enumerate(areas[:SHOWN_AREAS], start=1):
            words = f"{number}: {area.highest:.2f}, {area.diameter_mm:.2f} mm, {area.mm2:.3f} mm\u00b2{doubt(area)}"
            st.button(words, key=f"area{number}", on_click=_go, args=(table, area), width="stretch")


def _go(table: OnTable, area: Area) -> None:
    """Show an area, and the patch of its hottest cell beside it."""
    slide = remembered(table.slide.path)
    slide.went, slide.gone_to = slide.went + 1, hot(table, area)
    _keeps_click(table)(*slide.gone_to)


def _keeps_click(table: OnTable) -> Callable[[float, float], None]:
    def keep(x: float, y: float) -> None:
        remembered(table.slide.path).clicked = x, y
        st.session_state["slide_clicked"] = True  # the patch stands beside the fragment that heard it

    return keep


def _keeps_strokes(table: OnTable) -> Callable[[object], None]:
    def keep(told: object) -> None:
        if painting.keep(table.slide.path, told):
            st.session_state["slide_painted"] = table.scan
            st.session_state["slide_clicked"] = True

    return keep


def patch_at(table: OnTable) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """The patch about the place where the reader clicked, and the same amid its surroundings; None without a click.

    Returns:
        uint8 (side, side, 3), and (side + 2 m, same, 3) with m the model's `surroundings_margin`.
    """
    place = remembered(table.slide.path).clicked
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
    place = remembered(table.slide.path).clicked
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
    place = remembered(table.slide.path).clicked
    assert place is not None
    assert task.um_per_px is not None
    held = BytesIO()
    dpi = 25_400 / task.um_per_px
    about = PngInfo()
    if is_drawn(table.slide.path):
        about.add_text("Comment", DRAWN_MARK)
    Image.fromarray(patch).save(held, "PNG", dpi=(dpi, dpi), pnginfo=about)
    name = f"{Path(name_of(table.slide.path)).stem} at {place[0]:.0f}, {place[1]:.0f}.png"
    uploads.put_on_table(name, held.getvalue(), task)
    st.switch_page("pages/read.py", query_params={"source": uploads.FILES})


def _started() -> WeakSet[job.ScanJob]:
    """Those that this session started; others may watch a scan of the same slide."""
    jobs: WeakSet[job.ScanJob] = st.session_state.setdefault("slide_started", WeakSet())
    return jobs


def _start(scan: Scan) -> None:
    before = job.job_of(scan)
    working = job.start(scan)
    if working is not before:
        _started().add(working)


def _stop(working: job.ScanJob) -> None:
    """Ask for its end, and wait a moment for it; what takes longer is said to be stopping."""
    working.stop()
    until = time.monotonic() + PATIENCE
    while working.running and time.monotonic() < until:
        time.sleep(0.02)


def _stop_painted_over(scan: Scan) -> None:
    """Stop the scan of an outline that was painted over, which is not asked for any more: by this session at least."""
    before: Scan | None = st.session_state.pop("slide_painted", None)
    working = None if before is None or before.folder == scan.folder else job.job_of(before)
    if working is not None and working in _started():
        working.stop()
