"""Real slides of every kind at hand: what is opened, asked for and refused, and the numbers of patches."""

import numpy as np
import pytest

from core.errors import CoarseImageError, SlideError
from core.inference import load_reader
from core.slides.areas import areas_of
from core.slides.export import cell_of, write_scan
from core.slides.scan import Scan
from core.slides.slide import Slide
from core.view.slide_map import overview_picture

SVS = "CMU-1-Small-Region.svs"


@pytest.fixture(scope="module")
def real(shared):
    folder = shared / "slides"
    if not (folder / SVS).is_file():
        pytest.skip(f"real slides are not here: {folder}")
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "um_per_px", "size", "levels"),
    [
        (SVS, "aperio", 0.499, (2220, 2967), 1),
        ("TCGA-CR-7395-01A-01-TS1.svs", "aperio", None, (4443, 3567), 2),
        ("camB_0.97_generic.tif", "generic-tiff", 0.97, (1536, 512), 2),
        ("camB_0.97.ome.tif", "OME-TIFF", 0.97, (1536, 512), 2),
        ("c17_centre_0_patient_006_node_1.jpeg", "JPEG", None, (2048, 2048), 1),
        ("goog_camelyon_j2k.dcm", "dicom", 28.97, (1696, 812), 1),
    ],
)
def test_what_is_known_of_a_slide(real, name, kind, um_per_px, size, levels):
    with Slide.open(real / name) as slide:
        assert (slide.format, (slide.width, slide.height), len(slide.levels)) == (kind, size, levels)
        told = slide.um_per_px
        assert told == (None if um_per_px is None else pytest.approx((um_per_px,) * 2, rel=1e-3))
        if um_per_px is None:
            with pytest.raises(SlideError, match="state it in um/px"):
                slide.size_at(0.97)
        elif um_per_px > 1.3:
            with pytest.raises(CoarseImageError):
                slide.size_at(0.97)
        else:
            assert slide.size_at(0.97) == tuple(int(side * um_per_px / 0.97 + 1e-6) for side in size)


def test_fluorescence_is_refused(real):
    with pytest.raises(SlideError, match="fluorescence"):
        Slide.open(real / "ndpi_DAPI.ndpi")


def test_two_files_of_one_tissue_are_one_tissue(real):
    """A generic pyramid by OpenSlide and an OME-TIFF by tifffile, whose JPEG tiles another library decodes."""
    with Slide.open(real / "camB_0.97_generic.tif") as one, Slide.open(real / "camB_0.97.ome.tif") as other:
        for box in ((-20, -20, 200, 150), (900, 300, 700, 250)):
            np.testing.assert_allclose(one.region(*box, 0.97), other.region(*box, 0.97), atol=3)
            left, top, width, height = (side // 2 for side in box)
            both = [slide.region(left, top, width, height, 1.94).astype(int) for slide in (one, other)]
            assert np.abs(both[0] - both[1]).mean() < 1


def test_a_level_of_other_colours_is_left_out(real, darkness, tmp_path):
    """The coarsest of this DICOM pyramid is decoded as if its YCbCr were RGB: it would make all of the glass tissue."""
    path = min((real / "dicom_pyramid").glob("*.dcm"), key=lambda one: one.name)
    with Slide.open(path) as dicom, Slide.open(real / SVS) as svs:
        np.testing.assert_array_equal(dicom.overview(186), svs.overview(186))
        scans = [Scan(slide, darkness, tmp_path) for slide in (dicom, svs)]
        np.testing.assert_array_equal(scans[0].wanted, scans[1].wanted)


def test_two_hundred_cells_are_the_patches_about_them(real, tmp_path):
    """In one pass over chunks of an SVS at 0.499 um/px, and each patch fetched and read alone."""
    reader = load_reader("efficientnet_lite0_unpadded", "openvino-fp32")
    with Slide.open(real / SVS) as slide:
        scan = Scan(slide, reader, tmp_path)
        scan.run()
        places = np.random.default_rng(3).choice(np.argwhere(scan.wanted), 200, replace=False)
        patches = np.stack([scan.patch(*place) for place in places.tolist()])
        alone = reader.read(patches)
        rows, columns = places.T
        np.testing.assert_allclose(scan.logits()[rows, columns], alone.logit, rtol=0, atol=1e-4)
        np.testing.assert_allclose(scan.probability()[rows, columns], alone.probability, rtol=0, atol=1e-5)


def test_a_dicom_slide_is_answered_in_dicom(real, darkness, tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is an extra")
    pytest.importorskip("highdicom", reason="highdicom is an extra")
    path = min((real / "dicom_pyramid").glob("*.dcm"), key=lambda one: one.name)
    with Slide.open(path) as slide:
        scan = Scan(slide, darkness, tmp_path / "scans")
        scan.run()
        areas = areas_of(scan.probability(), 0.6, cell_of(scan), slide.um_per_px)
        write_scan(scan, areas, tmp_path / "out", 0.6, overview_picture(scan, 64))
    source = pydicom.dcmread(path, stop_before_pixels=True)
    for name in ("areas.dcm", "heatmap.dcm"):
        made = pydicom.dcmread(tmp_path / "out" / name)
        assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert (made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns) == scan.wanted.shape
        assert not made.PatientName
