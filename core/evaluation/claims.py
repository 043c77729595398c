"""What is claimed of a model's maps: written down here before it is measured, each with its null and least effect.

A claim is about Grad-CAM of the margin at the last layer, has one primary figure, and ends in one of three verdicts.
With `bar` = null + least effect that matters:

- holds: the figure lies above the bar;
- fails: it lies below, so that whatever effect there is is too small to matter;
- undecided: neither can be told.

Both are two-sided t-tests of the units' effects against the bar, at 5 % over all claims of a report (Holm 1979).
Everything else in an evidence report is exploratory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.evaluation.schema import ClaimResult, Measured
from core.models.schema import Interval

Verdict = Literal["holds", "fails", "undecided"]
HOLDS: Verdict = "holds"
FAILS: Verdict = "fails"
Groups = NDArray[np.str_] | None
ALPHA = 0.05
"""Chance of any wrong 'holds' or 'fails' among the claims of one report."""
FEWEST = 8
"""Units that a test needs."""
TAU = 0.8
"""Kendall's tau from which on a metric is said to rank maps of known quality, see `core.evaluation.metrics.planted`."""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        asked: what is claimed, after 'whether'.
        holds, fails: the sentence that each verdict makes, without figures.
        figure: what is measured, with its unit.
        null: what the null is.
        least: smallest difference from the null that matters, in the figure's unit.
        planned: units that the design asks for.
        unit: what is resampled where slides are not known.
        why: where `least` comes from.
        metric: of `core.evaluation.metrics.planted.METRICS`, which must rank maps of known quality; "" for none.
    """

    asked: str
    holds: str
    fails: str
    figure: str
    null: str
    least: float
    planned: int
    unit: str
    why: str
    metric: str = ""


CLAIMS: dict[str, Claim] = {
    "matters": Claim(
        "what is hot matters to the prediction",
        "With a donor's tissue in their place, the logit falls sooner without the hot cells than without the cold ones",
        "Taking hot cells away lowers the logit hardly sooner than the map of another patch would",
        "insertion less deletion, donor tissue, in logits",
        "the map of another patch with the same label",
        0.3,
        64,
        "patch",
        "a tenth of the spread between the classes' mean logits, about 3",
        "gap_donor",
    ),
    "shapley": Claim(
        "the order of the cells is that of what they do",
        "Cells stand in the order of what they do to the prediction",
        "Cells stand hardly in the order of what they do to the prediction",
        "rank correlation with exact Shapley values",
        "the map of another patch with the same label",
        0.2,
        64,
        "patch",
        "four in a hundred of the ranks' variance",
        "shapley_spearman",
    ),
    "planted": Claim(
        "the map finds tissue that was put there",
        "The map finds tissue of the positive class that was planted in a patch without it",
        "The map hardly finds tissue of the positive class that was planted in a patch without it",
        "share of patches whose hottest cell is the planted one",
        "the same with tissue without it planted in the same cell",
        0.25,
        200,
        "patch",
        "one patch in four more",
        "planted_hit",
    ),
    "beyond_prediction": Claim(
        "the map says more than the prediction",
        "In a mosaic the map says more about where the positive patch is than each patch's own logit",
        "In a mosaic the map says no more about where the positive patch is than each patch's own logit",
        "share of the positive evidence in the positive patch, less that of patches painted with their own logit",
        "no difference",
        0.05,
        150,
        "patch",
        "a fifth of chance",
    ),
    "beyond_density": Claim(
        "the map points better than the density of nuclei",
        "Over regions with masks the map points better than smoothed inverse hematoxylin, which learned nothing",
        "Over regions with masks the map points no better than smoothed inverse hematoxylin, which learned nothing",
        "pixel AUC, less that of smoothed inverse hematoxylin",
        "no difference",
        0.05,
        18,
        "place",
        "a tenth of the way from chance to perfect",
    ),
    "weights": Claim(
        "the map depends on what the network learned",
        "The map depends on the weights: with random ones it is another",
        "The map depends little on the weights: with random ones it is much the same",
        "1 - |rank correlation| with the map of random weights",
        "a map that ignores the network",
        0.5,
        20,
        "seed",
        "half of what a map that ignores the network lacks",
    ),
    "still": Claim(
        "the map holds still under flips and turns",
        "Flips and turns leave the map more like itself than like other patches' maps",
        "Under flips and turns the map is hardly more like itself than like other patches' maps",
        "correlation with the map of the flipped or turned patch, turned back",
        "the correlation with other patches' maps of the same label",
        0.2,
        90,
        "patch",
        "four in a hundred of the variance",
    ),
}
"""In the order of the answer. A change here makes new claims: confirm them on patches that nobody has looked at."""


def measured(
    name: str,
    effects: NDArray[np.floating],
    null: float = 0.0,
    groups: Groups = None,
    unit: str = "",
    by_colour: Iterable[Interval] = (),
) -> Measured | None:
    """The primary figure of a claim, from what each unit adds to its null.

    Args:
        name: of CLAIMS.
        effects: (n,) of each patch, place or seed: its figure less its own null; nan where it is undefined.
        null: the null's mean, which the figure is told beside.
        groups: (n,) slide or place of each, where units are alike within it; each group counts once.
        unit: what `groups` are; the claim's own unit where there are none.
        by_colour: intervals of the mean effect over clusters of like colour (`core.evaluation.metrics.clusters`): to
            stand beside the t-interval, which takes units for independent. No verdict is made on them.

    Returns:
        Mean and 95 % t-interval of null + effects; None of fewer than FEWEST units.
    """
    from scipy.stats import ttest_1samp

    known = np.isfinite(effects)
    effects = np.asarray(effects, np.float64)[known]
    if groups is not None:
        of = np.unique(groups[known], return_inverse=True)[1]
        effects = np.bincount(of, weights=effects) / np.bincount(of)
    if len(effects) < FEWEST:
        return None
    least, mean = CLAIMS[name].least, float(effects.mean())
    if np.ptp(effects) <= 1e-12:
        low = high = mean
        p = 1.0 if mean == least else 0.0
    else:
        test = ttest_1samp(effects, least)
        low, high = map(float, test.confidence_interval(0.95))
        p = float(test.pvalue)
    wider = [(null + interval.low, null + interval.high) for interval in by_colour]
    return Measured(
        name=name,
        value=null + mean,
        low=null + low,
        high=null + high,
        null=null,
        p=p,
        n=len(effects),
        unit_of_resampling=CLAIMS[name].unit if groups is None else unit,
        by_colour=(min(low for low, _ in wider), max(high for _, high in wider)) if wider else None,
    )


def judged(found: Sequence[Measured], tau: dict[str, float]) -> list[ClaimResult]:
    """Verdicts of what was measured, in the order of CLAIMS, with Holm's correction over all of it.

    Args:
        found: one a claim at most.
        tau: of the metrics that were tried on maps of known quality; a claim whose metric failed is undecided.
    """
    adjusted = holm([one.p for one in found])
    by_name = {one.name: (one, p) for one, p in zip(found, adjusted, strict=True)}
    return [_judged(claim, *by_name[name], tau) for name, claim in CLAIMS.items() if name in by_name]


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, step down (Holm 1979, Scandinavian Journal of Statistics 6: 65-70)."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.asarray(p, np.float64)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(steps, 1)
    return [float(value) for value in adjusted]


def _judged(claim: Claim, found: Measured, p: float, tau: dict[str, float]) -> ClaimResult:
    verdict: Verdict = "undecided"
    sentence = f"It cannot be told whether {claim.asked}"
    if claim.metric and tau.get(claim.metric, 1.0) < TAU:
        sentence += f": the metric ranks maps of known quality with a Kendall's tau of {tau[claim.metric]:.2f} only"
    elif p <= ALPHA:
        above = found.value > found.null + claim.least
        verdict, sentence = (HOLDS, claim.holds) if above else (FAILS, claim.fails)
    kept = found.model_dump(exclude={"p"})
    return ClaimResult(**kept, sentence=sentence + ".", least=claim.least, verdict=verdict)
