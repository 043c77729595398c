"""25 readers at once on one server: how long each action takes, what goes wrong, and what stays when they have left.

24 of them are websocket sessions that speak Streamlit's own protocol, one is a real browser as a witness. Every reading
shown is compared with the one computed beforehand, so that a reader who is handed somebody else's is found.

Seconds of processor are those of the server alone, so they can be compared on a machine that has other work to do.
`python -m bench.load --base ../before` measures another checkout beside this one, by turns.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from playwright.sync_api import Page, sync_playwright

from bench.measure import ROOT, Resources, Row, processor
from bench.start import CHROMIUM
from bench.visitor import PATIENCE, Answer, Server, Visitor
from core.data.pcam import Split
from core.inference import load_reader
from core.inference.scores import ScoreStore
from core.settings import settings

PATCHES = 40
PAGES = 8
"""Pages of Browse in the demo split of 400 patches, the last of them not full."""
LAYERS = ("last", "6x6")
METHODS = ("Grad-CAM", "HiResCAM", "LayerCAM")
KINDS = ("open read", "another patch", "earlier layer", "another method", "browse", "compare")
NUMBER = re.compile(r'data-testid="probability">([0-9.]+)')
TAIL = 0.15
"""Seconds that a server may work on after its last word to a reader: their session's end, and garbage."""
BOX = "[data-testid=stException], [data-testid=stAlertContentError]"


@dataclass
class Crowd:
    """What the readers met, written by all of them: seconds of each kind of action, and everything that went wrong.

    `wall` and `processor` are the seconds that passed while readers were there, and those the server computed for them.
    """

    expected: list[str]
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[tuple[str, str]] = field(default_factory=list)
    wall: float = 0.0
    processor: float = 0.0
    memory: Row = field(default_factory=dict)

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


def attend(server: Server, crowd: Crowd, plan: Plan, pause: float) -> None:
    """Let the readers come, all at once, and go."""

    def guarded(task: Callable[..., None], *arguments: object) -> None:
        try:
            task(crowd, server, *arguments)
        except Exception as error:  # noqa: BLE001 - a reader who fell over is a result, not the end of the measurement
            crowd.faults.append((task.__name__, f"{type(error).__name__}: {error}"))

    sockets = plan.readers - plan.browser
    tasks = [threading.Thread(target=guarded, args=(reader, n, plan.actions, pause)) for n in range(sockets)]
    began, computed = time.perf_counter(), server.processor_seconds()
    for task in tasks:
        task.start()
    if plan.browser:
        guarded(witness, plan.actions, pause)
    for task in tasks:
        task.join()
    crowd.wall += time.perf_counter() - began
    crowd.processor += server.processor_seconds() - computed


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


def alone(server: Server, crowd: Crowd, count: int) -> dict[str, list[float]]:
    """Seconds of processor that single actions of one reader cost the server, by kind; `count` of each."""
    costs: dict[str, list[float]] = defaultdict(list)
    visitor = Visitor(server)

    def act(kind: str, action: Callable[[], Answer], patch: int | None = None) -> None:
        before = server.processor_seconds()
        crowd.note(f"alone, {kind}", action(), patch)
        time.sleep(TAIL)
        costs[kind].append(server.processor_seconds() - before)

    for patch in range(count):
        act("open read", partial(visitor.open, "", patch=patch), patch)
    visitor.open("", patch=PATCHES - 1)
    for patch in range(count):
        act("another patch", partial(visitor.choose, "patch", float(patch)), patch)
    for patch in range(count):
        act("a patch seen before", partial(visitor.choose, "patch", float(patch)), patch)
    for number in range(count):
        act("browse", partial(visitor.open, "browse", page=number % PAGES + 1))
    for patch in range(count):
        act("compare", partial(visitor.open, "compare", patch1=patch, patch2=patch + 1))
    visitor.close()
    return costs


