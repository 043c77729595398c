"""Out-of-distribution pictures: which there are, how they are cut, and which of them choices may be made on.

Those that lay at hand as the detector was designed are parted in two by the hash of their names (`part_of`): what it is
made of was chosen on one half, its figures are of the other. Pictures of other names served no choice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data import corruptions
from core.data.archive import is_junk
from core.data.intake import picture_of
from core.data.sources import is_image
from core.errors import ImportSourceError
from core.task import Task

PER_PICTURE = 8
"""Patches that are cut from one picture, at most: those of one picture are alike."""
COLON = {
    "ADI": "colon, fat",
    "LYM": "colon, lymphocytes",
    "MUC": "colon, mucus",
    "MUS": "colon, muscle",
    "NORM": "colon, normal mucosa",
    "STR": "colon, stroma",
    "TUM": "colon, tumour",
}
"""Classes of CRC-VAL-HE-7K by their names there (Kather et al. 2019, doi:10.1371/journal.pmed.1002730)."""
COLON_UM_PER_PX = 0.5
CHOSEN_AMONG = {*COLON, "1009009"}
"""First parts of the names of pictures that choices were made on: those and ten of the mouth (OCDC)."""

RE_ENCODED, DEFOCUSED = "own, JPEG of quality 50", "own, blur of 0.7 px"
SAME_TISSUE = (RE_ENCODED, DEFOCUSED)
"""One's own patches by other means: a detector that calls them strange judges by the way from glass to file."""

Part = Literal["choosing", "measuring"]
Patches = NDArray[np.uint8]
Names = NDArray[np.str_]


class Kind(NamedTuple):
    """Out-of-distribution patches of one kind.

    Attributes:
        name: what they are.
        patches: uint8 (n, side, side, 3).
        sources: (n,) what each was cut from: those of one slide or picture are alike.
    """

    name: str
    patches: Patches
    sources: Names


def part_of(name: str) -> Part:
    """Whether a picture of that file name serves choices or figures: of CHOSEN_AMONG by the last bit of its SHA-256."""
    if _kind_of(name) not in CHOSEN_AMONG:
        return "measuring"
    return "measuring" if hashlib.sha256(name.encode()).digest()[-1] % 2 else "choosing"


def _kind_of(name: str) -> str:
    return re.split("[_-]", Path(name).stem)[0]


def of_own(own: Kind) -> Iterator[Kind]:
    """One's own patches by other means (SAME_TISSUE), and as a bad focus or a wrong pixel size would bring them."""
    yield Kind(RE_ENCODED, corruptions.jpeg(own.patches, 50), own.sources)
    yield Kind(DEFOCUSED, corruptions.blur(own.patches, 0.7), own.sources)
    yield Kind("own, blur of 2 px", corruptions.blur(own.patches, 2.0), own.sources)
    for factor in (0.5, 2.0, 4.0):
        yield Kind(f"own, scale {factor:g}x", corruptions.scale(own.patches, factor), own.sources)


def of_scikit_image(side: int) -> Iterator[Kind]:
    """Pictures in colour that lie in scikit-image's own folder; nothing is fetched."""
    import skimage

    tissue: list[tuple[str, Patches]] = []
    others: list[tuple[str, Patches]] = []
    for path in sorted((Path(skimage.__file__).parent / "data").glob("*.*")):
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                if image.mode == "RGB":
                    (tissue if path.stem == "ihc" else others).append((path.stem, np.asarray(image)))
    for name, pictures in (("immunohistochemistry", tissue), ("photographs", others)):
        if pictures:
            yield _cut(f"{name} (scikit-image)", pictures, side)


def of_folder(folder: Path, task: Task, part: Part | None = None) -> Iterator[Kind]:
    """Pictures of a folder, read as an upload would be: a kind for each first part of their names where all share one.

    Colon by the names of COLON comes once more, as one kind, brought to the task's pixel size.

    Args:
        folder: holds the pictures.
        task: says how large a patch and a pixel are.
        part: only the pictures that choices were made on, or only the others; see `part_of`.

    Raises:
        ImportSourceError: no picture in it (or none of that part), or one that cannot be read.
    """
    found = sorted(path for path in folder.glob("*") if is_image(path.name) and not is_junk(path.name))
    kinds: dict[str, list[Path]] = {}
    for path in found:
        kinds.setdefault(_kind_of(path.name), []).append(path)
    if len(kinds) == 1 or min(map(len, kinds.values()), default=0) == 1:
        kinds = {f"pictures of {folder.name}": found}
    if part is not None:
        kinds = {name: [path for path in files if part_of(path.name) == part] for name, files in kinds.items()}
    kinds = {name: files for name, files in kinds.items() if files}
    if not kinds:
        raise ImportSourceError(folder, f"it holds no pictures{f' for {part}' if found else ''}")
    for name, files in kinds.items():
        yield _cut(COLON.get(name, name), [(path.name, picture_of(path, task=task)) for path in files], task.side)
    colon = [path for name in COLON for path in kinds.get(name, [])]
    if colon and task.um_per_px:
        pictures = [(path.name, picture_of(path, um_per_px=COLON_UM_PER_PX, task=task)) for path in colon]
        yield _cut(f"colon, all classes, as {COLON_UM_PER_PX:g} um/px", pictures, task.side)


def _cut(name: str, pictures: Sequence[tuple[str, Patches]], side: int) -> Kind:
    """Patches of `side` px side by side out of pictures, evenly chosen where there are too many."""
    patches, sources = [], []
    for source, pixels in pictures:
        tops, lefts = (range(0, length - side + 1, side) for length in pixels.shape[:2])
        corners = [(top, left) for top in tops for left in lefts]
        for place in np.unique(np.linspace(0, len(corners) - 1, PER_PICTURE).astype(int)) if corners else []:
            top, left = corners[place]
            patches.append(pixels[top : top + side, left : left + side])
            sources.append(f"{name}: {source}")
    return Kind(name, np.stack(patches), np.array(sources))
