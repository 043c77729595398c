"""Seeded H&E-like lymph-node patches with the pixel mask that real PCam does not publish.

A scene of tissues and nuclei is drawn as two concentration fields, hematoxylin and eosin, and turned into light by
Beer-Lambert: RGB = white * 10 ** -(c_h * v_h + c_e * v_e), with unit optical-density vectors in the sense of
Ruifrok & Johnston (2001). Vectors and concentrations were set so that optical density, sharpness and size of nuclei
match PCam's two scanners. The label follows PCam's rule (Veeling et al., 2018): positive when the centre 32 x 32 px
holds a tumour pixel, so a negative may hold tumour outside it.

These pictures show that the software works. They are not tissue, and no score on them says anything about patients.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from core.data.pcam import file_of
from core.errors import OutputError, SyntheticRequestError
from core.files import atomic_path
from core.task import PCAM, require_pcam

__all__ = ["SyntheticSplit", "generate", "write_demo"]

Field = NDArray[np.float64]  # one value per drawn pixel, (DRAWN, DRAWN)

OVERSAMPLING = 2  # drawn pixels per patch pixel and axis, so that edges are averaged like on a sensor
SIDE, LABEL_BOX = PCAM.side, PCAM.label_box
"""What is drawn are patches of PCam's task."""
DRAWN = SIDE * OVERSAMPLING
COUNTS = (2, 100_000)
SEEDS = (0, 2**63 - 1)  # what an HDF5 attribute holds
GREY_STEP = 4  # 64 levels a channel: the file is a third smaller and the eye sees no difference
MINGLED = 0.12  # highest share of lymphocytes among the nuclei tried in any other tissue
SEEN_OUTSIDE = 0.08  # share of negatives with tumour outside the centre
NEIGHBOURS = 3  # nuclei that may overlap in one pixel


@dataclass(frozen=True)
class SyntheticSplit:
    """Drawn patches, their labels and where the tumour is.

    Attributes:
        patches: (n, 96, 96, 3) uint8 RGB at about 0.97 um/px.
        labels: (n,) uint8, 1 when the centre 32 x 32 px of the mask holds a tumour pixel.
        masks: (n, 96, 96) uint8, 1 = tumour pixel (the region of the nest, not its nuclei alone).
    """

    patches: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    masks: NDArray[np.uint8]


class Tissue(NamedTuple):
    """How one tissue is drawn: lengths in patch pixels, amounts as stain concentration (1 = a dark nucleus)."""

    radius: float  # mean nuclear radius
    pleomorphism: float  # standard deviation of the log radius
    elongation: float  # long over short axis of a nucleus
    spacing: float  # smallest distance of two nuclei over the sum of their radii
    chromatin: float  # hematoxylin of a nucleus
    vesicular: float  # 0 = solid nucleus, 1 = pale inside a dark rim
    nucleolus: float  # hematoxylin a nucleolus adds
    eosin: float  # eosin of cytoplasm and matrix
    basophilia: float  # hematoxylin of cytoplasm and matrix
    fibrous: float  # contrast of the fibres
    clear: float  # share of the area between nuclei that is empty


