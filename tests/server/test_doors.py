"""Who is let in, what every answer says to the browser, and what a visitor without manners cannot do."""

from __future__ import annotations

import base64
from contextlib import closing
from email.message import Message
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg

from bench.visitor import Server, Visitor

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    "Sec-WebSocket-Protocol": "streamlit",
}
PATIENT = 120  # seconds; a server that is frozen stays so for minutes


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


def knock(server: Server, path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
    """One request with the headers as given, Host among them."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENT)) as connection:
        connection.putrequest(method, path, skip_host=True)
        for name, value in ({"Host": f"127.0.0.1:{server.port}"} | headers).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as answer:
            return Answer(answer.status, answer.headers, b"" if answer.status == 101 else answer.read())


def enter(server: Server, **headers: str) -> int:
    """What a websocket's handshake is answered with; 101 is in."""
    return knock(server, "/_stcore/stream", **(UPGRADE | headers)).status


@pytest.mark.timeout(600)
def test_a_flood_of_reruns_neither_freezes_the_server_nor_keeps_it_alive(own_server):
    visitor = Visitor(own_server)
    assert visitor.open("about").faults == []
    ask = BackMsg()
    ask.rerun_script.page_name = "about"
    ask.rerun_script.widget_states.widgets.add(id="$$ID-none-None", string_value="x" * 37_000)
    for _ in range(1000):
        visitor._send(ask)
    with urlopen(f"{own_server.address}/_stcore/health", timeout=PATIENT) as health:
        assert health.status == 200
    own_server.ask_to_end(PATIENT)
    assert not own_server.alive


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:{port}", True),
        ("127.0.0.1", True),
        ("[::1]:{port}", True),
        ("LENS.example.org", True),
        ("ward.clinic.example:443", True),
        ("evil.example", False),
        ("lens.example.org.evil.example", False),
        ("127.0.0.1.evil.example:{port}", False),
        ("clinic.example", False),
        ("localhost@evil.example", False),
        ("", False),
    ],
)
def test_only_known_names_lead_to_the_app(server, host, known):
    host = host.format(port=server.port)
    assert knock(server, "/", Host=host).status == (200 if known else 400)
    assert knock(server, "/_stcore/health", Host=host).status == (200 if known else 400)
    assert enter(server, Host=host) == (101 if known else 400)


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://localhost:{port}", False),  # not the name that the request was sent to
        ("http://127.0.0.1:3000", False),
        ("http://localhost:3000", False),
        ("http://127.0.0.1", False),
        ("https://evil.example", False),
        ("http://[", False),
        ("null", False),
    ],
)
def test_only_pages_of_the_app_itself_may_open_a_session(server, origin, own):
    origin = origin.format(port=server.port)
    assert enter(server, Origin=origin) == (101 if own else 403)
    answer = knock(server, "/_stcore/health", Origin=origin)
    assert answer.status == (200 if own else 403)
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_behind_a_proxy_that_hands_the_name_on(server):
    assert enter(server, Host="lens.example.org", Origin="https://lens.example.org") == 101
    assert enter(server, Host="lens.example.org", Origin="https://ward.clinic.example") == 403


@pytest.mark.parametrize(
    ("path", "status", "headers"),
    [
        ("/", 200, {}),
        ("/train", 200, {}),
        ("/_stcore/health", 200, {}),
        ("/_stcore/host-config", 200, {}),
        ("/media/none.png", 404, {}),
        ("/", 400, {"Host": "evil.example"}),
        ("/", 403, {"Origin": "https://evil.example"}),
        ("/_stcore/stream", 400, UPGRADE | {"Host": "evil.example"}),
        ("/_stcore/stream", 403, UPGRADE | {"Origin": "https://evil.example"}),
    ],
)
def test_every_answer_tells_the_browser_what_is_not_allowed(server, path, status, headers):
    answer = knock(server, path, **headers)
    assert answer.status == status
    policy = dict(directive.split(" ", 1) for directive in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["frame-ancestors"] == "'none'"
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == "'none'"
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'unsafe-eval'" not in policy["script-src"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
