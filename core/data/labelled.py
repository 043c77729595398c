"""Which pictures a folder or zip holds with labels: by a table beside them, or by folders named after classes.

Known are `labels.csv` with `row,label,file` as in the public JPEG copies of PCam, the Kaggle copy (`train_labels.csv`
with `id,label` beside a folder of ID.tif), other tables alike, and class folders (`0/ 1/`, `normal/ tumour/`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.data.archive import Files
from core.data.pcam import SPLITS
from core.data.sources import is_image
from core.data.tables import MAX_TABLE_BYTES, Table, decode_table
from core.errors import ImportSourceError
from core.task import PCAM, Task, plainly

TABLE_TYPES = (".csv", ".tsv")
_FILE_COLUMNS = ("file", "filename", "image", "path", "id")
_NO_LABELS = ("sample_submission.csv",)
"""Kaggle's form for predictions has the columns of its labels, all of them 0."""
_SPLITS = {**{name: name for name in SPLITS}, "training": "train", "validation": "valid", "val": "valid"}
_NUMBERS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
"""Places among a task's classes."""
_TRUTH = {"false": 0, "negative": 0, "true": 1, "positive": 1}
_PCAM_WORDS = {
    **dict.fromkeys(("normal", "no tumor", "non tumour", "non tumor"), 0),
    "tumor": 1,
}


@dataclass(frozen=True, order=True)
class Entry:
    """One labelled picture: its official row number, the label 0 or 1, and its name in the source."""

    row: int
    label: int
    file: str


@dataclass(frozen=True)
class LabelledSet:
    """The pictures of one split, by row number; `split` is empty when the source does not name it."""

    split: str
    entries: tuple[Entry, ...]


def expected(task: Task) -> str:
    """What may be imported, for a refusal."""
    return (
        "a table of labels (label, and file or id; row if it is known) beside the pictures, or folders 0 and 1, "
        f"or {task.other} and {task.positive}"
    )


def labelled_sets(files: Files, task: Task) -> list[LabelledSet]:
    """The labelled pictures of a folder or zip, split by split.

    Raises:
        ImportSourceError: there are none, or what says so cannot be understood; with the file and the column.
    """
    tables = _tables(files.names)
    found = [_by_table(files, name, task) for name in tables] or _by_folders(files, task)
    if not found:
        raise ImportSourceError(files.path, f"it holds no labelled pictures; expected is {expected(task)}")
    splits = [one.split for one in found]
    if len(set(splits)) < len(splits):
        raise ImportSourceError(files.path, f"more than one table may hold its labels: {', '.join(tables)}; keep one")
    return found


def says_labels(names: Sequence[str], task: Task) -> bool:
    """Whether a table called after labels, or a folder called after a class, is among some files."""
    if any("label" in PurePosixPath(table).name.lower() for table in _tables(names)):
        return True
    folders = {folder for name in names if is_image(name) for folder in PurePosixPath(name).parts[:-1]}
    return any(label_of(folder, task) is not None for folder in folders)


def _tables(names: Iterable[str]) -> list[str]:
    """The tables that may hold labels: those nearest to the top, and of these the ones called so."""
    tables = [PurePosixPath(name) for name in names if name.lower().endswith(TABLE_TYPES)]
    tables = [table for table in tables if table.name.lower() not in _NO_LABELS]
    depth = min((len(table.parts) for table in tables), default=0)
    tables = [table for table in tables if len(table.parts) == depth]
    return [str(table) for table in [t for t in tables if "label" in t.name.lower()] or tables]


def label_of(text: str, task: Task) -> int | None:
    """The label that a word names: 1 for the positive class, 0 for the other, or None.

    A class by its name; a number by its place among the task's classes; true and false.
    """
    word = plainly(text)
    by_name = {plainly(name): int(name == task.positive) for name in (*task.classes, task.other)}
    if word in by_name:
        return by_name[word]
    if word in _NUMBERS:
        return int(task.classes[_NUMBERS[word]] == task.positive)
    return (_TRUTH | ({} if task.difference(PCAM) else _PCAM_WORDS)).get(word)


def _split_among(words: Sequence[str]) -> str:
    """The split that the last of some words names that names one, or nothing."""
    return next((_SPLITS[word.lower()] for word in reversed(words) if word.lower() in _SPLITS), "")


# Tables -----------------------------------------------------------------------------------------------------------


