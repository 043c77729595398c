"""Slides that readers look at: held open under a name that nobody guesses, with the tiles they saw last."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from pathlib import Path

from core.kept import Kept
from core.slides.slide import Slide
from core.slides.tiles import Tiles

MOST = 16
"""Slides open at a time, for all readers; the one not asked for longest makes room."""
TILE_BYTES = 64 * 2**20
"""Of tiles kept for all."""

_open: OrderedDict[str, Tiles] = OrderedDict()
_tokens: dict[tuple[str, Path, int, float | None], str] = {}
_tiles: Kept[bytes] = Kept(100_000, TILE_BYTES, len)
_guard = threading.RLock()


def opened(session: str, path: Path, um_per_px: float | None = None) -> tuple[str, Slide]:
    """A slide and its token for one session; opened anew when the file was replaced.

    Args:
        session: whose token it is; that of another session is another.
        path, um_per_px: see `Slide.open`.

    Raises:
        see `Slide.open`.
    """
    key = session, path, path.stat().st_mtime_ns if path.exists() else 0, um_per_px
    with _guard:
        token = _tokens.get(key)
        if token is not None and token in _open:
            _open.move_to_end(token)
            return token, _open[token].slide
    tiles = Tiles(Slide.open(path, um_per_px))  # outside: a slow disk keeps nobody else's tiles waiting
    with _guard:
        token = _tokens[key] = secrets.token_urlsafe(16)
        _open[token] = tiles
        while len(_open) > MOST:
            _forget(next(iter(_open)))
        return token, tiles.slide


def tile(token: str, level: int, column: int, row: int) -> bytes:
    """A tile as JPEG.

    Raises:
        KeyError: no such token, or not any more.
        ValueError: no such tile.
        SlideError: the slide is damaged there.
    """
    with _guard:
        tiles = _open[token]
        _open.move_to_end(token)
    return _tiles.get((token, level, column, row), lambda: tiles.tile(level, column, row))


def drop(path: Path) -> None:
    """Let go of a slide, whoever looked at it."""
    with _guard:
        for token in [token for (_, other, *_), token in _tokens.items() if other == path and token in _open]:
            _forget(token)


def _forget(token: str) -> None:
    """The slide closes when nobody reads it any more: a scan may still."""
    del _open[token]
    for key in [key for key, name in _tokens.items() if name == token]:
        del _tokens[key]
    _tiles.drop(lambda key: isinstance(key, tuple) and key[0] == token)


def forget() -> None:
    """Close everything."""
    with _guard:
        for tiles in _open.values():
            tiles.slide.close()
        _open.clear()
        _tokens.clear()
        _tiles.clear()
