"""The official files arrive whole or not at all, from a mirror on this machine that misbehaves on demand."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict, namedtuple
from contextlib import nullcontext
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import numpy as np
import pytest
from tqdm import tqdm

from core import cli
from core.data import download
from core.data.download import Published, fetch_split
from core.data.pcam import Split, file_of
from core.errors import DownloadError, OutputError, SettingsError, SplitFormatError
from core.settings import PCAM_URL, Settings, settings

ROOT = Path(__file__).resolve().parents[2]
X, Y, META = (f"camelyonpatch_level_2_split_valid_{kind}" for kind in ("x.h5.gz", "y.h5.gz", "meta.csv"))


class Mirror(ThreadingHTTPServer):
    """Serves `files`. The answers in `plans[name]` are given first, one per request; `asked` holds every request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plans, self.asked = {}, defaultdict(list), []
        self.etag, self.released = '"first"', threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/files"

    def ranges(self, name):
        return [headers["Range"] for asked, headers in self.asked if asked == name]


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self):
        name = self.path.split("/")[-1].removesuffix("?download=1")
        self.server.asked.append((name, self.headers))
        plans = self.server.plans[name]
        (plans.pop(0) if plans else serve)(self, self.server.files[name])

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            if value is not None:
                self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(handler, body, upto=None, etag=None):
    """What a good server does; `upto` cuts the connection when that many bytes of the file have gone out."""
    etag = etag or handler.server.etag
    start, wanted = 0, handler.headers["Range"]
    if wanted and handler.headers["If-Range"] in (None, etag):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return handler.answer(416, Content_Length=0)
    span = f"bytes {start}-{len(body) - 1}/{len(body)}" if start else None
    length = len(body) - start
    return handler.answer(206 if start else 200, body[start:upto], Content_Length=length, Content_Range=span, ETag=etag)


def cut(upto, **options):
    return partial(serve, upto=upto, **options)


def stall(upto):
    """Falls silent after `upto` bytes, the connection left open."""

    def plan(handler, body):
        serve(handler, body, upto)
        handler.server.released.wait(60)
        handler.wfile.write(body[upto:])

    return plan


def whole(handler, body):
    """Knows nothing of ranges."""
    handler.answer(200, body, Content_Length=len(body))


def status(code):
    return lambda handler, body: handler.answer(code, Content_Length=0)


def redirect(address):
    return lambda handler, body: handler.answer(302, Location=address.format(port=handler.server.server_port))


def announce(difference):
    """Announces more or fewer bytes than it should."""
    return lambda handler, body: handler.answer(200, body, Content_Length=len(body) + difference)


def wrong(handler, body):
    handler.answer(200, bytes(len(body)), Content_Length=len(body))


def endless(handler, body):
    """No length, no end."""
    handler.answer(200)
    try:
        while not handler.server.released.is_set():
            handler.wfile.write(bytes(2**16))
    except OSError:
        handler.server.released.set()  # the client went away, as it should


def unmeasured(handler, body, upto=None):
    handler.answer(200, body[:upto])


@pytest.fixture
def mirror(tmp_path, monkeypatch, write_split, patches, labels):
    """A mirror of a record whose split 'valid' has twelve patches; the module knows its sizes and checksums."""
    folder = write_split(tmp_path / "official", patches, labels)
    server = Mirror()
    server.files[X] = gzip.compress(file_of(folder, "valid", "x.h5").read_bytes())
    server.files[Y] = gzip.compress(file_of(folder, "valid", "y.h5").read_bytes())
    with io.StringIO(newline="") as table:
        csv.writer(table).writerows([("coord_x", "wsi"), *((i, f"slide_{i % 3}") for i in range(12))])
        server.files[META] = table.getvalue().encode()
    monkeypatch.setattr(download, "PATCHES", {"valid": 12})
    monkeypatch.setattr(download, "DELAYS", (0,) * 4)
    publish(server, monkeypatch)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def publish(server, monkeypatch):
    """Let the module know the checksums and sizes of what the mirror serves now."""
    record = [
        Published("valid", kind, size and len(server.files[name]), hashlib.md5(server.files[name]).hexdigest())
        for kind, name, size in (("x.h5", X, True), ("y.h5", Y, True), ("meta.csv", META, None))
    ]
    monkeypatch.setattr(download, "RECORD", tuple(record))


