"""Files sent straight to the server: bounded in number of bytes, in name, and in how long they stay."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from bench.visitor import Server, Visitor
from core.errors import FullError
from pages.parts import server as doors
from pages.parts.budget import LIMIT, Budget
from tests.server.test_doors import knock

STORED = re.compile(r'cache_memory_bytes\{[^}]*"UploadedFileManager"[^}]*\} (\d+)')


# The budget -------------------------------------------------------------------------------------------------------


def test_what_is_held_counts_until_it_is_let_go():
    elsewhere = [0]
    budget = Budget(100, lambda: elsewhere[0])
    first, second = budget.reserve(60), budget.reserve(40)
    with pytest.raises(FullError, match="holds as many pictures as it may"):
        budget.reserve(1)
    first.release()
    first.release()  # twice is once
    elsewhere[0] = 50
    assert budget.held == 90
    with pytest.raises(FullError):
        budget.reserve(11)
    assert budget.reserve(10).bytes == 10  # nobody keeps that one
    del second
    gc.collect()
    assert budget.held == 50


def test_many_who_reserve_at_once_get_no_more_than_there_is():
    budget, kept = Budget(50), []

    def take() -> None:
        for _ in range(20):
            try:
                kept.append(budget.reserve(1))
            except FullError:
                return

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == budget.held == 50


# The endpoint -----------------------------------------------------------------------------------------------------


def put(monkeypatch: pytest.MonkeyPatch, budget: Budget, pieces: list[bytes], **headers: str) -> tuple[int, bytes, int]:
    """What a PUT is answered with, what Streamlit would get to read, and the bytes reserved meanwhile."""
    monkeypatch.setattr(doors, "HELD", budget)
    messages = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]
    sent: list[dict[str, Any]] = []
    read, reserved = [], []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def streamlit(scope: Any, receive: Any, send: Any) -> None:
        reserved.append(budget.held)
        while (message := await receive())["more_body"]:
            read.append(message["body"])
        read.append(message["body"])
        await send({"type": "http.response.start", "status": 204, "headers": []})

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "PUT", "path": "/_stcore/upload_file/session/file", "headers": raw}
    asyncio.run(doors.UploadLimits(streamlit)(scope, receive, send))
    return sent[0]["status"], b"".join(read), (reserved or [0])[0]


def test_a_file_is_reserved_while_it_comes_and_handed_on_whole(monkeypatch):
    budget = Budget(1000)
    pieces = [b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n', b"12", b"345"]
    assert put(monkeypatch, budget, pieces, content_length="900") == (204, b"".join(pieces), 900)
    assert budget.held == 0


def test_a_file_that_has_no_room_or_no_size_is_not_read(monkeypatch):
    budget = Budget(1000)
    full = budget.reserve(200)
    assert put(monkeypatch, budget, [b"12"], content_length="801") == (413, b"", 0)
    assert put(monkeypatch, budget, [b"12"]) == (411, b"", 0)
    assert put(monkeypatch, budget, [b"12"], content_length="-1") == (411, b"", 0)
    assert budget.held == full.bytes


@pytest.mark.parametrize(("name", "status"), [("a" * 251 + ".png", 204), ("a" * 252 + ".png", 400), ("é" * 255, 204)])
def test_a_name_has_at_most_255_characters(monkeypatch, name, status):
    pieces = [f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nx'.encode()]
    assert put(monkeypatch, Budget(1000), pieces, content_length="1")[0] == status


def test_over_http_too(server):
    visitor = Visitor(server)
    visitor.open("about")
    path = f"/_stcore/upload_file/{visitor.session}/file"
    with pytest.raises(HTTPError, match="400"):
        visitor._put(path, "a" * 300, b"x")
    answer = knock(server, path, method="PUT", **{"Content-Length": str(LIMIT + 1)})
    assert (answer.status, answer.body.decode()) == (413, str(FullError()))
    visitor.close()


# Whose files they are ---------------------------------------------------------------------------------------------


def test_files_come_with_a_token_into_a_session_that_is_there_and_are_never_handed_out(server):
    visitor = Visitor(server)
    visitor.open("about")
    path = f"/_stcore/upload_file/{visitor.session}/file"
    visitor._put(path, "a.png", b"secret")
    for method in ("GET", "POST", "HEAD"):
        assert b"secret" not in knock(server, path, method=method, **{"Content-Length": "0"}).body
    assert knock(server, path, method="PUT", body=b"x", **{"Content-Length": "1"}).status == 403  # no token
    assert knock(server, path, method="DELETE").status == 403
    with pytest.raises(HTTPError, match="400"):
        visitor._put("/_stcore/upload_file/nobody/file", "a.png", b"x")
    visitor.close()


# How long they stay -----------------------------------------------------------------------------------------------


def stored(server: Server) -> int:
    """Bytes of files that Streamlit holds."""
    address = f"{server.address}/_stcore/metrics?families=cache_memory_bytes"
    with urlopen(Request(address), timeout=60) as answer:
        return sum(int(found) for found in STORED.findall(answer.read().decode()))


def test_a_closed_tab_takes_its_files_along(server):
    visitor = Visitor(server)
    visitor.open("about")
    visitor._put(f"/_stcore/upload_file/{visitor.session}/file", "a.png", bytes(3_000_000))

    def until(enough: Any) -> bool:
        return any(enough(stored(server)) or time.sleep(1) for _ in range(120))

    assert until(lambda held: held >= 3_000_000)  # Streamlit counts anew every five seconds
    visitor.close()
    assert until(lambda held: held < 3_000_000)


def test_only_sessions_that_streamlit_has_forgotten_are_swept():
    class Session:
        def __init__(self, number: str) -> None:
            self.id, self.session_state, self.ended = number, {"uploads": "many"}, False

        def shutdown(self) -> None:
            self.ended = True

    here, gone, new = (Session(number) for number in ("here", "gone", "new"))
    manager = SimpleNamespace(list_sessions=lambda: [SimpleNamespace(session=session) for session in (here, new)])
    assert doors.sweep(manager, {"here": here, "gone": gone}) == {"here": here, "new": new}
    assert [session.ended for session in (here, gone, new)] == [False, True, False]
    assert (gone.session_state, here.session_state) == ({}, {"uploads": "many"})
