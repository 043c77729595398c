"""`python -m core ...`; from another folder, `python FOLDER/core ...`."""

import sys
from pathlib import Path

if not __package__:  # named by its path: Python then looks for modules in this folder, not in the one around it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from core.cli import main

if __name__ == "__main__":
    main()
