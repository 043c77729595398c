"""The study's figures for a finished run, each as PNG and as data."""

from __future__ import annotations

import numpy as np
import streamlit as st

from core.data.pcam import Split
from core.evaluation.metrics.classification import area_under_roc
from core.evaluation.metrics.likelihood import losses
from core.kept import Kept
from core.training.launch import opener
from core.training.runs import PREDICTIONS, Run
from core.training.watch import Predictions, read_predictions
from core.view.charts import training as figures
from core.view.contact_sheet import contact_sheet
from core.view.overlay import png
from pages.parts import choices, library
from pages.parts.components.chart import chart
from pages.parts.train.trials import latest_comparison

SHOWN = 9
GRIDS = ("most correct", "most wrong", "random")
_sheets: Kept[bytes] = Kept(32)


def study_figures(run: Run) -> None:
    """Decay comparison, rates and losses by cycle, confusion matrix, ROC and grids of patches with their heatmaps."""
    st.subheader("The study's figures")
    if not st.toggle("Show them", key="figures", bind="query-params"):
        st.caption(
            "Confusion matrix, ROC, learning rate and losses by cycle, weight decays, and grids of patches with "
            "heatmaps."
        )
        return
    classes = (run.config.task.negative, run.config.task.positive)
    facts = {run.name: run.history()}
    predictions = read_predictions(run.folder)
    auc = area_under_roc(predictions.probability, predictions.label)
    with st.container(key="study_charts"):
        one, two, three = st.columns(3)
        with one:
            st.markdown("Confusion matrix at 0.5, before calibration")
            chart(figures.confusion(predictions.confusion(), classes), f"{run.name}-confusion")
        with two:
            st.markdown(f"ROC on {len(predictions.label):,} validation patches")
            chart(figures.roc(predictions.probability, predictions.label, auc), f"{run.name}-roc")
        with three:
            st.markdown("Weight decays compared")
            comparison = latest_comparison()
            if comparison:
                chart(figures.decay_comparison(comparison["curves"]), f"{run.name}-decay")
                st.caption(f"The newest comparison here, with {comparison['config']['architecture']}.")
            else:
                st.info("None has been made yet: see 'Weight decay' above.")
        columns = st.columns(3)
        with columns[0]:
            st.markdown("Learning rate of the initial cycle")
            chart(figures.rates(facts, 0), f"{run.name}-rates-1")
        for number in range(len(run.config.cycles)):
            with columns[(number + 1) % 3]:
                st.markdown(f"Losses of cycle {number + 1}")
                chart(figures.losses(facts, number), f"{run.name}-losses-{number + 1}")
    path = run.folder / PREDICTIONS
    st.download_button("Predictions (CSV)", path.read_bytes(), f"{run.name}-predictions.csv", on_click="ignore")
    which = st.segmented_control("Patches", GRIDS, default=GRIDS[0], required=True, key="grid", bind="query-params")
    choices.synthetic_badge(_validated_on(run).synthetic)
    picture = library.kept(
        _sheets,
        (run.folder, which),
        lambda: _sheet(run, predictions, which),
        "Reading the patches with the run's model ...",
        stamp=path.stat().st_mtime_ns,
    )
    st.image(picture, width="content", alt=f"The {which} patches of {run.name} with their heatmaps")
    name = f"{run.name}-{which.replace(' ', '-')}.png"
    st.download_button("Picture (PNG)", picture, name, "image/png", on_click="ignore")


def chosen(predictions: Predictions, which: str) -> np.ndarray:
    """Places of the patches of a grid among the predictions."""
    if which == "random":
        return np.random.default_rng(0).permutation(len(predictions.index))[:SHOWN]
    loss = losses(predictions.probability, predictions.label)
    return np.argsort(loss if which == "most correct" else -loss, kind="stable")[:SHOWN]


def _validated_on(run: Run) -> Split:
    config = run.config
    return opener(config)(config.train_split if config.holdout == "random" else config.valid_split)


def _sheet(run: Run, predictions: Predictions, which: str) -> bytes:
    places = chosen(predictions, which)
    split, task = _validated_on(run), run.config.task
    patches = split.patches(predictions.index[places])
    readings = library.reader(str(run.model)).explain(patches, target="predicted")
    loss = losses(readings.probability, predictions.label[places])
    words = [
        (
            f"predicted {task.label(readings.logit[i] >= 0)}",
            f"actual {task.label(predictions.label[place])}",
            f"loss {loss[i]:.3f}, probability {readings.probability[i]:.3f}",
            f"patch {predictions.index[place]}",
        )
        for i, place in enumerate(places)
    ]
    scale = max(float(readings.attribution.max()), 1e-6)
    notice = "Synthetic, not tissue. " if split.synthetic else ""
    caption = (
        f"Run {run.name}, {which}. {readings.explained}, before calibration. Scale: the highest of these maps. "
        f"{notice}Research use only."
    )
    return png(contact_sheet(patches, readings.attribution, words, scale, columns=3, caption=caption))