LYMPHOID, GERMINAL, SINUS, STROMA, FAT, BLOOD, GLASS, TUMOUR = range(8)
TISSUES = (
    Tissue(2.7, 0.12, 1.15, 0.95, 0.77, 0.18, 0.0, 0.19, 0.10, 0.2, 0.32),  # lymphoid
    Tissue(3.1, 0.14, 1.30, 1.02, 0.68, 0.45, 0.2, 0.20, 0.10, 0.2, 0.25),  # germinal centre
    Tissue(2.7, 0.14, 1.25, 1.30, 0.76, 0.20, 0.0, 0.20, 0.06, 0.4, 0.42),  # sinus
    Tissue(2.6, 0.22, 2.60, 2.00, 0.68, 0.30, 0.0, 0.30, 0.03, 1.0, 0.25),  # stroma: spindle nuclei along fibres
    Tissue(2.3, 0.20, 2.40, 4.50, 0.74, 0.20, 0.0, 0.24, 0.03, 0.5, 0.05),  # fat: rims of vacuoles
    Tissue(2.8, 0.15, 1.50, 5.00, 0.74, 0.20, 0.0, 0.50, 0.00, 0.3, 0.03),  # blood
    Tissue(2.8, 0.12, 1.10, 4.00, 0.74, 0.25, 0.0, 0.10, 0.02, 0.3, 1.00),  # glass
    Tissue(5.5, 0.20, 1.35, 1.10, 0.52, 0.85, 0.50, 0.20, 0.07, 0.2, 0.12),  # tumour: large, pleomorphic, vesicular
)
VARIATION = (0.09,) * 7 + (0.17,)  # standard deviation of the log of every trait from patch to patch
HOST = {LYMPHOID: 0.42, GERMINAL: 0.08, SINUS: 0.14, STROMA: 0.14, FAT: 0.13, BLOOD: 0.02, GLASS: 0.07}
BESIDE_TUMOUR = {LYMPHOID: 0.45, SINUS: 0.2, STROMA: 0.25, FAT: 0.05, GLASS: 0.05}
# Rows hematoxylin, eosin; columns R, G, B. From the estimate of Macenko et al. (2009) on PCam, then set by eye.
VIOLET = np.array([[0.57, 0.76, 0.31], [0.12, 0.97, 0.18]])
BROWN = np.array([[0.50, 0.74, 0.44], [0.17, 0.82, 0.54]])


class Cells(NamedTuple):
    """The m nuclei of one scene: lengths in patch pixels, angle of the long axis in radians from the row axis."""

    centre: Field  # (m, 2) row, column
    radius: Field
    angle: Field
    trait: dict[str, Field]  # name in Tissue -> (m,)


def generate(n: int, seed: int) -> SyntheticSplit:
    """Draw `n` patches, `n // 2` of them positive, in an order that depends on the seed.

    The same arguments give the same bytes; patch `i` depends only on `seed`, `i` and its label.

    Raises:
        SyntheticRequestError: `n` is not 2 to 100,000, or `seed` is negative or beyond 63 bits.
    """
    labels = _labels(n, seed)
    pairs = [_draw(seed, i, bool(label)) for i, label in enumerate(labels)]
    return SyntheticSplit(np.stack([patch for patch, _ in pairs]), labels, np.stack([mask for _, mask in pairs]))


