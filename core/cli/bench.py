"""`bench`: this project beside its peers."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli.options import JsonFile, app
from core.cli.terminal import write_json
from core.errors import NodeLensError


@app.command(epilog="Example: python -m core bench explain --out explain.json")
def bench(
    what: Annotated[
        str, typer.Argument(help="explain, evidence, browse, region, slides, start, score, load, endurance or train.")
    ],
    out: JsonFile,
    keep: Annotated[bool, typer.Option("--keep", help="Also keep it in bench/results and renew RESULTS.md.")] = False,
) -> None:
    """Measure this project beside its peers in one run (needs requirements-bench.txt)."""
    try:
        from bench import BENCHES, run
        from bench.report import keep as renew

        if what not in BENCHES:
            raise NodeLensError(f"Unknown bench '{what}'. Known: {', '.join(BENCHES)}.")
        record = run(what)
    except ModuleNotFoundError as error:
        raise NodeLensError(f"{error.name} is missing: pip install -r requirements-bench.txt") from error
    write_json(out, record)
    for row in record["rows"]:
        print(f"{row['name']:24} batch {row['batch']:<7} {row['rate']:>10.3g} {row['unit']}")
    if keep:
        renew(record)
