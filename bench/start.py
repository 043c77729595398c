"""From `streamlit run` to the first explained patch in a browser, beside a bare Streamlit page that imports torch."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import sync_playwright

from bench.measure import ROOT, Row, processor
from bench.visitor import Server

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
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        page = browser.new_page()
        began = time.perf_counter()
        with Server(environment, app=script) as server:
            page.goto(server.address)
            page.wait_for_selector(selector, timeout=180_000)
            seconds = time.perf_counter() - began
        browser.close()
    return seconds


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