def _by_table(files: Files, name: str, task: Task) -> LabelledSet:
    data = files.read(name, MAX_TABLE_BYTES)
    if len(data) > MAX_TABLE_BYTES:
        raise ImportSourceError(files.path, f"'{name}' is larger than {MAX_TABLE_BYTES:,} bytes")
    folder = PurePosixPath(name).parent
    split = _split_among([*folder.parts, *re.split(r"[\W_]+", PurePosixPath(name).stem)])
    try:
        entries = _entries(Table(decode_table(data)), _Pictures(files.names, folder, split), task)
    except ValueError as error:
        raise ImportSourceError(files.path, f"'{name}': {error}") from error
    return LabelledSet(split or folder.name, tuple(entries))


def _entries(table: Table, pictures: _Pictures, task: Task) -> list[Entry]:
    """Rows of a table of labels, by row number; without those, by name and numbered so.

    Raises:
        ValueError: with the reason, in words for a person.
    """
    by = next((column for column in _FILE_COLUMNS if column in table.columns), None)
    if "label" not in table.columns or by is None:
        missing = "'label'" if "label" not in table.columns else " or ".join(f"'{name}'" for name in _FILE_COLUMNS)
        raise ValueError(
            f"column {missing} is missing; it has {', '.join(table.columns)}; expected is {expected(task)}"
        )
    label_at, file_at = table.columns.index("label"), table.columns.index(by)
    row_at = table.columns.index("row") if "row" in table.columns else None
    found = []
    for line, fields in table:
        label = label_of(fields[label_at], task)
        if label is None:
            raise ValueError(
                f"line {line} has the label '{fields[label_at]}'; labels must be 0 or 1, or {' or '.join(task.classes)}"
            )
        row = 0 if row_at is None else _row(line, fields[row_at])
        found.append(Entry(row, label, pictures.named(fields[file_at].strip())))
    if not found:
        raise ValueError("it names no patch")
    if row_at is None:
        return _numbered(found)
    _refuse_twice("row", (str(entry.row) for entry in found))
    return sorted(found)


def _row(line: int, text: str) -> int:
    try:
        row = int(text)
    except ValueError:
        raise ValueError(f"line {line} has the row '{text}'; rows must be whole numbers") from None
    if not 0 <= row < 2**63:
        raise ValueError("row numbers must be from 0 to 2^63 - 1")
    return row


class _Pictures:
    """Finds the picture that a cell names: by its path from the table or from the top, by its name, or by its stem.

    Of several of one name, the one that lies beside the table is meant, or in a folder named after the table's split.
    """

    def __init__(self, names: Sequence[str], folder: PurePosixPath, split: str) -> None:
        self._folder, self._split = folder, split
        self._paths = set(names)
        self._known: dict[str, list[str]] = defaultdict(list)
        for path in map(PurePosixPath, filter(is_image, names)):
            for word in {path.name, path.stem}:
                self._known[word].append(str(path))

    def named(self, text: str) -> str:
        """The name in the source; raises ValueError with the reason."""
        path = PurePosixPath(text.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"'{text}' lies outside of it")
        for place in (self._folder / path, path):
            if str(place) in self._paths:
                return str(place)
        found = self._known.get(str(path), [])
        for meant in (self._is_beside, self._is_of_split):
            found = [name for name in found if meant(name)] or found
        if len(found) > 1:
            raise ValueError(f"'{text}' may be any of {', '.join(found[:3])}; name the path")
        if not found:
            raise ValueError(f"'{text}' is missing or not a file")
        return found[0]

    def _is_beside(self, name: str) -> bool:
        return self._folder in PurePosixPath(name).parents

    def _is_of_split(self, name: str) -> bool:
        return _split_among(PurePosixPath(name).parts[:-1]) == self._split


# Class folders ----------------------------------------------------------------------------------------------------


def _by_folders(files: Files, task: Task) -> list[LabelledSet]:
    found: dict[str, list[Entry]] = defaultdict(list)
    outside = []
    for name in filter(is_image, files.names):
        folders = PurePosixPath(name).parts[:-1]
        label = next((label for folder in reversed(folders) if (label := label_of(folder, task)) is not None), None)
        if label is None:
            outside.append(name)
        else:
            found[_split_among(folders)].append(Entry(0, label, name))
    if found and outside:
        raise ImportSourceError(
            files.path, f"'{outside[0]}' lies in no folder of a class; expected is {expected(task)}"
        )
    return [LabelledSet(split, tuple(_numbered(entries))) for split, entries in sorted(found.items())]


def _numbered(entries: Iterable[Entry]) -> list[Entry]:
    """The entries by name, numbered from 0; raises ValueError when a picture is named twice."""
    ordered = sorted(entries, key=lambda entry: entry.file)
    _refuse_twice("picture", (entry.file for entry in ordered))
    return [Entry(row, entry.label, entry.file) for row, entry in enumerate(ordered)]


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"it names a {what} twice: {name}")
        seen.add(name)