@pytest.fixture
def fetch(mirror, tmp_path):
    """A function that fetches the split into a folder of its own."""
    return lambda progress=lambda *_: None: fetch_split("valid", tmp_path / "out", progress, mirror.url)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def refused(fetch, out):
    """A function that fetches in vain: one sentence comes back, and the x file is not there."""

    def refused(error=DownloadError):
        with pytest.raises(error) as caught:
            fetch()
        assert not file_of(out, "valid", "x.h5").exists()
        assert not (out / "camelyonpatch_level_2_split_valid_x.h5.part").exists()
        said = str(caught.value)
        assert said.endswith(".")
        assert "\n" not in said
        assert "?" not in said
        return said

    return refused


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def held(out):
    return (out / f"{X}.part").stat().st_size


def is_right(out, patches, labels):
    split = Split.open(out, "valid")
    np.testing.assert_array_equal(split.patches(slice(None)), patches)
    np.testing.assert_array_equal(split.labels, labels)
    assert list(split.slides[:4]) == ["slide_0", "slide_1", "slide_2", "slide_0"]
    assert visible(out) == [META, X.removesuffix(".gz"), Y.removesuffix(".gz")]
    return True


def test_a_split_is_fetched_and_opens(mirror, fetch, out, patches, labels):
    seen = defaultdict(list)
    x_path = file_of(out, "valid", "x.h5")

    def progress(name, done, total):
        seen[name].append((done, total))
        assert not (name == x_path.name and x_path.exists()), "the name was given before the file was whole"

    assert fetch(progress) == [file_of(out, "valid", kind) for kind in ("x.h5", "y.h5", "meta.csv")]
    assert is_right(out, patches, labels)
    assert list(seen) == [X, x_path.name, Y, Y.removesuffix(".gz"), META]
    for name, facts in seen.items():
        done, totals = zip(*facts, strict=True)
        assert list(done) == sorted(done)
        size = len(mirror.files.get(name, mirror.files.get(f"{name}.gz")))
        assert (done[-1], set(totals)) == (size, {size})


def test_what_is_there_is_kept(mirror, fetch, out, patches, labels):
    paths = fetch()
    stamps = [path.stat().st_mtime_ns for path in paths]
    (out / f"{X}.part").write_bytes(b"of a run that was killed just before it would have removed this")
    mirror.asked.clear()
    assert fetch() == paths
    assert mirror.asked == []
    assert [path.stat().st_mtime_ns for path in paths] == stamps
    paths[1].unlink()
    fetch()
    assert [name for name, _ in mirror.asked] == [Y]
    assert is_right(out, patches, labels)


@pytest.mark.parametrize("upto", [0, 1, 100_000])
def test_after_a_cut_only_the_rest_is_asked_for(mirror, fetch, out, patches, labels, upto):
    mirror.plans[X] = [cut(upto)]
    fetch()
    assert mirror.ranges(X) == [None, f"bytes={upto}-" if upto else None]
    assert is_right(out, patches, labels)


def test_a_file_that_changed_after_a_cut_is_begun_anew(mirror, fetch, out, patches, labels):
    def other(handler, body):
        serve(handler, bytes(len(body)), 100_000, etag='"before"')

    mirror.plans[X] = [other]
    fetch()
    assert [headers["If-Range"] for name, headers in mirror.asked if name == X] == [None, '"before"']
    assert is_right(out, patches, labels)


def test_a_weak_etag_vouches_for_nothing(mirror, fetch):
    mirror.etag = 'W/"weak"'
    mirror.plans[X] = [cut(100_000)]
    fetch()
    assert mirror.ranges(X) == [None, "bytes=100000-"]
    assert {headers["If-Range"] for _, headers in mirror.asked} == {None}


