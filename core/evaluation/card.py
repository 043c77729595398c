"""The model card, written from the bundle: no figure is typed by hand (Mitchell et al. 2019, arXiv:1810.03993)."""

from __future__ import annotations

import math

from core.evaluation.calibration import OUTSIDE_BAND, SENSITIVITY
from core.evaluation.calibrators import HALVINGS, MATTERS, SERVES, as_good, simplest
from core.evaluation.metrics.classification import FIGURES
from core.evaluation.slides_card import slides_card
from core.models.schema import Bundle, Evaluation, Guarantee, Interval, OperatingPoint, Outcome
from core.task import PCAM_ORIGIN

PCAM_TRAINING = frozenset(("d7a1a3b642addd79d174428916faa13709efbc5e7375c11a21398ff247fcc1d2",))
"""Fingerprints of training patches known to be PCam's: those of its 20,000 that the shipped models learned from."""


def limits(bundle: Bundle) -> list[str]:
    """What every reader must know, in plain words; of where a model comes from only what its bundle knows."""
    task = bundle.task
    cells = bundle.net.cells(task.side) ** 2
    shows = (
        f"A heatmap shows what moved the network, not where {task.positive} is. At the last layer it has {cells} cells."
    )
    if field := bundle.net.field:
        shows += f" Each is a function of the {field.size} x {field.size} px around it and of nothing else."
    return [*task.limits, *_origin(bundle), _prevalence(bundle), shows]


def _origin(bundle: Bundle) -> list[str]:
    learned = bundle.training.data[:1]
    elsewhere = "Pictures from elsewhere can shift its readings without a warning."
    if any(data.fingerprint in PCAM_TRAINING for data in learned):
        return list(PCAM_ORIGIN)
    if bundle.synthetic:
        source = "It learned from drawn patches, which are no tissue."
    elif learned:
        source = f"Where the {learned[0].patches:,} patches it learned from come from is not recorded."
    else:
        source = "What it learned from is not recorded."
    return [
        "What the labels it learned from mean is not recorded. Here a label says whether there is "
        f"{bundle.task.positive} {bundle.task.label_place}.",
        f"{source} {elsewhere}",
    ]


def _prevalence(bundle: Bundle) -> str:
    positive = bundle.task.positive
    if not bundle.evaluations:
        return f"How often it is right when it reads {positive} depends on how common {positive} is where it is used."
    last = bundle.evaluations[-1]
    share = last.positives / last.data.patches
    rare = f"Where fewer are, a reading of {positive} is worth less."
    return f"Of the patches in {last.data.split} that it was measured on, {share:.0%} are positive. {rare}"


def model_card(bundle: Bundle) -> str:
    """CARD.md of a bundle, as Markdown."""
    return "\n".join(
        [
            f"# {bundle.net.title}: {bundle.identity}",
            "",
            f"Input: {bundle.task.size} RGB, normalised with mean {_list(bundle.mean)} and std {_list(bundle.std)} "
            "(grey levels).",
            f"Output: two logits, {bundle.task.negative} and {bundle.task.positive}.",
            "",
            "## Limits",
            *(f"- {limit}" for limit in limits(bundle)),
            "",
            "## Training",
            bundle.training.recipe,
            "",
            *_training_facts(bundle),
            "",
            "## From logit to verdict",
            *_operating_points(bundle),
            *_how_chosen(bundle),
            *_promises(bundle),
            "",
            "## Figures",
            *_evaluations(bundle),
            "",
            *slides_card(bundle),
        ]
    )


def _training_facts(bundle: Bundle) -> list[str]:
    data = "; ".join(
        f"{d.split}, {d.patches:,} patches ({d.fingerprint[:8]}){', ' + d.note if d.note else ''}"
        for d in bundle.training.data
    )
    return [
        f"- Data: {data or 'not recorded'}.",
        *_ood(bundle),
        f"- Finished: {bundle.training.finished or 'not recorded'}.",
        f"- Libraries: {', '.join(f'{k} {v}' for k, v in bundle.libraries.items()) or 'not recorded'}.",
        *_again(bundle),
        *_trials(bundle),
    ]


