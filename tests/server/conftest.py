"""The app as a server on a port of its own, and visitors that speak its protocol: no browser, and no manners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.visitor import Server
from core.inference import Reader


def environment(folder: Path, reader: Reader) -> dict[str, str]:
    """An app that has nothing of this machine but a model that is ready."""
    (folder / "data").mkdir(parents=True)
    places = {"DATA": folder / "data", "CACHE": folder / "cache", "RUNS": folder / "runs"}
    places |= {"MODELS": reader.stored.folder.parent, "ENGINE": "openvino-fp32", "MODEL": "densenet169"}
    return {f"NODELENS_{name}": str(value) for name, value in places.items()}


@pytest.fixture(scope="session")
def server(shipped_reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that leave it standing; started from another folder, quick to forget a closed tab."""
    folder = tmp_path_factory.mktemp("server")
    named = environment(folder, shipped_reader) | {"NODELENS_HOSTS": "lens.example.org, *.clinic.example"}
    with Server(named, "--server.disconnectedSessionTTL", "2", folder=folder) as running:
        yield running


@pytest.fixture
def own_server(shipped_reader: Reader, tmp_path: Path) -> Iterator[Server]:
    """One to bring down."""
    with Server(environment(tmp_path, shipped_reader)) as running:
        yield running
