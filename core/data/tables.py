"""CSV tables. From a stranger: a few named columns, one record a line, and never more lines than a split can have.

To a stranger: no cell that a spreadsheet would run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

MAX_PATCHES = 1_000_000
"""PCam has 327,680. A file may claim any number of patches without holding a byte of them."""
MAX_TABLE_BYTES = 64 * 2**20
MAX_LINE = 4096
_FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")


def read_columns(table: TextIO, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the fields under `names`, line by line.

    Each line is parsed by itself: a quote left open spoils its own line and cannot swallow the rest of the file.

    Raises:
        ValueError: with the reason, in words for a person; also what is not UTF-8.
    """
    places: list[int] = []
    for number in range(MAX_PATCHES + 2):
        line = table.readline(MAX_LINE)
        if not line:
            break
        if len(line) == MAX_LINE:
            raise ValueError(f"line {number + 1} has {MAX_LINE:,} characters or more")
        fields = _fields(line)
        if not number:
            missing = [name for name in names if name not in fields]
            if missing:
                raise ValueError(f"column '{missing[0]}' is missing" if any(fields) else "it is not a CSV table")
            places = [fields.index(name) for name in names]
        elif fields:
            if len(fields) <= max(places):
                raise ValueError(f"line {number + 1} is too short")
            yield [fields[place] for place in places]
    else:
        raise ValueError(f"it has more than {MAX_PATCHES:,} rows")
    if not places:
        raise ValueError("it is not a CSV table")


def csv_cell(text: str) -> str:
    """Text for a CSV: an apostrophe before what spreadsheets take for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a CSV table under every name that one of them has; all text goes through `csv_cell`."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(map(csv_cell, names))
    for row in rows:
        values = (row.get(name) for name in names)
        writer.writerow([csv_cell(value) if isinstance(value, str) else value for value in values])
    return table.getvalue()


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True), [])
    except csv.Error as error:
        raise ValueError("it is not a CSV table") from error
