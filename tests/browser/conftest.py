"""The app on a port of its own and a reader's browser, both as they are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.data.pcam import Split
from core.inference import Reader
from tests.browser.hands import READY

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
PATIENCE = 60_000
"""Milliseconds: only a page that is broken takes as long."""
expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True)
class Server:
    """The app, running."""

    url: str
    cache: Path


@contextmanager
def serving(models: Path, folder: Path) -> Iterator[Server]:
    (folder / "data").mkdir()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"DATA": folder / "data", "CACHE": folder / "cache", "RUNS": folder / "runs", "MODELS": models}
    places |= {"ENGINE": "openvino-fp32"}
    environment = os.environ | {f"NODELENS_{name}": str(value) for name, value in places.items()}
    environment.pop("NODELENS_MODEL", None)
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Server(url, folder / "cache")
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def server(shipped_reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app on the demo split; `shipped_reader` has prepared the engine that it opens."""
    with serving(shipped_reader.stored.folder.parent, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def fresh_server(shipped_reader: Reader, tmp_path: Path) -> Iterator[Server]:
    """The app just started, visited by nobody yet."""
    with serving(shipped_reader.stored.folder.parent, tmp_path) as running:
        yield running


@pytest.fixture
def own_server(shipped_reader: Reader, tmp_path: Path) -> Iterator[Server]:
    """The app with a models folder that may gain a model, and no run yet."""
    source = shipped_reader.stored.folder
    shutil.copytree(source, tmp_path / "models" / source.name)
    with serving(tmp_path / "models", tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def strange_browser(browser: Browser) -> Iterator[Browser]:
    """A browser for which a stranger's name means this machine, as after DNS rebinding."""
    mapped = browser.browser_type.launch(
        executable_path=CHROMIUM, args=[*ARGUMENTS, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    )
    yield mapped
    mapped.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own; fails its test when anything goes wrong in the console."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(_problem(message)))
    yield page
    context.close()
    assert [problem for problem in problems if problem] == []


def _problem(message: Any) -> str:
    # Opened at /browse, Streamlit looks for its server at /browse/_stcore/ first, then at /_stcore/.
    probe = "/_stcore/" in message.location.get("url", "") and "404" in message.text
    # What it has to tell while it looks is dropped with this word; what must not be lost is told until it is heard.
    early = message.text.startswith("Cannot send rerun backMessage when disconnected")
    return message.text if message.type == "error" and not (probe or early) else ""


@pytest.fixture
def visit(page: Page, server: Server) -> Callable[..., Page]:
    """Opens an address of the app and waits until it stands still."""

    def open_address(address: str = "", on: Server = server) -> Page:
        page.goto(f"{on.url}/{address}")
        expect(page.locator(".nl-foot")).to_be_attached()
        page.wait_for_selector(READY)
        return page

    return open_address


@pytest.fixture(scope="session")
def demo() -> Split:
    return Split.open(ROOT / "assets" / "demo", "demo")


@pytest.fixture
def png() -> Callable[[Any], bytes]:
    """Pixels as a PNG file."""

    def encode(pixels: np.ndarray) -> bytes:
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return encode
