"""The pieces of Evidence: the examination in a process of its own, the answer, the table, the charts."""

from __future__ import annotations

import time
from math import nan
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core import service
from core.data.pcam import Split
from core.data.tables import csv_cell
from core.evaluation.explanations.runner import DOING, Examination
from core.evaluation.explanations.stage import MAIN, methods_of
from core.evaluation.measures import MEASURES
from core.evaluation.metrics.decisions import predictive_values
from core.evaluation.metrics.localisation import tiled
from core.evaluation.schema import EvidenceReport, Figure, Plan
from core.jobs import Job
from core.kept import Kept
from core.settings import settings, without_paths
from core.view import glossary, narrative
from core.view import report as evidence_report
from core.view.charts import evidence as figures
from core.view.charts import explanations, prediction
from core.view.charts.explanations import Mosaics
from core.view.narrative import method_title
from core.view.words import duration
from pages.parts import access, library
from pages.parts.components.chart import chart
from pages.parts.evidence.reports import SAMPLES, bundle_of, is_of, report_file, report_of

EVERY = 2.0
NOBODY = "no other model"
CHANCE = "chance"
FIT, NAMES, FIGURES = 7, 190, 152
"""Measures side by side, and the widths of columns in px, so that a table fits a screen of 1440."""

_mosaics: Kept[Mosaics] = Kept(8)


def say_where_from(report: EvidenceReport, split: Split) -> None:
    """Says of a report that came with the model that it was made on other patches than those chosen."""
    if not is_of(report, split):
        st.info(
            f"This report came with the model and was made on '{report.data.split}'. Nobody has examined the model on "
            f"'{split.name}' yet; the end of the page tells what can be done about it."
        )


def invite(model: str, split: Split) -> None:
    """The first visit."""
    st.subheader("Can you believe the map?")
    st.markdown(
        f"Nobody has examined **{model}** on **{split.name}** yet. An examination asks of every heatmap method: does "
        f"it point at {service.task(model).positive}, does it matter to the prediction, does it depend on what was "
        "learned, does it hold still? Each answer comes with a 95 % interval, with chance, and beside maps that "
        "know nothing of the network."
    )


def examine(model: str, split: Split) -> None:
    """Start an examination, or watch the one that runs; raises OtherTaskError."""
    split.require(service.task(model))
    for sample in SAMPLES:
        job = _job(model, split, sample)
        if job.running:
            st.fragment(_watch, run_every=EVERY)(job, model, split, sample)
            return
    if access.readonly():
        st.caption(f"{access.READ_ONLY}no examination can be started here.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sample = st.selectbox(
            "Sample",
            SAMPLES,
            key="sample",
            bind="query-params",
            width=140,
            format_func=lambda count: f"{count:,} patches",
            help=f"Half of them {split.task.positive}. More patches give narrower intervals and take longer.",
        )
        job = _job(model, split, sample)
        pressed = st.button("Examine", type="primary")
    if pressed and access.attempt(_start, job, model, split, sample):
        st.rerun()
    if job.error_message:
        st.error(without_paths(job.error_message))
    share, _ = _examination(model, split, sample).progress(settings().cache)
    if 0 < share < 1:
        st.caption(f"{share:.0%} of this has been done before; it goes on from there.")


def _start(job: Job, model: str, split: Split, sample: int) -> None:
    st.session_state.pop("examined_since", None)
    access.start(
        job,
        [
            "evidence", "--data", str(split.folder), "--split", split.name, "--sample", str(sample),
            "--model", model, "--out", str(report_file(model, split, sample)),
        ],
    )  # fmt: skip


