"""Values kept for a while: so many of them, so many bytes, and the one not asked for longest makes room.

Dictionaries of our own and not Streamlit's caches, which any client may empty for everybody with one message.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from numpy.typing import NDArray

__all__ = ["Kept", "digest"]

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by key. Safe between threads: what several ask for at a time is made once, and others do not wait."""

    def __init__(self, most: int, most_bytes: float = float("inf"), size: Callable[[Value], int] | None = None) -> None:
        """Keep `most` values, and no more than `most_bytes` of them by `size`; always the latest."""
        self._most, self._most_bytes, self._size = most, most_bytes, size
        self._values: OrderedDict[Hashable, tuple[Hashable, Value, int]] = OrderedDict()
        self._turns: WeakValueDictionary[Hashable, threading.RLock] = WeakValueDictionary()  # while somebody has one
        self._guard = threading.RLock()
        self.bytes = 0
        """Held, by `size`."""

    def __len__(self) -> int:
        return len(self._values)

    def has(self, key: Hashable, stamp: Hashable = None) -> bool:
        """Whether the value of that stamp is here."""
        with self._guard:
            return key in self._values and self._values[key][0] == stamp

    def get(self, key: Hashable, make: Callable[[], Value], stamp: Hashable = None) -> Value:
        """The value of a key, made when it is not here. What `make` raises is not kept.

        Args:
            key: what it is called by.
            make: makes it.
            stamp: of what it is made from, such as a file's modification time; another stamp makes it anew.
        """
        with self._guard:
            if self.has(key, stamp):
                self._values.move_to_end(key)
                return self._values[key][1]
            turn = self._turns.setdefault(key, threading.RLock())  # what makes a value may keep it itself
        with turn:
            with self._guard:
                if self.has(key, stamp):  # somebody else made it meanwhile
                    return self._values[key][1]
            value = make()
            self._keep(key, stamp, value)
        return value

    def _keep(self, key: Hashable, stamp: Hashable, value: Value) -> None:
        size = self._size(value) if self._size else 0
        with self._guard:
            self._forget(key)
            self._values[key] = (stamp, value, size)
            self.bytes += size
            while len(self) > 1 and (len(self) > self._most or self.bytes > self._most_bytes):
                self._forget(next(iter(self._values)))

    def _forget(self, key: Hashable) -> None:
        self.bytes -= self._values.pop(key, (None, None, 0))[2]

    def drop(self, which: Callable[[Hashable], bool]) -> None:
        """Forget the values of some keys."""
        with self._guard:
            for key in [key for key in self._values if which(key)]:
                self._forget(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._guard:
            self._values.clear()
            self.bytes = 0


def digest(array: NDArray[Any]) -> bytes:
    """16 bytes that name an array's content, shape and type."""
    named = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    named.update(array.tobytes())
    return named.digest()
