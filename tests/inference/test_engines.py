"""Two engines, one answer; the kept graph serves without torch and is only ever a cache."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openvino
import pytest

from core.errors import BundleError, EngineError, OutputError
from core.inference import load_reader
from core.inference.engines import openvino_engine, precision
from core.inference.engines.engine import open_engine
from core.inference.engines.openvino_engine import CHOICE, GRAPH, OpenVinoEngine, _kept_folder
from core.inference.engines.torch_engine import TorchEngine
from core.models.store import StoredBundle
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_torch_and_openvino_agree_on_the_shipped_model(shipped_bundle, shipped_reader, patches):
    torch_reader = load_reader(shipped_bundle, "torch")
    assert isinstance(torch_reader.engine, TorchEngine)
    assert isinstance(shipped_reader.engine, OpenVinoEngine)
    first, second = torch_reader.read(patches[:6]), shipped_reader.read(patches[:6])
    assert np.abs(first.logits).max() > 0.1
    np.testing.assert_allclose(first.logits, second.logits, atol=1e-3)
    np.testing.assert_allclose(first.attribution, second.attribution, atol=1e-3)
    assert (first.engine.split("-")[0], second.engine) == ("torch", "openvino-fp32")


def test_a_patch_has_the_same_bits_in_every_batch(tiny_reader):
    many = np.random.default_rng(5).integers(0, 256, (40, 96, 96, 3), dtype=np.uint8)
    maps, logits = tiny_reader.engine.forward(many)
    assert maps.shape == (40, 1280, 3, 3)
    for count in range(1, 41):
        some_maps, some_logits = tiny_reader.engine.forward(many[40 - count :])
        assert some_maps.tobytes() == maps[40 - count :].tobytes(), count
        assert some_logits.tobytes() == logits[40 - count :].tobytes(), count


def test_the_shipped_model_gives_the_same_bits_in_every_compiled_size(shipped_reader, patches):
    maps, logits = shipped_reader.engine.forward(patches)  # by eights, and the rest by one
    for count in (1, 8):
        some_maps, some_logits = shipped_reader.engine.forward(patches[:count])
        assert some_maps.tobytes() == maps[:count].tobytes()
        assert some_logits.tobytes() == logits[:count].tobytes()


def test_results_belong_to_the_caller(tiny_reader, patches):
    maps, logits = tiny_reader.engine.forward(patches[:2])
    kept = maps.copy(), logits.copy()
    tiny_reader.engine.forward(patches[2:4])
    np.testing.assert_array_equal(maps, kept[0])
    np.testing.assert_array_equal(logits, kept[1])


# Without torch ----------------------------------------------------------------------------------------------------


def python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = "print(sorted({'torch', 'timm', 'streamlit', 'openvino', 'pandas', 'sklearn'} & set(sys.modules)))"


def test_importing_the_inference_brings_in_nothing_heavy():
    assert python(f"import sys, core.inference; {HEAVY}") == "[]"


def test_the_second_start_reads_without_torch(tiny_bundle, tiny_reader, patches, tmp_path):
    assert (_kept_folder(tiny_reader.stored) / GRAPH).is_file()
    np.save(tmp_path / "patches.npy", patches)
    code = (
        "import sys, numpy as np; from core.inference import load_reader\n"
        "r = load_reader(sys.argv[1], 'openvino').read(np.load(sys.argv[2]), views=8)\n"
        f"print(r.logit.tobytes().hex()); {HEAVY}"
    )
    bits, modules = python(code, tiny_bundle, tmp_path / "patches.npy").splitlines()
    assert modules == "['openvino']"
    assert bytes.fromhex(bits) == tiny_reader.read(patches, views=8).logit.tobytes()


# The kept graph ---------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tiny_copy, tiny_reader):
    """A bundle with a kept graph, and the graph's folder."""
    shutil.copytree(tiny_reader.stored.folder / ".engine", tiny_copy / ".engine")
    (folder,) = (tiny_copy / ".engine").iterdir()
    return tiny_copy, folder


def only_graph_in(folder):
    return sorted(path.name for path in folder.iterdir()) == ["graph.bin", GRAPH]


