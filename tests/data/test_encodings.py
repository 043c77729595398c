"""One picture in every encoding that the usual writers know: the same pixels, or a refusal that names the reason."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from core.data.intake import open_picture
from core.errors import IntakeError

HEIGHT, WIDTH = 112, 128


def _picture():
    """Smooth colours that nothing mirrors, uint8 (112, 128, 3), as different by channel as by place."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    bands = (40 + x + y / 2, 230 - x / 2 - y, 128 + 90 * np.sin(x / 17) * np.cos(y / 23))
    return np.stack(bands, axis=-1).clip(0, 255).round().astype(np.uint8)


PICTURE = _picture()
GRAY = PICTURE[..., 0]
WIDE = PICTURE.astype(np.uint16) * 257
OPAQUE = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
HALF = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
HALF[:, WIDTH // 2 :] = 255
PLANES = np.moveaxis(PICTURE, -1, 0)
INDICES = (PICTURE[..., 0] // 32 * 8 + PICTURE[..., 1] // 32).astype(np.uint8)
COLOURS = np.random.default_rng(3).integers(0, 256, (3, 256)).astype(np.uint16)
ON_WHITE = np.rint((PICTURE * (HALF / 255.0)) + 255 - HALF).astype(np.uint8)


def tiff(pixels, **options):
    options = {"photometric": "rgb", "metadata": None} | options
    with io.BytesIO() as file:
        tifffile.imwrite(file, pixels, **options)
        return file.getvalue()


def pages(*pixels, **options):
    with io.BytesIO() as file:
        with tifffile.TiffWriter(file) as writer:
            for one in pixels:
                writer.write(one, **{"photometric": "rgb", "metadata": None} | options)
        return file.getvalue()


def pillow(pixels, kind, mode=None, **options):
    image = Image.fromarray(pixels)
    with io.BytesIO() as file:
        (image.convert(mode) if mode else image).save(file, kind, **options)
        return file.getvalue()


def bmp(bits, masks=(), top_down=False):
    """A BMP by hand, for the layouts that Pillow reads but does not write."""
    red, green, blue = np.moveaxis(PICTURE.astype(np.uint32), -1, 0)
    if bits == 32:
        rows = (0xFF << 24 | red << 16 | green << 8 | blue).astype("<u4")
    else:
        low = 6 if 0x7E0 in masks else 5
        rows = (red >> 3 << (5 + low) | green >> (8 - low) << 5 | blue >> 3).astype("<u2")
    body = (rows if top_down else rows[::-1]).tobytes()
    info = struct.pack("<IiiHHI", 40, WIDTH, -HEIGHT if top_down else HEIGHT, 1, bits, 3 if masks else 0)
    head = info + struct.pack("<IiiII", len(body), 0, 0, 0, 0) + struct.pack(f"<{len(masks)}I", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


def png_gray(bits):
    """A grey PNG of fewer than 8 bits by hand."""
    packed = np.packbits(
        np.unpackbits((GRAY >> (8 - bits))[..., None], axis=-1)[..., -bits:].reshape(HEIGHT, -1), axis=1
    )

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def planar(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _lossless():
    """Name -> (file, pixels expected): to the last bit."""
    yield "png", pillow(PICTURE, "PNG"), PICTURE
    yield "png rgba opaque", pillow(np.dstack([PICTURE, OPAQUE]), "PNG"), PICTURE
    yield "png by libpng", imagecodecs.png_encode(PICTURE), PICTURE
    yield "png 16-bit", imagecodecs.png_encode(WIDE), PICTURE
    yield "png 16-bit rgba", imagecodecs.png_encode(np.dstack([WIDE, OPAQUE.astype(np.uint16) * 257])), PICTURE
    yield "png 16-bit gray", imagecodecs.png_encode(WIDE[..., 0].copy()), GRAY
    yield "png gray", pillow(GRAY, "PNG"), GRAY
    yield "png half transparent", pillow(np.dstack([PICTURE, HALF]), "PNG"), ON_WHITE
    yield "bmp", pillow(PICTURE, "BMP"), PICTURE
    yield "bmp 32-bit", pillow(np.dstack([PICTURE, OPAQUE]), "BMP"), PICTURE
    yield "bmp gray", pillow(GRAY, "BMP"), GRAY
    yield "bmp by imagecodecs", imagecodecs.bmp_encode(PICTURE), PICTURE
    yield "webp", pillow(PICTURE, "WEBP", lossless=True), PICTURE
    yield "webp rgba", pillow(np.dstack([PICTURE, OPAQUE]), "WEBP", lossless=True), PICTURE
    yield (
        "animated webp",
        pillow(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (128, 112))]),
        PICTURE,
    )
    for top_down in (False, True):
        yield f"bmp of 32 bits, {top_down}", bmp(32, top_down=top_down), PICTURE
        yield f"bmp of 32 bits by masks, {top_down}", bmp(32, (0xFF0000, 0xFF00, 0xFF), top_down), PICTURE
    for bits in (2, 4):
        yield f"png gray of {bits} bits", png_gray(bits), (GRAY >> (8 - bits)) * (255 // (2**bits - 1))
    palette = Image.fromarray(INDICES)
    palette.putpalette(COLOURS.T.astype(np.uint8).tobytes())
    looked_up = COLOURS.T.astype(np.uint8)[INDICES]
    for kind in ("PNG", "BMP", "TIFF"):
        with io.BytesIO() as file:
            palette.save(file, kind)
            yield f"palette {kind}", file.getvalue(), looked_up
    few = Image.fromarray(INDICES % 4)
    few.putpalette(COLOURS.T[:4].astype(np.uint8).tobytes())
    for bits in (2, 4):
        with io.BytesIO() as file:
            few.save(file, "PNG", bits=bits)
            yield f"palette of {bits} bits", file.getvalue(), looked_up_few()

    for compression in ("none", "lzw", "deflate", "packbits", "zstd", "lzma", "jpeg2000", "webp"):
        options = {} if compression == "none" else {"compression": compression}
        if compression == "webp":
            options["compressionargs"] = {"lossless": True}
        if compression == "jpeg2000":
            options["compressionargs"] = {"reversible": True}
        yield f"tiff {compression}", tiff(PICTURE, **options), PICTURE
        yield f"tiff {compression} in strips", tiff(PICTURE, rowsperstrip=13, **options), PICTURE
        yield f"tiff {compression} in tiles", tiff(PICTURE, tile=(48, 32), **options), PICTURE
        if compression == "webp":
            continue
        yield f"tiff {compression} big-endian", tiff(PICTURE, byteorder=">", **options), PICTURE
        yield f"tiff {compression} separate", tiff(PLANES, planarconfig="separate", **options), PICTURE
        for order in "<>":
            yield f"tiff {compression} 16-bit {order}", tiff(WIDE, byteorder=order, **options), PICTURE
            yield (
                f"tiff {compression} 16-bit separate {order}",
                tiff(planar(WIDE), planarconfig="separate", byteorder=order, **options),
                PICTURE,
            )
            tiles = tiff(planar(WIDE), planarconfig="separate", byteorder=order, tile=(32, 48), **options)
            yield f"tiff {compression} 16-bit separate tiles {order}", tiles, PICTURE
        if compression in ("lzw", "deflate", "zstd"):
            for pixels in (PICTURE, WIDE):
                for order in "<>":
                    data = tiff(pixels, predictor=2, byteorder=order, rowsperstrip=20, **options)
                    yield f"tiff {compression} predictor {pixels.dtype} {order}", data, PICTURE
                    data = tiff(planar(pixels), planarconfig="separate", predictor=2, byteorder=order, **options)
                    yield f"tiff {compression} predictor separate {pixels.dtype} {order}", data, PICTURE
    yield "bigtiff", tiff(PICTURE, bigtiff=True), PICTURE
    yield "bigtiff big-endian 16-bit", tiff(WIDE, bigtiff=True, byteorder=">"), PICTURE
    yield "high bytes only", tiff(PICTURE.astype(np.uint16) << 8), PICTURE
    yield "rgba", tiff(np.dstack([PICTURE, OPAQUE]), extrasamples=["unassalpha"]), PICTURE
    yield (
        "rgba separate",
        tiff(planar(np.dstack([PICTURE, OPAQUE])), extrasamples=["unassalpha"], planarconfig="separate"),
        PICTURE,
    )
    yield (
        "rgba 16-bit separate",
        tiff(
            planar(np.dstack([WIDE, OPAQUE.astype(np.uint16) * 257])),
            extrasamples=["unassalpha"],
            planarconfig="separate",
        ),
        PICTURE,
    )
    yield "half transparent", tiff(np.dstack([PICTURE, HALF]), extrasamples=["unassalpha"]), ON_WHITE
    premultiplied = np.rint(PICTURE * (HALF / 255.0)).astype(np.uint8)
    yield "premultiplied", tiff(np.dstack([premultiplied, HALF]), extrasamples=["assocalpha"]), ON_WHITE
    yield "fourth channel without meaning", tiff(np.dstack([PICTURE, HALF]), extrasamples=["unspecified"]), PICTURE
    yield "gray", tiff(GRAY, photometric="minisblack"), GRAY
    yield "gray 16-bit", tiff(WIDE[..., 0], photometric="minisblack"), GRAY
    yield "gray 16-bit big-endian", tiff(WIDE[..., 0], photometric="minisblack", byteorder=">"), GRAY
    yield "white is zero", tiff(255 - GRAY, photometric="miniswhite"), GRAY
    yield "white is zero 16-bit", tiff(65535 - WIDE[..., 0], photometric="miniswhite"), GRAY
    yield "white is zero lzw", tiff(255 - GRAY, photometric="miniswhite", compression="lzw"), GRAY
    yield (
        "gray with alpha",
        tiff(np.dstack([GRAY, OPAQUE]), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"),
        GRAY,
    )
    for bits in (2, 4):
        step = 255 // (2**bits - 1)
        yield (
            f"gray of {bits} bits",
            tiff(GRAY // (256 >> bits), photometric="minisblack", bitspersample=bits),
            GRAY // (256 >> bits) * step,
        )
    yield "12 bits", tiff(WIDE >> 4, bitspersample=12), PICTURE
    yield "10 bits", tiff(WIDE >> 6, bitspersample=10), PICTURE
    yield "palette of 16-bit colours", tiff(INDICES, photometric="palette", colormap=COLOURS * 257), looked_up
    yield "palette of 8-bit colours", tiff(INDICES, photometric="palette", colormap=COLOURS), looked_up
    yield "palette of high bytes", tiff(INDICES, photometric="palette", colormap=COLOURS << 8), looked_up
    yield "several pages", pages(PICTURE, PICTURE[::-1], PICTURE[:, ::-1]), PICTURE
    yield "pages of different size", pages(PICTURE, PICTURE[::2, ::2]), PICTURE
    yield "a pyramid", _pyramid(), PICTURE
    yield "ome", tiff(PICTURE, ome=True, metadata={"axes": "YXS"}), PICTURE
    yield "ome separate", tiff(PLANES, ome=True, planarconfig="separate", metadata={"axes": "SYX"}), PICTURE
    yield "imagej", tiff(PICTURE, imagej=True, metadata={"axes": "YXS"}), PICTURE
    yield "imagej stack", tiff(np.stack([PICTURE, PICTURE[::-1]]), imagej=True, metadata={"axes": "ZYXS"}), PICTURE
    yield "shaped", tiff(PICTURE, metadata={}), PICTURE
    turned_bits = np.packbits(np.unpackbits(PICTURE[..., None], axis=-1)[..., ::-1], axis=-1)[..., 0]
    yield "fill order", pillow(turned_bits, "TIFF", tiffinfo={266: 2}), PICTURE
    for orientation, stored in _turned().items():
        yield f"orientation {orientation}", tiff(stored, extratags=[(274, 3, 1, orientation, True)]), PICTURE
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"):
        options = {} if compression == "raw" else {"compression": compression}
        yield f"pillow tiff {compression}", pillow(PICTURE, "TIFF", **options), PICTURE
        yield f"pillow tiff rgba {compression}", pillow(np.dstack([PICTURE, OPAQUE]), "TIFF", **options), PICTURE
    yield "pillow 16-bit gray", pillow(WIDE[..., 0], "TIFF"), GRAY
    yield "pillow gray with alpha", pillow(np.dstack([GRAY, OPAQUE[..., 0]]), "TIFF"), GRAY


def looked_up_few():
    return COLOURS.T[:4].astype(np.uint8)[INDICES % 4]


def _turned():
    """Orientation -> how the picture is stored so that it comes upright."""
    transpose = np.swapaxes(PICTURE, 0, 1)
    return {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: transpose,
        6: np.rot90(PICTURE),
        7: transpose[::-1, ::-1],
        8: np.rot90(PICTURE, -1),
    }


def _pyramid():
    with io.BytesIO() as file:
        with tifffile.TiffWriter(file) as writer:
            writer.write(PICTURE, photometric="rgb", tile=(64, 64), subifds=1, metadata=None)
            writer.write(PICTURE[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1, metadata=None)
        return file.getvalue()


def _lossy():
    """Name -> file, close to the picture."""
    for mode, options in {
        "444": {"subsampling": 0}, "422": {"subsampling": 1}, "420": {"subsampling": 2},
        "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1},
        "rgb": {"keep_rgb": True},
    }.items():  # fmt: skip
        yield f"jpeg {mode}", pillow(PICTURE, "JPEG", quality=97, **options), PICTURE
    for top_down in (False, True):
        yield f"bmp of 555, {top_down}", bmp(16, top_down=top_down), PICTURE
        yield f"bmp of 565, {top_down}", bmp(16, (0xF800, 0x7E0, 0x1F), top_down), PICTURE
    for space in ("CMYK", "YCCK"):
        inks = np.dstack([PICTURE, OPAQUE])  # inverted, as Adobe's are
        data = imagecodecs.jpeg8_encode(inks, level=97, colorspace="CMYK", outcolorspace=space)
        yield f"jpeg {space}", data, PICTURE
    lossless = {"reversible": True, "mct": False}
    ycbcr = np.array(Image.fromarray(PICTURE).convert("YCbCr"))
    yield "tiff aperio ycbcr", tiff(ycbcr, compression=33003, compressionargs=lossless), PICTURE
    yield "jpeg gray", pillow(GRAY, "JPEG", quality=97), GRAY
    yield "webp lossy", pillow(PICTURE, "WEBP", quality=98), PICTURE
    for kind in ("JPEG", "TIFF"):
        yield f"cmyk {kind}", pillow(PICTURE, kind, mode="CMYK", **({"quality": 97} if kind == "JPEG" else {})), PICTURE
    yield (
        "cmyk separate",
        tiff(planar(255 - np.dstack([PICTURE, OPAQUE])), photometric="separated", planarconfig="separate"),
        PICTURE,
    )
    yield (
        "cmyk 16-bit",
        tiff(65535 - np.dstack([WIDE, OPAQUE.astype(np.uint16) * 257]), photometric="separated"),
        PICTURE,
    )
    yield "pillow tiff jpeg", pillow(PICTURE, "TIFF", compression="jpeg", quality=97), PICTURE
    yield "pillow tiff ycbcr", pillow(PICTURE, "TIFF", mode="YCbCr"), PICTURE
    for name, options in {
        "jpeg ycbcr": {"compressionargs": {"level": 97}},
        "jpeg rgb": {"compressionargs": {"level": 97, "outcolorspace": "rgb"}},
        "jpeg in tiles": {"compressionargs": {"level": 97}, "tile": (16, 64)},
        "jpeg in strips": {"compressionargs": {"level": 97}, "rowsperstrip": 32},
        "jpeg 422": {"compressionargs": {"level": 97}, "subsampling": (2, 1)},
        "jpeg 444": {"compressionargs": {"level": 97}, "subsampling": (1, 1)},
    }.items():
        yield f"tiff {name}", tiff(PICTURE, compression="jpeg", **options), PICTURE
    yield (
        "tiff jpeg separate",
        tiff(PLANES, planarconfig="separate", compression="jpeg", compressionargs={"level": 97}),
        PICTURE,
    )
    yield (
        "tiff jpeg gray",
        tiff(GRAY, photometric="minisblack", compression="jpeg", compressionargs={"level": 97}),
        GRAY,
    )
    yield "tiff webp lossy", tiff(PICTURE, compression="webp", compressionargs={"level": 97}), PICTURE
    yield "tiff jpeg 2000 lossy", tiff(PICTURE, compression="jpeg2000", compressionargs={"level": 60}), PICTURE
    yield (
        "tiff aperio jpeg 2000",
        tiff(PICTURE, compression="aperio_jp2000_rgb", compressionargs={"reversible": True}),
        PICTURE,
    )


def _refused():
    """Name -> (file, words of the reason)."""
    floats, signed = PICTURE.astype(np.float32), PICTURE.astype(np.int16)
    yield "float rgb", tiff(floats), "32-bit floating point"
    yield "float gray", tiff(floats[..., 0], photometric="minisblack"), "32-bit floating point"
    yield "half float", tiff(floats.astype(np.float16)), "16-bit floating point"
    yield "double", tiff(floats.astype(np.float64) / 255), "64-bit floating point"
    yield (
        "float separate, predictor 3",
        tiff(planar(floats), planarconfig="separate", predictor=3, compression="deflate"),
        "floating",
    )
    yield "complex", tiff(floats[..., 0].astype(np.complex64), photometric="minisblack"), "complex"
    yield "signed", tiff(signed), "16-bit signed"
    yield "signed bytes", tiff(signed.astype(np.int8)), "8-bit signed"
    yield "32-bit", tiff(PICTURE.astype(np.uint32) * 2**24), "32-bit whole"
    yield "32-bit gray", tiff(GRAY.astype(np.uint32), photometric="minisblack"), "32-bit whole"
    yield "32-bit gray, Pillow", pillow(GRAY.astype(np.int32), "TIFF"), "32-bit signed"
    yield "64-bit", tiff(PICTURE.astype(np.uint64)), "64-bit whole"
    for bits, values in {8: PICTURE.astype(np.uint16), 10: WIDE >> 6, 12: WIDE >> 4, 14: WIDE >> 2}.items():
        top = int(values.max())
        said = f"16-bit values end at {top:,}"
        yield f"{bits} bits in 16", tiff(values), said
        yield f"{bits} bits in 16, big-endian", tiff(values, byteorder=">"), said
        yield f"{bits} bits in 16, separate", tiff(planar(values), planarconfig="separate"), said
        yield f"{bits} bits in 16, alpha", tiff(np.dstack([values, OPAQUE.astype(np.uint16) * 257])), said
        yield f"{bits} bits in 16, gray", tiff(values[..., 0], photometric="minisblack"), "seem to hold fewer bits"
        yield f"{bits} bits in 16, gray png", imagecodecs.png_encode(values[..., 0].copy()), "seem to hold fewer bits"
        yield f"{bits} bits in 16, png", imagecodecs.png_encode(values), "seem to hold fewer bits"
        rgba = np.dstack([values, OPAQUE.astype(np.uint16) * 257])
        yield f"{bits} bits in 16, rgba png", imagecodecs.png_encode(rgba), "seem to hold fewer bits"
    yield "Lab", pillow(PICTURE, "TIFF", mode="LAB"), "CIELAB"
    yield "Lab, tifffile", tiff(PICTURE, photometric="cielab"), "CIELAB"
    yield "bilevel png", pillow(GRAY > 99, "PNG"), "black or white"
    yield "bilevel tiff", pillow(GRAY > 99, "TIFF"), "black or white"
    yield "fax", pillow(GRAY > 99, "TIFF", compression="group4"), "black or white"
    yield "gray planes", tiff(PLANES, photometric="minisblack", planarconfig="separate"), "channels"
    yield "gray samples", tiff(PICTURE, photometric="minisblack", planarconfig="contig"), "channels"
    yield "channels as pages", tiff(PLANES, photometric="minisblack"), "grey images"
    yield (
        "channels as one page",
        tiff(PLANES, photometric="minisblack", metadata={}, software=None, truncate=True),
        "grey images",
    )
    yield "ome channels", tiff(PLANES, photometric="minisblack", ome=True, metadata={"axes": "CYX"}), "grey images"
    yield "ome stack", tiff(PLANES, photometric="minisblack", ome=True, metadata={"axes": "ZYX"}), "grey images"
    yield (
        "imagej channels",
        tiff(PLANES, photometric="minisblack", imagej=True, metadata={"axes": "CYX"}),
        "grey images",
    )
    yield "six channels", tiff(np.dstack([PICTURE, PICTURE]), photometric="rgb", extrasamples=[0, 0, 0]), "channels"
    yield "inks", tiff(np.dstack([PICTURE, OPAQUE, OPAQUE]), photometric="separated", extrasamples=[0]), "channels"
    yield "a volume", tiff(np.stack([PICTURE] * 16), volumetric=True, tile=(16, 16, 16)), "volume"
    yield "jpeg xl", tiff(PICTURE, compression="jpegxl"), "compression JPEGXL"
    yield "jpeg xr", tiff(PICTURE, compression="jpegxr"), "compression JPEGXR"
    yield "png in tiff", tiff(PICTURE, compression="png"), "compression PNG"
    yield "lerc", tiff(PICTURE, compression="lerc"), "compression LERC"
    whole = pillow(PICTURE, "TIFF", mode="YCbCr")
    tag = struct.pack("<HHI", 530, 3, 2)
    halved = whole.replace(tag + struct.pack("<HH", 1, 1), tag + struct.pack("<HH", 2, 2))
    yield "ycbcr, subsampled", halved, "YCbCr of reduced resolution"
    yield "hamamatsu", tiff(PICTURE, compression="jpeg", extratags=[(65420, 4, 1, 1, True)]), "Hamamatsu slide"
    yield "a thumbnail first", pages(PICTURE[:100, :100], PICTURE, subfiletype=1), "reduced copy"
    yield (
        "too large",
        tiff(np.zeros((7000, 7000), np.uint8), photometric="minisblack", compression="deflate"),
        "40,000,000",
    )
    yield "jpeg 2000 ycbcr", tiff(PICTURE, compression=34712, photometric="ycbcr", subsampling=(1, 1)), "holds YCbCr"
    yield "12-bit jpeg in tiff", tiff(WIDE >> 4, compression="jpeg", bitspersample=12), "JPEG holds 12-bit"
    yield "bilevel png, 1 bit", png_gray(1), "black or white"
    yield "lossless jpeg", imagecodecs.jpeg8_encode(PICTURE, lossless=True), "JPEG of a rare kind"
    yield "12-bit jpeg", imagecodecs.jpeg8_encode(WIDE >> 4, bitspersample=12), "12-bit"
    yield "jpeg 2000", imagecodecs.jpeg2k_encode(PICTURE), "not a PNG"
    yield "jpeg xl file", imagecodecs.jpegxl_encode(PICTURE), "not a PNG"


LOSSLESS, LOSSY, REFUSED = list(_lossless()), list(_lossy()), list(_refused())


def cases(encodings):
    """One test for each."""
    return pytest.mark.parametrize(("data", "right"), [pytest.param(*rest, id=name) for name, *rest in encodings])


def in_colour(expected):
    """Grey (h, w) as RGB."""
    return expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)


@cases(LOSSLESS)
def test_a_lossless_encoding_keeps_every_pixel(data, right):
    read = open_picture(data).pixels
    blended = right is ON_WHITE  # rounded once by the alpha of 8 bits
    np.testing.assert_allclose(read.astype(int), in_colour(right), atol=1 if blended else 0)


@cases(LOSSY)
def test_a_lossy_encoding_stays_close(data, right):
    difference = np.abs(open_picture(data).pixels.astype(int) - in_colour(right))
    assert difference.max() <= 12
    assert difference.mean() < 3


@cases(REFUSED)
def test_what_is_not_read_is_refused_with_its_reason(data, right):
    with pytest.raises(IntakeError) as refused:
        open_picture(data)
    assert right in str(refused.value)


def test_there_are_many_encodings_and_each_is_another():
    names = [name for name, *_ in (*LOSSLESS, *LOSSY, *REFUSED)]
    assert len(set(names)) == len(names) > 200
    assert len({data for _, data, _ in (*LOSSLESS, *LOSSY, *REFUSED)}) > 190


def test_the_files_that_were_once_misread_are_read_right(shared):
    folder = shared / "cases" / "planar16"
    if not folder.is_dir():
        pytest.skip(f"the files are not here: {folder}")
    read = {path.name: open_picture(path.read_bytes()).pixels for path in folder.glob("*.tif")}
    right = open_picture((shared / "pcam_lossless" / "lossless_02.tif").read_bytes()).pixels
    np.testing.assert_array_equal(read.pop("lossless_02_planar16.tif"), right)
    inverted = read.pop("miniswhite16.tif")
    reference = read.pop("reference_8bit.tif")
    assert len(read) == 6
    for name, pixels in read.items():
        np.testing.assert_array_equal(pixels, reference, err_msg=name)
    assert np.corrcoef(inverted[..., 0].ravel(), reference.mean(axis=2).ravel())[0, 1] > 0.9
