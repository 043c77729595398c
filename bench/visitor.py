"""A server of the app, and visitors that speak Streamlit's own protocol to it: no browser, the same sessions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from bench.measure import ROOT, Resources, resources

PATIENCE = 120.0
"""Seconds that a visitor waits for an answer before it counts as none."""


class Server:
    """`streamlit run` on a free port of 127.0.0.1, ended with the `with` block; its resources as Linux tells.

    Of this checkout's app, or of another `app`, started from `folder`: the visitors are the same.
    """

    def __init__(
        self, environment: dict[str, str], *options: str, folder: Path = ROOT, app: Path = ROOT / "app.py"
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", str(app), *options]
        command += ["--server.port", str(self.port)]
        self._process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._proc = Path(f"/proc/{self._process.pid}")
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        for _ in range(1200):
            try:
                with urlopen(f"{self.address}/_stcore/health", timeout=5):
                    return self
            except (URLError, OSError):
                time.sleep(0.05)
        self._end()
        raise TimeoutError(self.address)

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask_to_end(self, seconds: float) -> None:
        """SIGTERM, and wait; TimeoutExpired when it goes on."""
        self._process.terminate()
        self._process.wait(seconds)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def forget_peak(self) -> None:
        """Count the peak of the resident memory from here."""
        (self._proc / "clear_refs").write_text("5")

    def resources(self) -> Resources:
        """What the process holds now."""
        return resources(self._proc)

    def processor_seconds(self) -> float:
        """Seconds of processor that the process has used so far, all its threads together."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Answer:
    """What one run of the script brought.

    Attributes:
        seconds: from asking until the script had finished; None when it never did.
        faults: exceptions on the page and broken connections.
        refusals: what the page said in an error box.
        kinds: the elements drawn, by Streamlit's name for their type.
        text: all words in plain and HTML elements.
    """

    seconds: float | None = None
    faults: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    text: str = ""


class Visitor:
    """A browser tab reduced to its websocket. It declares nothing as cached, so every message comes whole."""

    def __init__(self, server: Server) -> None:
        self._server = server
        with urlopen(f"{server.address}/_stcore/health", timeout=PATIENCE) as health:
            self._cookie = health.headers["Set-Cookie"].split(";")[0]
        self._tab = ExitStack()
        self._socket: ClientConnection | None = None
        self.session = ""

    def close(self) -> None:
        """Leave, like a tab that is closed."""
        self._tab.close()

    def open(self, page: str = "", /, **query: object) -> Answer:
        """Open an address, as a browser does: what the tab held before is left behind, with its session."""
        return self._answer(partial(self.start, page, **query))

    def start(self, page: str = "", /, **query: object) -> None:
        """Open an address and do not wait for what comes."""
        self.close()
        self._page, self._query = page, {name: str(value) for name, value in query.items()}
        self._states: dict[str, WidgetState] = {}
        self._widgets: dict[str, str] = {}
        address = f"ws://127.0.0.1:{self._server.port}/_stcore/stream"
        self._socket = self._tab.enter_context(
            connect(
                address,
                subprotocols=[Subprotocol("streamlit")],
                additional_headers={"Cookie": self._cookie},
                max_size=None,
                open_timeout=PATIENCE,
            )
        )
        self._ask()

    def choose(self, key: str, value: str | float) -> Answer:
        """Take another entry of a select box, or type a number; the URL goes along."""
        self._query[key] = str(value)
        state = WidgetState(id=self._widgets[key])
        if isinstance(value, str):
            state.string_value = value
        else:
            state.double_value = value
        return self._act(state)

    def upload(self, key: str, files: dict[str, bytes], wait: bool = True) -> Answer | None:
        """Drop files onto a drop zone; what comes is not waited for without `wait`."""
        ask = BackMsg()
        ask.file_urls_request.request_id = uuid4().hex
        ask.file_urls_request.file_names.extend(files)
        ask.file_urls_request.session_id = self.session
        self._send(ask)
        while (message := self._receive()).WhichOneof("type") != "file_urls_response":
            pass
        state = WidgetState(id=self._widgets[key])
        for urls, (name, data) in zip(message.file_urls_response.file_urls, files.items(), strict=True):
            self._put(urls.upload_url, name, data)
            held = UploadedFileInfo(file_id=urls.file_id, name=name, size=len(data), file_urls=urls)
            state.file_uploader_state_value.uploaded_file_info.append(held)
        if wait:
            return self._act(state)
        self._states[state.id] = state
        self._ask()
        return None

    def _act(self, state: WidgetState) -> Answer:
        self._states[state.id] = state
        return self._answer(self._ask)

    def _put(self, path: str, name: str, data: bytes) -> None:
        edge = uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + data + f"\r\n--{edge}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={edge}",
            "Cookie": self._cookie,
            "X-Xsrftoken": self._cookie.split("=", 1)[1],
        }
        urlopen(Request(f"{self._server.address}{path}", body, headers, method="PUT"), timeout=PATIENCE).close()

    def _ask(self) -> None:
        ask = BackMsg()
        run = ask.rerun_script
        run.query_string = urlencode(self._query)
        run.page_name = self._page
        run.widget_states.widgets.extend(self._states.values())
        run.context_info.timezone = "UTC"
        run.context_info.locale = "en-GB"
        run.context_info.url = f"{self._server.address}/{self._page}"
        run.context_info.color_scheme = "light"
        self._send(ask)

    def _send(self, ask: BackMsg) -> None:
        assert self._socket is not None, "nothing is open"
        self._socket.send(ask.SerializeToString())

    def _answer(self, ask: Callable[[], None]) -> Answer:
        answer = Answer()
        began = time.perf_counter()
        try:
            ask()
            while not self._hear(self._receive(), answer):
                pass
            answer.seconds = time.perf_counter() - began
        except (WebSocketException, OSError) as error:
            answer.faults.append(f"{type(error).__name__}: {error}")
        return answer

    def _receive(self) -> ForwardMsg:
        assert self._socket is not None, "nothing is open"
        return ForwardMsg.FromString(self._socket.recv(timeout=PATIENCE, decode=False))

    def _hear(self, message: ForwardMsg, answer: Answer) -> bool:
        """Take in one message; True when the script has finished."""
        match message.WhichOneof("type"):
            case "new_session":
                self.session = message.new_session.initialize.session_id
                answer.kinds.clear()
                answer.text = ""
            case "delta" if message.delta.WhichOneof("type") == "new_element":
                self._draw(message.delta.new_element, answer)
            case "session_event":
                answer.faults.append(message.session_event.script_compilation_exception.message)
            case "page_not_found":
                answer.faults.append("page not found")
            case "script_finished":
                return message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
        return False

    def _draw(self, element: object, answer: Answer) -> None:
        kind: str = element.WhichOneof("type")  # type: ignore[attr-defined]
        drawn = getattr(element, kind)
        answer.kinds.append(kind)
        if kind == "exception":
            answer.faults.append(f"{drawn.type}: {drawn.message}")
        elif kind == "alert" and drawn.format == drawn.ERROR:
            answer.refusals.append(drawn.body)
        elif kind in ("html", "markdown"):
            answer.text += drawn.body
        name = getattr(drawn, "id", "")
        if name.startswith("$$ID-"):  # $$ID-<hash of what it is>-<the key given to it>
            self._widgets[name.split("-", 2)[2]] = name
