"""What a reader takes away of the patch on the table. Each file is made when it is asked for."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import streamlit as st

from core.inference import Readings
from core.view.case import Case, Look
from core.view.export import as_record
from core.view.worklist import Opinion, file_stem
from pages.parts.read.choose import Chosen
from pages.parts.read.pictures import looked_at

ON_ITS_WAY = 0.3
"""Seconds that a browser's last word on how it looks may take, when a file is asked for right after it."""


def case_of(chosen: Chosen, readings: Readings, opinion: Opinion, trust: str = "") -> Case:
    """All that is known of a patch, for a report.

    Args:
        chosen: the patch.
        readings: of it alone.
        opinion: the reader's on them.
        trust: whether the reading can be leaned on, in a sentence.
    """
    return Case(
        chosen.name,
        chosen.patch,
        readings,
        label=chosen.label,
        notes=chosen.notes,
        agreement=opinion.agreement,
        note=opinion.note,
        trust=trust,
        provenance=chosen.provenance(readings.model),
        synthetic=chosen.synthetic,
        um_per_px=readings.model.task.um_per_px if chosen.split else chosen.um_per_px,
        sha256=chosen.sha256 or hashlib.sha256(chosen.patch.tobytes()).hexdigest(),
    )


def look_now(*, own: bool, only_for: bool) -> Callable[[], Look]:
    """How pictures are looked at, asked when a file is made: its thread has no session."""
    told = looked_at()

    def look() -> Look:
        time.sleep(ON_ITS_WAY)
        return Look.told(told, own=own, only_for=only_for)

    return look


def show_downloads(case: Case, *, own: bool, only_for: bool) -> None:
    """A button for each file of one case.

    Args:
        case: what is on the table; its look is the one on screen when the file is made.
        own: colours stretched to the map.
        only_for: only what speaks for the target is painted.
    """
    look = look_now(own=own, only_for=only_for)

    def shown() -> Case:
        return replace(case, look=look())

    stem = file_stem(case.name)
    for words, make, name, kind in (
        ("Report (PDF)", lambda: _pdf(shown()), f"{stem}-report.pdf", "application/pdf"),
        ("Report (HTML)", lambda: _html(shown()), f"{stem}-report.html", "text/html"),
        ("Figure (PNG)", lambda: _png(shown()), f"{stem}.png", "image/png"),
        ("Figure (SVG)", lambda: _svg(shown()), f"{stem}.svg", "image/svg+xml"),
        ("Reading (JSON)", lambda: _json(case), f"{stem}.json", "application/json"),
        ("Map (NumPy)", lambda: _npy(case), f"{stem}.npy", "application/octet-stream"),
    ):
        help_words = "300 dots per inch, as on screen." if words == "Figure (PNG)" else None
        st.download_button(words, make, name, kind, on_click="ignore", help=help_words)


def _pdf(case: Case) -> bytes:
    from core.view.case_report import pdf

    return pdf([case], datetime.now(UTC))


def _html(case: Case) -> bytes:
    from core.view.case_report import html

    return html([case], datetime.now(UTC)).encode()


def _png(case: Case) -> bytes:
    from core.view.figure import figure_png

    return figure_png(case)


def _svg(case: Case) -> bytes:
    from core.view.figure import figure_svg

    return figure_svg(case).encode()


def _json(case: Case) -> bytes:
    record = as_record(
        case.readings,
        0,
        case.name,
        case.notes,
        label=case.label,
        sha256=case.sha256,
        um_per_px=case.um_per_px,
        when=datetime.now(UTC),
    )
    return json.dumps(record, indent=2).encode()


def _npy(case: Case) -> bytes:
    array = BytesIO()
    np.save(array, case.readings.attribution[0])
    return array.getvalue()
