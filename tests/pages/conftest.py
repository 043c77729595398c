"""The app as AppTest drives it: on the shipped demo split, with a cache folder of its own for every test."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from core import service
from core.data.pcam import Split
from core.inference import Reader
from core.inference.scores import Scores, ScoreStore
from core.jobs import Job
from core.settings import settings

ROOT = Path(__file__).resolve().parents[2]


class Screen:
    """What a reader has before them."""

    def __init__(self, page: str, query: dict[str, object]) -> None:
        self.at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        for name, value in query.items():
            self.at.query_params[name] = str(value)
        self.at.switch_page(f"pages/{page}.py").run()

    def calm(self) -> Screen:
        """Itself, when nothing has gone wrong."""
        assert not self.at.exception, self.at.exception
        assert [error.value for error in self.at.error] == []
        return self

    @property
    def html(self) -> str:
        return "\n".join(html.value for html in self.at.html)

    @property
    def markdown(self) -> str:
        return "\n".join(markdown.value for markdown in self.at.markdown)

    @property
    def verdict(self) -> str:
        return re.search(r'data-testid="verdict"[^>]*>([^<]*)<', self.html)[1]

    @property
    def probability(self) -> str:
        return re.search(r'data-testid="probability">([^ ]*) ', self.html)[1]

    @property
    def fact(self) -> dict[str, str]:
        """The lines under the probability."""
        return dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", self.html))

    def component(self, key: str) -> dict[str, Any]:
        """What the server hands to a component of ours in the browser."""
        (found,) = (c.proto for c in self.at.get("bidi_component") if re.search(rf"-{key}\b", c.proto.id))
        return json.loads(found.json)

    def press(self, label: str) -> Screen:
        (button,) = (button for button in self.at.button if button.label == label)
        button.click().run()
        return self

    def choose(self, key: str, value: object) -> Screen:
        self.at.selectbox(key=key).set_value(value).run()
        return self

    def upload(self, **files: bytes) -> Screen:
        return self.drop(*((name.replace("_", "."), data) for name, data in files.items()))

    def drop(self, *files: tuple[str, bytes]) -> Screen:
        """Files with their names, which need not differ."""
        self.at.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()
        return self

    def go(self, page: str) -> Screen:
        """To another page, in the same session."""
        self.at.switch_page(f"pages/{page}.py").run()
        return self

    @property
    def files(self) -> Any:
        """The table of uploads, out of its fold."""
        if not any("notes" in table.value for table in self.at.dataframe):
            self.at.session_state["all_files"] = True
            self.at.run()
        (found,) = (table.value for table in self.at.dataframe if "notes" in table.value)
        return found

    @property
    def pixel_size(self) -> Any:
        """The field for the pixel size of the file on the table."""
        (found,) = (field for field in self.at.number_input if field.label.startswith("Pixel size"))
        return found


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shipped_reader: Reader) -> Iterator[None]:
    """A fresh machine: no PCam, an empty cache, the shipped model already in memory."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("NODELENS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NODELENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NODELENS_MODELS", str(shipped_reader.stored.folder.parent))
    monkeypatch.delenv("NODELENS_MODEL", raising=False)
    monkeypatch.setattr(service, "load_reader", lambda name: shipped_reader)
    _forget()
    yield
    _forget()


def _forget() -> None:
    settings.cache_clear()
    service.forget()


@pytest.fixture(scope="session")
def demo() -> Split:
    return Split.open(ROOT / "assets" / "demo", "demo")


@pytest.fixture
def screen() -> Callable[..., Screen]:
    """Opens a page of the app, with a query."""
    return lambda name, /, **query: Screen(name, query)


@pytest.fixture(scope="session")
def score_file(shipped_reader: Reader, demo: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = ScoreStore(tmp_path_factory.mktemp("scores"), shipped_reader, demo)
    for _ in store.compute():
        pass
    return store.path


@pytest.fixture
def scores(score_file: Path, shipped_reader: Reader, demo: Split, tmp_path: Path) -> Scores:
    """The demo split as the model reads it, already in the app's cache."""
    store = ScoreStore(tmp_path / "cache", shipped_reader, demo)
    store.path.parent.mkdir(parents=True)
    shutil.copy(score_file, store.path)
    return store.scores()


@pytest.fixture
def inferences(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every call of the network."""
    calls: list[int] = []
    explain = Reader.explain

    def counted(self: Reader, patches: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(np.atleast_1d(patches)))
        return explain(self, patches, *args, **kwargs)

    monkeypatch.setattr(Reader, "explain", counted)
    return calls


@pytest.fixture
def png() -> Callable[[Any], bytes]:
    """Pixels as a PNG file."""

    def encode(pixels: Any) -> bytes:
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of runs of the test's own."""
    monkeypatch.setenv("NODELENS_RUNS", str(tmp_path / "runs"))
    settings.cache_clear()
    return tmp_path / "runs"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[str]]]:
    """What would have been started, instead of starting it."""
    calls: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(Job, "start", lambda job, arguments: calls.append((job.path, list(arguments))))
    return calls
