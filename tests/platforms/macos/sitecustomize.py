"""Python's own processes are on macOS, too: found through PYTHONPATH, which tool processes keep."""

import sys
from pathlib import Path

# the process that starts all others imports libraries of this system first, then calls it itself
if not any(word.endswith("pretended.py") or word == "on_macos" for word in sys.orig_argv):
    sys.path.append(str(Path(__file__).parents[1]))
    import pretended

    pretended.macos()