def test_a_later_run_goes_on(mirror, fetch, out, refused, patches, labels):
    mirror.plans[X] = [cut(70_000), *[status(503)] * 10]
    assert "503" in refused()
    assert held(out) == 70_000
    mirror.plans[X], mirror.asked[:] = [], []
    fetch()
    assert mirror.ranges(X) == ["bytes=70000-"]
    assert is_right(out, patches, labels)


def test_a_whole_part_is_only_unpacked(mirror, fetch, out, patches, labels):
    out.mkdir()
    (out / f"{X}.part").write_bytes(mirror.files[X])
    fetch()
    assert mirror.ranges(X) == []
    assert is_right(out, patches, labels)


@pytest.mark.parametrize("stranger", [b"x" * 50_000_000, b"x" * 400])
def test_a_part_that_reaches_behind_the_end_is_begun_anew(mirror, fetch, out, patches, labels, stranger):
    """The size of meta.csv is not published, so the server has to say so (416)."""
    out.mkdir()
    (out / f"{META}.part").write_bytes(stranger)
    fetch()
    assert mirror.ranges(META) == [f"bytes={len(stranger)}-", None]
    assert is_right(out, patches, labels)


def test_a_server_without_ranges_starts_over(mirror, fetch, out, patches, labels):
    mirror.plans[X] = [cut(100_000), whole]
    fetch()
    assert mirror.ranges(X) == [None, "bytes=100000-"]
    assert is_right(out, patches, labels)


def test_another_range_than_asked_for_is_not_appended(mirror, fetch, out, patches, labels):
    def shifted(handler, body):
        span = f"bytes 99999-{len(body) - 1}/{len(body)}"
        handler.answer(206, body[99_999:], Content_Length=len(body) - 99_999, Content_Range=span)

    mirror.plans[X] = [cut(100_000), shifted]
    fetch()
    assert mirror.ranges(X) == [None, "bytes=100000-", None]
    assert is_right(out, patches, labels)


@pytest.mark.parametrize("first", [status(500), status(503), status(429), status(408), cut(0)])
def test_a_passing_fault_is_tried_again(mirror, fetch, out, patches, labels, first):
    mirror.plans[X] = [first, first]
    fetch()
    assert len(mirror.ranges(X)) == 3
    assert is_right(out, patches, labels)


@pytest.mark.parametrize(("code", "tries"), [(304, 1), (404, 1), (403, 1), (410, 1), (500, 4)])
def test_a_lasting_fault_is_not_tried_for_ever(mirror, refused, code, tries):
    mirror.plans[X] = [status(code)] * 20
    assert f"{X}: the server answers {code}" in refused()
    assert len(mirror.ranges(X)) == tries


def test_the_pauses_grow(mirror, refused, monkeypatch):
    pauses = []
    monkeypatch.setattr(download, "DELAYS", (1, 2, 4, 8))
    monkeypatch.setattr(time, "sleep", pauses.append)
    mirror.plans[X] = [status(500)] * 20
    refused()
    assert pauses == [2, 4, 8]


def test_tries_that_bring_something_do_not_count(mirror, fetch, out, monkeypatch, patches, labels):
    monkeypatch.setattr(download, "BLOCK", 10_000)
    cuts = range(20_000, len(mirror.files[X]), 20_000)
    assert len(cuts) > 2 * len(download.DELAYS)
    mirror.plans[X] = [cut(upto) for upto in cuts]
    fetch()
    assert mirror.ranges(X) == [None, *(f"bytes={upto}-" for upto in cuts)]
    assert is_right(out, patches, labels)


def test_a_stall_counts_as_a_cut(mirror, fetch, out, monkeypatch, patches, labels):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    mirror.plans[X] = [stall(100_000)]
    fetch()
    assert mirror.ranges(X) == [None, "bytes=100000-"]
    assert is_right(out, patches, labels)