def run(
    readers: int = 25,
    actions: int = 12,
    pauses: tuple[float, ...] = (0.0, 4.0),
    settle: float = 30.0,
    browser: bool = True,
    base: Path | None = None,
    rounds: int = 1,
) -> dict[str, object]:
    """A crowd that never pauses, then one whose readers look at each picture for some seconds.

    Args:
        readers: how many at once.
        actions: of each of them.
        pauses: mean seconds between two actions of a reader, for each crowd.
        settle: seconds from the last reader's leaving to the last measurement.
        browser: whether one of the readers is a real browser.
        base: another checkout to measure too, by turns with this one; its rows are called `base`.
        rounds: how often each checkout has its turn.
    """
    plan = Plan(readers, actions, pauses, settle, browser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        demo = Split.open(settings().demo, "demo")
        model = load_reader()
        for _ in ScoreStore(folder / "cache", model, demo).compute():
            pass
        probability = model.read(demo.patches(np.arange(PATCHES)), views=8).probability
        expected = [f"{value:.2f}" for value in probability]
        environment = {
            "NODELENS_DATA": str(folder / "data"),
            "NODELENS_CACHE": str(folder / "cache"),
            "NODELENS_MODELS": str(settings().models),
        }
        tried = [Tried("nodelens", ROOT, expected, pauses)]
        tried += [Tried("base", base, expected, pauses)] if base else []
        for _ in range(rounds):
            for one in tried:
                with Server(environment, folder=one.root, app=one.root / "app.py") as server:
                    one.meet(server, plan)
    return {"bench": "load", "processor": processor(), "rows": [row for one in tried for row in one.rows(plan)]}


@dataclass(frozen=True)
class Plan:
    """Who comes; see `run`."""

    readers: int
    actions: int
    pauses: tuple[float, ...]
    settle: float
    browser: bool


class Tried:
    """One checkout and what its crowds met, over all rounds."""

    def __init__(self, name: str, root: Path, expected: list[str], pauses: tuple[float, ...]) -> None:
        self.name, self.root = name, root
        self.single = Crowd(expected)
        self.crowds = {pause: Crowd(expected) for pause in pauses}
        self.costs: dict[str, list[float]] = defaultdict(list)

    def meet(self, server: Server, plan: Plan) -> None:
        """One reader alone, then the crowds."""
        warm_up(server, self.single)
        for kind, costs in alone(server, self.single, plan.actions).items():
            self.costs[kind] += costs
        for pause, crowd in self.crowds.items():
            server.forget_peak()
            before = server.resources()
            attend(server, crowd, plan, pause)
            peak = max(server.resources().peak_mib, crowd.memory.get("peak_mib", 0.0))
            time.sleep(plan.settle)
            crowd.memory = {"peak_mib": peak} | _change(before, server.resources())

    def rows(self, plan: Plan) -> list[Row]:
        """The crowds' rows, in all and by kind, then what single actions cost."""
        rows = [row for pause, crowd in self.crowds.items() for row in _crowd_rows(self.name, pause, crowd, plan)]
        wrong = len(self.single.faults)
        for kind, costs in self.costs.items():
            row = _row(
                _label(f"{self.name}-alone", kind), 1, float(1 / np.mean(costs)), self.single.seconds[f"alone, {kind}"]
            )
            rows.append(row | {"unit": "actions/processor s", "processor_ms": 1000 * float(np.mean(costs))})
        if wrong:
            rows[-1] |= {"errors": wrong, "faults": sorted(set(self.single.faults))[:20]}
        return rows


def _crowd_rows(checkout: str, pause: float, crowd: Crowd, plan: Plan) -> list[Row]:
    name = checkout if pause == 0 else f"{checkout}-pause-{pause:g}-s"
    done = [value for values in crowd.seconds.values() for value in values]
    total: Row = _row(name, plan.readers, len(done) / crowd.wall, done) | crowd.memory
    total |= {"errors": len(crowd.faults), "faults": sorted(set(crowd.faults))[:20]}
    total |= {"processor_ms": 1000 * crowd.processor / max(1, len(done))}
    rows = [total]
    for kind, values in sorted(crowd.seconds.items()):
        errors = sum(1 for where, _ in crowd.faults if where == kind)
        rows.append(_row(_label(name, kind), plan.readers, len(values) / crowd.wall, values) | {"errors": errors})
    return rows


def _label(name: str, kind: str) -> str:
    return f"{name}-{kind.replace(', ', '-').replace(' ', '-')}"


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


def main() -> None:
    """The bench with a crowd of one's own choice."""
    ask = argparse.ArgumentParser(description=run.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", type=Path, required=True, help="JSON file to write")
    ask.add_argument("--base", type=Path, help="another checkout to measure beside this one")
    ask.add_argument("--rounds", type=int, default=1)
    ask.add_argument("--readers", type=int, default=25)
    ask.add_argument("--actions", type=int, default=12)
    ask.add_argument("--pauses", type=float, nargs="*", default=[0.0])
    ask.add_argument("--settle", type=float, default=0.0)
    ask.add_argument("--no-browser", dest="browser", action="store_false")
    wanted = vars(ask.parse_args())
    out = wanted.pop("out")
    record = run(**wanted | {"pauses": tuple(wanted["pauses"]), "base": wanted["base"] and wanted["base"].resolve()})
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for row in record["rows"]:  # type: ignore[attr-defined]
        cost = f"{row['processor_ms']:8.0f} ms of processor" if "processor_ms" in row else ""
        wrong = f"  {row['errors']} errors {row.get('faults', '')}" if row.get("errors") else ""
        times = f"p50 {row['p50']:.2f} p95 {row['p95']:.2f} s"
        print(f"{row['name']:40} {row['rate']:7.2f} {row['unit']}, {times} {cost}{wrong}")


if __name__ == "__main__":
    main()
