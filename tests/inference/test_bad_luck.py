"""Killed processes, races and vanishing folders: the next start is good, and what runs goes on."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelNotFoundError
from core.inference import load_reader

ROOT = Path(__file__).resolve().parents[2]
READ = (
    "import sys, numpy as np; from core.inference import load_reader\n"
    "print(load_reader(sys.argv[1], 'openvino').read(np.load(sys.argv[2])).logit.tobytes().hex())"
)
KILLED = (
    "import os, signal, sys, core.inference.engines.openvino_engine as e\n"
    "from core.inference import load_reader\n"
    "save = e.ov.save_model\n"
    "def half(model, path, **options):\n"
    "    save(model, path, **options); os.truncate(path, 1000); os.kill(os.getpid(), signal.SIGKILL)\n"
    "e.ov.save_model = half\n"
    "load_reader(sys.argv[1], 'openvino')"
)


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def leftovers(bundle):
    return [path.name for path in (bundle / ".engine").iterdir() if path.name.startswith(".part")]


@pytest.fixture
def file_of_patches(tmp_path, patches):
    np.save(tmp_path / "patches.npy", patches)
    return tmp_path / "patches.npy"


def test_two_processes_may_convert_the_same_bundle_at_once(tiny_copy, tiny_reader, patches, file_of_patches):
    both = [start(READ, tiny_copy, file_of_patches) for _ in range(2)]
    answers = [process.communicate() for process in both]
    expected = tiny_reader.read(patches).logit.tobytes().hex()
    assert [out.strip() for out, _ in answers] == [expected, expected], [err for _, err in answers]
    assert leftovers(tiny_copy) == []


def test_a_process_killed_while_keeping_the_graph_harms_nobody(tiny_copy, tiny_reader, patches):
    killed = start(KILLED, tiny_copy)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(leftovers(tiny_copy)) == 1  # half a graph, under a name that nobody reads
    readings = load_reader(tiny_copy, "openvino").read(patches)
    np.testing.assert_array_equal(readings.logit, tiny_reader.read(patches).logit)


def test_a_model_removed_while_in_use_serves_on_and_is_then_missing(tiny_copy, patches):
    reader = load_reader(tiny_copy, "openvino")
    before = reader.read(patches[:2])
    shutil.rmtree(tiny_copy)
    after = reader.read(patches)
    np.testing.assert_array_equal(after.logit[:2], before.logit)
    with pytest.raises(ModelNotFoundError):
        load_reader(tiny_copy, "openvino")
    assert not tiny_copy.exists()  # nothing was made anew