def test_nobody_answers(mirror, out, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DownloadError, match="connection refused"):
        fetch_split("valid", out, base_url=f"http://127.0.0.1:{port}")


def test_wrong_bytes_are_deleted(mirror, fetch, out, refused, patches, labels):
    mirror.plans[X] = [wrong]
    assert "checksum" in refused()
    assert visible(out) == []
    fetch()
    assert mirror.ranges(X) == [None, None]
    assert is_right(out, patches, labels)


@pytest.mark.parametrize("difference", [-1000, 1000])
def test_another_length_than_published_is_not_even_read(mirror, out, refused, difference):
    mirror.plans[X] = [announce(difference)]
    size = len(mirror.files[X])
    assert f"offers {size + difference:,} bytes instead of the published {size:,}" in refused()
    assert visible(out) == []


def test_a_body_without_length_is_enough(mirror, fetch, out, patches, labels):
    mirror.plans[X] = [partial(unmeasured, upto=100_000)]
    mirror.plans[META] = [unmeasured]
    fetch()
    assert mirror.ranges(X) == [None, "bytes=100000-"]
    assert is_right(out, patches, labels)


@pytest.mark.parametrize("name", [X, META])
def test_an_endless_body_is_left(mirror, fetch, out, name):
    mirror.plans[name] = [endless]
    most = {X: len(mirror.files[X]), META: download.RECORD[2].unpacked}[name]
    received = []
    with pytest.raises(DownloadError, match="checksum"):
        fetch(lambda of, done, total: received.append(done) if of == name else None)
    assert max(received) == most
    assert mirror.released.wait(10), "the connection was not closed"
    assert not (out / f"{name}.part").exists()


def test_a_part_that_is_too_long_grows_no_further(mirror, fetch, out):
    too_long = download.RECORD[2].unpacked + 1
    mirror.plans[META] = [lambda handler, body: handler.answer(206, body, Content_Range=f"bytes {too_long}-/*")]
    out.mkdir()
    (out / f"{META}.part").write_bytes(bytes(too_long))
    received = []
    with pytest.raises(DownloadError, match="checksum"):
        fetch(lambda of, done, total: received.append(of))
    assert META not in received
    assert not (out / f"{META}.part").exists()


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1:{port}/x", "data:text/plain,x"])
def test_redirects_stay_on_the_web(mirror, out, refused, address):
    mirror.plans[X] = [redirect(address)]
    assert "another address" in refused()
    assert len(mirror.asked) == 1
    assert visible(out) == []


def test_a_redirect_keeps_the_range(mirror, fetch, out, patches, labels):
    mirror.plans[X] = [cut(100_000), redirect(f"http://127.0.0.1:{{port}}/elsewhere/{X}")]
    fetch()
    assert mirror.ranges(X) == [None, "bytes=100000-", "bytes=100000-"]
    assert is_right(out, patches, labels)


@pytest.mark.parametrize(
    ("asked", "target", "followed"),
    [
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/x", "https://b.org/x", True),
        ("https://a.org/x", "/y", True),
        ("http://a.org/x", "https://a.org/x", True),
    ],
)
def test_https_does_not_lead_to_http(asked, target, followed):
    response = httpx2.Response(302, headers={"Location": target}, request=httpx2.Request("GET", asked))
    with nullcontext() if followed else pytest.raises(DownloadError, match="another address"):
        download._check_redirect(asked, response)


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/x", "https://[bad", "http://127.0.0.1:99999999/x"])
def test_redirects_that_lead_nowhere_end(mirror, out, refused, address):
    mirror.plans[X] = [redirect(address)] * 30
    mirror.plans["x"] = [redirect(address)] * 30
    mirror.files["x"] = b""
    refused()
    assert len(mirror.asked) < 30


@pytest.mark.parametrize("address", ["file:///tmp", "ftp://example.org", "/tmp", ""])
def test_only_web_addresses_are_asked(out, address):
    with pytest.raises(DownloadError, match="only http and https"):
        fetch_split("valid", out, base_url=address)
    assert not out.exists()