def _ood(bundle: Bundle) -> list[str]:
    """What is called unlike training tissue, where the bundle can tell."""
    if bundle.ood is None:
        return []
    fitted, limit = (
        f"{d.patches:,} patches of {d.split} ({d.fingerprint[:8]})" for d in (bundle.ood.fitted_on, bundle.ood.limit_on)
    )
    flagged = "- Flagged as unlike training tissue: what lies farther,"
    if not bundle.ood.picture:
        return [f"{flagged} by its features, from {fitted} than 95 % of {limit} do."]
    return [
        f"{flagged} by twelve numbers of its colours and sharpness or by its features, from {fitted} than nearly all "
        f"of {limit} do: at most 4 % lie beyond, at the upper end of the interval over slides, or clusters of colour "
        "where no slides are named. It tells how a picture was made as well as what it shows: the same tissue of other "
        "scanners, and pictures slightly out of focus, are flagged too."
    ]


def _again(bundle: Bundle) -> list[str]:
    """The command that trains it again; none where it started from a file that is not part of the project."""
    start = str(bundle.training.config.get("start", ".safetensors"))
    if start.endswith(".safetensors"):
        return []
    from_itself = ", with the version it started from in its place" if start == bundle.name else ""
    return [f"- Again{from_itself}: `python -m core train models/{bundle.name} --out runs/{bundle.name}`."]


def _trials(bundle: Bundle) -> list[str]:
    if not bundle.training.trials:
        return []
    tried = [(t.what, t.split, t.views, t.figures) for t in bundle.training.trials]
    where = {(split, views) for _, split, views, _ in tried}
    own = [
        ("this model", e.data.split, e.views, e.figures) for e in bundle.evaluations if (e.data.split, e.views) in where
    ]
    rows = [
        f"| {what} | {split}, {_views(views)} | {interval_text(figures['auc'])} | "
        f"{interval_text(figures['accuracy'])} |"
        for what, split, views, figures in (*own, *tried)
    ]
    return ["", "What was tried:", "", "| training | measured on | AUC | accuracy |", "|---|---|---|---|", *rows]


def _views(count: int) -> str:
    return "one view" if count == 1 else f"{count} views"


def _operating_points(bundle: Bundle) -> list[str]:
    if not any(point.calibrated for point in bundle.points.values()):
        return ["Not calibrated. The probability is the network's own, and the threshold of 0.5 was not chosen."]
    on = bundle.calibrated_on
    lines = [
        f"Fitted on {on.split} ({on.patches:,} patches, {on.fingerprint[:8]}{', ' + on.note if on.note else ''})."
        if on
        else "Fitted on patches that were not recorded.",
        "",
        f"| views | {bundle.task.positive} from | refer band | mean logit of the views: calibrated logit |",
        "|---|---|---|---|",
    ]
    for views, point in sorted(bundle.points.items()):
        band = f"{point.refer_low:.3f} to {point.refer_high:.3f}"
        lines.append(f"| {views} | {point.threshold:.3f} | {band} | {_curve(point)} |")
    point = bundle.point(1)
    rules = {"Calibration": point.calibration_rule, "Threshold": point.threshold_rule, "Band": point.refer_rule}
    lines += ["", " ".join(f"{name}: {rule}." for name, rule in rules.items() if rule)]
    if bundle.precision:
        check = bundle.precision
        alike = math.floor(check.map_correlation * 1e5) / 1e5  # what is not quite 1 is not to read as 1
        lines.append(
            f"{check.precision} arithmetic moves a probability by at most {check.largest_shift:.4f} "
            f"over {check.patches:,} patches, and its maps correlate with exact ones at {alike:.5f} or better; "
            + ("it serves where it is faster." if check.harmless else "that is too much, so it never serves.")
        )
    return lines


