"""The command line: thin words around the functions that the pages call too; one module a group of commands.

Every command ends with exit code 2 and one line on stderr when the input is at fault.
"""

from __future__ import annotations

import sys

from core.cli import score, explain, evaluate, evaluate_slides, evidence, slide, train, bench, data, model  # isort: skip (the order of --help)
from core.cli.options import app
from core.errors import NodeLensError
from core.logs import configure as configure_logs
from core.settings import settings

__all__ = [
    "app",
    "bench",
    "data",
    "evaluate",
    "evaluate_slides",
    "evidence",
    "explain",
    "main",
    "model",
    "score",
    "slide",
    "train",
]


def main() -> None:
    """Run the command line; a person's mistake ends in one line and exit code 2."""
    try:
        configure_logs(settings().log)
        app()
    except NodeLensError as error:
        print(f"nodelens: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("nodelens: stopped.", file=sys.stderr)
        sys.exit(130)
