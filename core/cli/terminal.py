"""What every command shows: a progress bar, and what was done to pictures; and the JSON it writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.files import write_text


@contextmanager
def progress(what: str, unit: str) -> Iterator[Any]:
    """A progress bar on a terminal; nothing elsewhere."""
    with tqdm(desc=what, unit=unit, disable=None, file=sys.stderr) as bar:
        yield bar


def into(bar: Any) -> Callable[[int, int], None]:
    """What a long function calls with (done, total), shown on a bar."""

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.n = done
        bar.refresh()

    return show


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record for people and programs."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def tell_changed(changed: Sequence[str]) -> None:
    """One line on stderr on pictures that were not read as they are."""
    if changed:
        was = "picture was" if len(changed) == 1 else "pictures were"
        print(f"nodelens: {len(changed):,} {was} changed to be read; first: {changed[0]}", file=sys.stderr)
