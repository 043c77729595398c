"""What files say about the size of their pixels: resolution tags, ImageJ, OME-XML and Aperio.

A size is believed when it is square and one that microscopes have. Screens and printers write 72 to 2,400 dpi, which is
10 um and more: that says nothing about a slide and is passed over; what else is not believed is said.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["SCALE_TOLERANCE", "PixelSize", "from_description", "from_dpi", "from_resolution", "is_plausible"]

MIN_UM_PER_PX, MAX_UM_PER_PX = 0.1, 10.0
"""Of a picture; more or less was written by no microscope."""
SCALE_TOLERANCE = 0.02
"""Relative difference at which two pixel sizes are taken for one."""
INCH, CENTIMETRE = 2, 3
"""TIFF's and EXIF's resolution units that are lengths; the third, 1, is none."""
_IN_UM = {INCH: 25_400.0, CENTIMETRE: 10_000.0}
_UNITS = {
    **dict.fromkeys(("um", "µm", "μm", r"\u00b5m", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **{"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0, "in": 25_400.0, "pm": 1e-6, "Å": 1e-4},
}
_MAX_TEXT = 2**20  # of a description; OME-XML has its pixel size near the start
_MPP = re.compile(r"\bMPP\s{0,3}=\s{0,3}(\d{1,6}(?:\.\d{1,12})?)")
_NUMBER = r"\s{0,3}=\s{0,3}[\"']([-+.\deE]{1,30})[\"']"
_TEXT = r"\s{0,3}=\s{0,3}[\"']([^\"']{1,20})[\"']"


@dataclass(frozen=True)
class PixelSize:
    """What a file says: the size if it can be used, or why it is not, in words that stand before a semicolon."""

    um_per_px: float | None = None
    doubt: str = ""


def is_plausible(um_per_px: float) -> bool:
    """Whether microscopy could produce such pixels."""
    return MIN_UM_PER_PX <= um_per_px <= MAX_UM_PER_PX


def is_at_scale(um_per_px: float, wanted: float) -> bool:
    """Whether a pixel size is so close to the wanted one that nothing is rescaled."""
    return math.isclose(um_per_px, wanted, rel_tol=SCALE_TOLERANCE)


def from_dpi(across: float, down: float) -> PixelSize:
    """From pixels per inch."""
    return from_resolution(across, down, INCH)


def from_resolution(across: float, down: float, unit: object) -> PixelSize:
    """From pixels per unit, a TIFF's or EXIF's; nothing when the unit is none."""
    if unit not in _IN_UM or not (across > 0 and down > 0):
        return PixelSize()
    um = _IN_UM[unit]
    return _judged(um / across, um / down, silent_above=MAX_UM_PER_PX)


def from_description(text: str, across: float, down: float) -> PixelSize:
    """From a TIFF's description, by ImageJ (with its pixels per unit), OME-XML or Aperio; nothing from any other."""
    text = text[:_MAX_TEXT]
    if text.startswith("ImageJ="):
        unit = re.search(r"^unit=(.{1,20})$", text, re.MULTILINE)
        um = _UNITS.get(unit[1].strip().casefold().replace("å", "Å")) if unit else None
        if um is None or not (across > 0 and down > 0):
            return PixelSize()
        return _judged(um / across, um / down, silent_above=MAX_UM_PER_PX if um == _UNITS["inch"] else math.inf)
    if "<OME" in text:
        return _judged(_ome(text, "X"), _ome(text, "Y"))
    if found := _MPP.search(text):
        return _judged(float(found[1]), float(found[1]))
    return PixelSize()


def _ome(text: str, axis: str) -> float | None:
    """Micrometres from OME-XML's PhysicalSizeX or Y."""
    size, unit = (re.search(rf"\bPhysicalSize{axis}{rest}", text) for rest in (_NUMBER, "Unit" + _TEXT))
    try:
        return float(size[1]) * _UNITS[unit[1] if unit else "um"] if size else None
    except (KeyError, ValueError):
        return None


def _judged(across: float | None, down: float | None, silent_above: float = math.inf) -> PixelSize:
    if across is None or down is None or not (0 < across < math.inf and 0 < down < math.inf):
        return PixelSize()
    if not math.isclose(across, down, rel_tol=SCALE_TOLERANCE):
        if min(across, down) > silent_above:
            return PixelSize()
        return PixelSize(doubt=f"The file gives oblong pixels of {across:.3g} x {down:.3g} um, which are not used")
    if is_plausible(across):
        return PixelSize(across)
    if across > silent_above:
        return PixelSize()
    return PixelSize(doubt=f"The file gives a pixel size of {across:.3g} um, which no microscope has")
