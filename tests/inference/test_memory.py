"""Threads share arenas of memory."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys, threading
import numpy as np
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
print(sum("-p" in line and int(line.split("-")[0], 16) % 2**26 == 0 for line in open("/proc/self/maps")))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="arenas are counted as Linux tells them")
def test_threads_share_two_arenas():
    """An arena other than the first begins at a multiple of 64 MiB."""
    counts = {
        way: int(subprocess.run([sys.executable, "-c", CODE, way], cwd=ROOT, capture_output=True, check=True).stdout)
        for way in ("each", "shared")
    }
    assert counts["shared"] <= 2 < counts["each"]
