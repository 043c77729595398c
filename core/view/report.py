"""The evidence as a table, and as one HTML page that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from plotly.io import to_html

from core.evaluation.explanations.stage import MAIN
from core.evaluation.measures import AGREEMENT, BASELINES, MEASURES, RANDOMISATION
from core.evaluation.schema import EvidenceReport, Row
from core.view.charts.evidence import PREDICTION, Chart, Facts, charts
from core.view.charts.explanations import Mosaics
from core.view.narrative import (
    UNCLAIMED,
    VERDICTS,
    answer,
    beats_chance,
    claimed_on,
    enough,
    method_title,
    provenance,
)
from core.view.words import interval_words

BEST, NO_BETTER = "\u25b2", "\u25cb"
LEGEND = (
    f"{BEST} best of all, baselines included; {NO_BETTER} not better than chance: the 95 % interval reaches it. "
    "Baselines know nothing of the network."
)


class Cell(NamedTuple):
    """One figure of the table.

    Attributes:
        value: to sort by.
        text: figure, interval and marks.
    """

    value: float
    text: str


class Table(NamedTuple):
    """Methods by measures, for one question.

    Attributes:
        measures: keys of MEASURES, the columns.
        methods: of the report, the rows; baselines last.
        cells: by method and measure, where it was taken.
        chance: by measure; the middle of its levels, and from the lowest to the highest where methods differ.
    """

    measures: list[str]
    methods: list[str]
    cells: dict[tuple[str, str], Cell]
    chance: dict[str, Cell]


def groups(report: EvidenceReport) -> list[str]:
    """The questions that a report answers, in the order of the table."""
    taken = {row.measure for row in report.rows}
    found = list(dict.fromkeys(measure.group for name, measure in MEASURES.items() if name in taken))
    return [*found, PREDICTION] if report.curves.roc is not None else found


def table(rows: Sequence[Row], group: str) -> Table:
    """The rows of a report that answer one question, as a table."""
    shown = [row for row in rows if MEASURES[row.measure].group == group]
    taken = {row.measure for row in shown}
    measures = [name for name in MEASURES if name in taken]
    methods = list(dict.fromkeys(row.method for row in shown))
    methods.sort(key=lambda name: (name in BASELINES, name != MAIN))
    cells: dict[tuple[str, str], Cell] = {}
    chance: dict[str, Cell] = {}
    for measure in measures:
        column = [row for row in shown if row.measure == measure]
        best = _best(column)
        for row in column:
            marks = [BEST] if row is best else []
            known = row.chance is not None and enough(row)
            marks += [NO_BETTER] if known and not beats_chance(row) else []
            cells[row.method, measure] = Cell(row.value, " ".join([interval_words(row), *marks]))
        levels = sorted({row.chance for row in column if row.chance is not None})
        words = " to ".join(dict.fromkeys(f"{level:.2f}" for level in (levels[:1] + levels[-1:]))) or "none"
        chance[measure] = Cell(sum(levels) / len(levels) if levels else float("nan"), words)
    return Table(measures, methods, cells, chance)


def _best(column: Sequence[Row]) -> Row | None:
    """The best row that beats chance; None when none does, or where more of it is not better."""
    if MEASURES[column[0].measure].group in (RANDOMISATION, AGREEMENT):
        return None
    fit = [row for row in column if enough(row) and (row.chance is None or beats_chance(row))]
    if len(column) < 2 or not fit:
        return None
    high = MEASURES[column[0].measure].better == "high"
    return max(fit, key=lambda row: row.value if high else -row.value)


def answer_list(report: EvidenceReport, attributes: str = "") -> str:
    """The claims as an HTML list, each with its verdict, and what they were measured on; `attributes` of the list."""
    lines = "".join(
        f"<li><b>{VERDICTS[line.verdict]}: {escape(line.what)}.</b> {escape(line.text)}</li>" for line in answer(report)
    )
    return f"<ol {attributes}>{lines}</ol><p>{escape(claimed_on(report) or UNCLAIMED)}</p>"


def finding_list(chart: Chart, attributes: str = "") -> str:
    """What a chart's figures say as an HTML list, nothing when they say nothing; `attributes` of the list."""
    lines = "".join(f"<li><b>{escape(first)}</b> {escape(text)}</li>" for first, text in chart.finding)
    return f"<ul {attributes}>{lines}</ul>" if lines else ""


def facts_table(facts: Facts, attributes: str = "") -> str:
    """A small table in HTML; `attributes` of the table."""
    head = "".join(f"<th>{escape(word)}</th>" for word in facts.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(word)}</td>' for word in row)}</tr>" for row in facts.rows)
    return f"<table {attributes}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def as_page(report: EvidenceReport, drawn: Mosaics | None = None) -> str:
    """One HTML page with answer, tables and figures; Plotly's script is inside, so it opens anywhere and offline.

    Args:
        report: see `core.evaluation.schema.EvidenceReport`.
        drawn: mosaics of the report with their maps.
    """
    body, script = [], True
    for group in groups(report):
        body.append(f"<h2>{escape(group)}</h2>")
        if group != PREDICTION:
            body.append(_table(table(report.rows, group)))
        for chart in charts(report, group, drawn):
            body.append(f"<h3>{escape(chart.title)}</h3><p>{escape(chart.meaning)}</p>{finding_list(chart)}")
            body.append('<div class="beside">')
            for figure in (chart.figure, *chart.beside):
                figure.update_layout(template="plotly_white")
                body.append(to_html(figure, full_html=False, include_plotlyjs=script, config={"displaylogo": False}))
                script = False
            body.append("</div>")
            body.extend(facts_table(facts) for facts in chart.tables)
    name = escape(report.model.name)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Evidence: {name}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Can you believe the map? {name}</h1>"
        f"<p>{escape(provenance(report))}</p>{answer_list(report)}<p>{escape(LEGEND)}</p>{''.join(body)}"
        "<p>NodeLens is for research use only. It is not a medical device.</p></body></html>\n"
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:32px auto;padding:0 16px;color:#202020}"
    "table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}"
    ".beside{display:flex;flex-wrap:wrap}.beside>div{flex:1 1 300px;min-width:0}"
    "th,td{border-bottom:1px solid #ddd;padding:4px 8px;text-align:left;white-space:nowrap}th{font-weight:600}"
)


def _table(found: Table) -> str:
    head = "".join(
        f'<th title="{escape(MEASURES[m].meaning)}">{escape(MEASURES[m].title)}</th>' for m in found.measures
    )
    rows = [("chance", [found.chance[measure].text for measure in found.measures])]
    for method in found.methods:
        cells = [found.cells.get((method, measure)) for measure in found.measures]
        rows.append((method_title(method), [cell.text if cell else "" for cell in cells]))
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return f"<table><thead><tr><th>method</th>{head}</tr></thead><tbody>{body}</tbody></table>"
