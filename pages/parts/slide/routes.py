"""What the viewer of slides fetches from the server itself: tiles, and its own library.

A token is of one session and one slide and cannot be guessed; what is not there is 404 and says nothing more.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from core.errors import SlideError
from core.slides import shelf

LIBRARY = Path(__file__).parents[3] / "assets" / "node_modules" / "openseadragon" / "build" / "openseadragon"
SCRIPT = "openseadragon.min.js"
PRIVATE = {"Cache-Control": "private, max-age=3600"}


def routes() -> list[BaseRoute]:
    """Beside Streamlit's own."""
    return [
        Route(f"/slide-viewer/{SCRIPT}", _library),
        Route("/slide-tiles/{token}/{level:int}/{column:int}/{row:int}", _tile),
    ]


def _library(_: Request) -> Response:
    path = LIBRARY / SCRIPT
    return FileResponse(path, media_type="text/javascript") if path.is_file() else Response(status_code=404)


def _tile(request: Request) -> Response:
    asked = request.path_params
    try:
        data = shelf.tile(asked["token"], asked["level"], asked["column"], asked["row"])
    except (KeyError, ValueError, SlideError):
        return Response(status_code=404)
    return Response(data, media_type="image/jpeg", headers=PRIVATE)