def _watch(job: Job, model: str, split: Split, sample: int) -> None:
    if not job.running:
        st.rerun()
    if waiting := access.waits(job):
        st.info(f"The examination of {model} {waiting}. It starts by itself, also when you leave.")
        access.stop_button(job, "this examination", "stop_examination")
        return
    share, stage = _examination(model, split, sample).progress(settings().cache)
    began, first = st.session_state.setdefault("examined_since", (time.monotonic(), share))
    gone, done = time.monotonic() - began, share - first
    left = f", about {duration(gone / done * (1 - share))} left" if gone > 15 and done > 0.02 else ""
    st.progress(
        share,
        f"Examining {model} on {min(sample, len(split)):,} patches of {split.name}: "
        f"{DOING.get(stage, 'loading the model')}{left}. It goes on when you leave.",
    )
    kept = "What is done is kept; 'Examine' goes on from there."
    access.stop_button(job, "this examination", "stop_examination", help=kept)


def _examination(model: str, split: Split, sample: int) -> Examination:
    served = library.reader(model)
    return Examination(served, split, Plan(sample=sample, methods=methods_of(served)))


def _job(model: str, split: Split, sample: int) -> Job:
    return Job(report_file(model, split, sample), f"examining {model} on {sample:,} patches of {split.name}")


def show_answer(report: EvidenceReport) -> None:
    """The claims with their verdicts, and what they were made from."""
    st.subheader("Can you believe the map?")
    _show_lines(report)


def _show_lines(report: EvidenceReport) -> None:
    st.html(evidence_report.answer_list(report, 'class="nl-answer" data-testid="answer"'))
    terms = ("claim", "null", "logit", "donor tissue", "Shapley value", "mosaic", "randomising", "95 % interval")
    st.caption(narrative.provenance(report), help=glossary.meaning(*terms))


def compare_answers(report: EvidenceReport, other: EvidenceReport) -> None:
    """The answers of two models side by side."""
    with st.container(key="evidence_pair"):
        for column, one in zip(st.columns(2, gap="large"), (report, other), strict=True):
            with column:
                st.subheader(one.model.name)
                st.markdown(narrative.price(bundle_of(one.model.name)))
                _show_lines(one)


def choose_other(model: str, split: Split) -> EvidenceReport | None:
    """A second model's report on the same patches; None unless one is asked for."""
    others = [name for name in service.model_names() if name != model and report_of(name, split) is not None]
    if not others:
        return None
    with st.container(horizontal=True, horizontal_alignment="right"):
        chosen = st.selectbox("Compare with", [NOBODY, *others], key="other", bind="query-params", width=240)
    return None if chosen == NOBODY else report_of(chosen, split)


def choose_group(report: EvidenceReport) -> str:
    """One question, of those that the report answers."""
    names = evidence_report.groups(report)
    chosen = st.segmented_control(
        "Question",
        names,
        default=names[0],
        key="question",
        bind="query-params",
        required=True,
        label_visibility="collapsed",
    )
    return str(chosen or names[0])


def show_table(report: EvidenceReport, other: EvidenceReport | None, group: str) -> None:
    """Methods by measures, sortable; of two reports one under the other."""
    for one in filter(None, (report, other)):
        found = evidence_report.table(one.rows, group)
        if other is not None:
            st.markdown(f"**{one.model.name}**")
        if not found.measures:
            st.info("Nothing of this was measured.")
            continue
        for start in range(0, len(found.measures), FIT):
            part = found._replace(measures=found.measures[start : start + FIT])
            _show_part(part, f"table_{one.model.name}" + (f"_{start}" if start else ""))
    st.caption(evidence_report.LEGEND)


def _show_part(found: evidence_report.Table, key: str) -> None:
    titles = [MEASURES[measure].title for measure in found.measures]
    rows = [CHANCE, *found.methods]
    values = [[_cell(found, row, measure).value for measure in found.measures] for row in rows]
    frame = pd.DataFrame(values, [_row_title(row) for row in rows], titles, dtype=float)
    st.dataframe(
        _styled(frame, found),
        height=35 * (len(frame) + 1) + 3,
        column_config={
            "_index": st.column_config.Column("Method", width=NAMES),
            **{
                MEASURES[name].title: st.column_config.NumberColumn(
                    help=f"{MEASURES[name].meaning} {MEASURES[name].better.capitalize()} is good. "
                    f"{MEASURES[name].source}.",
                    width=FIGURES,
                )
                for name in found.measures
            },
        },
        key=key,
    )


