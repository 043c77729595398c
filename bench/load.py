"""25 readers at once on one server: how long each action takes, what goes wrong, and what stays when they have left.

24 of them are websocket sessions that speak Streamlit's own protocol, one is a real browser as a witness. Every reading
shown is compared with the one computed beforehand, so that a reader who is handed somebody else's is found.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from playwright.sync_api import Page, sync_playwright

from bench.measure import Row, processor
from bench.start import CHROMIUM
from bench.visitor import PATIENCE, Answer, Resources, Server, Visitor
from core.data.pcam import Split
from core.inference import load_reader
from core.inference.scoring import ScoreStore
from core.settings import settings

PATCHES = 40
PAGES = 8
"""Pages of Browse in the demo split of 400 patches, the last of them not full."""
LAYERS = ("last", "6x6")
METHODS = ("gradcam", "hirescam", "layercam")
KINDS = ("open read", "another patch", "earlier layer", "another method", "browse", "compare")
NUMBER = re.compile(r'data-testid="probability">([0-9.]+)')
BOX = "[data-testid=stException], [data-testid=stAlertContentError]"


@dataclass
class Crowd:
    """What the readers met, written by all of them: seconds of each kind of action, and everything that went wrong."""

    expected: list[str]
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[tuple[str, str]] = field(default_factory=list)

    def note(self, kind: str, answer: Answer, patch: int | None = None) -> None:
        """Take in an answer; `patch` is the one whose probability it should show."""
        if answer.seconds is not None:
            self.seconds[kind].append(answer.seconds)
        self.faults += [(kind, fault) for fault in (*answer.faults, *answer.refusals)]
        if patch is not None and answer.seconds is not None and not answer.refusals:
            self.compare(kind, NUMBER.findall(answer.text), patch)

    def compare(self, kind: str, shown: list[str], patch: int) -> None:
        """Count a probability that is not the patch's."""
        if shown != [self.expected[patch]]:
            self.faults.append((kind, f"patch {patch} reads {shown}, not {self.expected[patch]}"))


def reader(crowd: Crowd, server: Server, number: int, actions: int, pause: float) -> None:
    """One reader: opens Read, then wanders until the actions are spent, and leaves."""
    draw = Random(number)
    visitor = Visitor(server)
    patch = number % PATCHES
    crowd.note("open read", visitor.open("", patch=patch), patch)
    on_read = True
    for _ in range(actions - 1):
        time.sleep(draw.uniform(0.5, 1.5) * pause)
        kind = draw.choice(KINDS)
        if kind not in ("browse", "compare", "open read") and not on_read:
            kind = "open read"
        match kind:
            case "open read":
                patch = draw.randrange(PATCHES)
                layer, method = draw.choice(LAYERS), draw.choice(METHODS)
                answer = visitor.open("", patch=patch, layer=layer, method=method)
            case "another patch":
                patch = draw.randrange(PATCHES)
                answer = visitor.choose("patch", float(patch))
            case "earlier layer":
                answer = visitor.choose("layer", draw.choice(("6x6", "12x12")))
            case "another method":
                answer = visitor.choose("method", draw.choice(METHODS))
            case "browse":
                answer = visitor.open("browse", page=draw.randint(1, PAGES))
            case _:
                answer = visitor.open("compare", patch1=draw.randrange(PATCHES), patch2=draw.randrange(PATCHES))
        on_read = kind not in ("browse", "compare") and answer.seconds is not None
        crowd.note(kind, answer, patch if on_read else None)
    visitor.close()


