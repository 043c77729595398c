"""Files of every kind, honest and broken, made here with Pillow."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import IFDRational

from core.data.intake import MAX_BYTES, open_patch, open_picture
from core.errors import (
    CoarseImageError,
    EmptyFileError,
    ImageTooLargeError,
    IntakeError,
    PatchShapeError,
    PixelSizeError,
    UnreadableImageError,
    WindowError,
)

ASSUMED = "The file gives no usable pixel size; 0.97 um is assumed."


def tissue(height=96, width=96):
    """Coloured noise, uint8 (height, width, 3)."""
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels, format="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def resolution_in_exif(per_unit, unit):
    exif = Image.Exif()
    exif[282] = exif[283] = IFDRational(round(per_unit * 100), 100)
    exif[296] = unit
    return exif


def png(width, height, depth, colour, rows):
    """A PNG written by hand, for layouts Pillow reads but does not write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_keep_every_pixel(format, options):
    pixels = tissue()
    picture = open_picture(encode(pixels, format, **options))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.is_patch
    assert (picture.um_per_px, picture.um_per_px_known, picture.notes) == (0.97, False, (ASSUMED,))


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_keep_the_colours_in_order(format):
    pixels = np.full((96, 96, 3), (150, 60, 140), np.uint8)
    read = open_patch(encode(pixels, format)).pixels
    assert np.abs(read.astype(int) - pixels).max() <= 4


def test_a_decoded_patch_may_be_written_to():
    patch = open_patch(encode(tissue())).pixels
    assert patch.dtype == np.uint8
    assert patch.flags.writeable
    assert patch.flags.c_contiguous


def test_palette_colours_are_looked_up():
    image = Image.new("P", (96, 96), 1)
    image.putpalette([0, 0, 0, 200, 30, 120])
    for format in ("PNG", "TIFF", "BMP"):
        assert (open_patch(encode(image, format)).pixels == (200, 30, 120)).all()


def test_transparent_parts_are_laid_on_white():
    layer = np.zeros((96, 96, 4), np.uint8)
    layer[..., 0], layer[:48, :, 3] = 100, 255
    layer[50, 50, 3] = 51  # a fifth of (100, 0, 0), four fifths of white
    picture = open_picture(encode(layer))
    assert (picture.pixels[:48] == (100, 0, 0)).all()
    assert (picture.pixels[60:] == 255).all()
    assert picture.pixels[50, 50].tolist() == [224, 204, 204]
    assert "Transparent parts were laid on white." in picture.notes


def test_an_opaque_alpha_channel_is_not_worth_a_note():
    opaque = np.dstack([tissue(), np.full((96, 96), 255, np.uint8)])
    picture = open_picture(encode(opaque))
    np.testing.assert_array_equal(picture.pixels, opaque[..., :3])
    assert picture.notes == (ASSUMED,)


def test_gray_with_alpha():
    picture = open_picture(encode(Image.new("LA", (96, 96), (80, 0))))
    assert (picture.pixels == 255).all()
    assert picture.notes[:2] == (
        "The image is grayscale: it shows no stain colours.",
        "Transparent parts were laid on white.",
    )


def test_cmyk_is_converted_and_said():
    for format in ("JPEG", "TIFF"):
        picture = open_picture(encode(Image.new("CMYK", (96, 96), (0, 255, 0, 0)), format))
        assert np.abs(picture.pixels[40, 40].astype(int) - (255, 0, 255)).max() <= 3
        assert "CMYK was converted to RGB without a colour profile." in picture.notes


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_gray_uses_its_full_range(format):
    ramp = np.zeros((96, 96), np.uint16)
    ramp[0, :6] = 0, 128, 129, 257, 32896, 65535  # over 257: 0, 0.498, 0.502, 1, 128, 255
    picture = open_picture(encode(ramp, format))
    assert picture.pixels[0, :6, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert (picture.pixels == picture.pixels[..., :1]).all()
    assert picture.notes[:2] == (
        "16-bit values were scaled to 8 bits over their full range.",
        "The image is grayscale: it shows no stain colours.",
    )


def test_16_bit_colour_uses_its_full_range():
    rows = np.tile(np.array([0, 257 * 100, 65535], ">u2"), (96, 96))
    data = png(96, 96, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))
    picture = open_picture(data)
    assert (picture.pixels == (0, 100, 255)).all()
    assert picture.notes[0] == "16-bit values were scaled to 8 bits over their full range."


