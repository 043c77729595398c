"""From a patch and its heatmap to pictures: pure functions on arrays.

Three rules hold everywhere. The scale is given, never taken from the heatmap itself: a min-max stretch makes a weak map
look decisive. Evidence for the target and against it have colours of their own: where there is none the tissue stays
bare. Cell (i, j) of an (h, w) heatmap covers exactly its share of the patch: an overlay shifted against the tissue
explains the wrong cells.
"""

from __future__ import annotations

import base64
import textwrap
from io import BytesIO

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.explain.grid import enlarge
from core.kept import Kept, digest
from core.task import Task

__all__ = [
    "colour_bar",
    "colour_stops",
    "colourise",
    "data_url",
    "enlarge",
    "enlarged",
    "grayscale",
    "hatching",
    "hatching_url",
    "heatmap_url",
    "overlay_image",
    "png",
    "scale_bar",
]

EVIDENCE = Colormap("vik")
"""Diverging, perceptually uniform and safe for colour-blind readers (Crameri 2018): blue below zero, brown above.
Little evidence is pale, and so takes neither the colour of nuclei nor that of much evidence."""
FADE, PALE = 0.5, 0.15
"""Share of the scale over which colour fades in, so that zero has no hard edge; and share of the palette on either side
of its middle that is left out, as nobody could tell it from grayscale tissue."""

ZOOM, BAR = 4, 12
"""Pixels of a kept picture per pixel of the patch, and of the height of its colour bar."""
HATCHES = 16
"""Lines of the hatching along the side of a picture."""
INK, PAPER = (32, 32, 32), (255, 255, 255)
LENGTHS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Micrometres that a scale bar may stand for."""


def grayscale(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of a patch, ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.

    Args:
        patch: (h, w, 3) uint8 RGB.

    Returns:
        (h, w) uint8.
    """
    luma: NDArray[np.float64] = patch @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma).astype(np.uint8)


def colourise(heatmap: NDArray[np.floating], scale: float, *, only_for: bool = False) -> NDArray[np.uint8]:
    """Paint evidence over `[-scale, scale]`: blue against the target, brown for it, bare at zero.

    Alpha rises linearly with the magnitude, from 0 to 255 at half the scale: where there is little the tissue shows.

    Args:
        heatmap: (h, w) in logits, positive speaks for the target.
        scale: magnitude in logits that takes the last colour on either side, the same for every patch; more is shown
            as this much.
        only_for: leave what speaks against the target bare too.

    Returns:
        (h, w, 4) uint8 RGBA, straight alpha.
    """
    strength = np.clip(heatmap / _positive(scale), 0 if only_for else -1, 1)
    place = 0.5 + np.sign(strength) * PALE + strength * (0.5 - PALE)
    rgba = np.array(EVIDENCE(place, bytes=True))
    rgba[..., 3] = np.rint(255 * np.minimum(np.abs(strength) / FADE, 1))
    return rgba


