"""The pieces of About that teach: what this is, how a map is read, words, keys, how to cite."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import streamlit as st

from core import __version__, service
from core.evaluation.schema import EvidenceReport
from core.inference import Reader
from core.models.schema import Bundle
from core.task import Task
from core.view import glossary
from core.view.narrative import answer
from pages.parts import choices, library
from pages.parts.components.evidence_panel import evidence_panel
from pages.parts.components.light_table import Panel, light_table
from pages.parts.components.worklist import KEYS

DEMO = "demo"
TEACHES = 136
"""A drawn patch in which the shipped network finds much of both signs."""
LIGHT_TABLE_KEYS = (
    ("+, \u2212", "zoom the picture that has the focus; all pictures beside it follow"),
    ("arrows", "on a picture that is zoomed: move it; on the opacity: more or less of the map; in a grid: next tile"),
    ("Space", "on 'Hold to hide heatmap': hide the map as long as it is held"),
)


def what_it_is(task: Task) -> str:
    """What it does, what stands beside it, and what it is not."""
    return (
        f"NodeLens lets a neural network read small patches ({task.subject}), says how probable {task.positive} is, "
        "and paints over the tissue what moved it. Beside it stand figures that say whether the reading and its "
        "map can be believed, and where they cannot it says so in their place. Research use only. Not a medical device."
    )


def how_to_read(model: str, bundle: Bundle, report: EvidenceReport | None) -> None:
    """One drawn patch with its map, and five sentences; the sentences alone where the model reads no such patches."""
    task = bundle.task
    pictures, words = st.columns([3, 2], gap="medium")
    with words:
        st.markdown("\n".join(f"{place}. {sentence}" for place, sentence in enumerate(_sentences(bundle, report), 1)))
    if DEMO not in service.split_names():
        return
    split = service.split(DEMO)
    if task.difference(split.task) is not None:
        return
    index = min(TEACHES, len(split) - 1)
    patch = split.patches([index])[0]
    readings = library.explain(model, patch, "gradcam", "last", task.margin, 1, split.synthetic)
    with pictures:
        choices.synthetic_badge(split.synthetic)
        light_table(
            [Panel("A drawn patch", patch, task, colour=True), evidence_panel("Its map", patch, readings)],
            key="about_table",
            label_box=True,
        )


def _sentences(bundle: Bundle, report: EvidenceReport | None) -> list[str]:
    task, net = bundle.task, bundle.net
    wide = f", each about {net.stride * task.um_per_px:.0f} \u00b5m wide" if task.um_per_px else ""
    fails = [line.what for line in answer(report) if line.verdict == "fails"] if report else []
    examined = f"; and of this model it does not hold that {' or that '.join(fails)}" if fails else ""
    return [
        f"Brown speaks for {task.positive}, blue against it, and where the tissue is bare there is little of either.",
        f"A cell is the smallest thing the map tells apart, at the last layer one of "
        f"{net.cells_in_words(task.side)}{wide}: its edges are none in the tissue.",
        "The colour bar says how much evidence the strongest colour stands for; on the fixed scale a pale map is weak "
        "evidence, and two patches can be compared.",
        f"The map shows what moved the network, which need not be where {task.positive} is.",
        f"Do not lean on it where the verdict is 'refer' or 'not read', or the line beside it says 'with "
        f"care'{examined}.",
    ]


def show_glossary() -> None:
    """All words by chapter, two chapters a row."""
    chapters = list(glossary.GLOSSARY.items())
    with st.container(key="glossary"):
        for start in range(0, len(chapters), 2):
            for column, (name, terms) in zip(st.columns(2, gap="large"), chapters[start : start + 2], strict=False):
                column.html(f"<h3>{escape(name)}</h3>{_facts(terms.items())}")


def show_keys() -> None:
    """What keys do, where the pictures are."""
    st.html(_facts((*KEYS, *LIGHT_TABLE_KEYS)))


def how_to_cite(reader: Reader) -> None:
    """The program, the model with its weights, and the map's paper."""
    st.markdown(
        f"Name the program with its version, the model with the hash of its weights, and the method of the map:\n\n"
        f"> NodeLens {__version__}, model {reader.model.identity}, engine {reader.engine.name}. Maps by Grad-CAM "
        "(Selvaraju et al. 2017, arXiv:1610.02391)."
    )


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in pairs)
    return f'<dl class="nl-facts">{rows}</dl>'