def _curve(point: OperatingPoint) -> str:
    """The knots of a curve; of two, which are one line, slope and intercept."""
    if len(point.curve) == 2:
        (x, y), (other, higher) = point.curve
        slope = (higher - y) / (other - x)
        return f"{slope:.3f} times the logit {y - slope * x:+.3f}"
    return ", ".join(f"{logit:+.2f}: {calibrated:+.2f}" for logit, calibrated in point.curve) or "unchanged"


def _how_chosen(bundle: Bundle) -> list[str]:
    """The ways to calibrate side by side, where they were compared."""
    trials = bundle.calibration_trials
    if not trials:
        return []
    by_rule = "; ".join(
        f"{_views(views)}, {simplest(t for t in trials if t.views == views) or 'none'}"
        for views in sorted({t.views for t in trials})
    )
    return [
        "",
        "### How the calibration was chosen",
        "Each way was fitted on one half of the slides (clusters of colour where none are named) and measured on "
        f"the other, {HALVINGS} times; intervals draw slides or clusters. In brackets beside a calibration error "
        "stands what these probabilities would show if they were exactly right. As good: the interval beyond the "
        f"best holds zero, or the difference is at most {MATTERS}; an interval that is wide for want of slides "
        f"holds it easily. Simplest that is as good on both kinds of patch: {by_rule}. `model calibrate` fits "
        f"{SERVES}: the simplest that is so for every model shipped.",
        "",
        "| views | way | patches | negative log-likelihood | beyond the best | Brier score | calibration error | "
        "as good |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {t.views} | {t.method} | {t.patches} | {interval_text(t.nll)} | {interval_text(t.beyond_best, 4)} | "
            f"{t.brier.value:.3f} | {t.ece:.3f} ({t.ece_if_right:.3f}) | {'yes' if as_good(t) else 'no'} |"
            for t in trials
        ),
    ]


def _promises(bundle: Bundle) -> list[str]:
    """What the threshold and the band promise, and what happened on each split."""
    if not bundle.guarantees:
        return []
    told = [
        (evaluation.views, place, f"{promise} | {cuts} | {evaluation.data.split} | {' | '.join(happened)} |")
        for evaluation in bundle.evaluations
        for place, (promise, cuts, *happened) in enumerate(promise_rows(bundle, evaluation))
    ]
    rows = [f"| {_views(views)} | {row}" for views, _, row in sorted(told, key=lambda one: one[:2])]
    positive = bundle.task.positive
    return [
        "",
        "### What is promised, and what happened",
        "What serves are point estimates: they reach their goal on the patches that they were chosen on, and "
        "promise nothing elsewhere. A guarantee (conformal risk control, arXiv:2208.02814) holds on average for a "
        "new unit that is exchangeable with those chosen on: one made where and as those were, not any. By patch "
        "it takes patches of a slide to be independent, which they are not. Clusters of colour stand for slides "
        f"where none are named, and are none. Missed: {positive} below the cut, of all {positive} patches of a "
        "unit, on average over units; by patch and of what serves, of all such patches. What is referred is not "
        "missed. The test split tells what happened and chose nothing here; earlier versions of the shipped models"
        " were measured on it too.",
        "",
        "| views | promise | cuts | measured on | missed | false alarms | referred |",
        "|---|---|---|---|---|---|---|",
        *(
            rows
            or [
                f"| {_views(g.views)} | {_guarantee(g)} | {_cuts(g)} | not measured yet | | | |"
                for g in bundle.guarantees
            ]
        ),
    ]


