"""CSV tables. Untrusted: a few named columns, one record a line, and never more lines than a split can have.

Written: no cell that a spreadsheet would run.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

MAX_PATCHES = 1_000_000
"""PCam has 327,680. A file may claim any number of patches without holding a byte of them."""
MAX_TABLE_BYTES = 64 * 2**20
MAX_LINE = 4096
SEPARATORS = ",;\t"
_FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")


class Table:
    """A CSV table, line by line: separated by comma, semicolon or tab, whichever parts its first line most.

    Each line is parsed by itself: a quote left open spoils its own line and cannot swallow the rest of the file.

    Attributes:
        columns: their names, in lower case and without space around them.

    Raises:
        ValueError: with the reason, in words for a person; also what is not UTF-8.
    """

    def __init__(self, text: TextIO) -> None:
        self._lines = enumerate(_lines(text), start=1)
        first = next(self._lines, (1, ""))[1]
        if first.lower().startswith("sep="):  # how Excel names the separator
            first = next(self._lines, (2, ""))[1]
        self._separator = max(SEPARATORS, key=first.count)
        self.columns = tuple(name.strip().lower() for name in _fields(first, self._separator))
        if not any(self.columns):
            raise ValueError("it is not a CSV table")

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Number of each line that is not empty, from 1, and its fields: at least as many as there are columns."""
        for number, line in self._lines:
            fields = _fields(line, self._separator)
            if not any(fields):
                continue
            if len(fields) < len(self.columns):
                raise ValueError(f"line {number} is too short")
            yield number, fields


def read_columns(text: TextIO, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the fields under `names`, line by line.

    Raises:
        ValueError: as `Table`, or that a column is missing.
    """
    table = Table(text)
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ValueError(f"column '{missing[0]}' is missing; it has {', '.join(table.columns)}")
    places = [table.columns.index(name) for name in names]
    for _, fields in table:
        yield [fields[place] for place in places]


def decode_table(data: bytes) -> TextIO:
    """The text of a table in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        ValueError: with the reason, in words for a person.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    plain = "utf-16-be" if data[:1] == b"\0" else "utf-16-le" if data[1:2] == b"\0" else "utf-8-sig"
    try:
        return io.StringIO(data.decode("utf-16" if wide else plain), newline=None)
    except UnicodeDecodeError as error:
        raise ValueError("it is text in neither UTF-8 nor UTF-16; save it as 'CSV UTF-8'") from error


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


def _lines(text: TextIO) -> Iterator[str]:
    for number in range(MAX_PATCHES + 2):
        line = text.readline(MAX_LINE)
        if not line:
            return
        if len(line) == MAX_LINE:
            raise ValueError(f"line {number + 1} has {MAX_LINE:,} characters or more")
        yield line
    raise ValueError(f"it has more than {MAX_PATCHES:,} rows")


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True, delimiter=separator), [])
    except csv.Error as error:
        raise ValueError("it is not a CSV table") from error
