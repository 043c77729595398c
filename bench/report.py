"""The results as `bench/RESULTS.md`: one table a bench, and a plot of the explanations a second."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from bench.measure import ROOT

RESULTS = ROOT / "bench" / "results"
WIDTH = 44
COLUMNS = ("name", "batch", "rate", "unit", "peak_mib")
"""Keys of a row that every bench has; what else a bench measures gets a column of its own."""


def keep(record: dict[str, Any]) -> None:
    """Keep one bench's record and write RESULTS.md anew from all that are kept."""
    RESULTS.mkdir(exist_ok=True)
    measured = record | {"measured": datetime.now(UTC).strftime("%Y-%m-%d")}
    path = RESULTS / f"{record['bench']}.json"
    path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    (ROOT / "bench" / "RESULTS.md").write_text("\n".join(["# Results", "", *(table(r) for r in records)]), "utf-8")


def table(record: dict[str, Any]) -> str:
    """One bench as Markdown; ratios, where there are peers, are to the row `nodelens` of the same batch (and cycle)."""
    lines = [
        f"## {record['bench']}",
        "",
        f"{record['processor']}; measured {record['measured']} by `python -m core bench {record['bench']}`.",
    ]
    if "agreement_with_captum" in record:
        lines.append(f"Correlation of our maps with captum's: {record['agreement_with_captum']:.5f}.")
    more = list(dict.fromkeys(key for row in record["rows"] for key in row if key not in COLUMNS and _short(row[key])))
    titles = ["name", "batch", "rate", "unit", "nodelens is", "peak MiB", *(key.replace("_", " ") for key in more)]
    lines += ["", _line(titles), _line(["---"] * len(titles))]
    peers = not all(row["name"].startswith("nodelens") for row in record["rows"])
    own = {_job(row): row["rate"] for row in record["rows"] if row["name"] == "nodelens"} if peers else {}
    for row in record["rows"]:
        ratio = f"{own[_job(row)] / row['rate']:.1f}x" if _job(row) in own else ""
        memory = f"{row['peak_mib']:.0f}" if row.get("peak_mib") else ""
        rest = [_short(row.get(key)) for key in more]
        lines.append(_line([row["name"], row["batch"], f"{row['rate']:.3g}", row["unit"], ratio, memory, *rest]))
    if record["bench"] == "explain":
        lines += ["", "```", *bars([row for row in record["rows"] if row["batch"] == 32]), "```"]
    return "\n".join([*lines, ""])


def bars(rows: list[dict[str, Any]]) -> list[str]:
    """A plain-text bar chart of rates, longest first."""
    longest = max(row["rate"] for row in rows)
    lengths = [(row["name"], row["rate"], max(1, round(WIDTH * row["rate"] / longest))) for row in rows]
    return [f"{name:18} {'#' * length} {rate:.0f}" for name, rate, length in sorted(lengths, key=lambda r: -r[1])]


def _job(row: dict[str, Any]) -> tuple[Any, Any]:
    return row["batch"], row.get("cycle")


def _line(cells: list[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _short(value: Any) -> str:
    """A number, or a first and a last one; nothing for what is no figure."""
    if isinstance(value, int | float):
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    if isinstance(value, list) and len(value) == 2:
        return " to ".join(map(_short, value))
    return ""