def _cell(found: evidence_report.Table, row: str, measure: str) -> evidence_report.Cell:
    if row == CHANCE:
        return found.chance[measure]
    return found.cells.get((row, measure), evidence_report.Cell(float("nan"), "not taken"))


def _row_title(row: str) -> str:
    return row if row == CHANCE else csv_cell(method_title(row))


def _styled(frame: pd.DataFrame, found: evidence_report.Table) -> Any:
    """Sorted by the figure, shown with interval and marks."""
    styled = frame.style.format(na_rep="")
    for row in (CHANCE, *found.methods):
        for measure in found.measures:
            where = ([_row_title(row)], [MEASURES[measure].title])
            text = _cell(found, row, measure).text
            styled = styled.format(lambda _, text=text: text, subset=where, na_rep=text)
    return styled


def drawn_mosaics(report: EvidenceReport, model: str, split: Split) -> Mosaics | None:
    """The mosaics that the report names, with their maps by Grad-CAM; None when it names none of these patches."""
    named = report.curves.mosaic2
    if named is None or not is_of(report, split):
        return None
    reader = library.reader(model)

    def draw() -> Mosaics:
        images: NDArray[np.uint8] = np.concatenate([tiled(split.patches(index)[None]) for index in named.patches])
        method, layer = MAIN.split("/")
        return Mosaics(images, reader.region(images, method, layer), np.array(named.cells), int(named.side))

    key = (report.model.identity, split.fingerprint(), repr(named))
    return library.kept(_mosaics, key, draw, "Drawing the mosaics ...")


def show_charts(report: EvidenceReport, other: EvidenceReport | None, group: str, drawn: Mosaics | None) -> None:
    """The figures that answer the question, two in a row; then any measure by method."""
    pairs = [(report, drawn), *([(other, None)] if other else [])]
    with st.container(key="evidence_charts"):
        told = {one.model.name: figures.charts(one, group, mosaics) for one, mosaics in pairs}
        if other is None:  # its ROC stands beside the sliders, see `show_decision`
            told[report.model.name] = [found for found in told[report.model.name] if found.title != "ROC"]
        else:
            _lay_over(told)
        for name, charts in told.items():
            wide = [found for found in charts if len(found.figure.layout.images) or found.tables]
            for found in wide:
                _show(found, name, other is not None)
            rest = [found for found in charts if found not in wide]
            for start in range(0, len(rest), 2):
                for column, found in zip(st.columns(2, gap="medium"), rest[start : start + 2], strict=False):
                    with column:
                        _show(found, name, other is not None)
        if group != figures.PREDICTION:
            _by_method(report, other, group)


def _lay_over(told: dict[str, list[figures.Chart]]) -> None:
    """Lay the second model's curves over the first's, and take away what has found its place there."""
    first, second = told
    theirs = {found.title: found for found in told[second]}
    for place, ours in enumerate(told[first]):
        both = ours.title in theirs and figures.laid_over(ours, theirs[ours.title], (first, second))
        if both:
            told[first][place] = both
            told[second].remove(theirs[ours.title])


def _show(found: figures.Chart, name: str, named: bool) -> None:
    st.markdown(f"**{found.title}**{f', {name}' if named else ''}. {found.meaning}")
    if found.finding:
        st.html(evidence_report.finding_list(found, 'class="nl-answer" data-testid="finding"'))
    drawn = [found.figure, *found.beside]
    for number, (column, figure) in enumerate(zip(st.columns(len(drawn)), drawn, strict=True), start=1):
        with column:
            chart(figure, f"{name}-{found.title}" + (f"-{number}" if found.beside else ""))
    for facts in found.tables:
        st.html(evidence_report.facts_table(facts, 'class="nl-trust" data-testid="facts"'))


