"""From `streamlit run` to the first explained patch in a browser, beside a bare Streamlit page that imports torch."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

from bench.measure import ROOT, Row, processor

BARE = "import streamlit as st\nimport torch\nst.markdown('ready ' + torch.__version__)\n"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def seconds_to(script: Path, selector: str, environment: dict[str, str]) -> float:
    """Seconds from starting the server until `selector` is on the page; the browser is already open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        page = browser.new_page()
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_selector(selector, timeout=180_000)
            return time.perf_counter() - began
        finally:
            server.kill()
            server.wait()
            browser.close()


def wait_for(address: str) -> None:
    """Return when the server answers."""
    for _ in range(2400):
        try:
            with urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.05)
    raise TimeoutError(address)


def run(repeats: int = 3) -> dict[str, object]:
    """Median seconds of each kind of start."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = folder / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        models = folder / "models"
        shutil.copytree(ROOT / "models", models, ignore=shutil.ignore_patterns(".engine"))
        environment = {"NODELENS_MODELS": str(models), "NODELENS_DATA": str(folder), "NODELENS_CACHE": str(folder)}
        cold = seconds_to(ROOT / "app.py", "[data-testid=probability]", environment)
        rows.append({"name": "nodelens-first-ever", "seconds": cold})
        for label, script, selector in (
            ("nodelens", ROOT / "app.py", "[data-testid=probability]"),
            ("streamlit-and-torch", bare, "text=ready"),
        ):
            seconds = median(seconds_to(script, selector, environment) for _ in range(repeats))
            rows.append({"name": label, "seconds": seconds})
    rows = [row | {"batch": 1, "rate": 1 / row["seconds"], "unit": "starts/s"} for row in rows]
    return {"bench": "start", "processor": processor(), "rows": rows}
