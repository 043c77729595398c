"""This project beside its peers, in one run on one machine. Ratios travel; absolute figures do not."""

from __future__ import annotations

from importlib import import_module
from typing import Any

BENCHES = ("explain", "evidence", "browse", "region", "slides", "start", "load", "endurance", "score", "train")


def run(what: str) -> dict[str, Any]:
    """Run one of BENCHES; a peer that is not installed raises ModuleNotFoundError."""
    record: dict[str, Any] = import_module(f"bench.{what}").run()
    return record