def _by_method(report: EvidenceReport, other: EvidenceReport | None, group: str) -> None:
    measures = evidence_report.table(report.rows, group).measures
    measure = st.selectbox("One measure by method", measures, format_func=lambda name: MEASURES[name].title, width=360)
    st.caption(f"{MEASURES[measure].meaning} {MEASURES[measure].better.capitalize()} is good.")
    both = [one for one in (report, other) if one is not None]
    for column, one in zip(st.columns(2, gap="medium"), both, strict=False):
        with column:
            name = one.model.name
            chart(explanations.forest(one.rows, measure), f"{name}-{measure}")


def _measured(figure: Figure) -> float:
    return nan if figure.value is None else figure.value


def show_decision(report: EvidenceReport) -> None:
    """What a call is worth at a prevalence and a sensitivity that the reader sets."""
    curve, known, point, positive = report.curves.roc, report.curves.figures, report.curves.point, report.task.positive
    if curve is None or point is None:
        return
    with st.container(key="evidence_decision"):
        controls, words = st.columns([1, 1], gap="large")
    with controls:
        prevalence = st.slider(
            f"Prevalence of {positive} where it is used (%)", 0.5, 50.0, 5.0, 0.5,
            key="prevalence", bind="query-params",
            help="Rarely that of the patches examined: those of most data sets are half positive.",
        ) / 100  # fmt: skip
        wanted = st.slider(
            "Sensitivity wanted (%)", 50, 100, 95, 1, key="sensitivity", bind="query-params",
            help="The threshold is the highest on these patches that reaches it.",
        ) / 100  # fmt: skip
    reached = int(np.flatnonzero(np.array(curve.sensitivity) >= wanted - 1e-9)[0])
    sensitivity, false_alarms = curve.sensitivity[reached], curve.false_positive_rate[reached]
    rows = {
        f"The model's threshold, {point.threshold:.2f}": (
            _measured(known["sensitivity"]),
            _measured(known["specificity"]),
        ),
        f"The sensitivity wanted, threshold {curve.thresholds[reached]:.2f}": (sensitivity, 1 - false_alarms),
    }
    with words:
        for name, (hits, clear) in rows.items():
            ppv, npv = predictive_values(hits, clear, prevalence)
            facts = {
                "Sensitivity": f"{hits:.2f}",
                "Specificity": f"{clear:.2f}",
                f"PPV at {prevalence:.1%}": f"{_share(ppv)} (chance {prevalence:.1%})",
                f"NPV at {prevalence:.1%}": f"{_share(npv)} (chance {1 - prevalence:.1%})",
            }
            strip = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
            st.html(f'<p class="nl-why"><b>{name}</b></p><dl class="nl-strip">{strip}</dl>')
    st.caption(
        f"One view of each patch, {point.state}. PPV is the share of {positive} among what is called {positive}, NPV "
        "the share without among what is not."
    )
    st.markdown("**ROC**. The circle is the model's own operating point, the diamond the sensitivity wanted.")
    with st.columns(2)[0]:
        chart(prediction.roc(report.curves, (false_alarms, sensitivity)), f"{report.model.name}-chosen")


def _share(value: float) -> str:
    return "no such call" if np.isnan(value) else f"{value:.1%}"


def downloads(report: EvidenceReport, drawn: Mosaics | None) -> None:
    """The report as JSON, and as one page that stands alone."""
    stem = f"evidence-{report.model.name}-{report.data.split}"
    with st.container(horizontal=True):
        st.download_button(
            "Report (HTML)", lambda: evidence_report.as_page(report, drawn), f"{stem}.html", "text/html",
            on_click="ignore", help="Answer, tables and figures in one file that opens offline.",
        )  # fmt: skip
        st.download_button(
            "Report (JSON)", report.model_dump_json(indent=2), f"{stem}.json", "application/json", on_click="ignore"
        )