@pytest.mark.parametrize(
    "image",
    [
        Image.new("1", (96, 96)),
        Image.fromarray(np.full((96, 96), np.nan, np.float32)),
        Image.fromarray(np.full((96, 96), 7, np.int32)),
        Image.new("LAB", (96, 96)),
    ],
    ids=["1 bit", "float", "32 bit", "Lab"],
)
def test_pixels_without_a_meaning_in_rgb_are_refused(image):
    with pytest.raises(UnreadableImageError, match="save it as 8-bit RGB"):
        open_picture(encode(image, "TIFF"))


def test_a_transparent_colour_is_compared_on_the_scale_of_the_file():
    few = Image.fromarray((np.arange(96 * 96).reshape(96, 96) % 16 * 17).astype(np.uint8))
    data = encode(few, "PNG", transparency=17)  # one of 8 bits: what it means is known
    assert "Transparent parts were laid on white." in open_picture(data).notes
    rows = b"".join(b"\0" + bytes(48) for _ in range(96))
    key = struct.pack(">I", 2) + b"tRNS" + b"\0\0" + struct.pack(">I", zlib.crc32(b"tRNS\0\0"))
    data = png(96, 96, 4, 0, rows)
    with pytest.raises(UnreadableImageError, match="transparent colour"):
        open_picture(data[:33] + key + data[33:])


def test_a_gamma_is_not_applied_and_said():
    data = encode(tissue())
    gamma = b"gAMA" + struct.pack(">I", 100_000)
    chunk = struct.pack(">I", 4) + gamma + struct.pack(">I", zlib.crc32(gamma))
    picture = open_picture(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(picture.pixels, tissue())
    assert picture.notes[0] == "The file's gamma of 1 was not applied."


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_the_first_of_several_pages_is_read(format):
    first, second = tissue(), np.zeros((96, 96, 3), np.uint8)
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(first, format, save_all=True, append_images=[Image.fromarray(second)], **options)
    picture = open_picture(data)
    np.testing.assert_array_equal(picture.pixels, first)
    assert picture.notes[0] == "The file holds several images; the first is read."


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_once(format):
    pixels = tissue(100, 120)
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored picture is to be turned clockwise
    picture = open_picture(encode(pixels, format, exif=exif))
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels, -1))
    assert picture.notes[0] == "The image was turned upright as its EXIF orientation says."


def test_only_pixels_and_scale_are_kept():
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe, 12 March"
    picture = open_picture(encode(tissue(), "TIFF", exif=exif))
    assert set(vars(picture)) == {"pixels", "um_per_px", "um_per_px_known", "notes", "side"}
    assert type(picture.pixels) is np.ndarray
    assert "Jane" not in str(picture.notes)


# -- pixel size --------------------------------------------------------------------------------------------------


def test_tiff_resolution_in_centimetres_is_followed():
    data = encode(tissue(200, 200), "TIFF", resolution=10_000 / 0.49, resolution_unit="cm")
    picture = open_picture(data)
    assert picture.um_per_px == pytest.approx(0.49, rel=1e-4)
    assert picture.um_per_px_known
    assert picture.pixels.shape == (101, 101, 3)
    assert picture.notes == (
        "The file gives a pixel size of 0.49 um.",
        "Reduced from 200 x 200 to 101 x 101 pixels to reach 0.97 um/px, averaging areas.",
    )


def test_png_resolution_is_followed():
    picture = open_picture(encode(tissue(), dpi=(25_400 / 0.96, 25_400 / 0.96)))
    assert picture.um_per_px == pytest.approx(0.96, rel=1e-4)
    assert picture.is_patch


