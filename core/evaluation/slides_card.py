"""What a model's card says of slides: how areas are made, how good maps are, and why no others' figures compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.evaluation.metrics.froc import JOINED_UM, SMALL_UM
from core.models.schema import AreaThreshold, Bundle, FreeTissue, Interval, MapFigures, TissueRecord
from core.slides.areas import NO_STAGE, cut_of
from core.task import PCAM

PUBLISHED = (
    "What others report on CAMELYON16 (129 test slides of two hospitals, whole sections): the best algorithm of the "
    "challenge has a FROC score of 0.81 and an AUC by slide of 0.99, the ResNet18 on patches of MONAI's bundle a FROC "
    "score of 0.72, and a pathologist without a time limit an AUC by slide of 0.97 (Ehteshami Bejnordi et al. 2017, "
    "doi:10.1001/jama.2017.14585; MONAI Model Zoo, pathology_tumor_detection)."
)
NOT_COMPARABLE = (
    "None of it may be set against the figures here. Theirs are of whole sections that no model had seen, nearly all "
    "of whose tissue is healthy, and count false alarms per slide (1/4 to 8 on a slide of hundreds of mm2). These are "
    "of small regions cut around metastases, count false areas per mm2, and say nothing about a slide's diagnosis."
)
_FIGURES = {"pixel_auc": "pixel AUC (chance 0.5)", "average_precision": "average precision", "chance": "its chance"}


def slides_card(bundle: Bundle) -> list[str]:
    """Lines of Markdown; none where nothing was measured."""
    if bundle.slides is None or bundle.areas is None:
        return []
    lines = ["## Whole slides", f"Maps of one cell in {bundle.slides.stride} px. {NO_STAGE}", ""]
    lines += _threshold(bundle, bundle.areas)
    for one in bundle.slides.maps:
        lines += ["", *_maps(one, bundle)]
    if bundle.slides.free is not None:
        lines += ["", *_free(bundle.slides.free, bundle.task.positive)]
    if bundle.task == PCAM:
        lines += ["", "### What others report", PUBLISHED, "", NOT_COMPARABLE]
    return [*lines, ""]


def _threshold(bundle: Bundle, areas: AreaThreshold) -> list[str]:
    cut, positive, on = cut_of(bundle, areas.stride), bundle.task.positive, areas.data
    lines = [
        f"**Threshold for areas: {cut.threshold:.3f}** (for patches: {bundle.point(1).threshold:.3f}).",
        f"The lowest, from that for patches on, with at most {areas.at_most:g} false areas per mm2 of tissue without "
        f"{positive} (isotonic regression), on {_tissue(on)}",
        f"There it has {_text(areas.alarms, 2)} per mm2, and {_text(areas.called)} of such tissue lies in one.",
    ]
    if areas.found is not None and areas.covered is not None:
        lines += [
            f"Areas meet {_text(areas.found)} of the lesions and cover {_text(areas.covered)} of their tissue.",
            f"Lesions here measure {on.mm2_lesions / on.lesions:.2f} mm2 on average: small ones are harder to find.",
        ]
    return [
        *lines,
        "Had other places been drawn, it would lie between "
        f"{areas.chosen_anew.low:.3f} and {areas.chosen_anew.high:.3f}.",
        "It was chosen and measured on the same places. Maps of another stride are cut at it too, though false areas "
        "were not counted there.",
    ]


def _tissue(data: TissueRecord) -> str:
    note = data.note or "what they share with what the model learned from is not recorded"
    return (
        f"{data.name}: {_many(data.pictures, 'picture')} of {_many(data.places, 'place')}, "
        f"{data.mm2_without:.2f} mm2 of tissue without and {data.mm2_lesions:.2f} mm2 in "
        f"{_many(data.lesions, 'lesion')} ({data.fingerprint[:8]}; {note})."
    )


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _maps(one: MapFigures, bundle: Bundle) -> list[str]:
    names = list(one.pixels)
    rows = [
        *((words, one.pixels, key) for key, words in _FIGURES.items()),
        *((f"lesions found at {rate:>4} false areas per mm2", one.found, rate) for rate in _rates(one.found)),
    ]
    about = (
        "95 % bootstrap intervals over places, those of lesions no narrower than if each were found independently "
        "(Clopper & Pearson 1934)"
        if one.data.places > 1
        else "a single place, hence no intervals"
    )
    reasons = {
        words: [rate for rate, other in one.left_out.items() if other == words] for words in one.left_out.values()
    }
    why = [f"Not told at {', '.join(rates)} false areas per mm2: {words}." for words, rates in reasons.items()]
    return [
        f"### {one.data.name}",
        f"{_tissue(one.data)} Cells of tissue alone; {about}. Parts of a mask within {JOINED_UM:g} um are one lesion, "
        f"and what is under {SMALL_UM:g} um across is none. False areas are those of tissue without "
        f"{bundle.task.positive} alone, per mm2.",
        "",
        f"| figure | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {words} | {' | '.join(_cell(by_map, name, key) for name in names)} |" for words, by_map, key in rows),
        *(["", *why] if why else []),
    ]


def _rates(found: Mapping[str, Mapping[str, Interval | float]]) -> Sequence[str]:
    return sorted({rate for one in found.values() for rate in one}, key=float)


def _free(free: FreeTissue, positive: str) -> list[str]:
    note = free.note or "how it is known that there is none is not recorded"
    return [
        f"### Tissue held to be without {positive}",
        f"{_many(free.pictures, 'picture')}, {free.mm2:.2f} mm2 of tissue ({note}).",
        f"Areas per mm2: {_text(free.alarms, 2)} from the threshold for areas on, {_text(free.at_point, 2)} from that "
        "for patches on.",
        "Intervals over pictures, no narrower than if areas came independently (Garwood 1936).",
    ]


def _cell(by_map: Mapping[str, Mapping[str, Interval | float]], name: str, key: str) -> str:
    found = by_map.get(name, {}).get(key)
    return "" if found is None else _text(found)


def _text(found: Interval | float, digits: int = 3) -> str:
    if isinstance(found, Interval):
        return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{found:.{digits}f}"
