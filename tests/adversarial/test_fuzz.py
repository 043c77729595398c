"""Made-up files, by property (Hypothesis) and by coverage (atheris): read or refused in one sentence, nothing else."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.data.image_limits import MAX_NUMBERS, MAX_PARTS, MAX_PASSES, exceeds_structure_limits
from core.data.intake import MAX_PIXELS, open_picture
from core.data.tables import read_columns
from core.errors import IntakeError, NodeLensError, printable
from tests.adversarial.corpus import HONEST, WHOLE, chunk, png, tiff

ROOT = Path(__file__).resolve().parents[2]
BOUNDED = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
SECONDS = 10

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def read_or_refuse(data):
    """What is promised for any bytes at all."""
    picture, said = None, ""
    try:
        picture = open_picture(data)
    except IntakeError as error:
        said = str(error)
    if picture is None:
        assert said.isprintable()
        assert 10 < len(said) < 700
        return
    height, width, channels = picture.pixels.shape
    assert picture.pixels.dtype == np.uint8
    assert channels == 3
    assert min(height, width) >= 96
    assert height * width <= MAX_PIXELS
    assert all(note.isprintable() for note in picture.notes)


@st.composite
def rewritten(draw):
    """An honest file with pieces changed, doubled, dropped or taken from another one."""
    names = st.sampled_from(sorted(HONEST))
    data = HONEST[draw(names)]
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(data)) | st.integers(0, min(300, len(data)))] * 2)))
        donor = HONEST[draw(names)]
        cut = draw(st.integers(0, len(donor)))
        piece = draw(
            st.binary(max_size=40)
            | st.just(b"")
            | st.just(data[start:end] * 2)
            | st.just(donor[cut : cut + 200])
            | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        )
        data = data[:start] + piece + data[end:]
    return data


@given(rewritten())
@BOUNDED
def test_rewritten_pictures(data):
    read_or_refuse(data)


@given(
    st.dictionaries(
        st.sampled_from([254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 296, 317, 320, 322])
        | st.sampled_from([323, 324, 325, 338, 339, 347, 530, 34665, 34853]),
        st.tuples(
            st.integers(0, 18),
            st.integers(0, 5) | st.integers(0, 2**32 - 1),
            st.integers(0, 600) | st.integers(0, 2**32 - 1),
        ),
        min_size=1,
        max_size=5,
    )
)
@BOUNDED
def test_tiffs_with_tags_of_any_kind(changes):
    read_or_refuse(tiff(changes))


@given(
    st.integers(0, 200) | st.integers(0, 2**31),
    st.integers(0, 200) | st.integers(0, 2**31),
    st.sampled_from([1, 2, 4, 8, 16, 3]),
    st.integers(0, 7),
    st.binary(max_size=50),
    st.sampled_from(
        [b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"pHYs", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"gAMA", b"abCD"]
    ),
)
@BOUNDED
def test_pngs_with_headers_of_any_kind(width, height, depth, colour, body, kind):
    read_or_refuse(png(width, height, depth, colour, body, chunk(kind, body)))


@given(st.text())
@example("\u202e\n\0\ud800")
@BOUNDED
def test_any_text_can_be_printed(text):
    printed = printable(text)
    assert printable(printed) == printed
    assert "\n" not in printed
    printed.encode()
    assert len(str(NodeLensError(text * 100))) < 700


@given(st.binary(max_size=300) | st.text(alphabet='row,split"01\n\r\t', max_size=300).map(str.encode))
@BOUNDED
def test_any_table_is_read_or_said_to_be_none(data):
    try:
        rows = list(read_columns(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig"), ("split", "row")))
    except ValueError:
        return
    assert all(len(row) == 2 for row in rows)


def test_honest_files_are_no_mazes():
    assert not any(exceeds_structure_limits(data) for data in HONEST.values())
    assert exceeds_structure_limits(b"\xff\xd8" + b"\xff\xda\0\2\1\2" * (MAX_PASSES + 1))
    assert not exceeds_structure_limits(
        b"\xff\xd8" + b"\xff\xda\0\2\1\2" * MAX_PASSES + b"\xff\xd9" + b"\xff\xda\0\2" * 500
    )
    assert exceeds_structure_limits(b"\xff\xd8" + b"\xff\xd9" * (MAX_PARTS + 1))
    assert exceeds_structure_limits(b"\xff\xd8" + b"\xff\xda\0\2" + b"\xff\xfe\0\4\xff\xd9" * (MAX_PARTS + 1))
    assert not exceeds_structure_limits(tiff({273: (4, MAX_NUMBERS - 100, 512)}, bytes(4 * MAX_NUMBERS)))
    assert exceeds_structure_limits(tiff({273: (4, MAX_NUMBERS, 512)}, bytes(4 * MAX_NUMBERS)))


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_coverage_guided(tmp_path):
    """libFuzzer over Pillow's and tifffile's readers and ours, from the honest files as seeds, for a few seconds."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for name, data in HONEST.items():
        if len(data) < 8000:
            (seeds / name.replace(" ", "_")).write_bytes(data)
    (seeds / "safetensors").write_bytes(WHOLE)
    code = f"""
import sys, warnings
import atheris
sys.path.insert(0, {str(Path(__file__).parent)!r})
with atheris.instrument_imports(include=["PIL", "tifffile", "core"]):
    import PIL.PngImagePlugin, PIL.JpegImagePlugin, PIL.BmpImagePlugin, PIL.WebPImagePlugin
    import core.data.intake, core.data.tiff
from test_fuzz import read_or_refuse
# Not -rss_limit_mb: it would count the peak that a child inherits from its parent.
atheris.Setup([sys.argv[0], {str(seeds)!r}, "-max_total_time={SECONDS}", "-timeout=20", "-rss_limit_mb=0",
               "-malloc_limit_mb=500", "-max_len=8000", "-seed=1", "-print_final_stats=1"], read_or_refuse)
atheris.Fuzz()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tried = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    assert tried, done.stderr[-3000:]
    assert int(tried[1]) > 200
    covered = [int(number) for number in re.findall(r"cov: (\d+)", done.stderr)]
    assert covered[-1] > 300, "the code is not instrumented"