@pytest.mark.parametrize("dpi", [(72, 72), (96, 96), (300, 300), (72, 300)])
def test_screen_resolutions_are_not_believed(dpi):
    picture = open_picture(encode(tissue(), dpi=dpi))
    assert not picture.um_per_px_known
    assert picture.notes == (ASSUMED,)


@pytest.mark.parametrize("resolution", [IFDRational(0, 1), IFDRational(1, 0)], ids=["zero", "over zero"])
def test_a_meaningless_resolution_is_not_believed(resolution):
    picture = open_picture(encode(tissue(), "TIFF", tiffinfo={282: resolution, 283: resolution}))
    assert picture.notes == (ASSUMED,)


def test_the_reader_overrules_the_file():
    data = encode(tissue(), dpi=(50_000, 50_000))
    picture = open_picture(data, um_per_px=0.97)
    assert picture.is_patch
    assert picture.notes == ("The reader gave a pixel size of 0.97 um.",)


def test_reduction_averages_areas():
    pixels = tissue(192, 192)
    picture = open_picture(encode(pixels), um_per_px=0.485)
    means = pixels.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(picture.pixels - means).max() <= 1


def test_a_slightly_coarse_picture_is_enlarged_and_said():
    picture = open_picture(encode(tissue()), um_per_px=1.1)
    assert picture.pixels.shape == (109, 109, 3)
    assert picture.notes[-1] == "Enlarged from 96 x 96 to 109 x 109 pixels to reach 0.97 um/px; this adds no detail."


def test_a_coarse_picture_is_refused():
    with pytest.raises(CoarseImageError, match="higher magnification"):
        open_picture(encode(tissue(400, 400)), um_per_px=1.94)


