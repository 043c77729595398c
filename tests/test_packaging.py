"""What is installed and how it is run: read from the files that say so."""

import re
import subprocess
import tomllib

import pytest
import yaml

from core import __version__
from core.settings import ROOT

LOCKS = ("requirements.lock", "requirements-torch.lock")
PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^\s;]+)")


def pins(*names):
    """(name, version) of every line that names a package."""
    lines = [line for name in names for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    found = [PIN.match(line) for line in lines]
    return {(match[1].lower().replace("_", "-"), match[2]) for match in found if match}


def recipe(*arguments):
    """What make would do on a machine without an environment."""
    command = ["make", "--dry-run", "VENV=/nonexistent/venv", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def dockerfile():
    """The Dockerfile with its continued lines joined."""
    return re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def service():
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["nodelens"]


def test_everything_that_is_required_is_locked():
    missing = pins("requirements.txt") - pins(*LOCKS)
    assert not missing, "run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes_and_names_no_place(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z])", text)[1:]
    assert blocks
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
    assert "://" not in text
    assert "index" not in text


def test_torch_and_what_it_alone_needs_stand_apart():
    torch = {name for name, _ in pins("requirements-torch.lock")}
    assert {"torch", "torchvision", "triton"} <= torch
    assert not {name for name, _ in pins("requirements.lock") if name.startswith(("torch", "nvidia-", "cuda-"))}
    assert {name.partition("-")[0] for name in torch} == {"torch", "torchvision", "triton", "nvidia", "cuda"}


def test_make_compares_hashes():
    assert "--require-hashes -r requirements.lock" in recipe("run")
    assert "--require-hashes -r requirements-torch.lock" in recipe("run")


@pytest.mark.parametrize("target", ["env", "run"])
def test_make_takes_an_index_with_smaller_wheels(target):
    done = recipe(target, "PIP_ARGS=--extra-index-url somewhere")
    installs = [line for line in done.splitlines() if "pip install" in line]
    assert all("--extra-index-url somewhere" in line for line in installs)
    assert "--require-hashes -r requirements.lock" in done
    assert "requirements-torch.lock" not in done
    torch = dict(pins("requirements.txt"))["torch"]
    assert any(f"torch=={torch}" in line for line in installs)


def test_make_check_starts_no_browser():
    done = recipe("check")
    assert "ruff check" in done
    assert "mypy" in done
    (tests,) = [line.split("pytest -q ")[1].split() for line in done.splitlines() if "pytest -q " in line]
    assert "tests/data" in tests
    assert not re.search(r"browser|server|pages|adversarial|training|endurance|bench|jobs|cli", " ".join(tests))


def test_a_pasted_picture_fits_in_a_message_and_little_else_does():
    server = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["server"]
    text = server["maxUploadSize"] * 2**20 * 4 / 3
    assert text < server["maxMessageSize"] * 10**6 < 1.01 * text


def test_the_container_has_limits(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "memswap_limit", "cpus", "pids_limit"} <= service.keys()


def test_the_container_is_published_to_this_machine_alone(service):
    assert [port.rpartition(":")[0] for port in service["ports"]] == ["127.0.0.1:8501"]


def test_what_the_container_writes_stays_in_memory(service):
    (tmpfs,) = service["tmpfs"]
    path, _, options = tmpfs.partition(":")
    assert "size=" in options
    assert f"TMPDIR={path} " in dockerfile()
    assert f"NODELENS_CACHE={path}/" in dockerfile()
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_the_image_runs_without_privileges_and_only_shows():
    text = dockerfile()
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    assert " NODELENS_READONLY=1 " in re.sub(r"\s+", " ", text)
    assert text.count("--require-hashes") == 2
    assert "http://127.0.0.1:8501/_stcore/health" in text  # a name that is always let in


def test_docker_is_given_what_it_copies():
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    copied = [
        name for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile(), re.MULTILINE) for name in line.split()
    ]
    assert len(copied) == 9
    for name in copied:
        assert any((ROOT / name) in ROOT.glob(pattern) for pattern in let_in), name


def test_the_newest_release_in_the_changelog_is_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == __version__
    assert text.index("## [Unreleased]") < text.index(f"## [{released[0]}]")
