"""Sessions of a chat are played with the stand-ins of the rollout's tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "rollout"))