@pytest.mark.parametrize("um_per_px", [0, -1, 0.05, 20, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_refused(um_per_px):
    with pytest.raises(PixelSizeError):
        open_picture(encode(tissue()), um_per_px=um_per_px)


def test_a_patch_of_finer_pixels_is_too_small():
    with pytest.raises(PatchShapeError, match=r"got 48 x 48 once brought from 0\.485 to 0\.97"):
        open_patch(encode(tissue()), um_per_px=0.485)


def imwrite(pixels, **options):
    with io.BytesIO() as file:
        tifffile.imwrite(file, pixels, photometric="rgb", **{"metadata": None} | options)
        return file.getvalue()


def described(text, resolution=(1, 1), unit="NONE"):
    """A TIFF of 200 x 200 px with a description of its own."""
    return imwrite(tissue(200, 200), description=text, resolution=resolution, resolutionunit=unit)


IMAGEJ = {"resolution": (1 / 0.485, 1 / 0.485), "imagej": True}
OME_XML = """<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image ID="Image:0"><Pixels ID="Pixels:0" SizeC="3" {} SizeX="200"/></Image></OME>"""


@pytest.mark.parametrize(
    "data",
    [
        imwrite(tissue(200, 200), **IMAGEJ, metadata={"unit": "micron"}),
        imwrite(tissue(200, 200), **IMAGEJ, metadata={"unit": "um"}),
        imwrite(tissue(200, 200), **IMAGEJ, metadata={"unit": r"\u00B5m"}),
        described("ImageJ=1.54f\nunit=mm\n", (1000 / 0.485, 1000 / 0.485)),
        described("ImageJ=1.54f\nunit=micron\n", (1 / 0.485, 1 / 0.485), "INCH"),
        described("ImageJ=1.54f\nunit=cm\n", (10_000 / 0.485, 10_000 / 0.485), "CENTIMETER"),
        imwrite(tissue(200, 200), ome=True, metadata={"axes": "YXS", "PhysicalSizeX": 0.485, "PhysicalSizeY": 0.485}),
        described(OME_XML.format('PhysicalSizeX="0.485" PhysicalSizeY="0.485"')),
        described(
            OME_XML.format("PhysicalSizeX='485' PhysicalSizeXUnit='nm' PhysicalSizeY='485' PhysicalSizeYUnit='nm'")
        ),
        described(OME_XML.format('PhysicalSizeX="4.85e-4" PhysicalSizeXUnit="mm" PhysicalSizeY="0.485"')),
        described("Aperio Image Library v11.2.1\r\n200x200 JPEG/RGB Q=70|AppMag = 20|MPP = 0.4850|Left = 25"),
        described("any", (10_000 / 0.485, 10_000 / 0.485), "CENTIMETER"),
        described("any", (25_400 / 0.485, 25_400 / 0.485), "INCH"),
        encode(tissue(200, 200), dpi=(25_400 / 0.485, 25_400 / 0.485)),
    ],
    ids=["imagej", "um", "escaped", "mm", "inch", "cm", "ome", "default", "nm", "mixed", "aperio", "cm", "inch", "png"],
)
def test_pixel_sizes_of_the_usual_programs_are_understood(data):
    picture = open_picture(data)
    assert picture.um_per_px == pytest.approx(0.485, rel=2e-3)
    assert picture.um_per_px_known
    assert picture.notes[-2:] == (
        "The file gives a pixel size of 0.485 um.",
        "Reduced from 200 x 200 to 100 x 100 pixels to reach 0.97 um/px, averaging areas.",
    )


@pytest.mark.parametrize(
    "data",
    [
        described("any", (52_371, 52_371), "NONE"),
        described("ImageJ=1.54f\nunit=pixel\n", (2, 2)),
        described("ImageJ=1.54f\n", (2, 2)),
        described(OME_XML.format('PhysicalSizeX="0.485" PhysicalSizeXUnit="reference frame" PhysicalSizeY="0.485"')),
        described(OME_XML.format('PhysicalSizeX="wide"')),
        encode(tissue(200, 200), "JPEG", exif=resolution_in_exif(52_371, unit=1)),
    ],
    ids=["none", "pixel", "imagej without unit", "frame", "words", "exif none"],
)
def test_a_resolution_without_a_length_is_not_taken_for_inches(data):
    assert open_picture(data).notes == (ASSUMED,)


@pytest.mark.parametrize(("format", "unit"), [("JPEG", 2), ("WEBP", 2), ("PNG", 2), ("WEBP", 3)])
def test_the_resolution_in_exif_is_followed(format, unit):
    per_unit = (25_400 if unit == 2 else 10_000) / 0.485
    picture = open_picture(encode(tissue(200, 200), format, exif=resolution_in_exif(per_unit, unit=unit)))
    assert picture.um_per_px == pytest.approx(0.485, rel=1e-3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encode(tissue(), dpi=(50_000, 25_000)), "oblong pixels of 0.508 x 1.02 um, which are not used"),
        (
            imwrite(tissue(), resolution=(3e7, 3e7), resolutionunit="INCH"),
            "size of 0.000847 um, which no microscope has",
        ),
        (described("Aperio|MPP = 36.0"), "size of 36 um, which no microscope has"),
        (described(OME_XML.format('PhysicalSizeX="0.5" PhysicalSizeY="1"')), "oblong pixels of 0.5 x 1 um"),
    ],
    ids=["oblong", "tiny", "aperio", "ome"],
)
def test_a_pixel_size_that_is_not_believed_is_said(data, said):
    picture = open_picture(data)
    assert (picture.um_per_px, picture.um_per_px_known) == (0.97, False)
    assert said in picture.notes[0]
    assert picture.notes[0].endswith("; 0.97 um is assumed.")
    assert open_picture(data, um_per_px=0.97).notes == ("The reader gave a pixel size of 0.97 um.",)


@pytest.mark.parametrize("stated", [2.525, 0.243])
def test_a_wrong_pixel_size_in_the_file_can_be_corrected(stated):
    data = encode(tissue(), "TIFF", resolution=10_000 / stated, resolution_unit="cm")
    with pytest.raises(IntakeError, match="correct the pixel size"):
        open_picture(data)
    assert open_picture(data, um_per_px=0.97).is_patch


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_colour_profile_is_not_applied_and_said(format):
    pixels = tissue(96, 96) // 8 * 8
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(format, {})
    plain = open_picture(encode(pixels, format, **options))
    for profile, said in ((b"\0" * 128 + b"scanner", True), (b"\0" * 128 + b"sRGB IEC61966-2.1", False)):
        picture = open_picture(encode(pixels, format, icc_profile=profile, **options))
        np.testing.assert_array_equal(picture.pixels, plain.pixels)
        assert ("The file's colour profile was not applied." in picture.notes) == said


