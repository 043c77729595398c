"""The doors of the server: whose requests are let in, what every response says to the browser, how much may be sent.

These stand before Streamlit's own routes, for HTTP and for the websocket alike. `pages.parts.budget` counts the bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config, runtime
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.session_manager import SessionManager

from core.errors import FullError, SettingsError
from core.settings import settings
from core.slides import held
from pages.parts.budget import HELD

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "", None)  # noqa: S104 - recognised here, and listened on nowhere
"""Addresses to listen on that are no names."""
UPLOADS = "/_stcore/upload_file/"
LONGEST_NAME = 255
NAMED = re.compile(rb'filename="((?:[^"\\\r\n]|\\.)*)"')
SWEEP_SECONDS = 5.0


def doors() -> list[Middleware]:
    """What a request passes before Streamlit sees it, from the outside in."""
    return [
        Middleware(SecurityHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=host_names(), www_redirect=False),
        Middleware(OwnOrigin),
        Middleware(UploadLimits),
    ]


def host_names() -> list[str]:
    """Names by which the app may be called: this machine's own, the address it listens on, and NODELENS_HOSTS."""
    named: tuple[str, ...] = ()
    with suppress(SettingsError):  # every page will say it
        named = settings().hosts
    address = config.get_option("server.address")
    listening = () if address in EVERYWHERE else (f"[{address}]" if ":" in address else address,)
    return list(dict.fromkeys((*LOOPBACK, *listening, *named)))


class SecurityHeaders:
    """Tells the browser to frame, sniff, embed and leak nothing, and to run no script but Streamlit's and ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": content_security_policy(),
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to whatever is answered."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def content_security_policy() -> str:
    """What a page may load and run: the server's own files, pictures in data URLs, and the components' modules.

    Streamlit hands a component's module to the browser as a blob, and writes its styles into the page. Its own page
    has an inline script, which is named by its hash.
    """
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    ]
    directives = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", "blob:", *(f"'sha256-{found}'" for found in hashes)]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


class OwnOrigin:
    """Lets a browser in from the app's own pages only: host and port of Origin are those the request was sent to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what another page sends; clients other than browsers name no origin."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not _is_own(origin, headers.get("host", "")):
                await PlainTextResponse("Not from another page.", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_own(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


class UploadLimits:
    """Before a file is taken in: its size is known, there is room for it in the budget, and its name is a name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reserve the bytes while they come; afterwards Streamlit's store accounts for them."""
        if scope["type"] != "http" or scope["method"] != "PUT" or UPLOADS not in scope["path"]:
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal():
            await PlainTextResponse("How long is it?", 411)(scope, receive, send)
            return
        try:
            reservation = HELD.reserve(int(length))
        except FullError as error:
            await PlainTextResponse(str(error), 413)(scope, receive, send)
            return
        try:
            await self._named(scope, receive, send)
        finally:
            reservation.release()

    async def _named(self, scope: Scope, receive: Receive, send: Send) -> None:
        beginning: Message | None = await receive()
        found = NAMED.search(beginning.get("body", b"")[:8192]) if beginning else None
        if found is not None and len(found[1].decode(errors="replace")) > LONGEST_NAME:
            await PlainTextResponse(f"A name has at most {LONGEST_NAME} characters.", 400)(scope, receive, send)
            return

        async def from_the_beginning() -> Message:
            nonlocal beginning
            message, beginning = beginning, None
            return message or await receive()

        await self._app(scope, from_the_beginning, send)


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    """While the server runs, sessions whose tab was closed end in time."""
    sweeping = asyncio.create_task(_sweep_for_ever())
    try:
        yield
    finally:
        sweeping.cancel()
        held.leave_all()


async def _sweep_for_ever() -> None:
    known: dict[str, AppSession] = {}
    pause = min(
        SWEEP_SECONDS, config.get_option("server.disconnectedSessionTTL") / 2
    )  # so that none comes and goes unseen
    while True:
        await asyncio.sleep(pause)
        known = sweep(runtime.get_instance()._session_mgr, known)  # noqa: SLF001 - it has no public name


def sweep(sessions: SessionManager, before: Mapping[str, AppSession]) -> dict[str, AppSession]:
    """End the sessions whose reader did not come back within `server.disconnectedSessionTTL`.

    Streamlit no longer knows them then, but lets go of what they hold only when the next tab is closed and the garbage
    collector comes by.

    Args:
        sessions: all that Streamlit knows.
        before: those it knew at the last sweep, by id.

    Returns:
        Those it knows now.
    """
    known = {info.session.id: info.session for info in sessions.list_sessions()}
    for number in before.keys() - known.keys():
        before[number].shutdown()
        before[number].session_state.clear()
    return known
