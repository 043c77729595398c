"""Numbers in words: durations, figures with their intervals, and units as the screen writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Protocol

_UM = re.compile(r"\bum\b(?!-)")  # not in --um-per-px


def duration(seconds: float) -> str:
    """Seconds below one and a half minutes, else minutes, and hours from 90 of those: '40 s', '5 min', '2 h 5 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def on_screen(text: str) -> str:
    """A sentence with 'µm' for the 'um' of files, command lines and pictures, whose fonts and readers may lack it."""
    return _UM.sub("\u00b5m", text)


UNFAMILIAR = 0.25
"""Share of patches unlike training tissue from which a slide as a whole is doubted."""


def unlike_words(share: float, positive: str) -> str:
    """What is said of a slide whose tissue is unlike training tissue to that share; '' where it was not asked."""
    if math.isnan(share):
        return ""
    said = f"{share:.0%} of patches spread over the tissue are unlike training tissue"
    doubt = f": that nothing is marked says little here, and what is blue is not known to be without {positive}"
    return said + (doubt if share >= UNFAMILIAR else "")


class WithInterval(Protocol):
    """A figure with its interval, None where it is undefined."""

    @property
    def value(self) -> float | None:
        """The figure."""
        ...

    @property
    def low(self) -> float | None:
        """Lower end of its 95 % interval."""
        ...

    @property
    def high(self) -> float | None:
        """Upper end."""
        ...


def interval_words(figure: WithInterval) -> str:
    """'0.57 [0.54, 0.60]'; 'undefined' where there is none. No zero is negative."""
    return _worded(figure, lambda number: f"{round(number, 2) + 0.0:.2f}")


def signed_words(figure: WithInterval) -> str:
    """The same with a sign, as '+2.00 [+1.50, +2.50]'."""
    return _worded(figure, lambda number: f"{round(number, 2) + 0.0:+.2f}")


def percent_words(figure: WithInterval) -> str:
    """The same of a share, as '52.7% [49.1, 55.8]'."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "undefined"
    return f"{figure.value:.1%} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _worded(figure: WithInterval, written: Callable[[float], str]) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return "undefined"
    return f"{written(figure.value)} [{written(figure.low)}, {written(figure.high)}]"
