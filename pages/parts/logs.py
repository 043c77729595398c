"""The server's logs: Streamlit's own words, tracebacks of pages too, as the JSON lines of `core.logs`."""

from __future__ import annotations

import logging
from contextlib import suppress

from streamlit import logger

from core.errors import SettingsError
from core.logs import configure, hand_over, take_over
from core.settings import settings


def speak_json() -> None:
    """Let this process log nothing but JSON lines, from NODELENS_LOG on; for the server, once, as it starts."""
    configure("warning")
    with suppress(SettingsError):  # every page will say it
        configure(settings().log)
    logger.setup_formatter = hand_over  # for the loggers that Streamlit is yet to make
    take_over()
    logging.getLogger("uvicorn.access").disabled = True  # its lines hold the secret ids of sessions and uploads
