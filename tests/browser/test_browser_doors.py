"""What only a browser shows of the server's doors: it obeys the headers, and they let the app itself through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect


@pytest.fixture
def framing() -> Iterator[str]:
    """Address of somebody else's page; what follows the question mark stands in a frame on it."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f'<iframe width="900" height="900" src="{self.path.partition("?")[2]}"></iframe>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("name", ["", "browse", "compare", "train", "evidence", "about"])
def test_every_page_keeps_to_its_own_policy(visit, name):
    """The fixture `page` fails a test whose console holds an error, and a broken policy is one."""
    page = visit(name)
    expect(page.get_by_test_id("stHeaderLogo")).to_be_visible()
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "'unsafe-eval'" not in policy


def test_a_strangers_name_for_this_machine_shows_nothing(server, strange_browser):
    page = strange_browser.new_page()
    answer = page.goto(server.url.replace("127.0.0.1", "evil.example"))
    assert answer.status == 400
    assert page.locator("#root").count() == 0
    assert page.inner_text("body") == "Invalid host header"


def test_a_page_that_frames_train_gets_nothing(server, browser, framing):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{framing}?{server.url}/train")
    page.wait_for_timeout(3000)
    framed = page.frames[1]
    assert "frame-ancestors" in " ".join(said)
    assert framed.locator("#root").count() == 0
    assert framed.locator("button").count() == 0
    page.close()


def test_another_page_cannot_open_a_session(server, browser, framing):
    page = browser.new_page()
    page.goto(framing)
    opened = page.evaluate(
        """address => new Promise(done => {
          const socket = new WebSocket(address, ["streamlit"]);
          socket.onopen = () => done("open");
          socket.onerror = () => done("refused");
        })""",
        server.url.replace("http", "ws") + "/_stcore/stream",
    )
    assert opened == "refused"
    page.close()