# -- size and window ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(96, 95), (95, 96), (1, 1), (2000, 10)])
def test_less_than_a_patch_is_refused(shape):
    for read in (open_picture, open_patch):
        with pytest.raises(PatchShapeError, match=f"got {shape[1]} x {shape[0]}"):
            read(encode(tissue(*shape)))


@pytest.mark.parametrize("shape", [(96, 97), (97, 96), (300, 200)])
def test_more_than_a_patch_is_a_picture_but_not_a_patch(shape):
    data = encode(tissue(*shape))
    assert open_picture(data).pixels.shape == (*shape, 3)
    with pytest.raises(PatchShapeError, match=f"got {shape[1]} x {shape[0]}"):
        open_patch(data)


def test_windows():
    pixels = tissue(200, 131)
    picture = open_picture(encode(pixels))
    np.testing.assert_array_equal(picture.window(), pixels[52:148, 17:113])
    np.testing.assert_array_equal(picture.window(0, 104), pixels[104:200, :96])
    np.testing.assert_array_equal(picture.window(left=35), pixels[52:148, 35:131])
    for corner in [(36, 0), (0, 105), (-1, 0), (0, -1)]:
        with pytest.raises(WindowError, match="131 x 200"):
            picture.window(*corner)


def test_a_window_is_a_copy():
    picture = open_picture(encode(tissue(100, 100)))
    before = picture.pixels.copy()
    picture.window()[:] = 0
    np.testing.assert_array_equal(picture.pixels, before)


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [60_000, 10_000, 7_000])
def test_a_bomb_is_refused_by_its_header(side):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLargeError, match=r"40,000,000 pixels"):
            open_picture(png(side, side, 8, 2, b"\0" * 100))


def test_too_many_bytes_are_refused():
    with pytest.raises(ImageTooLargeError, match="67,108,864 bytes"):
        open_picture(encode(tissue()) + bytes(MAX_BYTES))


def test_an_empty_file_is_refused():
    with pytest.raises(EmptyFileError):
        open_picture(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"<!doctype html><title>Sign in</title>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96"/>',
        encode(Image.new("P", (96, 96)), "GIF"),
        encode(Image.new("RGB", (96, 96)), "PPM"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\n",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["html", "svg", "gif", "ppm", "eps", "png signature"],
)
def test_other_files_are_refused(data):
    with pytest.raises(UnreadableImageError, match="not a PNG, JPEG, TIFF, BMP or WebP"):
        open_picture(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files_are_refused(format, share):
    data = encode(tissue(), format)
    with pytest.raises(UnreadableImageError):
        open_picture(data[: int(len(data) * share)])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


# -- anything at all ---------------------------------------------------------------------------------------------

HONEST = [
    encode(tissue(), "PNG"),
    encode(tissue(), "JPEG"),
    encode(tissue(), "TIFF"),
    encode(tissue(), "TIFF", compression="tiff_lzw"),
    encode(tissue(), "WEBP"),
    encode(tissue(), "BMP"),
]


@st.composite
def damaged(draw):
    """An honest file with some bytes changed, most of them in its header, and perhaps its end cut off."""
    data = bytearray(draw(st.sampled_from(HONEST)))
    near, far = st.integers(0, 250), st.integers(0, len(data) - 1)
    for place, value in draw(st.lists(st.tuples(near | far, st.integers(0, 255)), max_size=8)):
        data[place] = value
    return bytes(data[: draw(st.just(len(data)) | far)])


def read_or_refuse(data):
    try:
        picture = open_picture(data)
    except IntakeError:
        return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[2:] == (3,)
    assert min(picture.pixels.shape[:2]) >= 96


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_are_read_or_refused(data):
    read_or_refuse(data)


@given(damaged())
@settings(max_examples=250, deadline=None)
def test_damaged_files_are_read_or_refused(data):
    read_or_refuse(data)