def promise_rows(bundle: Bundle, evaluation: Evaluation) -> list[tuple[str, str, str, str, str]]:
    """Each promise with its cuts, and what happened to it: missed, false alarms, referred.

    Of what serves too, where its rule names the goal; its band speaks of what is not referred.
    """
    point, figures = bundle.point(evaluation.views), evaluation.figures
    rows = []
    if f"at least {SENSITIVITY:.0%}" in point.threshold_rule:
        rows.append(
            (
                f"what serves: {1 - SENSITIVITY:.0%} missed",
                f"{point.threshold:.3f}",
                _rest(figures.get("sensitivity")),
                _rest(figures.get("specificity")),
                "none",
            )
        )
    if f"at least {OUTSIDE_BAND:.0%}" in point.refer_rule:
        rows.append(
            (
                f"what serves: {1 - OUTSIDE_BAND:.0%} of either among those not referred",
                f"{point.refer_low:.3f} to {point.refer_high:.3f}",
                _rest(figures.get("sensitivity_outside")),
                _rest(figures.get("specificity_outside")),
                f"{figures['referred'].value:.3f}" if "referred" in figures else "",
            )
        )
    return [*rows, *(_outcome(one) for one in evaluation.outcomes)]


def _outcome(one: Outcome) -> tuple[str, str, str, str, str]:
    missed, alarms = (interval_text(found) if found else "none" for found in (one.missed, one.false_alarms))
    referred = "none" if one.guarantee.about == "threshold" else f"{one.referred:.3f}"
    return _guarantee(one.guarantee), _cuts(one.guarantee), missed, alarms, referred


def _guarantee(one: Guarantee) -> str:
    of = "missed" if one.about == "threshold" else "of either"
    return f"guarantee by {one.unit} ({one.units:,}): {one.risk:.0%} {of}"


def _cuts(one: Guarantee) -> str:
    return f"{one.low:.3f}" if one.about == "threshold" else f"{one.low:.3f} to {one.high:.3f}"


def _rest(share: Interval | None) -> str:
    if share is None:
        return "none"
    return interval_text(Interval(value=1 - share.value, low=1 - share.high, high=1 - share.low))


def if_right(evaluation: Evaluation) -> str:
    """The calibration error beside what chance alone would show; "" where either is not known."""
    found, right = evaluation.figures.get("ece"), evaluation.ece_if_right
    if found is None or right is None:
        return ""
    return f"{found.value:.3f}; if these probabilities were exactly right, {interval_text(right)}"


def _evaluations(bundle: Bundle) -> list[str]:
    if not bundle.evaluations:
        return ["Not measured yet."]
    # A bin's gap is absolute, so that chance only widens it, and a resample has the sample's chance and its own.
    lines = ["95 % bootstrap intervals in brackets. Resampling adds to a calibration error: its interval lies high."]
    if any(evaluation.by_cluster for evaluation in bundle.evaluations):
        lines.append(
            "Patches of a slide are alike, so that intervals by patch are too narrow. Where slides are not named, "
            "those over clusters of colour stand beside them: no slides, but a measure of how far it matters."
        )
    for evaluation in bundle.evaluations:
        lines += ["", *_evaluation(evaluation)]
    return lines


def _evaluation(evaluation: Evaluation) -> list[str]:
    data = evaluation.data
    note = f" {data.note}." if data.note else ""
    head, rule = "| figure | value |", "|---|---|"
    if evaluation.by_cluster:
        head, rule = f"{head} over {evaluation.clusters} clusters |", f"{rule}---|"
    right = if_right(evaluation)
    return [
        f"### {data.split}, {_views(evaluation.views)}",
        f"{data.patches:,} patches, {evaluation.positives:,} positive ({data.fingerprint[:8]}), "
        f"resampled by {evaluation.resampled_by}.{note}",
        *([f"Calibration error: {right}."] if right else []),
        "",
        head,
        rule,
        *(
            f"| {FIGURES[name]} | {interval_text(value)} |{_over(evaluation, name)}"
            for name, value in evaluation.figures.items()
        ),
    ]


def _over(evaluation: Evaluation, name: str) -> str:
    """The last cell of a row, where there are clusters."""
    if not evaluation.by_cluster:
        return ""
    found = evaluation.by_cluster.get(name)
    return f" [{found.low:.3f}, {found.high:.3f}] |" if found else " |"


def interval_text(interval: Interval, digits: int = 3) -> str:
    """A figure with its interval: '0.860 [0.848, 0.873]'."""
    value, low, high = (f"{x:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _list(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