def test_a_bomb_is_not_unpacked(mirror, out, refused, monkeypatch):
    mirror.files[X] = gzip.compress(bytes(2 * download.RECORD[0].unpacked))
    publish(mirror, monkeypatch)
    assert "unpacks to more than" in refused()
    assert visible(out) == [f"{X}.part"]


@pytest.mark.parametrize("damage", [lambda body: b"not gzip" * 1000, lambda body: body[:100_000]])
def test_what_is_not_gzip_is_said_to_be(mirror, refused, monkeypatch, damage):
    mirror.files[X] = damage(mirror.files[X])
    publish(mirror, monkeypatch)
    assert "not a gzip file" in refused()


def test_what_is_not_pcam_is_said_to_be(mirror, fetch, monkeypatch):
    mirror.files[X] = gzip.compress(b"no HDF5" * 1000)
    publish(mirror, monkeypatch)
    with pytest.raises(SplitFormatError, match="not an HDF5 file"):
        fetch()


def test_there_must_be_room(mirror, fetch, out, refused, monkeypatch):
    needed = sum(file.unpacked + (file.size or 0) for file in download.RECORD)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, needed - 1))
    assert "0.1 GB are needed, 0.1 GB are free" in refused(OutputError)
    assert mirror.asked == []
    # A byte of the download that lies there already is a byte less to find room for.
    (out / f"{X}.part").write_bytes(mirror.files[X][:1])
    fetch()


@pytest.mark.parametrize("name", [f"{X}.part", "camelyonpatch_level_2_split_valid_x.h5.part"])
def test_a_disk_that_fills_up_is_said_to_be_full(mirror, fetch, out, refused, patches, labels, name):
    out.mkdir()
    (out / name).symlink_to("/dev/full")
    assert os.strerror(errno.ENOSPC).lower() in refused(OutputError)
    (out / name).unlink(missing_ok=True)
    fetch()
    assert len(mirror.ranges(X)) == (2 if name == f"{X}.part" else 1)
    assert is_right(out, patches, labels)


def test_a_folder_that_cannot_be_made_is_named(mirror, fetch, out):
    out.write_text("a file")
    with pytest.raises(OutputError, match="file exists"):
        fetch()


