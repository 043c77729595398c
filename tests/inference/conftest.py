"""What tests of serving share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def tiny_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle without its graph: how that is made and kept is what is tested here."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "models" / "tiny", ignore=shutil.ignore_patterns(".engine")))