def _labels(n: int, seed: int) -> NDArray[np.uint8]:
    for name, value, (low, high) in (("n", n, COUNTS), ("seed", seed, SEEDS)):
        if not low <= value <= high:
            raise SyntheticRequestError(name, value, low, high)
    labels = np.zeros(n, np.uint8)
    labels[: n // 2] = 1
    return np.random.default_rng(seed).permutation(labels)


def _draw(seed: int, index: int, positive: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One patch (96, 96, 3) and its mask (96, 96)."""
    rng = np.random.default_rng((seed, index, positive))
    nest, mask = _nest(rng, positive)
    tissue = _tissue_map(rng, nest)
    hematoxylin, eosin = stain(rng, tissue, traits_of(rng))
    return _photograph(rng, hematoxylin, eosin), mask


def noise(rng: np.random.Generator, length: float, slope: float = 2.0, stretch: float = 1.0, angle: float = 0) -> Field:
    """Periodic Gaussian noise of zero mean and unit variance.

    Its amplitude spectrum is flat for waves longer than `length` patch pixels and falls as frequency ** -slope below;
    `stretch` lengthens the waves along `angle` (radians from the row axis), which draws fibres.
    """
    rows, columns = np.fft.fftfreq(DRAWN)[:, None] * OVERSAMPLING, np.fft.rfftfreq(DRAWN) * OVERSAMPLING
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    amplitude = ((along * stretch) ** 2 + across**2 + length**-2.0) ** (-slope / 2)
    amplitude[0, 0] = 0
    field: Field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((DRAWN, DRAWN))) * amplitude)
    field /= field.std()
    return field


def _grid() -> Field:
    """Row and column of every drawn pixel in patch pixels, (2, DRAWN, DRAWN)."""
    grid: Field = (np.indices((DRAWN, DRAWN)) + 0.5) / OVERSAMPLING
    return grid


def _nest(rng: np.random.Generator, positive: bool) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Region of the tumour nest on the drawn grid and on the patch grid; redrawn until PCam's rule gives the label."""
    if not positive and rng.random() >= SEEN_OUTSIDE:
        return np.zeros((DRAWN, DRAWN), bool), np.zeros((SIDE, SIDE), np.uint8)
    while True:
        size = rng.uniform(24, 110) if positive else rng.uniform(10, 40)
        middle = rng.uniform(16, 80, 2) if positive else rng.uniform(0, SIDE, 2)
        distance = np.hypot(*(_grid() - middle[:, None, None]))
        nest = distance + 0.16 * size * noise(rng, 40, 2.5) < size
        mask = (_shrink(nest.astype(float)) >= 0.5).astype(np.uint8)
        if mask.any() and mask[LABEL_BOX, LABEL_BOX].any() == positive:
            return nest, mask


def _tissue_map(rng: np.random.Generator, nest: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Tissue of every drawn pixel: two host tissues that meet in a wavy line, the nest over them."""
    shares = BESIDE_TUMOUR if nest.any() else HOST
    first, second = rng.choice(list(shares), 2, p=list(shares.values()))
    host = np.where(noise(rng, 70, 2.5) > rng.uniform(-0.2, 1.5), second, first)
    return np.where(nest, TUMOUR, host)


def traits_of(rng: np.random.Generator) -> dict[str, Field]:
    """What each tissue is like in one scene: name in Tissue -> one value a tissue."""
    variation = np.array(VARIATION)[:, None] * rng.standard_normal((len(TISSUES), len(Tissue._fields)))
    return dict(zip(Tissue._fields, (np.array(TISSUES) * np.exp(variation)).T, strict=True))


def stain(rng: np.random.Generator, tissue: NDArray[np.intp], traits: dict[str, Field]) -> tuple[Field, Field]:
    """Concentrations of hematoxylin and eosin on the drawn grid, of tissues (DRAWN, DRAWN)."""
    eosin, basophilia, fibrous, clear = (
        ndimage.gaussian_filter(traits[name][tissue], OVERSAMPLING)
        for name in ("eosin", "basophilia", "fibrous", "clear")
    )
    flow = rng.uniform(0, np.pi)
    waves = _grid() + 3 * np.stack([noise(rng, 22, 2.5), noise(rng, 22, 2.5)])
    strands = ndimage.map_coordinates(
        noise(rng, 5, 1.7, stretch=9, angle=flow), waves * OVERSAMPLING, order=1, mode="grid-wrap"
    )
    matter = _matter(rng, tissue, clear, fibrous, strands)
    texture = 1 + 0.24 * noise(rng, 9, 1.4) + 0.5 * fibrous * strands
    nuclei, territory = _nuclei(rng, _place(rng, tissue, traits, matter, flow))
    background = matter * np.maximum(texture, 0.1) * territory
    return nuclei + basophilia * background, eosin * background * (1 - 0.3 * np.minimum(nuclei, 1))


def _matter(rng: np.random.Generator, tissue: NDArray[np.intp], clear: Field, fibrous: Field, strands: Field) -> Field:
    """0 where light passes unstained (glass, fat vacuoles, clefts), 1 where there is tissue."""
    order = (1 - fibrous) * noise(rng, 7, 1.8) + fibrous * strands
    level = np.interp(clear, [0, 0.5, 1], [-2.5, 0.0, 3.5])
    matter = 1 / (1 + np.exp(-2.5 * (order - level)))
    fat = tissue == FAT
    if fat.any():
        vacuoles = cKDTree(rng.uniform(-20, SIDE + 20, (rng.integers(6, 14), 2)))
        bent = (_grid() + 1.5 * noise(rng, 30)).reshape(2, -1).T
        near, beyond = vacuoles.query(bent, k=2)[0].T.reshape(2, DRAWN, DRAWN)
        rim = np.exp(-(((beyond - near) / rng.uniform(0.8, 3)) ** 2))
        matter = np.where(fat, rim, matter)
    return matter


def _place(
    rng: np.random.Generator, tissue: NDArray[np.intp], traits: dict[str, Field], matter: Field, flow: float
) -> Cells:
    """Throw nuclei one by one and keep those that have room (Poisson discs of varying radius) and lie in tissue."""
    tries = 1000
    centre = rng.uniform(-6, SIDE + 6, (tries, 2))
    pixel = tuple(np.clip(centre * OVERSAMPLING, 0, DRAWN - 1).astype(int).T)
    kind = np.where(rng.random(tries) < rng.uniform(0, MINGLED), LYMPHOID, tissue[pixel])
    trait = {name: values[kind] for name, values in traits.items()}
    radius = trait["radius"] * np.exp(trait["pleomorphism"] * rng.standard_normal(tries))
    room = radius * trait["spacing"] * np.exp(0.2 * rng.standard_normal(tries))
    angle = np.where(trait["fibrous"] > 0.4, rng.normal(flow, 0.3, tries), rng.uniform(0, np.pi, tries))
    centre[:NEIGHBOURS] = -SIDE * np.arange(1, NEIGHBOURS + 1)[:, None]  # far off, so a pixel always has neighbours
    kept, count = np.arange(tries), NEIGHBOURS
    for i in np.flatnonzero((matter[pixel] > 0.25) | np.isin(tissue[pixel], (LYMPHOID, SINUS))):
        others = kept[:count]
        if (((centre[others] - centre[i]) ** 2).sum(1) > (room[others] + room[i]) ** 2).all():
            kept[count] = i
            count += 1
    kept = kept[:count]
    return Cells(centre[kept], radius[kept], angle[kept], {name: values[kept] for name, values in trait.items()})


def _nuclei(rng: np.random.Generator, cells: Cells) -> tuple[Field, Field]:
    """Hematoxylin of the nuclei, and how densely the cell around each pixel fills its territory (about 1)."""
    m, trait = len(cells.radius), cells.trait
    ragged = 0.5 * np.stack([noise(rng, 6, 3.5), noise(rng, 6, 3.5)])
    points = (_grid() + ragged).reshape(2, -1).T
    distance, near = cKDTree(cells.centre).query(points, k=NEIGHBOURS)
    stretch = np.sqrt(trait["elongation"])
    reached = distance < (1.5 * cells.radius * stretch)[near]  # (pixels, NEIGHBOURS); below, one row per such pair
    pixel, cell = np.nonzero(reached)[0], near[reached]
    down, right = (points[pixel] - cells.centre[cell]).T
    cos, sin = np.cos(cells.angle)[cell], np.sin(cells.angle)[cell]
    along = (down * cos + right * sin) / (cells.radius * stretch)[cell]
    across = (right * cos - down * sin) / (cells.radius / stretch)[cell]
    rho = np.hypot(along, across)  # 1 on the outline of the nucleus

    inside = 1 / (1 + np.exp((rho - 1) * cells.radius[cell] / 0.28))
    vesicular = np.clip(trait["vesicular"] * np.exp(0.3 * rng.standard_normal(m)), 0, 1)
    pale = vesicular[cell] * np.clip(1 - rho**3, 0, 1)
    clumps = 1 + (0.14 + 0.3 * pale) * noise(rng, 3, 2).ravel()[pixel]
    chromatin = (trait["chromatin"] * np.exp(0.18 * rng.standard_normal(m)))[cell] * (1 - 0.7 * pale) * clumps
    spot = 0.4 * rng.standard_normal((2, m))[:, cell]
    nucleolus = trait["nucleolus"][cell] * np.exp(-((along - spot[0]) ** 2 + (across - spot[1]) ** 2) / 0.06)
    layers = np.zeros(near.shape)
    layers[reached] = inside * (chromatin + nucleolus)

    fill = np.exp(0.2 * rng.standard_normal(m))[near[:, 0]]
    cleft = np.exp(-((distance[:, 1] - distance[:, 0]) ** 2) / 0.8)
    territory = fill * (1 - 0.4 * cleft)
    return layers.max(1, initial=0).reshape(DRAWN, DRAWN), territory.reshape(DRAWN, DRAWN)


def _shrink(field: Field) -> Field:
    """Mean of every block of drawn pixels: (DRAWN, DRAWN, ...) to (SIDE, SIDE, ...)."""
    blocks = field.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING, *field.shape[2:])
    mean: Field = blocks.mean((1, 3))
    return mean


def transmit(concentration: Field, vectors: Field, white: Field) -> Field:
    """Light behind stain (Beer-Lambert): white * 10 ** -(concentration @ vectors).

    Args:
        concentration: (..., s), at least 0, amount of each stain.
        vectors: (s, 3), optical density in R, G, B of one unit of each stain.
        white: (3,), light through bare glass, 0..255.
    Returns:
        (..., 3) between 0 and `white`.
    """
    light: Field = white * 10 ** -(concentration @ vectors)
    return light


def _photograph(rng: np.random.Generator, hematoxylin: Field, eosin: Field) -> NDArray[np.uint8]:
    """Stain, scan, sharpen and compress one scene as one of a range of laboratories would: (96, 96, 3)."""
    lab = np.clip(rng.choice([0.0, 1.0], p=[0.35, 0.65]) + 0.15 * rng.standard_normal(), -0.1, 1.1)
    vectors = (1 - lab) * VIOLET + lab * BROWN + 0.02 * rng.standard_normal((2, 3))
    vectors = np.clip(vectors, 0, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(0.13 * rng.standard_normal(2))
    white = np.clip(rng.normal(246, 5) + rng.normal(0, 2, 3), 225, 254)

    light = transmit(np.stack([hematoxylin, eosin], -1) * strength, vectors, white)
    blur = OVERSAMPLING * rng.uniform(0.05, 0.25)
    image = _shrink(ndimage.gaussian_filter(light, (blur, blur, 0)))
    image += rng.uniform(1.2, 2.6) * (image - ndimage.gaussian_filter(image, (0.7, 0.7, 0)))  # scanners sharpen
    image += 1.2 * rng.standard_normal((SIDE, SIDE, 1))
    grey = image.mean(-1, keepdims=True)
    image = grey + ndimage.gaussian_filter(image - grey, (0.7, 0.7, 0))  # JPEG keeps colour at half resolution
    rgb: NDArray[np.uint8] = (np.clip(image, 0, 255) // GREY_STEP * GREY_STEP).astype(np.uint8)
    return rgb


def write_demo(
    out: Path, n: int, seed: int, split: str = "demo", progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write the patches of `generate(n, seed)` as a PCam split that says it is synthetic.

    Patches are written one by one, so any `n` fits in memory. A file takes its name only when all three are whole.

    Args:
        out: folder, made when missing.
        n: 2 to 100,000 patches.
        seed: 0 or more.
        split: name in the file names.
        progress: called with (patches written, n) after each patch.
    Returns:
        The files `camelyonpatch_level_2_split_{split}_{x,y,mask}.h5` with the datasets `x` (n, 96, 96, 3),
        `y` (n, 1, 1, 1) and `mask` (n, 96, 96, 1), all uint8 with the attributes `synthetic` and `seed`.

    Raises:
        SyntheticRequestError: `n` or `seed` is out of range.
        OutputError: the files cannot be written, or the folder holds data of another task.
    """
    labels = _labels(n, seed)
    require_pcam(out)
    paths = [file_of(out, split, f"{key}.h5") for key in ("x", "y", "mask")]
    with ExitStack() as published:
        parts = [published.enter_context(atomic_path(path)) for path in paths]
        if shutil.disk_usage(out).free < n * SIDE**2 * 3:  # HDF5 ends badly on a full disk
            raise OutputError(out, f"there is no room for {n:,} patches")
        with h5py.File(parts[0], "w") as x_file, h5py.File(parts[1], "w") as y_file, h5py.File(parts[2], "w") as m_file:
            x = _patchwise(x_file, "x", n, 3)
            y = y_file.create_dataset("y", data=labels.reshape(-1, 1, 1, 1), track_times=False)
            mask = _patchwise(m_file, "mask", n, 1)
            for dataset in (x, y, mask):
                dataset.attrs.update(synthetic=True, seed=seed)
            for i, label in enumerate(labels):
                x[i], mask[i, :, :, 0] = _draw(seed, i, bool(label))
                if progress:
                    progress(i + 1, n)
    return paths


def _patchwise(file: h5py.File, key: str, n: int, channels: int) -> h5py.Dataset:
    """New compressed dataset (n, 96, 96, channels) from which one patch is read without its neighbours."""
    shape = (SIDE, SIDE, channels)
    return file.create_dataset(key, (n, *shape), np.uint8, chunks=(1, *shape), compression=4, track_times=False)