def test_stopping_keeps_what_came(mirror, fetch, out, monkeypatch, patches, labels):
    monkeypatch.setattr(download, "BLOCK", 10_000)

    def stop(name, done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(stop)
    kept = held(out)
    assert kept > 100_000
    mirror.asked.clear()
    fetch()
    assert mirror.ranges(X) == [f"bytes={kept}-"]
    assert is_right(out, patches, labels)


def test_stopping_while_unpacking_keeps_the_download(mirror, fetch, out, patches, labels):
    def stop(name, done, total):
        if name.endswith("_x.h5"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(stop)
    assert visible(out) == [f"{X}.part"]
    fetch()
    assert len(mirror.ranges(X)) == 1
    assert is_right(out, patches, labels)


CHILD = """
import json, sys
from pathlib import Path
from core.data import download
record, out, url = json.loads(sys.argv[1])
download.PATCHES = {"valid": 12}
download.RECORD = tuple(download.Published(*file) for file in record)
download.fetch_split("valid", Path(out), base_url=url)
"""


@pytest.fixture
def child(mirror, out):
    """Another process in the middle of a download, 100,000 bytes into the x file."""
    mirror.plans[X] = [stall(100_000)]
    record = [(file.split, file.kind, file.size, file.md5) for file in download.RECORD]
    arguments = [sys.executable, "-c", CHILD, json.dumps([record, str(out), mirror.url])]
    process = subprocess.Popen(arguments, cwd=ROOT)
    part = out / f"{X}.part"
    # The last block may still be in the buffer of the file.
    while process.poll() is None and not (part.is_file() and part.stat().st_size >= 90_000):
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def test_a_killed_process_is_taken_over(mirror, fetch, out, child, patches, labels):
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept = held(out)
    assert 90_000 <= kept <= 100_000
    fetch()
    assert mirror.ranges(X) == [None, f"bytes={kept}-"]
    assert is_right(out, patches, labels)


def test_two_processes_do_not_meet_in_one_file(mirror, fetch, out, child, patches, labels):
    with pytest.raises(DownloadError, match=r"another process is fetching 'valid' into "):
        fetch()
    assert len(mirror.asked) == 1
    mirror.released.set()
    assert child.wait(30) == 0
    assert mirror.ranges(X) == [None]
    assert is_right(out, patches, labels)


def test_an_import_is_not_mixed_with_official_files(mirror, fetch, out, write_split, patches, labels):
    write_split(out, patches[:5], labels[:5])
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(DownloadError, match="with 5 patches instead of 12; choose another folder"):
        fetch()
    assert mirror.asked == []
    assert {path: path.read_bytes() for path in before} == before
    assert len(Split.open(out, "valid")) == 5


def test_an_unknown_split_is_refused(out):
    with pytest.raises(DownloadError, match="no split 'demo'; it has train, valid, test"):
        fetch_split("demo", out)


def test_the_table_is_that_of_the_record():
    from torchvision.datasets import PCAM

    assert sum(download.PATCHES.values()) == 327_680
    assert [(file.split, file.kind) for file in download.RECORD] == [
        (split, kind) for split in ("train", "valid", "test") for kind in ("x.h5", "y.h5", "meta.csv")
    ]
    sums = {file.served: file.md5 for file in download.RECORD}
    theirs = {f"{name}.gz": md5 for split in PCAM._FILES.values() for name, _, md5 in split.values()}
    assert {name: sums[name] for name in theirs} == theirs
    assert len(theirs) == 6
    assert len(set(sums.values())) == 9
    for file in download.RECORD:
        if file.kind == "x.h5":
            assert 0.8 < file.size / (download.PATCHES[file.split] * 96 * 96 * 3) < 1


@pytest.fixture
def command(mirror, monkeypatch):
    """A function that runs `python -m core data fetch ...` against the mirror: its exit code."""
    monkeypatch.setenv("NODELENS_PCAM_URL", f"{mirror.url}/")
    settings.cache_clear()

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["nodelens", "data", "fetch", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    yield command
    settings.cache_clear()


def test_the_command_fetches(mirror, command, out, capsys, patches, labels):
    assert command("--out", out, "--split", "valid", "--split", "valid") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{out}: valid 12\n" * 2, "")
    assert len(mirror.asked) == 3
    assert is_right(out, patches, labels)


def test_the_command_draws_a_bar_on_a_terminal(command, out, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("core.cli.terminal.tqdm", partial(tqdm, mininterval=0, miniters=0))
    assert command("--out", out, "--split", "valid") == 0
    drawn = sys.stderr.getvalue()
    for name in (X, X.removesuffix(".gz"), Y, META):
        assert f"{name}: 100%" in drawn
    assert "kB/s" in drawn or "MB/s" in drawn


def test_the_command_says_what_went_wrong(mirror, command, out, capsys):
    mirror.plans[X] = [status(404)]
    assert command("--out", out, "--split", "valid") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"nodelens: Cannot fetch {mirror.url}/{X}: the server answers 404 Not Found.\n"


def test_the_address_is_a_setting():
    assert Settings.from_environment({}).pcam_url == PCAM_URL
    assert Settings.from_environment({"NODELENS_PCAM_URL": "http://mirror:80/a/"}).pcam_url == "http://mirror:80/a"


@pytest.mark.parametrize("address", ["", "file:///tmp", "ftp://example.org", "https://", "https:// a", "zenodo.org"])
def test_an_address_that_is_none_is_named(address):
    with pytest.raises(SettingsError, match="NODELENS_PCAM_URL"):
        Settings.from_environment({"NODELENS_PCAM_URL": address})
