"""A scan as DICOM beside the DICOM slide that it was made of: areas as a segmentation, the map as a parametric map.

Both lie in the slide's frame of reference and study, so that an archive finds what they belong to. Nothing else of what
the slide says is copied: patient, specimen and container stay empty.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import __version__
from core.files import atomic_path
from core.slides.areas import Area
from core.slides.scan import Scan

log = logging.getLogger(__name__)

SEGMENTATION, PARAMETRIC_MAP = "areas.dcm", "heatmap.dcm"
NOT_READ = -1.0
"""What stands in the parametric map where nothing was read; probabilities are mapped from 0 on alone."""
TILE = 256
_COPIED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "Rows", "Columns", "NumberOfFrames"),
    *("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "TotalPixelMatrixOriginSequence", "ImageOrientationSlide"),
    *("TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths", "DimensionOrganizationType"),
    *("ImagedVolumeWidth", "ImagedVolumeHeight", "ImagedVolumeDepth"),
)
_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def write_dicom(scan: Scan, areas: Sequence[Area], folder: Path) -> list[Path]:
    """Write both files into a folder; none where the slide is no DICOM, or `highdicom` is not installed.

    Raises:
        OutputError: the folder is full or read-only.
    """
    if scan.slide.format != "dicom" or find_spec("highdicom") is None:
        return []
    source = _level_0(scan.slide.path, scan.slide.width, scan.slide.height)
    if source is None:
        log.warning("no DICOM is written: the slide's first level is in no file beside it")
        return []
    members = np.zeros(scan.wanted.shape, bool)
    for area in areas:
        members[area.members] = True
    across, down = scan.slide.step(scan.grid.um_per_px)
    cell = scan.grid.stride * across, scan.grid.stride * down
    try:
        reader = scan.reader
        made = as_dicom(scan.probability(), members, source, cell, reader.model.identity, reader.task.positive)
    except (AttributeError, KeyError, TypeError, ValueError):  # whose words could tell of the patient
        log.warning("no DICOM is written: the slide leaves out what would place it")
        return []
    for name, dataset in made.items():
        with atomic_path(folder / name) as part:
            dataset.save_as(part)
    return [folder / name for name in made]


def as_dicom(
    probability: NDArray[np.float32],
    members: NDArray[np.bool_],
    source: Any,
    cell: tuple[float, float],
    model: str,
    positive: str,
) -> dict[str, Any]:
    """A segmentation and a parametric map by file name, as `highdicom` makes them.

    Args:
        probability: (rows, columns), nan where nothing was read.
        members: (rows, columns) cells of areas.
        source: pydicom's data set of the slide's first level.
        cell: width and height of a cell in its pixels.
        model: who read it.
        positive: what areas are of.
    """
    import highdicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.sr.codedict import codes

    spacing = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    size = [float(side) * pixels for side, pixels in zip(spacing.PixelSpacing, cell[::-1], strict=True)]
    shared: dict[str, Any] = {
        "source_images": [_without_names(source)],
        "manufacturer": "NodeLens",
        "manufacturer_model_name": model,
        "software_versions": __version__,
        "device_serial_number": "none",
        "instance_number": 1,
        "content_description": "Research use only. Not a medical device.",
        "pixel_measures": highdicom.PixelMeasuresSequence(size, float(spacing.get("SliceThickness", 0.001))),
        "plane_orientation": highdicom.PlaneOrientationSequence("SLIDE", list(source.ImageOrientationSlide)),
        "plane_positions": [highdicom.PlanePositionSequence("SLIDE", _corner(source, size), (1, 1))],
        "tile_pixel_array": True,
        "tile_size": (TILE, TILE),
    }
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=positive,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=CodedConcept("POSITIVE", "99NODELENS", positive),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
    segmentation = highdicom.seg.Segmentation(
        pixel_array=members[None].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        series_instance_uid=highdicom.UID(),
        series_number=101,
        sop_instance_uid=highdicom.UID(),
        omit_empty_frames=False,
        **shared,
    )
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="probability",
        lut_explanation=f"probability of {positive}; {NOT_READ:g} where nothing was read",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
    )
    parametric = highdicom.pm.ParametricMap(
        pixel_array=np.where(np.isfinite(probability), probability, NOT_READ).astype(np.float32)[None],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        series_instance_uid=highdicom.UID(),
        series_number=102,
        sop_instance_uid=highdicom.UID(),
        **shared,
    )
    return {SEGMENTATION: segmentation, PARAMETRIC_MAP: parametric}


def _level_0(path: Path, width: int, height: int) -> Any | None:
    """The data set, without pixels, of the first level of the slide that a file belongs to."""
    import pydicom

    own = pydicom.dcmread(path, stop_before_pixels=True)
    for other in (path, *sorted(one for one in path.parent.iterdir() if one.is_file() and one != path)):
        try:
            found = own if other == path else pydicom.dcmread(other, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError):
            continue
        size = found.get("TotalPixelMatrixColumns"), found.get("TotalPixelMatrixRows")
        kind = found.get("ImageType", [])
        if found.get("SeriesInstanceUID") == own.SeriesInstanceUID and size == (width, height) and "VOLUME" in kind:
            return found
    return None


def _without_names(source: Any) -> Any:
    """What of a data set places it, and nothing of whose it is."""
    import pydicom

    found = pydicom.Dataset()
    found.file_meta = source.file_meta
    for name in _COPIED:
        if name in source:
            setattr(found, name, source[name].value)
    for name in _EMPTY:
        setattr(found, name, "")
    found.ContainerIdentifier = ""
    found.SpecimenDescriptionSequence = []
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    found.SharedFunctionalGroupsSequence = [shared]
    return found


def _corner(source: Any, size: Sequence[float]) -> tuple[float, float, float]:
    """Where the middle of the first cell lies on the slide, mm: a plane's position is its first pixel's middle."""
    origin = source.TotalPixelMatrixOriginSequence[0]
    place = np.array([origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem, 0], float)
    own = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    # The orientation's first three cosines are of a row, along which columns, and so the second spacing, count.
    along, down = np.array(source.ImageOrientationSlide, float).reshape(2, 3)
    place += along * (size[1] - float(own[1])) / 2 + down * (size[0] - float(own[0])) / 2
    return float(place[0]), float(place[1]), float(place[2])
