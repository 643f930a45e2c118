"""The torch backend's helpers are used here too: its tiny students, and its twins in float64."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "mentor_kit_torch"))