@pytest.mark.parametrize("damage", ["xml", "short bin", "no bin"])
def test_a_damaged_graph_is_made_again(kept, tiny_reader, patches, damage, caplog):
    bundle, folder = kept
    if damage == "xml":
        (folder / GRAPH).write_text((folder / GRAPH).read_text()[:5000])
    elif damage == "short bin":
        weights = (folder / "graph.bin").read_bytes()
        (folder / "graph.bin").write_bytes(weights[: len(weights) // 2])
    else:
        (folder / "graph.bin").unlink()
    with caplog.at_level(logging.WARNING):
        again = load_reader(bundle, "openvino").read(patches[:2])
    assert "converting again" in caplog.text
    assert again.logit.tobytes() == tiny_reader.read(patches[:2]).logit.tobytes()
    assert only_graph_in(folder)
    assert list((bundle / ".engine").iterdir()) == [folder]


def test_the_kept_graph_may_be_read_by_anybody(tiny_reader):
    (folder,) = (tiny_reader.stored.folder / ".engine").iterdir()
    assert folder.stat().st_mode & 0o055 == 0o055


def test_other_weights_have_another_graph(kept, describe):
    bundle, _ = kept
    assert (_kept_folder(StoredBundle.open(bundle)) / GRAPH).is_file()
    describe(bundle, mean=[1, 2, 3])
    assert not _kept_folder(StoredBundle.open(bundle)).exists()


@pytest.mark.parametrize("what", ["mkdtemp", "save"])
def test_a_folder_that_cannot_be_written_still_serves(tiny_copy, tiny_reader, patches, monkeypatch, caplog, what):
    def refuse(*args, **options):
        raise OSError(30, "Read-only file system") if what == "mkdtemp" else RuntimeError("cannot write")

    monkeypatch.setattr(*((openvino_engine, "mkdtemp") if what == "mkdtemp" else (openvino, "save_model")), refuse)
    with caplog.at_level(logging.WARNING):
        readings = load_reader(tiny_copy, "openvino").read(patches[:2])
    np.testing.assert_allclose(readings.logit, tiny_reader.read(patches[:2]).logit, atol=1e-3)
    assert "could not be kept" in caplog.text
    assert list((tiny_copy / ".engine").iterdir()) == []


def test_a_graph_kept_by_another_process_meanwhile_is_left_alone(kept, tiny_reader, monkeypatch, caplog):
    bundle, folder = kept
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    model = openvino_engine._graph(StoredBundle.open(bundle))
    with caplog.at_level(logging.WARNING):
        openvino_engine._keep(model, folder)
    assert caplog.text == ""
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


# Choice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "set_to", "gpu", "expected"),
    [
        ("auto", "auto", False, OpenVinoEngine),
        ("auto", "auto", True, TorchEngine),
        ("auto", "openvino", True, OpenVinoEngine),
        ("auto", "torch", False, TorchEngine),
        ("openvino", "torch", True, OpenVinoEngine),
        ("torch", "openvino", False, TorchEngine),
    ],
)
def test_the_engine_is_the_one_asked_for_or_the_fastest(tiny_bundle, monkeypatch, asked, set_to, gpu, expected):
    monkeypatch.setattr("core.inference.engines.engine.gpu_present", lambda: gpu)
    settings = Settings.from_environment({"NODELENS_ENGINE": set_to})
    assert type(open_engine(StoredBundle.open(tiny_bundle), settings, asked)) is expected


def test_an_unknown_engine_is_refused(tiny_bundle):
    with pytest.raises(EngineError, match="'tensorrt'"):
        load_reader(tiny_bundle, "tensorrt")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_weights_of_another_architecture_are_refused_by_both(tiny_copy, describe, engine):
    describe(tiny_copy, architecture="resnet50")
    with pytest.raises(BundleError):
        load_reader(tiny_copy, engine)


# Arithmetic -------------------------------------------------------------------------------------------------------

HARMLESS = {"precision": "bf16", "patches": 12, "largest_shift": 0.01, "map_correlation": 0.999}


@pytest.fixture
def timed(monkeypatch):
    """Pretends a processor with bf16 and how many seconds each arithmetic takes; counts the measurements."""
    seconds, calls = {"f32": 2.0, "bf16": 1.0}, []
    monkeypatch.setattr(openvino_engine, "has_bf16", lambda: True)

    def least_seconds(works):
        calls.append(list(works))
        return {"exact": seconds["f32"], "rounded": seconds["bf16"]}

    monkeypatch.setattr(precision, "least_seconds", least_seconds)
    return seconds, calls


def test_bf16_serves_where_it_is_faster_and_is_measured_once(kept, describe, timed):
    bundle, _ = kept
    describe(bundle, precision=HARMLESS)
    assert load_reader(bundle, "openvino").engine.name == "openvino-bf16"
    assert load_reader(bundle, "auto").engine.name == "openvino-bf16"
    assert timed[1] == [["exact", "rounded"]]
    assert load_reader(bundle, "openvino-fp32").engine.name == "openvino-fp32"


@pytest.mark.parametrize(
    "choice", ['{"processor": "another one", "precision": "bf16"}', "[1]", "{", '{"precision": 3}']
)
def test_a_choice_made_elsewhere_or_damaged_is_made_again(kept, describe, timed, choice):
    bundle, folder = kept
    describe(bundle, precision=HARMLESS)
    timed[0]["bf16"] = 1.9  # hardly faster: exact
    (folder / CHOICE).write_text(choice)
    assert load_reader(bundle, "openvino").engine.name == "openvino-fp32"
    assert len(timed[1]) == 1
    assert json.loads((folder / CHOICE).read_text())["precision"] == "f32"


@pytest.mark.parametrize(
    "check",
    [
        None,
        HARMLESS | {"largest_shift": 0.021},
        HARMLESS | {"map_correlation": 0.99},
        {"precision": "bf16", "patches": 12, "largest_shift": 0.01},
    ],
)
def test_bf16_that_was_not_found_harmless_never_serves(kept, describe, timed, check):
    bundle, folder = kept
    describe(bundle, precision=check)
    assert load_reader(bundle, "openvino").engine.name == "openvino-fp32"
    assert timed[1] == []
    assert not (folder / CHOICE).exists()


def test_without_bf16_nothing_is_measured(kept, describe, timed, monkeypatch):
    describe(kept[0], precision=HARMLESS)
    monkeypatch.setattr(openvino_engine, "has_bf16", lambda: False)
    assert load_reader(kept[0], "openvino").engine.name == "openvino-fp32"
    assert timed[1] == []


def test_the_first_turn_of_an_arithmetic_does_not_count(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def work(name, first, then):
        def run():
            now[0] += then if name in order else first
            order.append(name)

        return run

    found = precision.least_seconds({"compiles": work("compiles", 9.0, 1.0), "slow": work("slow", 0.5, 3.0)})
    assert found == {"compiles": 1.0, "slow": 3.0}
    assert order == ["compiles", "slow"] * (precision.REPEATS + 1)


def test_a_choice_that_cannot_be_kept_still_serves(kept, describe, timed, monkeypatch, caplog):
    def refuse(path, text):
        raise OutputError(path, "read-only file system")

    describe(kept[0], precision=HARMLESS)
    monkeypatch.setattr(openvino_engine, "write_text", refuse)
    with caplog.at_level(logging.WARNING):
        assert load_reader(kept[0], "openvino").engine.name == "openvino-bf16"
    assert "at every start" in caplog.text


def test_no_choice_is_kept_where_the_graph_could_not_be(tiny_copy, describe, timed, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("cannot write")

    describe(tiny_copy, precision=HARMLESS)
    with monkeypatch.context() as full:
        full.setattr(openvino, "save_model", refuse)
        assert load_reader(tiny_copy, "openvino").engine.name == "openvino-bf16"
    assert list((tiny_copy / ".engine").iterdir()) == []
    load_reader(tiny_copy, "openvino")
    (folder,) = (tiny_copy / ".engine").iterdir()
    assert {path.name for path in folder.iterdir()} == {"graph.bin", GRAPH, CHOICE}


@pytest.mark.skipif(not openvino_engine.has_bf16(), reason="this processor has no bf16")
def test_bf16_gives_a_patch_the_same_bits_in_every_compiled_size(shipped_bundle, patches):
    engine = OpenVinoEngine(StoredBundle.open(shipped_bundle), 2, "bf16")
    assert engine.name == "openvino-bf16"
    many = np.concatenate([patches] * 3)[:32]
    maps, logits = engine.forward(many)
    for count in (1, 8):
        some_maps, some_logits = engine.forward(many[:count])
        assert some_maps.tobytes() == maps[:count].tobytes()
        assert some_logits.tobytes() == logits[:count].tobytes()
