"""What visitors tried over HTTP and the websocket, and what held."""

from __future__ import annotations

import json
import time

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import ConnectionClosed

from bench.visitor import Answer, Server, Visitor
from tests.server.test_doors import knock

PASSWD = b"root:"
OURS = b"disconnectedSessionTTL"
SCRIPT = "<img src=x onerror=alert(1)>.png"


@pytest.mark.parametrize("base", ["/static", "/media", "/component", "/_stcore/bidi-components", "/app/static", ""])
@pytest.mark.parametrize(
    "path",
    [
        "/../.streamlit/config.toml",
        "/../../../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/.streamlit/config.toml",
        "/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/..%5c..%5c.streamlit%5cconfig.toml",
        "//etc/passwd",
        "/nodelens_gallery/../../../../.streamlit/config.toml",
        "/%00",
    ],
)
def test_no_path_leads_out_of_what_is_served(server, base, path):
    answer = knock(server, base + path)
    assert PASSWD not in answer.body
    assert OURS not in answer.body
    assert answer.status < 500


@pytest.mark.parametrize("path", ["/_stcore/agent/interact", "/_stcore/agent/mcp"])
def test_no_program_drives_the_app(server, path):
    answer = knock(server, path, method="POST", body=b"{}", **{"Content-Length": "2"})
    assert 400 <= answer.status < 500


@pytest.mark.parametrize(
    "frame", [b"\xff" * 100, b"", bytes(26 * 2**20), "a text"], ids=["bytes", "none", "26MB", "text"]
)
def test_frames_of_any_kind_end_their_own_session_at_most(server, frame):
    visitor = Visitor(server)
    visitor.open("about")
    try:
        visitor._socket.send(frame)
        for _ in range(50):
            visitor._socket.recv(timeout=5)  # of nothing the server says nothing
    except (ConnectionClosed, TimeoutError):
        pass
    visitor.close()
    other = Visitor(server)
    assert other.open("about").faults == []
    other.close()


def browse(server: Server) -> Visitor:
    """A visitor of Browse, whose patches have all been read."""
    visitor = Visitor(server)
    for _ in range(240):
        answer = visitor.open("browse")
        assert answer.faults == []
        if "gallery" in visitor._widgets and "progress" not in answer.kinds:
            return visitor
        time.sleep(0.5)
    raise AssertionError("nothing was read")


FORGED = [
    *[[{"event": event, "value": value}] for event in ("opened", "ticked") for value in
      ("x", "9" * 5000, -1, 10**400, float("nan"), float("inf"), [], {}, {"index": "x", "ticked": 1}, {"index": 0},
       [{"number": "x", "index": 0, "ticked": True}], [{"number": 0, "index": 0, "ticked": True}], [7, None, [[]]],
       [{"number": 10**30, "index": 0, "ticked": True}], [[[]]], None, True)],
    [{"event": 7}], {"event": "opened"}, [], "opened", 7, None, [["opened", 0]],
]  # fmt: skip


def test_a_forged_word_from_the_gallery_is_not_heard(server):
    visitor = browse(server)
    trigger = f"$$STREAMLIT_INTERNAL_KEY_{visitor._widgets['gallery']}__events"

    def say(value: object, own: str = "{}") -> Answer:
        own_state = WidgetState(id=visitor._widgets["gallery"], json_value=own)
        event = WidgetState(id=trigger, json_trigger_value=json.dumps(value))
        return visitor._answer(lambda: ask_once(visitor, own_state, event))

    for value in FORGED:
        answer = say(value)
        assert (answer.faults, answer.refusals) == ([], []), value
        assert "To compare" not in answer.text
    for own in ("[]", "7", '{"opened": []}', '{"ticked": [{"number": NaN, "index": 0, "ticked": true}]}'):
        answer = say([{"event": "opened", "value": "x"}, {"event": "ticked", "value": 7}], own)
        assert (answer.faults, answer.refusals) == ([], []), own
    true = say([{"event": "ticked", "value": [{"number": 1, "index": 0, "ticked": True}]}])
    assert "To compare: demo 0" in true.text
    visitor.close()


def ask_once(visitor: Visitor, *states: WidgetState) -> None:
    ask = BackMsg()
    ask.rerun_script.page_name = "browse"
    ask.rerun_script.widget_states.widgets.extend(states)
    visitor._send(ask)


@pytest.mark.parametrize(
    "box",
    [
        [{"x": [float("nan"), 0.5]}],
        [{"x": ["a", "b"]}],
        [{"x": [10**400, -(10**400)]}],
        [{"x": [float("inf"), float("-inf")]}],
        [{"x": []}],
        [{}],
        [7],
        "box",
        {"x": [0, 1]},
        None,
    ],
)
def test_a_forged_brush_is_no_filter_or_one_that_can_be(server, box):
    visitor = browse(server)
    chosen = json.dumps({"selection": {"points": [], "point_indices": [], "box": box, "lasso": []}})
    answer: Answer = visitor._answer(
        lambda: ask_once(visitor, WidgetState(id=visitor._widgets["histogram"], string_value=chosen))
    )
    assert answer.faults == []
    visitor.close()
