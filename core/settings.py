"""Where things lie and how much is allowed: read from the environment once, validated, frozen.

| variable                | meaning                                                    | default         |
|-------------------------|------------------------------------------------------------|-----------------|
| NODELENS_DATA           | folder with official PCam files                            | data/pcam       |
| NODELENS_MODELS         | folder with model bundles                                  | models          |
| NODELENS_CACHE          | compiled engines and scores of splits; may be deleted      | .cache          |
| NODELENS_RUNS           | training runs                                              | runs            |
| NODELENS_SLIDES         | folder of slides that the Slide page lists                 | none            |
| NODELENS_MODEL          | the model a page opens with                                | densenet169     |
| NODELENS_ENGINE         | auto, torch, openvino or openvino-fp32                     | auto            |
| NODELENS_THREADS        | processor threads one inference may use; 0 = all cores     | 0               |
| NODELENS_LOG            | debug, info, warning or error                              | warning         |
| NODELENS_READONLY       | 1: pages only show; 0: they also train, promote, examine   | see below       |
|                         | and delete                                                 |                 |
| NODELENS_HOSTS          | names, parted by commas, by which others may call the app  | none            |
| NODELENS_PCAM_URL       | where the official PCam files are fetched, a mirror if set | Zenodo's record |

Unless NODELENS_READONLY says otherwise, pages only show in the container, and wherever the server's address is not this
machine's own (127.0.0.1, ::1 or localhost).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import SettingsError

ROOT = Path(__file__).resolve().parents[1]
LOG_LEVELS = ("debug", "info", "warning", "error")
ENGINES = ("auto", "torch", "openvino", "openvino-fp32")
HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
"""A name or an address; `*.` at its beginning stands for all names under it."""
PCAM_URL = "https://zenodo.org/records/2546921/files"


@dataclass(frozen=True)
class Settings:
    """Paths (absolute) and limits of one process."""

    data: Path
    models: Path
    cache: Path
    model: str
    engine: str
    threads: int
    log: str = "warning"
    pcam_url: str = PCAM_URL
    demo: Path = ROOT / "assets" / "demo"
    runs: Path = ROOT / "runs"
    readonly: bool | None = None
    """Whether pages only show; None leaves it to the server's address."""
    hosts: tuple[str, ...] = ()
    slides: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check every NODELENS_ variable.

        Raises:
            SettingsError: naming the variable that cannot be used.
        """
        engine = environ.get("NODELENS_ENGINE", "auto")
        if engine not in ENGINES:
            raise SettingsError("NODELENS_ENGINE", f"is '{engine}'; it must be one of {', '.join(ENGINES)}.")
        log = environ.get("NODELENS_LOG", "warning").lower()
        if log not in LOG_LEVELS:
            raise SettingsError("NODELENS_LOG", f"is '{log}'; it must be one of {', '.join(LOG_LEVELS)}.")
        threads = environ.get("NODELENS_THREADS", "0")
        if not threads.isdecimal() or int(threads) > 1024:
            raise SettingsError("NODELENS_THREADS", f"is '{threads}'; it must be a whole number from 0 to 1024.")
        readonly = environ.get("NODELENS_READONLY", "")
        if readonly not in ("", "0", "1"):
            raise SettingsError("NODELENS_READONLY", f"is '{readonly}'; it must be 0 or 1.")
        pcam_url = environ.get("NODELENS_PCAM_URL", PCAM_URL)
        if not re.fullmatch(r"https?://[^\s/]\S*", pcam_url):
            raise SettingsError("NODELENS_PCAM_URL", f"is '{pcam_url}'; it must be an http or https address.")
        hosts = tuple(name.strip().lower() for name in environ.get("NODELENS_HOSTS", "").split(",") if name.strip())
        for name in hosts:
            if not HOST.fullmatch(name):
                raise SettingsError(
                    "NODELENS_HOSTS",
                    f"names '{name}'; give host names without scheme and port, such as lens.example.org.",
                )
        return cls(
            data=_folder(environ, "NODELENS_DATA", "data/pcam"),
            models=_folder(environ, "NODELENS_MODELS", "models"),
            cache=_folder(environ, "NODELENS_CACHE", ".cache"),
            model=environ.get("NODELENS_MODEL", "densenet169"),
            engine=engine,
            threads=int(threads) or (os.cpu_count() or 1),
            log=log,
            pcam_url=pcam_url.rstrip("/"),
            runs=_folder(environ, "NODELENS_RUNS", "runs"),
            readonly=readonly == "1" if readonly else None,
            hosts=hosts,
            slides=_folder(environ, "NODELENS_SLIDES", "") if environ.get("NODELENS_SLIDES") else None,
        )


def _folder(environ: Mapping[str, str], variable: str, default: str) -> Path:
    path = (ROOT / Path(environ.get(variable, default)).expanduser()).resolve()
    if path.exists() and not path.is_dir():
        raise SettingsError(variable, f"is {path}, which is not a folder.")
    return path


def without_paths(text: str) -> str:
    """A sentence for a page: where this machine keeps its folders is not the reader's business."""
    known = settings()
    folders = {str(folder): folder.name for folder in (known.data, known.models, known.cache, known.runs, known.demo)}
    for path in sorted(folders, key=len, reverse=True):
        text = text.replace(path, folders[path])
    return text.replace(f"{ROOT}{os.sep}", "")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_environment(os.environ)
