"""A case: one patch with its reading and all that is known of it, as facts in words for whatever is taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.flags import SYNTHETIC
from core.explain.registry import METHODS
from core.inference.reader import Readings
from core.view.export import bar_words, explained_words, scale_of
from core.view.verdict import (
    centre_words,
    evidence_words,
    explanation,
    flag_sentence,
    headline,
    is_read,
    probability_words,
    views_words,
)
from core.view.words import on_screen

Facts = list[tuple[str, str]]
NOTICE = "Research use only. Not a medical device; no clinical decision may rest on it."


@dataclass(frozen=True)
class Look:
    """How a reader looks at pictures, as chosen on the light table and beside it.

    Attributes:
        opacity: of the heatmap, in [0, 1].
        smooth: heatmap between its cells; the cells themselves otherwise.
        smooth_tissue: tissue between its pixels; pixel by pixel otherwise.
        label_box: whether the box is outlined that the label is about.
        only_for: paint only what speaks for the target.
        own: colours stretched to each map.
    """

    opacity: float = 0.5
    smooth: bool = False
    smooth_tissue: bool = True
    label_box: bool = True
    only_for: bool = False
    own: bool = False

    @classmethod
    def told(cls, words: Mapping[str, Any], *, only_for: bool = False, own: bool = False) -> Look:
        """A look from the light table's own words, as far as they can be: {"opacity": "50", "grid": "cells", ...}."""
        usual = cls()
        opacity = str(words.get("opacity", ""))
        return cls(
            opacity=min(int(opacity), 100) / 100 if opacity.isdecimal() and len(opacity) < 4 else usual.opacity,
            smooth=words.get("grid", "cells") == "smooth",
            smooth_tissue=words.get("tissue", "smooth") != "pixels",
            label_box=words.get("box", usual.label_box) is not False,
            only_for=only_for,
            own=own,
        )


@dataclass(frozen=True)
class Case:
    """What a report says of one patch.

    Attributes:
        name: of the file or the patch, as shown to people.
        patch: (side, side, 3) uint8 RGB as it was read.
        readings: of this patch alone.
        label: what is known of it, in words.
        notes: what was done to the file before it was read, in sentences.
        agreement, note: what the reader thinks of the reading.
        trust: whether the reading can be leaned on, in a sentence.
        provenance: what the model knew of the patch beforehand, in a sentence.
        synthetic: whether the patch is drawn.
        um_per_px: micrometres per pixel of the file; None where it is not known.
        sha256: of the file's bytes, or of the pixels (side, side, 3) of a split's patch.
        look: how its pictures are drawn.
    """

    name: str
    patch: NDArray[np.uint8]
    readings: Readings
    label: str = ""
    notes: tuple[str, ...] = ()
    agreement: str = ""
    note: str = ""
    trust: str = ""
    provenance: str = ""
    synthetic: bool = False
    um_per_px: float | None = None
    sha256: str = ""
    look: Look = Look()

    @property
    def usable(self) -> bool:
        """Whether no gate stands before the reading."""
        return is_read(self.readings, 0)

    @property
    def headline(self) -> str:
        """The verdict, with the reason where it is no class."""
        return headline(self.readings, 0)

    @property
    def why(self) -> str:
        """Why the verdict is what it is."""
        return explanation(self.readings, 0)

    @property
    def probability(self) -> str:
        """'probability of tumour 0.87, calibrated'."""
        return probability_words(self.readings, 0)

    @property
    def interval(self) -> str:
        """Lowest to highest probability among the views: '0.80 to 0.91'; 'one view' where there is but one."""
        views = self.readings.view_probability[0]
        return f"{views.min():.2f} to {views.max():.2f}" if len(views) > 1 else "one view"

    @property
    def flags(self) -> str:
        """Names of the flags, or 'none'."""
        return "; ".join(self.readings.flags[0]) or "none"

    @property
    def badges(self) -> list[str]:
        """What must be known before all else."""
        drawn = ["Synthetic, not tissue"] if self.synthetic else []
        taught = [f"{SYNTHETIC[:1].upper()}{SYNTHETIC[1:]}: not for tissue"] if self.readings.model.synthetic else []
        return drawn + taught

    def reading(self) -> Facts:
        """What was found, what speaks for it and against it, and what the reader thinks; empty ones left out."""
        readings = self.readings
        found = {
            "Probability": f"{self.probability}; {views_words(readings, 0)}",
            "Can it be leaned on?": self.trust,
            "Evidence": evidence_words(readings, 0) if self.usable else "",
            "In the centre": centre_words(readings, 0) if self.usable else "",
            "Flags": " ".join(flag_sentence(flag) for flag in readings.flags[0]) or "none",
            "Label": self.label,
            "Seen before": self.provenance,
            "Reader": self.agreement,
            "Reader's note": self.note,
        }
        return [(name, words) for name, words in found.items() if words]

    def origin(self) -> Facts:
        """What was read, by what, and how; enough to read it again."""
        readings, task, look = self.readings, self.readings.model.task, self.look
        method, point = METHODS[readings.method], readings.point
        threshold = f"{task.positive} from {point.threshold:.3f} ({point.threshold_rule})"
        band = f"; referred from {point.refer_low:.3f} to {point.refer_high:.3f} ({point.refer_rule})"
        tissue = "smooth" if look.smooth_tissue else "pixel by pixel"
        grid = "smooth" if look.smooth else "as cells"
        scale = f"{bar_words(readings, look.own, look.only_for)}, {scale_of(readings, 0, look.own):.3g} {method.unit}"
        size = f"taken at {self.um_per_px:g} um/px, " if self.um_per_px else ""
        told = {
            "Explained": f"{explained_words(readings, 0)}. It shows {task.targets[readings.target]} ({method.paper}).",
            "Pixel size": on_screen(f"{size}read as {task.size}"),
            "Done to the file": on_screen(" ".join(self.notes)),
            "SHA-256": self.sha256,
            "Model": f"{readings.model.name} {readings.model.version}, weights {readings.model.weights_sha256}, "
            f"engine {readings.engine}",
            "Operating point": f"{threshold}{band if point.refers else ''}",
            "Calibration": point.calibration_rule or point.state,
            "Drawn": f"heatmap {grid} at {look.opacity:.0%} opacity, tissue {tissue}; {scale}",
        }
        return [(name, words) for name, words in told.items() if words]
