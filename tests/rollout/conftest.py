"""Turns are streamed in a real chat format, which the chat layer's tests make."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "chat"))
