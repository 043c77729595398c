"""Threads share arenas of memory."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import ctypes, sys, threading
from core.inference.engines.memory import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
    share_arenas()  # once is enough, and twice does no harm

def hold():
    kept.append([bytes(2000) for _ in range(200)])
    together.wait()

kept, together = [], threading.Barrier(12)
threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are counted as glibc tells them")
def test_threads_share_two_arenas():
    counts = {
        way: subprocess.run([sys.executable, "-c", CODE, way], cwd=ROOT, capture_output=True, check=True).stdout
        for way in ("each", "shared")
    }
    arenas = {way: report.count(b"<heap nr=") for way, report in counts.items()}
    assert 1 <= arenas["shared"] <= 2 < arenas["each"]