def witness(crowd: Crowd, server: Server, actions: int, pause: float) -> None:
    """One reader with a real browser, who opens a patch, its neighbours and Browse until the actions are spent."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: crowd.faults.append(("browser", str(error))))
        for number in range(actions):
            began = time.perf_counter()
            kind = "browse" if number % 4 == 3 else "open read"
            _look(page, crowd, server.address, kind, patch=number % PATCHES)
            crowd.seconds[f"browser, {kind}"].append(time.perf_counter() - began)
            time.sleep(pause)
        browser.close()


def _look(page: Page, crowd: Crowd, address: str, kind: str, patch: int) -> None:
    if kind == "browse":
        page.goto(f"{address}/browse")
        page.wait_for_selector("[data-testid=tile]")
    else:
        page.goto(f"{address}/?patch={patch}")
        number = page.wait_for_selector("[data-testid=probability]")
        shown = number.inner_text().split()[0] if number else ""
        crowd.compare(f"browser, {kind}", [shown], patch)
    for box in page.query_selector_all(BOX):
        crowd.faults.append((f"browser, {kind}", box.inner_text()))


def attend(server: Server, crowd: Crowd, readers: int, actions: int, pause: float) -> float:
    """Let the readers come, all at once, and go; returns the seconds that took."""

    def guarded(task: Callable[..., None], *arguments: object) -> None:
        try:
            task(crowd, server, *arguments)
        except Exception as error:  # a reader who fell over is a result, not the end of the measurement
            crowd.faults.append((task.__name__, f"{type(error).__name__}: {error}"))

    tasks = [threading.Thread(target=guarded, args=(reader, n, actions, pause)) for n in range(readers - 1)]
    began = time.perf_counter()
    for task in tasks:
        task.start()
    guarded(witness, actions, pause)
    for task in tasks:
        task.join()
    return time.perf_counter() - began


def warm_up(server: Server, crowd: Crowd) -> None:
    """Compile and import everything once, so that the crowd meets a server that has served before."""
    visitor = Visitor(server)
    for answer in (
        visitor.open("", patch=0),
        visitor.open("", patch=0, layer="6x6"),
        visitor.open("", patch=0, layer="12x12"),
        visitor.open("compare"),
        visitor.open("browse"),
    ):
        crowd.note("warm-up", answer)
    visitor.close()


def run(
    readers: int = 25, actions: int = 12, pauses: tuple[float, ...] = (0.0, 4.0), settle: float = 30.0
) -> dict[str, object]:
    """A crowd that never pauses, then one whose readers look at each picture for some seconds.

    Args:
        readers: how many at once.
        actions: of each of them.
        pauses: mean seconds between two actions of a reader, for each crowd.
        settle: seconds from the last reader's leaving to the last measurement.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        demo = Split.open(settings().demo, "demo")
        model = load_reader()
        for _ in ScoreStore(folder / "cache", model, demo).compute():
            pass
        probability = model.read(demo.patches(np.arange(PATCHES)), views=8).probability
        expected = [f"{value:.2f}" for value in probability]
        with Server({"NODELENS_DATA": str(folder / "data"), "NODELENS_CACHE": str(folder / "cache")}) as server:
            warm_up(server, Crowd(expected))
            rows: list[Row] = []
            for pause in pauses:
                rows += _crowd(server, Crowd(expected), readers, actions, pause, settle)
    return {"bench": "load", "processor": processor(), "rows": rows}


def _crowd(server: Server, crowd: Crowd, readers: int, actions: int, pause: float, settle: float) -> list[Row]:
    server.forget_peak()
    before = server.resources()
    seconds = attend(server, crowd, readers, actions, pause)
    peak = server.resources().peak_mib
    time.sleep(settle)
    after = server.resources()
    name = "nodelens" if pause == 0 else f"nodelens-pause-{pause:g}-s"
    done = [value for values in crowd.seconds.values() for value in values]
    total: Row = _row(name, readers, len(done) / seconds, done) | {"peak_mib": peak}
    total |= {"errors": len(crowd.faults), "faults": sorted(set(crowd.faults))[:20]}
    total |= _change(before, after)
    rows = [total]
    for kind, values in sorted(crowd.seconds.items()):
        errors = sum(1 for where, _ in crowd.faults if where == kind)
        label = f"{name}-{kind.replace(', ', '-').replace(' ', '-')}"
        rows.append(_row(label, readers, len(values) / seconds, values) | {"errors": errors})
    return rows


def _row(name: str, readers: int, rate: float, seconds: list[float]) -> Row:
    p50, p95 = np.percentile(seconds, (50, 95)) if seconds else (float("nan"), float("nan"))
    return {
        "name": name,
        "batch": readers,
        "rate": rate,
        "unit": "actions/s",
        "actions": len(seconds),
        "p50": float(p50),
        "p95": float(p95),
    }


def _change(before: Resources, after: Resources) -> Row:
    return {"before": asdict(before), "after": asdict(after)}
