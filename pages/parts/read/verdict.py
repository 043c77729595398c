"""One reading in words and numbers, each number with its meaning."""

from __future__ import annotations

from html import escape

import numpy as np
import streamlit as st

from core.data.flags import FLAGS
from core.explain.grid import centre_share
from core.explain.registry import METHODS
from core.inference import Readings
from core.task import REFER

REFERRED = "Refer: too close to call"


def show_verdict(readings: Readings, index: int, label: str = "") -> None:
    """The prediction of one patch: verdict, probability on its axis, spread, evidence, flags, and what is not known.

    Args:
        readings: as explained on the picture beside.
        index: which patch of them.
        label: what is known of the patch, when it comes from a labelled split.
    """
    facts = {
        "Views": _views(readings, index),
        "Evidence": _evidence(readings, index),
    }
    task = readings.model.task
    if task.label_share is not None:
        facts["In the centre"] = _centre(readings, index, task.label_share)
    facts["Flags"] = "; ".join(readings.flags[index]) or "none"
    if label:
        facts["Label"] = label
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    doubts = "".join(f'<p class="nl-why">{escape(_sentence(flag))}</p>' for flag in readings.flags[index])
    verdict = str(readings.verdict[index])
    headline = REFERRED if verdict == REFER else task.headline(verdict)
    of = f"{task.positive}{'' if task.label_share is None else ' in the centre'}"
    st.html(
        f'<p class="nl-verdict" data-testid="verdict">{escape(headline)}</p>'
        f'<p class="nl-why">{escape(_why(readings, verdict))}</p>'
        f'<p class="nl-number" data-testid="probability">{readings.probability[index]:.2f} '
        f"<small>probability of {escape(of)}, {readings.point.state}</small></p>"
        f'{_axis(readings, index)}<dl class="nl-facts">{rows}</dl>{_uncalibrated(readings)}{doubts}'
    )


def _sentence(flag: str) -> str:
    return f"{flag[0].upper()}{flag[1:]}: {FLAGS[flag]}"


def _why(readings: Readings, verdict: str) -> str:
    point = readings.point
    if verdict == REFER:
        return f"Inside the band from {point.refer_low:.2f} to {point.refer_high:.2f} that is left to a person."
    side = "at or above" if verdict == readings.model.task.positive else "below"
    beside = " and outside the refer band" if point.refers else f" ({point.threshold_rule})"
    return f"The probability is {side} the threshold {point.threshold:.2f}{beside}."


def _uncalibrated(readings: Readings) -> str:
    if readings.point.calibrated:
        return ""
    name = readings.model.name
    return (
        f'<p class="nl-why" data-testid="uncalibrated">{escape(name)} is not calibrated for this: the probability is '
        "the network's own, which is sure of too much as a rule, and nothing is left to a person. Calibrate it: "
        f"<code>python -m core model calibrate {escape(name)}</code></p>"
    )


def _views(readings: Readings, index: int) -> str:
    if readings.views == 1:
        return "one view, as the patch lies"
    lowest, highest = readings.view_probability[index].min(), readings.view_probability[index].max()
    return f"eight flips and turns, {lowest:.2f} to {highest:.2f}"


def _evidence(readings: Readings, index: int) -> str:
    heatmap, unit = readings.attribution[index], METHODS[readings.method].unit
    speaks_for = float(np.maximum(heatmap, 0).sum())
    against = float(np.minimum(heatmap, 0).sum())
    if speaks_for == 0:
        return f"none for the target, {against:+.2f} against it ({unit})"
    opposed = f"{against:+.2f}" if against else "none"
    return f"{speaks_for:+.2f} for, {opposed} against ({unit}); margin {readings.logit[index]:+.2f} (logits)"


def _centre(readings: Readings, index: int, chance: float) -> str:
    share = float(centre_share(readings.attribution[index][None], readings.model.task)[0])
    if np.isnan(share):
        return "no positive evidence to place"
    return f"{share:.0%} of the positive evidence (chance {chance:.0%})"


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
