"""Runs cases in a process of its own and reports what they did: what was said, opened, run and held in memory.

Protocol: one JSON line in (entry, offered, out), one JSON line out. The parent keeps the clock.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

WATCHED = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "pickle.find_class"),
    *("socket.connect", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen", "os.remove", "os.rename", "os.mkdir"),
)
IMPORTED_AT_FIRST_USE = (
    *("encodings.cp437", "encodings.cp1252", "encodings.unicode_escape", "encodings.utf_8_sig", "encodings.utf_16"),
    *("encodings.utf_16_be", "encodings.utf_16_le", "numpy.ma"),
)
KNOWN_MODULES = ("PIL", "encodings", "h5py", "imagecodecs", "numpy", "tifffile", "unicodedata")
MEMORY = 2 * 2**30  # beyond what is mapped at the start; the test itself allows 500 MB of resident memory

seen: list[list[str]] = []
armed = False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: note what a case opens, runs and imports."""
    if not armed:
        return
    if event == "open" and not isinstance(arguments[0], int):
        seen.append(["open", os.fsdecode(arguments[0])])
    elif event in WATCHED:
        seen.append([event, os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else repr(arguments)])
    elif event == "import" and not str(arguments[0]).startswith(KNOWN_MODULES):
        seen.append(["import", str(arguments[0])])


def memory(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since `forget_peak`, VmSize mapped."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def forget_peak() -> None:
    """Start measuring the peak anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def knock(entry: str, offered: Path, out: Path, data: bytes) -> list[str]:
    """Offer a case at its door; returns the refusals of single items, and raises that of the whole."""
    from core.data.imports import import_all
    from core.data.intake import open_patch, open_picture
    from core.data.pcam import Split
    from core.data.sources import check_inputs, count_items, items
    from core.errors import IntakeError, NodeLensError
    from core.models.store import StoredBundle

    if entry == "picture":
        if open_picture(data).is_patch:
            open_patch(data)
    elif entry == "sweep":
        for place in range(0, min(len(data), 4000), 10):
            changed = bytearray(data)
            changed[place] ^= 1 << place % 7
            try:
                open_picture(bytes(changed))
            except IntakeError as error:
                if "\n" in str(error):
                    raise
    elif entry == "split":
        split = Split.open(offered, "valid")
        split.patches([0, len(split) - 1])
        split.fingerprint()
    elif entry == "import":
        import_all(offered, out, lambda name, done, total: None)
    elif entry == "bundle":
        stored = StoredBundle.open(offered)
        _ = stored.head
        stored.tensors()
    elif entry == "score":
        paths = check_inputs([offered])
        found = list(items(paths))
        assert count_items(paths) == len(found)
        assert all(item.id.isprintable() for item in found)
        refused = [item.refusal for item in found if item.patch is None]
        if refused and len(refused) == len(found):
            raise refused[0] or NodeLensError("refused without a reason")
    return []


def run(entry: str, offered: Path, out: Path) -> dict[str, Any]:
    """One case: what came of it, and what it did on the way."""
    global armed
    from core.errors import NodeLensError

    data = offered.read_bytes() if entry in ("picture", "sweep") else b""
    seen.clear()
    forget_peak()
    before = memory("VmRSS")
    armed = True
    outcome, said = "read", ""
    try:
        knock(entry, offered, out, data)
    except NodeLensError as error:
        outcome, said = "refused", str(error)
    except BaseException as error:
        outcome, said = "bug", f"{type(error).__name__}: {error}"
    finally:
        armed = False
    return {"outcome": outcome, "said": said, "seen": list(seen), "grown": memory("VmHWM") - before}


def main() -> None:
    """Serve cases until the parent closes the pipe."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from tests.adversarial import corpus

    for name in IMPORTED_AT_FIRST_USE:
        import_module(name)
    for data in corpus.HONEST.values():
        knock("picture", Path(), Path(), data)
    corpus.encode(corpus.tissue(), "PNG")
    limit = memory("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.addaudithook(watch)
    for line in sys.stdin:
        case = json.loads(line)
        answer = run(case["entry"], Path(case["offered"]), Path(case["out"]))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
