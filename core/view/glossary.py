"""Words of research in a pathologist's: the one home of tooltips and of the glossary."""

from __future__ import annotations

GLOSSARY: dict[str, dict[str, str]] = {
    "A reading": {
        "patch": "a small square picture of tissue, a fraction of a millimetre wide; all the network ever sees",
        "label box": "the square in the middle of a patch that the answer is about; what lies around it is context",
        "probability": "of a hundred patches given 0.80, about eighty show what is looked for, if it is calibrated",
        "calibrated": "set right on patches whose truth is known, so that 0.80 comes true four times in five",
        "refer": "too close to call, or something speaks against the patch: it is left to a person, and why is said",
        "not read": "there is nothing here that the network could answer about, so no answer is given",
        "flag": "a warning about the picture itself: blurred, blank, strange in colour, or unlike what it learned from",
        "views": "the same patch flipped and turned eight ways; glass has no right way up, so the answers should agree",
        "unlike training tissue": "the network has hardly seen such pictures, and may be sure of itself and wrong",
    },
    "A map": {
        "map": "the evidence cell by cell, painted over the tissue; it shows what moved the network, not a finding",
        "cell": "the smallest square that a map tells apart; at the last layer a patch has three by three",
        "evidence": "how much a cell pushes the answer: brown pushes for what is looked for, blue against it",
        "logit": "the unit of evidence before it becomes a probability: +1 multiplies the odds by 2.7, 0 leaves them",
        "margin": "the evidence for one class less that for the other; above the threshold the first is named",
        "Grad-CAM": "the usual map: what each cell adds to the margin, read off the network's last layer",
        "layer": "a stage of the network; the last one decides, earlier ones see finer detail and decide less",
        "colour scale": "how much evidence the strongest colour stands for; fixed means the same for all patches",
        "rank correlation": "do two maps put their cells in the same order? 1: yes; 0: unrelated; -1: the reverse",
    },
    "Whether to believe it": {
        "chance": "what a map would get that knows nothing; a figure counts only as far as it is better",
        "baseline": "a map that a method is to be better than, such as random cells or where the nuclei are dark",
        "mosaic": "several patches laid together, one with what is looked for: does the evidence fall on that one?",
        "donor tissue": "tissue of a patch without the positive class, put where a cell was taken away: blurred cells "
        "would read as that class in themselves",
        "Shapley value": "what a cell adds to the answer on average, whichever others are there already",
        "claim": "a sentence about the maps that was written down, with its bar, before it was measured",
        "null": "what the same figure comes to where there is nothing to find, as with the map of another patch",
        "insertion, deletion": "put the hottest cells back first, or take them away first: does the answer follow?",
        "randomising": "make the network forget what it learned: a map that stays the same never showed what it knows",
        "drift": "how far the map moves when the patch is turned or changed a little; 0: not at all; 1: unrelated",
        "95 % interval": "where the figure would lie in 95 of 100 such studies; a wide one comes of few patches",
        "AUC": "how often a patch with what is looked for gets the higher probability of two; 0.5 is a coin",
        "calibration error": "how far probabilities are from what came true, on average",
        "hematoxylin": "the blue of the nuclei; how much of it lies in a cell is a baseline",
        "padding": "the empty border that a network puts round a patch; it can draw evidence by itself",
    },
    "Training": {
        "split": "patches kept apart for one purpose: to learn from (train), to choose by (valid), to report on (test)",
        "run": "one training of a network, from its start to a model",
        "epoch": "one pass over all patches that are learned from",
        "learning rate": "how big a step the network takes from each batch: too small learns nothing, too big forgets",
        "weight decay": "a pull that keeps the network simple, so that it learns tissue and not single patches",
    },
}
"""By chapter, terms with their meaning, each an unfinished sentence."""

_MEANINGS = {term: meaning for chapter in GLOSSARY.values() for term, meaning in chapter.items()}


def meaning(*terms: str) -> str:
    """'Logit: the unit of evidence ... . Margin: ...', for a tooltip; raises KeyError of a term that has none."""
    return " ".join(f"{term[0].upper()}{term[1:]}: {_MEANINGS[term]}." for term in terms)
