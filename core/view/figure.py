"""A figure of one case, as on screen: tissue beside its map, with label box, scale bar and colour bar."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.explain.registry import METHODS
from core.view.case import Case
from core.view.drawing import DPI, QUIET, Area, Drawing, Raster, Words, as_pixels, as_svg, frame, wide, wrapped
from core.view.export import bar_words, explained_words, nothing_words, scale_of
from core.view.overlay import colourise, enlarged, overlaid, scale_bar, ticks
from core.view.verdict import NOT_TO_BE_USED

PANEL = 768
"""Dots of a panel's side, as nearly as whole pixels of the patch allow: 6.5 cm."""
GAP, MARGIN = 48, 32
NAME, HEADING, SMALL = 36, 30, 27
"""Sizes of letters."""
BAR, GROUND = 32, "#cccccc"
"""Dots of the colour bar's height, and what it lies on, as on screen: tissue that nothing is said of."""
UNUSABLE, PALE, FAINT = 0.5, 0.7, 0.25
"""Of what is not to be used, as on screen: its size, its contrast, and the opacity of its heatmap."""


def tissue_picture(case: Case, side: int) -> Image.Image:
    """The patch in its own colours, RGB side x side."""
    return enlarged(case.patch, side, case.look.smooth_tissue)


def map_picture(case: Case, side: int) -> Image.Image:
    """The heatmap over grayscale tissue, RGB side x side; grey and faint where it is not to be used."""
    look = case.look
    picture = overlaid(
        case.patch,
        case.readings.attribution[0],
        scale_of(case.readings, 0, look.own),
        side,
        opacity=look.opacity if case.usable else FAINT,
        smooth=look.smooth,
        only_for=look.only_for,
        smooth_tissue=look.smooth_tissue,
        hatched=case.readings.hatched[0],
    )
    return picture if case.usable else picture.convert("L").point(lambda v: 128 + PALE * (v - 128)).convert("RGB")


def figure(case: Case, *, detail: int | None = None, bare: bool = False) -> Drawing:
    """Both pictures of a case side by side.

    Args:
        case: what is shown, and how it is looked at.
        detail: pixels of the pictures per pixel of the patch; None for one a dot.
        bare: without the patch's name and the words below, where a report says them.
    """
    pixels = len(case.patch)
    side = max(1, round(PANEL / pixels)) * pixels
    margin = 2 if bare else MARGIN
    width = 2 * margin + 2 * side + GAP
    parts: list[Raster | Area | Words] = []
    y = 0.0 if bare else float(margin)
    if not bare:
        for line in wrapped(case.name, NAME, width - 2 * margin, bold=True):
            y += NAME
            parts.append(Words(margin, y, line, NAME, bold=True))
        y += GAP / 2
    y += HEADING
    left, right = margin, margin + side + GAP
    why = "Why" if case.usable else f"Why ({NOT_TO_BE_USED})"
    parts += [Words(left, y, "Tissue", HEADING, bold=True), Words(right, y, why, HEADING, bold=True)]
    y += 14
    shown = side if case.usable else round(side * UNUSABLE)
    drawn = detail * pixels if detail else None
    parts.append(Raster(left, y, side, side, tissue_picture(case, drawn or side)))
    parts.append(Raster(right, y, shown, shown, map_picture(case, drawn or shown)))
    parts += [*_ornaments(case, left, y, side), *_ornaments(case, right, y, shown)]
    y += side + 12
    below, parts_below = _below(case, right, y, side)
    parts += parts_below
    y = below
    if not bare:
        said = f"{explained_words(case.readings, 0)}; {case.headline}; {case.probability}."
        for line in wrapped(" ".join((said, *case.notes, "Research use only.")), SMALL, width - 2 * margin):
            y += SMALL * 1.4
            parts.append(Words(margin, y, line, SMALL))
        y += margin
    about = f"{case.name}: tissue, and {case.readings.explained} over it. {case.headline}."
    return Drawing(width, round(y), tuple(parts), about)


def _ornaments(case: Case, x: float, y: float, side: int) -> Iterator[Area | Words]:
    """Label box and scale bar on a panel of `side` dots."""
    task, unit = case.readings.model.task, side / PANEL
    yield from frame(x, y, side, 1, "#888888")
    if case.look.label_box and task.label_share is not None:
        per_pixel = side / task.side
        inset, box = task.label_box.start * per_pixel, (task.label_box.stop - task.label_box.start) * per_pixel
        yield from frame(x + inset, y + inset, box, 4 * unit, "#ffffff")
        yield from frame(x + inset, y + inset, box, 4 * unit, "#111111", dash=12 * unit)
    bar = scale_bar(task)
    if bar is None:
        return
    share, words = bar
    long, size = share * side, SMALL * max(unit, 0.7)
    end, foot = x + side - 16 * unit, y + side - 16 * unit
    room = wide(words, size) + 14 * unit
    yield Area(end - long / 2 - room / 2, foot - 8 * unit - 1.25 * size, room, 1.25 * size, "#333333")
    yield Words(end - long / 2, foot - 8 * unit - 0.3 * size, words, size, "#ffffff", anchor="middle")
    yield Area(end - long, foot - 8 * unit, long, 8 * unit, "#ffffff")
    yield Area(end - long, foot, long, 2 * unit, "#000000")


def _below(case: Case, x: float, y: float, side: int) -> tuple[float, list[Raster | Area | Words]]:
    """Under the map: its colour bar with ticks and words, or that it shows nothing. Where it ends, and its parts."""
    look, heatmap = case.look, case.readings.attribution[0]
    parts: list[Raster | Area | Words] = []
    nothing = nothing_words(heatmap, look.only_for)
    if nothing:
        y += SMALL * 1.4
        parts.append(Words(x, y, nothing, SMALL, bold=True))
    if not case.usable or not heatmap.any():
        return y, parts
    strip = np.broadcast_to(np.linspace(0 if look.only_for else -1, 1, side), (1, side))
    colours = Image.fromarray(colourise(strip, 1))
    bar = Image.new("RGB", colours.size, GROUND)
    bar.paste(colours, (0, 0), colours)
    parts += [Area(x - 1, y - 1, side + 2, BAR + 2, "#808080"), Raster(x, y, side, BAR, bar)]
    y += BAR + SMALL * 1.2
    low, middle, high = (
        end.replace("<=", "\u2264").replace(">=", "\u2265").replace("-", "\u2212")
        for end in ticks(scale_of(case.readings, 0, look.own), only_for=look.only_for)
    )
    parts.append(Words(x, y, low, SMALL))
    parts.append(Words(x + side / 2, y, middle, SMALL, anchor="middle"))
    parts.append(Words(x + side, y, high, SMALL, anchor="end"))
    words = f"{bar_words(case.readings, look.own, look.only_for)}, {METHODS[case.readings.method].unit}"
    for line in wrapped(words, SMALL, side):
        y += SMALL * 1.4
        parts.append(Words(x, y, line, SMALL, QUIET))
    return y + SMALL * 0.4, parts


def figure_png(case: Case) -> bytes:
    """The figure as a PNG file of 300 dots per inch that names the patch."""
    about = PngInfo()
    about.add_itxt("Title", case.name)
    buffer = BytesIO()
    as_pixels(figure(case)).save(buffer, "PNG", dpi=(DPI, DPI), pnginfo=about)
    return buffer.getvalue()


def figure_svg(case: Case) -> str:
    """The figure as an SVG file with the same pixels, its words as words."""
    return as_svg(figure(case))
