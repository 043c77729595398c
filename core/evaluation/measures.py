"""What is measured of a model's maps: each measure with its meaning, chance level and source, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LOCALISATION = "Does it point at the right place?"
FAITHFULNESS = "Does it matter to the prediction?"
RANDOMISATION = "Does it depend on what was learned?"
STABILITY = "Does it hold still?"
AGREEMENT = "Do methods agree?"

ANOTHER = "another patch's map"
DENSITY = "inverse hematoxylin"
"""The baseline that a map is to point better than."""
BASELINES = {
    "random": "random cells",
    "centre prior": "a Gaussian about the middle, the same for every patch",
    "hematoxylin": "the amount of hematoxylin in each cell",
    "inverse hematoxylin": "how little hematoxylin lies in and about each cell",
    "hematoxylin variation": "how evenly hematoxylin lies within each cell",
    "darkness": "how dark each cell is, where a task has no stain",
    ANOTHER: "Grad-CAM of another patch with the same label: what a place alone, or a habit of the map, is worth",
    "activation norm": "how strongly the last layer answers in each cell, whatever it answers",
    "own logit": "what the network says of each place, read alone: the prediction, not its explanation",
}
"""Maps that a method is to be better than; they know nothing of the network, but for those OF_NETWORK."""
OF_NETWORK = ("activation norm", "own logit")
"""Baselines that ask the network what it says, and not why."""


@dataclass(frozen=True)
class Measure:
    """One figure of merit.

    Attributes:
        title: as in a table's head.
        group: the question it answers.
        chance: what a map that knows nothing gets; None where it depends on the data and each row has its own.
        better: which way is good.
        meaning: in one plain sentence.
        source: where it comes from.
    """

    title: str
    group: str
    chance: float | None
    better: Literal["high", "low"]
    meaning: str
    source: str


_GRID = "Boehle et al. 2021, arXiv:2104.00032; Rao et al. 2022, arXiv:2205.10435"
_REGIONS = (
    " Regions that share slides with what the model learned from, as those of CAMELYON do with PCam's train, tell "
    "nothing of other slides."
)
_PETSIUK = "Petsiuk et al. 2018, arXiv:1806.07421"


def _pixel_measures(where: str, on: str, note: str = "") -> dict[str, Measure]:
    return {
        f"{where}_pixel_auc": Measure(
            f"Pixel AUC, {on}",
            LOCALISATION,
            0.5,
            "high",
            f"Chance that a pixel of the mask is hotter than another, in {on}.{note}",
            "Choe et al. 2020, arXiv:2007.04178",
        ),
        f"{where}_average_precision": Measure(
            f"Average precision, {on}",
            LOCALISATION,
            None,
            "high",
            f"Mean precision over all thresholds of pixels called positive, in {on}; chance is the mask's share.{note}",
            "Choe et al. 2020, arXiv:2007.04178",
        ),
        f"{where}_iou": Measure(
            f"IoU, {on}",
            LOCALISATION,
            None,
            "high",
            f"Overlap with the mask at a threshold chosen on other images, in {on}; chance is the mask's share.{note}",
            "Choe et al. 2020, arXiv:2007.04178",
        ),
        f"{where}_hit": Measure(
            f"Hottest pixel in the mask, {on}",
            LOCALISATION,
            None,
            "high",
            f"How often the hottest pixel lies in the mask, in {on}; chance is the mask's share.{note}",
            "Zhang et al. 2018, doi:10.1007/s11263-017-1059-x",
        ),
    }


MEASURES: dict[str, Measure] = {
    "mosaic2": Measure(
        "Mosaic 2 x 2",
        LOCALISATION,
        1 / 4,
        "high",
        "Share of the positive evidence inside the one positive patch among four; a map that says more than the "
        "prediction beats the patches' own logits.",
        _GRID,
    ),
    "mosaic2_hit": Measure(
        "Mosaic 2 x 2, hottest",
        LOCALISATION,
        1 / 4,
        "high",
        "How often the hottest cell lies in the one positive patch among four.",
        _GRID,
    ),
    "mosaic3": Measure(
        "Mosaic 3 x 3",
        LOCALISATION,
        1 / 9,
        "high",
        "Share of the positive evidence inside the one positive patch among nine.",
        _GRID,
    ),
    "mosaic3_hit": Measure(
        "Mosaic 3 x 3, hottest",
        LOCALISATION,
        1 / 9,
        "high",
        "How often the hottest cell lies in the one positive patch among nine.",
        _GRID,
    ),
    "centre_share": Measure(
        "In the label's centre",
        LOCALISATION,
        None,
        "high",
        "Share of a true positive's positive evidence inside the box that decides the label.",
        "Veeling et al. 2018, for the label",
    ),
    "centre_context": Measure(
        "In the label's centre, unpadded",
        LOCALISATION,
        None,
        "high",
        "The same with mirrored tissue in place of the network's padding: what is gone then was the place's.",
        "Islam et al. 2020, arXiv:2001.08248, for the idea",
    ),
    **_pixel_measures("masks", "patches with masks"),
    **_pixel_measures("regions", "regions with masks", _REGIONS),
    "planted_hit": Measure(
        "Planted tissue found",
        LOCALISATION,
        None,
        "high",
        "How often the hottest of nine cells is the one where tissue of the positive class was planted; chance is how "
        "often it is when tissue without it was planted there.",
        "Yang & Kim 2019, arXiv:1907.09701, for the idea",
    ),
    "planted_share": Measure(
        "Evidence in planted tissue",
        LOCALISATION,
        None,
        "high",
        "Share of the positive evidence in the cell where tissue of the positive class was planted; chance is that "
        "of tissue without it.",
        "Yang & Kim 2019, arXiv:1907.09701, for the idea",
    ),
    "follows": Measure(
        "Follows moved tissue",
        LOCALISATION,
        None,
        "high",
        "Correlation of the map with that of the patch moved by 32 px amid its own mirror images, moved back, over the "
        "cells that both have; chance is that with another patch's map.",
        "Lenc & Vedaldi 2015, arXiv:1411.5908, for the idea",
    ),
    "gap_donor": Measure(
        "Insertion - deletion, donor tissue",
        FAITHFULNESS,
        None,
        "high",
        "Logits that the curve lies higher when the hottest cells come first than when they go first, with tissue of a "
        "patch without the positive class in the others' place; chance is what other patches' maps get.",
        _PETSIUK,
    ),
    "shapley_spearman": Measure(
        "Evidence and Shapley value",
        FAITHFULNESS,
        None,
        "high",
        "Rank correlation of a cell's evidence with its exact Shapley value, all others being tissue of the patch or "
        "of the donor in turn; chance is what other patches' maps get.",
        "Lundberg & Lee 2017, arXiv:1705.07874",
    ),
    "drop_donor": Measure(
        "Evidence and drop, donor tissue",
        FAITHFULNESS,
        0.0,
        "high",
        "Rank correlation of a cell's evidence with the fall of the logit when donor tissue takes that cell's place.",
        "Ancona et al. 2018, arXiv:1711.06104",
    ),
    "donor_swap": Measure(
        "Donor for donor",
        FAITHFULNESS,
        None,
        "low",
        "Logits that a patch without the positive class falls when a cell gives way to tissue of another such patch: "
        "what the cut edges do.",
        "control of the measures with donor tissue",
    ),
    "gap_blurred": Measure(
        "Insertion - deletion, blurred",
        FAITHFULNESS,
        None,
        "high",
        "Logits that the curve lies higher when the hottest cells come first into a blurred patch than when they go "
        "first; chance is what the map of another patch gets. A blurred cell may read as the positive class in itself.",
        _PETSIUK,
    ),
    "gap_inpainted": Measure(
        "Insertion - deletion, inpainted",
        FAITHFULNESS,
        None,
        "high",
        "The same with cells filled in from their surroundings.",
        _PETSIUK,
    ),
    "deletion": Measure(
        "Deletion, blurred",
        FAITHFULNESS,
        None,
        "low",
        "Mean logit as the hottest cells are blurred one after another; chance is the random map's.",
        _PETSIUK,
    ),
    "insertion": Measure(
        "Insertion, blurred",
        FAITHFULNESS,
        None,
        "high",
        "Mean logit as the hottest cells come into a blurred patch; chance is the random map's.",
        _PETSIUK,
    ),
    "road": Measure(
        "ROAD",
        FAITHFULNESS,
        0.0,
        "high",
        "Logits that inpainting the coldest cells leaves more than inpainting the hottest.",
        "Rong et al. 2022, arXiv:2202.00449",
    ),
    "drop_spearman": Measure(
        "Evidence and drop",
        FAITHFULNESS,
        0.0,
        "high",
        "Rank correlation of a cell's evidence with the fall of the logit when that cell alone is blurred.",
        "Ancona et al. 2018, arXiv:1711.06104",
    ),
    "after_randomising": Measure(
        "After randomising the network",
        RANDOMISATION,
        None,
        "low",
        "Size of the rank correlation of the map with that of a network with random weights, over networks; chance is "
        "that of the map with its cells in any order.",
        "Adebayo et al. 2018, arXiv:1810.03292",
    ),
    "turns_drift": Measure(
        "Drift under flips and turns",
        STABILITY,
        1.0,
        "low",
        "1 - correlation of the map with that of the flipped or turned patch, turned back; 1 is an unrelated map.",
        "Wang et al. 2020, arXiv:2004.04581, for the idea",
    ),
    "stress_drift": Measure(
        "Drift under small changes",
        STABILITY,
        1.0,
        "low",
        "The same under mild stain, light, focus, noise, coding, shift and scale changes; 1 is an unrelated map.",
        "Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049, for the idea",
    ),
    "moved_alone": Measure(
        "Moved without the probability",
        STABILITY,
        None,
        "low",
        "Share of the mild changes that left the probability where it was and moved the map all the same.",
        "Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049, for the idea",
    ),
    "agreement": Measure(
        "Agreement with Grad-CAM",
        AGREEMENT,
        0.0,
        "high",
        "Rank correlation of the map with Grad-CAM at the last layer, on the finer of the two grids.",
        "Krishna et al. 2022, arXiv:2202.01602, for the idea",
    ),
}
"""In the order of the table."""
