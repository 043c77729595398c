"""What is gone through one by one: what a person thinks of each reading, and the list as a table and as an archive."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data.tables import csv_text
from core.errors import printable
from core.inference import Readings
from core.inference.scores import Scores
from core.inference.verdict import TOO_CLOSE, reason
from core.task import REFER, Task
from core.view.export import as_picture
from core.view.overlay import png
from core.view.selection import outcomes

AGREEMENTS = ("agree", "unsure", "disagree")
MAX_NOTE = 1000
"""Characters of a note."""
REFUSED = "refused"
THUMB, THUMB_COLOURS = 64, 64
"""Pixels along a thumbnail, and its colours: some 3 KB, where all colours would take 10."""
TABLE = "worklist.csv"


@dataclass(frozen=True)
class Opinion:
    """What a person thinks of one reading.

    Attributes:
        agreement: one of AGREEMENTS, or "".
        note: free text in one line, at most MAX_NOTE characters.
        time: UTC, when it was given or changed, as 2026-01-31T12:00:00Z; "" where nothing was.
    """

    agreement: str = ""
    note: str = ""
    time: str = ""

    def __bool__(self) -> bool:
        return bool(self.agreement or self.note)


@dataclass(frozen=True)
class Entry:
    """One entry of the list, as it is exported.

    Attributes:
        id: what it is called by elsewhere: the SHA-256 of a file, the place in a split.
        name: of the file or patch.
        patch: uint8 (side, side, 3) RGB; None when the file was refused.
        readings: of this patch alone; None when it was refused.
        refusal: why it was, in a sentence.
        notes: what was done to the file before it was read.
        label: of a labelled patch.
        opinion: the reader's.
    """

    id: str
    name: str
    patch: NDArray[np.uint8] | None = None
    readings: Readings | None = None
    refusal: str = ""
    notes: tuple[str, ...] = ()
    label: str = ""
    opinion: Opinion = Opinion()


@dataclass(frozen=True)
class Example:
    """A patch that teaches, and what it is an example of."""

    index: int
    words: str


def now() -> str:
    """UTC to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def one_line(text: str) -> str:
    """A note as it is kept: one line of printable characters, MAX_NOTE at most."""
    return printable(" ".join(text.split()))[:MAX_NOTE]


def as_row(entry: Entry, time: str) -> dict[str, object]:
    """One line of the table. `low` and `high` are the least and greatest probability over the views.

    `time` is when the table was written; `noted` when the opinion was given.
    """
    row: dict[str, object] = {"id": entry.id, "file": entry.name}
    readings, opinion = entry.readings, entry.opinion
    if readings is None:
        row |= {"verdict": REFUSED, "reason": entry.refusal}
    else:
        verdict, flags, views = str(readings.verdict[0]), readings.flags[0], readings.view_probability[0]
        row |= {"verdict": verdict, "reason": reason(verdict, flags)}
        row |= {"probability": round(float(readings.probability[0]), 6)}
        row |= {"low": round(float(views.min()), 6), "high": round(float(views.max()), 6)}
        row |= {"flags": "; ".join(flags) or "none"}
    row |= {"label": entry.label, "agreement": opinion.agreement, "note": opinion.note, "noted": opinion.time}
    row |= {"file notes": " ".join(entry.notes)}
    if readings is not None:
        row |= {"model": readings.model.identity, "settings": f"{readings.explained}; {readings.point.state}"}
    return row | {"time": time}


COLUMNS = (
    *("id", "file", "verdict", "reason", "probability", "low", "high", "flags", "label", "agreement", "note", "noted"),
    *("file notes", "model", "settings", "time"),
)


def as_table(entries: Sequence[Entry], time: str) -> str:
    """The list as CSV, a line for each; no cell is a formula, and none a picture."""
    rows = (as_row(entry, time) for entry in entries)
    return csv_text([{name: row.get(name, "") for name in COLUMNS} for row in rows])


def as_archive(entries: Sequence[Entry], time: str, *, own: bool = False, only_for: bool = False) -> bytes:
    """The table and a picture with its heatmap of each patch, as ZIP; `own` and `only_for` as on the screen."""
    buffer = BytesIO()
    moment = datetime.fromisoformat(time).timetuple()[:6]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(TABLE, moment), as_table(entries, time))
        for number, entry in enumerate(entries, start=1):
            if entry.patch is not None and entry.readings is not None:
                picture = as_picture(entry.patch, entry.readings, 0, notes=entry.notes, own=own, only_for=only_for)
                archive.writestr(zipfile.ZipInfo(f"{number:02d}-{file_stem(entry.name)}.png", moment), png(picture))
    return buffer.getvalue()


def file_stem(name: str) -> str:
    """A name as part of a file name: letters, digits and hyphens, 60 at most."""
    return "".join(c if c.isalnum() else "-" for c in name)[:60]


def thumbnail_url(patch: NDArray[np.uint8]) -> str:
    """A patch (side, side, 3) uint8 RGB, small and in few colours, as the address of an <img>."""
    small = Image.fromarray(patch).resize((THUMB, THUMB), Image.Resampling.BOX)
    return "data:image/png;base64," + base64.b64encode(png(small.quantize(THUMB_COLOURS))).decode("ascii")


def teaching(scores: Scores, labels: NDArray[np.integer], task: Task) -> list[Example]:
    """Three patches of a split that teach: a clear positive, one left to a person, one that is wrong.

    Args:
        scores: of the whole split, read to the end.
        labels: (n,) 0 or 1.
        task: says the classes' names.

    Returns:
        As many of the three as there are. None carries a flag. The clear one is called positive, rightly, with the
        highest probability; the next is too close to call, nearest to the threshold; the wrong one is the surest.
    """
    p, outcome, bare = scores.probability, outcomes(scores, labels), scores.flag_bits == 0
    sure = np.abs(p - scores.point.threshold)
    clear = bare & (outcome == "true positive")
    close = bare & (scores.verdict == REFER)
    wrong = bare & np.isin(outcome, ("false positive", "false negative"))
    found = []
    if clear.any():
        found.append(Example(_most(p, clear), f"clear: {task.positive}"))
    if close.any():
        found.append(Example(_most(-sure, close), f"{REFER}: {TOO_CLOSE}"))
    if wrong.any():
        index = _most(sure, wrong)
        found.append(Example(index, f"wrong: labelled {task.label(labels[index])}"))
    return found


def _most(value: NDArray[np.floating], among: NDArray[np.bool_]) -> int:
    """Where the greatest of some values stands."""
    return int(np.argmax(np.where(among, value, -np.inf)))