def hatching(marked: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """Diagonal lines over marked cells, dark beside light, so that they show on any tissue.

    Args:
        marked: (h, w) bool, cells of a map.
        side: pixels of the picture.

    Returns:
        (side, side, 4) uint8 RGBA, straight alpha; clear where nothing is marked.
    """
    place = np.arange(side)
    phase = (place[:, None] + place) * HATCHES / side % 1
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[phase < 0.06] = (*INK, 255)
    rgba[(phase >= 0.06) & (phase < 0.12)] = (*PAPER, 255)
    rgba[enlarge(marked.astype(np.float32), side, smooth=False) < 0.5] = 0
    return rgba


def _positive(scale: float) -> float:
    if not scale > 0:
        raise ValueError(f"A colour scale ends above zero, not at {scale}.")
    return scale


def colour_stops(n: int = 17, *, only_for: bool = False) -> list[tuple[float, str]]:
    """The colour scale as CSS gradient stops, alpha included: what the bar shows is what the heatmap is painted with.

    Args:
        n: number of stops; odd, so that one lies at zero.
        only_for: of the half that speaks for the target.

    Returns:
        n pairs (position in [0, 1], `"rgba(r, g, b, a)"`), left to right.
    """
    positions = np.linspace(0, 1, n)
    colours = colourise(positions if only_for else 2 * positions - 1, 1)
    return [
        (round(float(position), 4), f"rgba({r}, {g}, {b}, {alpha / 255:.3f})")
        for position, (r, g, b, alpha) in zip(positions, colours.tolist(), strict=True)
    ]


def ticks(scale: float, *, only_for: bool = False) -> tuple[str, str, str]:
    """What stands at the left end of a colour bar, in its middle and at its right end, which stands for all beyond."""
    if only_for:
        return "0", f"{scale / 2:.2g}", f">= {scale:.2g}"
    return f"<= -{scale:.2g}", "0", f">= +{scale:.2g}"


def scale_bar(task: Task) -> tuple[float, str] | None:
    """The roundest length below a quarter of a patch: its share of the side, and its words; None without pixel size."""
    if task.um_per_px is None:
        return None
    across = task.side * task.um_per_px
    length = max(one for one in LENGTHS if one <= across / 4)  # a patch is 1.6 um wide at least
    return length / across, f"{length:g} \u00b5m"


def colour_bar(scale: float, width: int, *, unit: str = "logits", only_for: bool = False) -> Image.Image:
    """The colours of `colourise` with ticks at both ends and in the middle.

    Args:
        scale: evidence in `unit` at the right end.
        width: pixels of the picture.
        unit: named beside the middle tick.
        only_for: the half that speaks for the target.

    Returns:
        RGB picture, `width` by 32: the ticks stand below the bar.
    """
    strip = np.broadcast_to(np.linspace(0 if only_for else -1, 1, width), (BAR, width))
    bar = Image.new("RGB", (width, BAR + 20), PAPER)
    colours = Image.fromarray(colourise(strip, 1))
    bar.paste(colours, (0, 0), colours)
    draw = ImageDraw.Draw(bar)
    draw.rectangle((0, 0, width - 1, BAR - 1), outline=(128, 128, 128))
    low, middle, high = ticks(_positive(scale), only_for=only_for)
    for x, anchor, text in ((0, "la", low), (width / 2, "ma", f"{middle} {unit}"), (width, "ra", high)):
        draw.text((x, BAR + 4), text, fill=INK, font=_font(13), anchor=anchor)
    return bar


def enlarged(tissue: NDArray[np.uint8], side: int, smooth: bool = False) -> Image.Image:
    """Tissue, (h, h) or (h, h, 3), at `side` pixels: pixel by pixel, or smooth by Lanczos's filter."""
    filtered = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return Image.fromarray(tissue).resize((side, side), filtered)


def overlaid(
    patch: NDArray[np.uint8],
    heatmap: NDArray[np.floating],
    scale: float,
    side: int,
    *,
    opacity: float = 0.5,
    smooth: bool = True,
    only_for: bool = False,
    smooth_tissue: bool = False,
    hatched: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """The heatmap over the grayscale patch: what every picture that is kept shows.

    Args:
        patch: (h, h, 3) uint8 RGB.
        heatmap: (k, k), positive speaks for the target.
        scale: evidence that takes the last colour.
        side: pixels of the result's side.
        opacity: of the heatmap, in [0, 1].
        smooth: bilinear heatmap; native cells otherwise.
        only_for: see `colourise`.
        smooth_tissue: see `enlarged`.
        hatched: (k, k) cells to hatch, as strongly as the heatmap is laid on.

    Returns:
        RGB picture, side x side.
    """
    picture = enlarged(grayscale(patch), side, smooth_tissue).convert("RGB")
    layers = [colourise(enlarge(heatmap, side, smooth), scale, only_for=only_for)]
    if hatched is not None and hatched.any():
        layers.append(hatching(hatched, side))
    for layer in map(Image.fromarray, layers):
        picture.paste(layer, (0, 0), layer.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    return picture


def overlay_image(
    patch: NDArray[np.uint8],
    heatmap: NDArray[np.float32],
    scale: float,
    *,
    unit: str = "logits",
    caption: str = "",
    only_for: bool = False,
    hatched: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """The picture to keep: the patch in its own colours beside its heatmap over grayscale, colour bar and caption.

    Args:
        patch: (96, 96, 3) uint8 RGB; any square patch will do.
        heatmap: (h, w) float32 in `unit`, positive speaks for the target.
        scale: evidence in `unit` that takes the last colour.
        unit: of the heatmap, named at the colour bar.
        caption: what is explained, and how. Plain ASCII: Pillow's own font has little else.
        only_for: see `colourise`.
        hatched: see `overlaid`.

    Returns:
        RGB picture, two squares of ZOOM times the patch wide, with margins of 16.
    """
    side, margin = len(patch) * ZOOM, 16
    tissue = enlarged(patch, side)
    reason = overlaid(patch, heatmap, scale, side, only_for=only_for, hatched=hatched)
    bar = colour_bar(scale, side, unit=unit, only_for=only_for)

    width, font, leading = 2 * side + 3 * margin, _font(14), 20
    per_line = max(1, int((width - 2 * margin) / font.getlength("n")))
    lines = textwrap.wrap(caption, per_line)
    top_of_bar = margin + side + 8
    top_of_caption = top_of_bar + bar.height + 8
    page = Image.new("RGB", (width, top_of_caption + leading * len(lines) + (8 if lines else 0)), PAPER)
    page.paste(bar, (side + 2 * margin, top_of_bar))
    draw = ImageDraw.Draw(page)
    for left, picture in ((margin, tissue), (side + 2 * margin, reason)):
        page.paste(picture, (left, margin))
    for number, line in enumerate(lines):
        draw.text((margin, top_of_caption + number * leading), line, fill=INK, font=font)
    return page


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def png(picture: Image.Image | NDArray[np.uint8], *, level: int = 6) -> bytes:
    """A picture, or an array (h, w), (h, w, 3) or (h, w, 4) uint8, as the bytes of a PNG file.

    Args:
        picture: what to encode.
        level: zlib's, from 1, the fastest, to 9; the pixels are the same.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = BytesIO()
    image.save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()


def data_url(array: NDArray[np.uint8], kept: Kept[str] | None = None) -> str:
    """An array (h, w), (h, w, 3) or (h, w, 4) uint8 as a `data:image/png` address for an <img>.

    Args:
        array: the picture.
        kept: where encoded pictures are kept, as a page draws most of them many times. Whoever calls knows how long
            they may be kept: what a reader dropped is to be gone with their tab.
    """
    return kept.get(digest(array), lambda: _encode(array)) if kept is not None else _encode(array)


def heatmap_url(
    heatmap: NDArray[np.floating],
    scale: float,
    kept: Kept[str],
    *,
    side: int | None = None,
    only_for: bool = False,
) -> str:
    """A heatmap (h, w) in its colours (see `colourise`) as an address for an <img>.

    Args:
        heatmap: on its native grid.
        scale: evidence that takes the last colour.
        kept: see `data_url`.
        side: pixels to enlarge it to before it is coloured; None for one pixel a cell.
        only_for: see `colourise`.
    """

    def draw() -> str:
        shown = heatmap if side is None else enlarge(heatmap, side, smooth=True)
        return _encode(colourise(shown, scale, only_for=only_for))

    return kept.get((digest(heatmap), scale, side, only_for), draw)


def hatching_url(marked: NDArray[np.bool_], side: int, kept: Kept[str]) -> str:
    """Lines over marked cells (h, w), see `hatching`, as an address for an <img>; kept as a heatmap is."""
    return kept.get((digest(marked), "hatching", side), lambda: _encode(hatching(marked, side)))


def _encode(array: NDArray[np.uint8]) -> str:
    # Level 1: half the time, and on tissue not a byte more.
    return "data:image/png;base64," + base64.b64encode(png(array, level=1)).decode("ascii")
