"""When the server's memory is searched for garbage: rarely, and never twice for what stays."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable


class Sweep:
    """Looks for garbage that only a search of everything finds, rarely, and sets aside what stays for good.

    Libraries and networks are more than a million objects. To search them after every run of a page, as Streamlit does,
    took longer than all other work. What is alive after a sweep is frozen: the collections that Python makes by itself
    pass over it, so they stay short and find what was left behind since. The next sweep looks at everything again, so
    that nothing which was alive then is held for ever.
    """

    EVERY = 60.0
    """Seconds."""
    MODULES = 50
    """So many modules imported since are worth setting aside at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has been swept yet."""
        self._clock = clock
        self._swept, self._modules = -self.EVERY, 0
        self._guard = threading.Lock()

    def if_due(self) -> bool:
        """Sweep if there was none for a while; tells whether there was one now. Takes some 0.2 s."""
        with self._guard:
            now, modules = self._clock(), len(sys.modules)
            if now - self._swept < self.EVERY and modules - self._modules < self.MODULES:
                return False
            self._swept, self._modules = now, modules
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return True


sweep = Sweep()
"""The one of this process."""
