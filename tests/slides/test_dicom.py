"""DICOM of a scan: the numbers, the place on the slide, and nothing of whose it is."""

import numpy as np
import pytest

highdicom = pytest.importorskip("highdicom", reason="highdicom is an extra")
pydicom = pytest.importorskip("pydicom")

from core.slides.dicom import PARAMETRIC_MAP, SEGMENTATION, as_dicom  # noqa: E402 - after what it needs


def made_source():
    """A slide of 400 x 300 px of 0.5 um whose rows run down the glass, with names all over it."""
    item = pydicom.Dataset
    source, measures, shared, origin, specimen = item(), item(), item(), item(), item()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    shared.PixelMeasuresSequence = [measures]
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    specimen.SpecimenIdentifier = "Doe-1"
    source.file_meta = pydicom.dataset.FileMetaDataset()
    source.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    source.SOPClassUID = pydicom.uid.VLWholeSlideMicroscopyImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(source, name, pydicom.uid.generate_uid())
    source.PatientName = source.PatientID = source.AccessionNumber = source.ContainerIdentifier = "Doe"
    source.SpecimenDescriptionSequence, source.SharedFunctionalGroupsSequence = [specimen], [shared]
    source.Modality, source.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    source.PositionReferenceIndicator, source.DimensionOrganizationType = "SLIDE_CORNER", "TILED_FULL"
    source.Rows = source.Columns = 100
    source.NumberOfFrames, source.TotalPixelMatrixColumns, source.TotalPixelMatrixRows = 12, 400, 300
    source.TotalPixelMatrixFocalPlanes = source.NumberOfOpticalPaths = 1
    source.ImageOrientationSlide, source.TotalPixelMatrixOriginSequence = [0, -1, 0, -1, 0, 0], [origin]
    return source


def test_what_is_written(tmp_path):
    probability = np.random.default_rng(0).random((5, 7), np.float32)
    probability[0, :3] = np.nan
    members = np.nan_to_num(probability) > 0.6
    made = as_dicom(probability, members, made_source(), (64.0, 64.0), "net 1.0.0 (0123abcd)", "tumour")
    for name, dataset in made.items():
        dataset.save_as(tmp_path / name)
        assert b"Doe" not in (tmp_path / name).read_bytes()
    areas = highdicom.seg.segread(tmp_path / SEGMENTATION)
    np.testing.assert_array_equal(areas.get_total_pixel_matrix(combine_segments=True), members)
    assert areas.get_segment_description(1).SegmentLabel == "tumour"
    shown = highdicom.imread(tmp_path / PARAMETRIC_MAP)
    kept = shown.get_total_pixel_matrix(apply_real_world_transform=False)
    np.testing.assert_array_equal(kept, np.where(np.isfinite(probability), probability, -1).astype(np.float32))
    for one in (areas, shown):
        assert one.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.032, 0.032]
        corner = one.TotalPixelMatrixOriginSequence[0]
        # The first cell's middle lies (0.032 - 0.0005) / 2 mm from the first pixel's, along both directions.
        assert float(corner.XOffsetInSlideCoordinateSystem) == pytest.approx(20 - 0.01575)
        assert float(corner.YOffsetInSlideCoordinateSystem) == pytest.approx(40 - 0.01575)
