"""One reading in words and numbers, each number with its meaning."""

from __future__ import annotations

from html import escape

import numpy as np
import streamlit as st

from core.data.flags import FLAGS
from core.inference import Readings
from core.view.verdict import (
    NOT_TO_BE_USED,
    centre_words,
    evidence_words,
    explanation,
    flag_sentence,
    headline,
    is_read,
    probability_words,
    views_words,
)
from pages.parts.components.tab import say


def show_verdict(readings: Readings, index: int, label: str = "", provenance: str = "", leaning: str = "") -> None:
    """The prediction of one patch: verdict, probability on its axis, spread, evidence, flags, and what is not known.

    A gate takes the place of the verdict: what may not be used stands small and grey, and says so.

    Args:
        readings: as explained on the picture beside.
        index: which patch of them.
        label: what is known of the patch, when it comes from a labelled split.
        provenance: what the model knew of the patch beforehand.
        leaning: whether the reading can be leaned on.
    """
    usable = is_read(readings, index)
    facts = {"Views": views_words(readings, index)}
    task = readings.model.task
    if usable:
        facts["Evidence"] = evidence_words(readings, index)
        if centre := centre_words(readings, index):
            facts["In the centre"] = centre
    facts["Flags"] = "; ".join(readings.flags[index]) or "none"
    if label:
        facts["Label"] = label
    if provenance:
        facts["Seen before"] = provenance
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    why = explanation(readings, index)
    doubts = "".join(
        f'<p class="nl-why">{escape(flag_sentence(flag))}</p>' for flag in readings.flags[index] if FLAGS[flag] != why
    )
    of = f"{task.positive}{'' if task.label_share is None else ' in the centre'}"
    state = readings.point.state if usable else NOT_TO_BE_USED
    say(f"{headline(readings, index)}; {probability_words(readings, index)}.")
    st.html(
        f'<p class="nl-verdict" data-testid="verdict">{escape(headline(readings, index))}</p>'
        f'<p class="nl-why">{escape(why)}</p>'
        f'<p class="nl-number{"" if usable else " nl-unusable"}" data-testid="probability">'
        f"{readings.probability[index]:.2f} <small>probability of {escape(of)}, {state}</small></p>"
        f"{_axis(readings, index) if usable else ''}"
        f'<p class="nl-lean" data-testid="lean">{escape(leaning)}</p>'
        f'<dl class="nl-facts">{rows}</dl>{_uncalibrated(readings)}{doubts}'
    )


def _uncalibrated(readings: Readings) -> str:
    if readings.point.calibrated:
        return ""
    name = readings.model.name
    return (
        f'<p class="nl-why" data-testid="uncalibrated">{escape(name)} is not calibrated for this: the probability is '
        "the network's own, which is sure of too much as a rule, and nothing is left to a person. Calibrate it: "
        f"<code>python -m core model calibrate {escape(name)}</code></p>"
    )


def _axis(readings: Readings, index: int) -> str:
    point, probability = readings.point, float(readings.probability[index])
    views = readings.view_probability[index]
    negative, positive = escape(readings.model.task.negative), escape(readings.model.task.positive)
    band = point.refer_high - point.refer_low
    label = f"; refer band {point.refer_low:.2f} to {point.refer_high:.2f}" if point.refers else ""
    middle = (point.refer_low + point.refer_high) / 2
    refer = f'<span class="tick" style="left:{middle:.2%}">refer</span>' if point.refers else ""
    return (
        '<div class="nl-axis" role="img" aria-label="'
        f'Probability {probability:.2f} on an axis from 0, {negative}, to 1, {positive}{label}">'
        f'<div class="line"></div><div class="band" style="left:{point.refer_low:.2%};width:{band:.2%}"></div>'
        f'<div class="range" style="left:{views.min():.2%};width:{np.ptp(views):.2%}"></div>'
        f'<div class="mark" style="left:{probability:.2%}"></div>'
        f'<span class="tick first" style="left:0">0 {negative}</span>'
        f"{refer}"
        f'<span class="tick last" style="left:100%">{positive} 1</span></div>'
    )
